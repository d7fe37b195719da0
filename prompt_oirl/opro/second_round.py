"""Asking a second time for the final answer, as published for pre-trained scorers, which seldom say where
their answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prompt_oirl.llms import LLM, Conversation, Decoding, Generation

PHRASE = "So the final answer is"
MAX_TOKENS = 50  # of the second reply, as published
NEXT_QUESTION = "Q:"  # a pre-trained model makes up another question behind its answer


class SecondRound:
    """An LLM that lets `llm` answer, then go on behind its own answer and `PHRASE`; the text holds both
    replies, so graders read the second one as what the answer settles on.

    Source: OPRO's code, evaluation/eval_utils.py (specification of OPRO, 2.1).
    """

    def __init__(self, llm: LLM):
        self._llm, self.batch_size = llm, llm.batch_size

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Both replies of each conversation as one answer, its tokens those of both.

        Parameters
        ----------
        conversations, decoding, seeds : as in `LLM.generate`; `MAX_TOKENS` limits the second reply
        """
        first = self._llm.generate(conversations, decoding=decoding, seeds=seeds)
        said = [answer.text.partition(NEXT_QUESTION)[0].rstrip() for answer in first]
        asked = [continued(turns, text) for turns, text in zip(conversations, said)]
        short = replace(decoding, max_new_tokens=MAX_TOKENS)
        second = self._llm.generate(asked, decoding=short, seeds=seeds)
        return [_joined(a, text, b) for a, text, b in zip(first, said, second)]


def continued(conversation: Conversation, said: str) -> Conversation:
    """The conversation with the answer and `PHRASE` as the assistant's open turn."""
    turns, opening = conversation, []
    if conversation[-1]["role"] == "assistant":  # the instruction opens the answer
        turns, opening = conversation[:-1], [conversation[-1]["content"]]
    text = " ".join([*opening, said]).strip()
    return [*turns, {"role": "assistant", "content": f"{text}\n{PHRASE}" if text else PHRASE}]


def _joined(first: Generation, said: str, second: Generation) -> Generation:
    """One answer; of the second reply its first line up to the next question."""
    final = second.text.strip(": \n").partition("\n")[0].partition(NEXT_QUESTION)[0].strip()
    return Generation(
        f"{said}\n{PHRASE} {final}".strip(),
        second.finish_reason,
        first.tokens_in + second.tokens_in,
        first.tokens_out + second.tokens_out,
    )
