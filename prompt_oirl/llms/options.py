"""Flags that every step which asks an LLM shares: which model, how it decodes, what it may spend."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import UseAppendAction

from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import LLM
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.chat import ChatFormat

OWN_FIELDS = {
    **dict.fromkeys(("model", "messages", "temperature", "top_p", "seed"), "it has a flag of its own"),
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "use the flag for the length of an answer"),
    **dict.fromkeys(("n", "stream", "stream_options"), "one whole answer is asked for at a time"),
}


@dataclass
class ModelOptions:
    """A language model: a local one, or one at a server."""

    ckpt_dir: str = ""
    """Model folder (Hugging Face, or Meta's with params.json) or hub id."""
    tokenizer_path: str | None = None
    """Tokenizer, if it does not lie in or beside the model folder."""
    backend: Literal["transformers", "openai"] = "transformers"
    """openai: any OpenAI-compatible server; the key comes from OPENAI_API_KEY."""
    model: str | None = None
    """Model name at the server."""
    base_url: str | None = None
    """Server other than OpenAI's."""
    max_seq_len: int = 512
    """Tokens of question and answer together (local models)."""
    chat_format: ChatFormat = "auto"
    """auto: the model's own chat template, or LLaMA-2's format if it brings none; llama2: that format; none:
    plain text without markup. For backend transformers."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Number format of the weights (backend transformers); default: bfloat16 on a GPU, float32 on a CPU. With
    bfloat16 some texts depend on the batch."""
    max_batch_size: int | None = None
    """Conversations at once, at most: by default 64 and what fits a GPU; for servers 8 requests."""
    timeout: float = 120.0
    """Seconds that a server has for one request, to its last byte."""
    request: UseAppendAction[tuple[str, ...]] = ()
    """key=value: one more field of every request, such as reasoning_effort=low; the value is JSON, else text.
    May be repeated."""

    def name(self) -> str:
        """Name of its log when none is given: last part of folder, hub id or model, safe as a file name."""
        given = self.model if self.backend == "openai" else self.ckpt_dir
        last = Path((given or "").rstrip("/")).name or "llm"
        return "".join(c if c.isalnum() or c in "-_." else "_" for c in last)

    def identity(self) -> dict[str, Any]:
        """What a log's answers depend on, beside the decoding."""
        limit = None if self.backend == "openai" else self.max_seq_len
        about: dict[str, Any] = {"model": self.name(), "max_seq_len": limit}
        about |= {"request": fields} if (fields := self.request_fields()) else {}
        # Logs made before these flags stay valid.
        about |= {"dtype": self.dtype} if self.dtype else {}
        return about | ({"chat_format": self.chat_format} if self.chat_format != "auto" else {})

    def request_fields(self, prefix: str = "") -> dict[str, Any]:
        """What --request adds to the body of every request; `prefix` is that of the flags, for refusals."""
        fields: dict[str, Any] = {}
        for given in self.request:
            name, equals, value = given.partition("=")
            if not (equals and name.isidentifier()) or name in fields:
                raise InputError(f"--{prefix}request {given!a}: give each field once, as key=value")
            if name in OWN_FIELDS:
                raise InputError(f"--{prefix}request {name}: {OWN_FIELDS[name]}")
            try:
                fields[name] = json.loads(value, parse_constant=int)  # NaN is no JSON, and no int either
            except (ValueError, RecursionError):
                fields[name] = value
        return fields

    def check(self, prefix: str = "") -> None:
        """Refuse flags that cannot work, before anything is loaded; `prefix` is theirs, such as lm."""
        for flag in ("max_batch_size", "max_seq_len", "timeout"):
            value = getattr(self, flag)
            if value is not None and not 0 < value < 1e6:
                raise InputError(f"--{prefix}{flag} {value}: give a number above 0 (and below a million)")
        if self.request_fields(prefix) and self.backend != "openai":
            raise InputError(
                f"--{prefix}request is for servers: give --{prefix}backend openai, or leave it out"
            )
        if self.backend == "openai" and not self.model:
            raise InputError(
                f"--{prefix}backend openai needs --{prefix}model, the model's name at the server"
            )
        if self.chat_format != "auto" and self.backend != "transformers":
            raise InputError(
                f"--{prefix}chat_format is for --{prefix}backend transformers; leave it out, servers have "
                "chat templates of their own"
            )
        if self.dtype and self.backend != "transformers":
            raise InputError(f"--{prefix}dtype is for --{prefix}backend transformers; leave it out")
        if self.backend != "openai" and not self.ckpt_dir:
            raise InputError(
                f"--{prefix}ckpt_dir is missing: a model folder or hub id "
                f"(or use --{prefix}backend openai --{prefix}model NAME)"
            )

    def in_flight(self) -> int:
        """Answers that are asked for at a time."""
        return self.max_batch_size or (8 if self.backend == "openai" else 64)

    def load(self, prefix: str = "", files: LogFiles | None = None) -> LLM:
        """The model.

        Parameters
        ----------
        prefix : of the flags, for the refusal of what is missing
        files : the log that keeps which fields of a request the server refuses
        """
        self.check(prefix)
        if self.backend == "openai":
            from prompt_oirl.llms.openai_llm import OpenAILLM

            kept: dict[str, Any] = {}
            if files:
                kept = {"changes": files.request_changes(), "on_change": files.keep_request_changes}
            return OpenAILLM(
                self.model or "",
                self.base_url,
                self.in_flight(),
                self.timeout,
                self.request_fields(prefix),
                **kept,
            )
        from prompt_oirl.llms.transformers_llm import TransformersLLM

        return TransformersLLM(
            self.ckpt_dir,
            self.tokenizer_path,
            self.max_seq_len,
            self.in_flight(),
            self.dtype,
            chat_format=self.chat_format,
        )


@dataclass
class BudgetOptions:
    """Limits of a run; it stops cleanly before it would overdraw one of them."""

    max_calls: int | None = None
    """Stop after so many requests, answered or not."""
    max_cost: float | None = None
    """Stop before so many dollars are spent; exceeded by the answers in flight at most."""
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
