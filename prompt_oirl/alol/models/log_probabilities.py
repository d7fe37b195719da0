"""What a causal language model says about given responses: token log-probabilities and prompt states.

A batch is prompts padded on the left and responses padded on the right, so all responses begin in one column.
Positions are counted over real tokens (as `generate` does), so no number depends on a row's neighbours, also
in models with learned positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from prompt_oirl.io.files import InputError


@dataclass(frozen=True)
class Tokens:
    """One row as token ids. The response is empty where only the prompt is of interest."""

    prompt: list[int]
    response: list[int]


@dataclass(frozen=True)
class TokenBatch:
    """ids, attention and positions int64 (B, P + T); mask bool (B, T), true on response tokens."""

    ids: torch.Tensor
    attention: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    prompt_width: int  # P

    @property
    def responses(self) -> torch.Tensor:
        """Response tokens int64 (B, T)."""
        return self.ids[:, self.prompt_width :]

    @property
    def prompt_mask(self) -> torch.Tensor:
        """bool (B, P), true on prompt tokens."""
        return self.attention[:, : self.prompt_width].bool()

    def part(self, places: list[int]) -> TokenBatch:
        """Some of its rows, as wide as all."""
        ids, attention, positions = (t[places] for t in (self.ids, self.attention, self.positions))
        return TokenBatch(ids, attention, positions, self.mask[places], self.prompt_width)


def positions(model: Any) -> int | None:
    """Tokens that a model can read at once, None where it does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def check_positions(model: Any, rows: Sequence[Tokens]) -> None:
    """Refuse rows with more tokens than the model has positions.

    Parameters
    ----------
    model : causal language model
    rows : n rows, prompt and response together

    Raises: InputError with the largest row.
    """
    there = positions(model)
    longest = max(rows, key=lambda row: len(row.prompt) + len(row.response))
    n = len(longest.prompt) + len(longest.response)
    if there is not None and n > there:
        raise InputError(
            f"the model has {there} positions, and a row has {len(longest.prompt)} tokens of prompt and "
            f"{len(longest.response)} of response: lower --max_prompt_length or --max_response_length"
        )


def collate(rows: Sequence[Tokens], pad_id: int, device: str | torch.device = "cpu") -> TokenBatch:
    """Pad rows to one rectangle.

    Parameters
    ----------
    rows : B rows; the longest prompt and the longest response are P and T
    pad_id : token id that fills up the rectangle
    device : where the tensors go
    """
    p, t = max(len(r.prompt) for r in rows), max(len(r.response) for r in rows)
    ids = torch.full((len(rows), p + t), pad_id)
    attention = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        start, end = p - len(row.prompt), p + len(row.response)
        ids[i, start:end] = torch.tensor(row.prompt + row.response)
        attention[i, start:end] = 1
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    mask = attention[:, p:].bool()
    return TokenBatch(ids.to(device), attention.to(device), positions.to(device), mask.to(device), p)


def token_log_probs(model: Any, batch: TokenBatch) -> torch.Tensor:
    """log pi(y_t | x, y_<t), float32 (B, T); 0 on padding."""
    return _log_probs(_forward(model, batch, batch.responses.shape[1] + 1).logits, batch)


@torch.no_grad()
def log_probs_and_states(model: Any, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Token log-probabilities float32 (B, T) and the last layer's states of the prompts (B, P, d), in one
    pass.

    A causal model's prompt states don't see the response.
    """
    out = _forward(model, batch, batch.responses.shape[1] + 1, output_hidden_states=True)
    return _log_probs(out.logits, batch), out.hidden_states[-1][:, : batch.prompt_width]


def log_probs_and_response_states(model: Any, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Token log-probabilities (B, T) and the last layer's states before each response token (B, T, d)."""
    out = _forward(model, batch, batch.responses.shape[1] + 1, output_hidden_states=True)
    return _log_probs(out.logits, batch), out.hidden_states[-1][:, batch.prompt_width - 1 : -1]


def _forward(model: Any, batch: TokenBatch, keep: int, **flags: Any) -> Any:
    """Logits of the last `keep` columns only, where the model can leave out the others."""
    # An adapter hides the signature.
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "logits_to_keep" in inspect.signature(inner.forward).parameters:
        flags["logits_to_keep"] = keep
    flags |= {"attention_mask": batch.attention, "position_ids": batch.positions, "use_cache": False}
    return model(input_ids=batch.ids, **flags)


def _log_probs(logits: torch.Tensor, batch: TokenBatch) -> torch.Tensor:
    width = batch.responses.shape[1]
    if width == 0:
        return torch.zeros(batch.mask.shape, dtype=torch.float32, device=logits.device)
    logits = logits[:, -width - 1 : -1].float()
    chosen = logits.gather(2, batch.responses.unsqueeze(2)).squeeze(2)
    return torch.where(batch.mask, chosen - logits.logsumexp(2), 0.0)


def by_length(rows: Sequence[Tokens], size: int) -> Iterator[list[int]]:
    """Places of the rows in batches of up to `size` of about one length, longest first."""
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].prompt) - len(rows[i].response), i))
    for at in range(0, len(order), size):
        yield order[at : at + size]


def mixed_precision(device: str | torch.device, precision: str) -> Any:
    """Context in which matrix products are in bfloat16, if `precision` is bf16; log-probabilities stay
    float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def recomputing(model: Any, on: bool) -> Iterator[None]:
    """Forward passes inside keep no activations within layers. Layers alone are marked as training: dropout
    stays off."""
    if not on:
        yield
        return
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    layers = [layer for layer in model.modules() if getattr(layer, "gradient_checkpointing", False) is True]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
