"""Sampling whose noise belongs to the item, not to the batch.

A token is drawn by adding Gumbel noise to the log probabilities and taking the argmax. The noise of (seed,
step, token) comes from a counter-based hash, so it has no state: the same item gets the same noise in any
batch, on any rank and device, before and after a resume.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

_MULTIPLIERS = (-4658895280553007687, -7723592293110705685)  # splitmix64's, as signed 64-bit


def item_seed(*parts: object) -> int:
    """A 63-bit seed for one item, e.g. item_seed(seed, llm, question, prompt, sample)."""
    data = "\x1f".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little") >> 1


def gumbel_noise(seeds: torch.Tensor, step: int, vocabulary: int) -> torch.Tensor:
    """Standard Gumbel noise float32 (batch, vocabulary), a pure function of each row's seed, step and token."""
    tokens = torch.arange(vocabulary, device=seeds.device, dtype=torch.int64)
    steps = torch.tensor(step, device=seeds.device, dtype=torch.int64)
    state = _mix(_mix(seeds)[:, None] + steps * -7046029254386353131 + tokens * -8796714831421723037)
    # 53 random bits, moved off zero and one so that both logarithms are finite.
    uniform = ((state >> 11) & ((1 << 53) - 1)).to(torch.float64).add_(0.5).mul_(2.0**-53)
    return (-torch.log(-torch.log(uniform))).to(torch.float32)


def _mix(x: torch.Tensor) -> torch.Tensor:
    """splitmix64's finaliser; int64 arithmetic wraps, and shifts are made logical by masking."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _MULTIPLIERS[0]
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _MULTIPLIERS[1]
    return x ^ ((x >> 31) & ((1 << 33) - 1))


class GumbelSampler:
    """Logits processor for `generate(do_sample=False)`: temperature, nucleus, noise; argmax does the rest."""

    def __init__(self, seeds: Sequence[int], prompt_length: int, temperature: float, top_p: float):
        self._seeds = torch.tensor(list(seeds), dtype=torch.int64)
        self._prompt_length = prompt_length
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._temperature <= 0:
            return scores
        logits = scores.to(torch.float32) / self._temperature
        if self._top_p < 1:
            logits = keep_nucleus(logits, self._top_p)
        self._seeds = self._seeds.to(scores.device)
        step = input_ids.shape[1] - self._prompt_length
        return logits + gumbel_noise(self._seeds, step, scores.shape[1])


def keep_nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Set everything outside the smallest set of tokens with probability `top_p` to minus infinity."""
    ranked, order = logits.sort(dim=-1, descending=True, stable=True)
    probability = ranked.softmax(-1)
    outside = probability.cumsum(-1) - probability >= top_p
    return logits.masked_fill(outside.gather(-1, order.argsort(-1)), float("-inf"))
