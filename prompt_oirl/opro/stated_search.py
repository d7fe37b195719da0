"""A search over a space that is written down, in the place of the language model that proposes."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence

from prompt_oirl.llms import Conversation, Decoding, Generation, item_seed


class StatedSearch(ABC):
    """An `LLM` that is none: it sees nothing but the meta-prompt, the last turn, and is random by the seed
    alone."""

    name: str
    batch_size = 64

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Answers as `LLM.generate`; temperature 0 gives the same for every seed."""
        answers = []
        for conversation, seed in zip(conversations, seeds):
            text = conversation[-1]["content"]
            rng = random.Random(item_seed(self.name, text, seed if decoding.temperature > 0 else 0))
            answers.append(Generation(self.answer(text, decoding.temperature, rng), "stop", 0, 0))
        return answers

    @abstractmethod
    def answer(self, meta_prompt: str, temperature: float, rng: random.Random) -> str:
        """A proposal in the form that the meta-prompt asks for."""
