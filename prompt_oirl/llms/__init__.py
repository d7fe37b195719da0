"""Language models behind one call: conversations in, texts with token counts out.

`transformers` runs a local model (also Meta's original checkpoint folder), `openai` any OpenAI-compatible
server, `vllm` the vLLM engine, `scripted` answers from a function for tests. All of them take one seed per conversation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Conversation = list[dict[str, str]]  # [{"role": "system" | "user" | "assistant", "content": ...}, ...]


@dataclass(frozen=True)
class Generation:
    """One answer. `finish_reason` is stop, length (cut by the token limit), content_filter, or error: then `text` is
    the reason why there is no answer."""

    text: str
    finish_reason: str
    tokens_in: int
    tokens_out: int


def item_seed(*parts: object) -> int:
    """A 63-bit seed for one item, e.g. item_seed(seed, llm, question, prompt, sample)."""
    data = "\x1f".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little") >> 1


class LLM(Protocol):
    batch_size: int  # how many conversations it likes to be handed at once

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int | None,
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
    ) -> list[Generation]:
        """Answer every conversation; the text depends on its own seed, not on its neighbours."""
