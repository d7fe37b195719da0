"""A proposer for small models: they can reword an instruction where they cannot write a better one.

What the meta-prompt shows picks the instruction to reword; the model itself reads a few worked examples and
that one instruction, nothing else. Its reply is put between the tags that the layout `chat` asks for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from prompt_oirl.llms import LLM, Conversation, Decoding, Generation, item_seed
from prompt_oirl.opro.search_proposer import read_pairs

REQUEST = "Say this in other words: "
EXAMPLES = (
    ("Think it over before you answer.", "Take a moment to reflect, then give your answer."),
    ("Show your work.", "Write down each step that leads to your result."),
    ("Reply in a few words.", "Keep your answer as short as you can."),
    ("Read the question with care.", "Pay close attention to what is being asked."),
    ("Check your answer.", "Make sure that your result is right before you finish."),
)
HALF = 0.5  # the best instruction is reworded so often, the next one half as often, and so on


class Paraphraser:
    """Stands in the optimizer's place: `generate` reads a meta-prompt of the layout `chat` and has `llm`
    reword one of the instructions it shows."""

    def __init__(self, llm: LLM):
        self._llm, self.batch_size = llm, llm.batch_size

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """One reworded instruction per meta-prompt, the instruction it was made from on the line above.

        Parameters
        ----------
        conversations : the last turn of each is its meta-prompt
        decoding : of the model; temperature 0 rewords the best instruction, whatever the seed
        seeds : of the pick and of the sampling noise, one per conversation
        """
        parents = [
            pick_parent(turns[-1]["content"], seed if decoding.temperature else None)
            for turns, seed in zip(conversations, seeds)
        ]
        replies = self._llm.generate([request(p) for p in parents], decoding=decoding, seeds=seeds)
        return [replace(reply, text=_tagged(p, reply)) for p, reply in zip(parents, replies)]


def pick_parent(meta_prompt: str, seed: int | None) -> str:
    """The instruction to reword: better ones more often; the best one without a seed.

    Where scores are hidden, the last one shown counts as the best.
    """
    pairs = [(text, score) for text, score in read_pairs(meta_prompt, "chat") if text]
    if all(score is not None for _, score in pairs):
        pairs.sort(key=lambda pair: pair[1] or 0.0)
    best_first = [text for text, _ in reversed(pairs)] or [EXAMPLES[0][0]]
    if seed is None:
        return best_first[0]
    weights = [HALF**rank for rank in range(len(best_first))]
    return random.Random(item_seed("parent", seed)).choices(best_first, weights)[0]


def request(instruction: str) -> Conversation:
    """What the model is sent: the worked examples as earlier turns, and the instruction."""
    turns = []
    for plain, reworded in (*EXAMPLES, (instruction, "")):
        turns += [{"role": "user", "content": REQUEST + plain}, {"role": "assistant", "content": reworded}]
    return turns[:-1]


def _tagged(parent: str, reply: Generation) -> str:
    """The reply's first line between tags; without the closing one where the limit of tokens cut it."""
    if reply.finish_reason not in ("stop", "length"):
        return reply.text
    line, more, rest = reply.text.strip().partition("\n")
    end = "</INS>" if more or reply.finish_reason == "stop" else ""
    return f"{REQUEST}{parent}\n<INS>{line}{end}{more}{rest}"
