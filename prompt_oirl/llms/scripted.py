"""A language model that answers from a function: for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prompt_oirl.llms import Conversation, Decoding, Generation


class ScriptedLLM:
    """Answers `reply(conversation, seed)` and remembers every conversation it was asked."""

    def __init__(self, reply: Callable[[Conversation, int], str], batch_size: int = 8):
        self._reply, self.batch_size = reply, batch_size
        self.asked: list[Conversation] = []

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Answers of at most `decoding.max_new_tokens` words; nothing else of `decoding` is used.

        Parameters
        ----------
        conversations, decoding, seeds : as in `LLM.generate`
        """
        self.asked += conversations
        answers = []
        for conversation, seed in zip(conversations, seeds):
            words = self._reply(conversation, seed).split(" ")
            kept = words[: decoding.max_new_tokens]
            size = sum(len(turn["content"].split()) for turn in conversation)
            answers.append(
                Generation(" ".join(kept), "stop" if len(kept) == len(words) else "length", size, len(kept))
            )
        return answers
