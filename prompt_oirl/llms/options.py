"""Flags that every step which asks an LLM shares: which model, how it decodes, what it may spend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prompt_oirl.io.files import InputError
from prompt_oirl.llms import LLM
from prompt_oirl.llms.budget import Budget


@dataclass
class ModelOptions:
    """A language model: a local one, or one at a server."""

    ckpt_dir: str = ""
    """Model folder (Hugging Face, or Meta's with params.json) or hub id."""
    tokenizer_path: str | None = None
    """Tokenizer, if it does not lie in or beside the model folder."""
    backend: Literal["transformers", "openai", "vllm"] = "transformers"
    """openai: any OpenAI-compatible server; the key comes from OPENAI_API_KEY."""
    model: str | None = None
    """Model name at the server."""
    base_url: str | None = None
    """Server other than OpenAI's."""
    max_seq_len: int = 512
    """Tokens of question and answer together (local models)."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Number format of the weights (backend transformers); default: bfloat16 on a GPU, float32 on a CPU. With
    bfloat16 some texts depend on the batch."""
    max_batch_size: int | None = None
    """Conversations at once, at most: by default 64 and what fits a GPU; for servers 8 requests."""
    timeout: float = 120.0
    """Seconds that a server has for one request."""

    def name(self) -> str:
        """Name of its log when none is given: last part of folder, hub id or model, safe as a file name."""
        given = self.model if self.backend == "openai" else self.ckpt_dir
        last = Path((given or "").rstrip("/")).name or "llm"
        return "".join(c if c.isalnum() or c in "-_." else "_" for c in last)

    def identity(self) -> dict[str, Any]:
        """What a log's answers depend on, beside the decoding."""
        limit = None if self.backend == "openai" else self.max_seq_len
        about: dict[str, Any] = {"model": self.name(), "max_seq_len": limit}
        return about | ({"dtype": self.dtype} if self.dtype else {})  # logs made before the flag stay valid

    def check(self, prefix: str = "") -> None:
        """Refuse flags that cannot work, before anything is loaded; `prefix` is theirs, such as lm."""
        for flag in ("max_batch_size", "max_seq_len", "timeout"):
            value = getattr(self, flag)
            if value is not None and not 0 < value < 1e6:
                raise InputError(f"--{prefix}{flag} {value}: give a number above 0 (and below a million)")
        if self.backend == "openai" and not self.model:
            raise InputError(
                f"--{prefix}backend openai needs --{prefix}model, the model's name at the server"
            )
        if self.dtype and self.backend != "transformers":
            raise InputError(f"--{prefix}dtype is for --{prefix}backend transformers; leave it out")
        if self.backend != "openai" and not self.ckpt_dir:
            raise InputError(
                f"--{prefix}ckpt_dir is missing: a model folder or hub id "
                f"(or use --{prefix}backend openai --{prefix}model NAME)"
            )

    def load(self, prefix: str = "") -> LLM:
        """The model; `prefix` is that of the flags, for the refusal of what is missing."""
        self.check(prefix)
        if self.backend == "openai":
            from prompt_oirl.llms.openai_llm import OpenAILLM

            return OpenAILLM(self.model or "", self.base_url, self.max_batch_size or 8, timeout=self.timeout)
        if self.backend == "vllm":
            from prompt_oirl.llms.vllm_llm import VllmLLM

            return VllmLLM(self.ckpt_dir, self.tokenizer_path, self.max_seq_len)
        from prompt_oirl.llms.transformers_llm import TransformersLLM

        return TransformersLLM(
            self.ckpt_dir, self.tokenizer_path, self.max_seq_len, self.max_batch_size or 64, self.dtype
        )


@dataclass
class BudgetOptions:
    """Limits of a run; it stops cleanly before it would overdraw one of them."""

    max_calls: int | None = None
    """Stop after so many answers."""
    max_cost: float | None = None
    """Stop before so many dollars are spent."""
    max_minutes: float | None = None
    """Stop after so many minutes."""
    price_in: float = 0.0
    """Dollars per million tokens read."""
    price_out: float = 0.0
    """Dollars per million tokens written."""

    def budget(self, rank: int = 0, world: int = 1, prefix: str = "") -> Budget:
        """The share of one of `world` processes: calls and dollars are divided, minutes are not.

        Parameters
        ----------
        rank : number of the process, 0..world-1
        world : number of processes
        prefix : of the flags, such as "budget.", for refusals

        Raises: InputError on a limit or price that is negative or not finite, and on a limit of dollars
        without prices.
        """
        for flag in ("max_calls", "max_cost", "max_minutes", "price_in", "price_out"):
            value = getattr(self, flag)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"--{prefix}{flag} {value}: give a number, 0 or more")
        if self.max_cost is not None and not self.price_in + self.price_out > 0:
            raise InputError(
                f"--{prefix}max_cost needs prices: give --{prefix}price_in and --{prefix}price_out, dollars "
                "per million tokens"
            )
        calls, cost = self.max_calls, self.max_cost
        return Budget(
            None if calls is None else calls // world + (rank < calls % world),
            None if cost is None else cost / world,
            self.max_minutes,
            self.price_in,
            self.price_out,
        )
