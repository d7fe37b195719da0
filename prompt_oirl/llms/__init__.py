"""Language models behind one call: conversations in, texts with token counts out.

`transformers` runs a local model (also Meta's original checkpoint folder), `openai` any OpenAI-compatible
server, `scripted` answers from a function for tests. All take one seed per conversation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.io.files import InputError

Conversation = list[dict[str, str]]  # [{"role": "system" | "user" | "assistant", "content": ...}, ...]


@dataclass(frozen=True)
class Generation:
    """One answer, or why there is none.

    Parameters
    ----------
    text : the answer; of error and fatal, why there is none
    finish_reason : stop, or length (cut by the token limit). For good without an answer, or with a part of
        one: content_filter, refused (by the model), context_length, tool_calls, empty. error: none this
        time; fatal: the server refuses everything, so the run stops
    tokens_in, tokens_out : read and written
    refusal : the reason that the server gives for an answer that is none, or why one of length is blank
    calls : requests that the server received
    wait : of error: seconds after which asking again makes sense; None if it doesn't
    """

    text: str
    finish_reason: str
    tokens_in: int
    tokens_out: int
    refusal: str | None = None
    calls: int = 1
    wait: float | None = None


def item_seed(*parts: object) -> int:
    """A 63-bit seed for one item, e.g. item_seed(seed, llm, question, prompt, sample)."""
    data = "\x1f".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little") >> 1


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn. Rows of different decodings never share a log.

    Parameters
    ----------
    temperature : 0 is greedy
    top_p : share of the probability that the nucleus holds
    max_new_tokens : of an answer; None leaves it to the model's window
    seed : of the log; each answer draws its own from it (`item_seed`)
    """

    temperature: float = 0.6
    top_p: float = 0.9
    max_new_tokens: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0 and 0 < self.top_p <= 1):
            raise InputError(
                f"temperature {self.temperature} and top_p {self.top_p}: give 0 or more, and above 0 up to 1"
            )
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise InputError(f"--max_gen_len {self.max_new_tokens}: give 1 or more")

    @classmethod
    def of(cls, row: LogRow) -> Decoding:
        """How a logged answer was drawn; what the row leaves open counts as greedy, no nucleus, seed 0."""
        top_p = 1.0 if row.top_p is None else row.top_p
        return cls(row.temperature or 0.0, top_p, row.max_new_tokens, row.seed or 0)


class LLM(Protocol):
    """A language model, local or at a server."""

    batch_size: int  # how many conversations it likes to be handed at once

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Answer every conversation; a text depends on its own seed, not on its neighbours.

        Parameters
        ----------
        conversations : each ends with a user's turn, or with an assistant's that the answer goes on from
        decoding : how answers are drawn; its own seed is not used here
        seeds : of the sampling noise, one per conversation

        Returns: one answer per conversation, in their order.
        """


@runtime_checkable
class ServerLLM(LLM, Protocol):
    """A language model at a server, whose answers come one by one."""

    def answer_each(
        self,
        conversations: Sequence[Conversation],
        *,
        decoding: Decoding,
        seeds: Sequence[int],
        on_answer: Callable[[int, Generation], None],
    ) -> None:
        """Like `generate`, but every answer is handed over as it comes, with the place of its conversation.

        Parameters
        ----------
        conversations, decoding, seeds : as in `generate`
        on_answer : is handed what came; conversations that were not sent are left out
        """
