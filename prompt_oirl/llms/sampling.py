"""Sampling whose noise belongs to the item, not to the batch.

A token is drawn by the Gumbel-max trick, argmax of log p + Gumbel noise, after temperature and nucleus. The
noise of (seed, step, token) comes from a counter-based hash, so it has no state: the same item gets the same
noise in any batch, on any rank and device, before and after a resume.

With E exponential, -log E is Gumbel, so argmax(p / E) is the same token without a second logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_SPLITMIX = (-4658895280553007687, -7723592293110705685)  # splitmix64's multipliers as signed numbers
_GOLDEN64, _GOLDEN32 = 0x9E3779B97F4A7C15, -1640531527


def exponential_noise(seeds: torch.Tensor, step: int, vocabulary: int) -> torch.Tensor:
    """Exp(1) noise float32 (batch, vocabulary), a function of each row's seed, the step and the token.

    Parameters
    ----------
    seeds : int64 (batch,), one per answer; the noise is made on their device
    step : place of the token in the answer, from 0
    vocabulary : number of tokens to choose from
    """
    counter = (step + 1) * _GOLDEN64 % 2**64
    rows = _splitmix64(_splitmix64(seeds) + (counter - (counter >> 63 << 64))) >> 32
    tokens = torch.arange(vocabulary, device=seeds.device, dtype=torch.int32) * _GOLDEN32
    state = rows.to(torch.int32)[:, None] + tokens
    # murmur3's 32-bit finaliser in place; shifts are made logical by masking.
    state.bitwise_xor_((state >> 16).bitwise_and_(0xFFFF)).mul_(-2048144789)
    state.bitwise_xor_((state >> 13).bitwise_and_(0x7FFFF)).mul_(-1028477387)
    state.bitwise_xor_((state >> 16).bitwise_and_(0xFFFF))
    # 31 bits to -U with U in (0, 1]; small U, which win, are exact.
    minus_uniform = state.bitwise_and_(0x7FFFFFFF).to(torch.float32).add_(0.5).mul_(-(2.0**-31))
    return minus_uniform.log1p_().neg_()


def _splitmix64(x: torch.Tensor) -> torch.Tensor:
    """splitmix64's finaliser; int64 arithmetic wraps, and shifts are made logical by masking."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _SPLITMIX[0]
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _SPLITMIX[1]
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def draw(logits: torch.Tensor, noise: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Tokens (batch, 1) drawn from logits float32 (batch, vocabulary) with the given noise.

    The nucleus holds every token for which the more probable ones hold less than `top_p`. It is never sorted
    out: the winner of all tokens is taken if it lies inside, else everything as improbable drops out.

    Parameters
    ----------
    logits : of the next token
    noise : float32 (batch, vocabulary), see `exponential_noise`
    temperature : divides the logits, above 0
    top_p : share of the probability that the nucleus holds; 1 keeps every token
    """
    probability = (logits / temperature).softmax(-1)
    race = probability / noise
    while True:
        drawn = race.argmax(-1, keepdim=True)
        ahead = torch.gt(probability, probability.gather(1, drawn), out=torch.empty_like(probability))
        mass = torch.linalg.vecdot(ahead, probability)
        outside = (mass >= top_p) & (mass > 0)  # the most probable token always stays
        if top_p >= 1 or not outside.any():
            return drawn
        race[outside] *= ahead[outside]


class GumbelSampler:
    """Logits processor for `generate(do_sample=False)`: puts the drawn token on top, for argmax to find."""

    def __init__(self, seeds: Sequence[int], prompt_length: int, temperature: float, top_p: float):
        self._seeds = torch.tensor(list(seeds), dtype=torch.int64)
        self._prompt_length = prompt_length
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._temperature <= 0:
            return scores
        self._seeds = self._seeds.to(scores.device)
        noise = exponential_noise(self._seeds, input_ids.shape[1] - self._prompt_length, scores.shape[1])
        drawn = draw(scores.to(torch.float32), noise, self._temperature, self._top_p)
        return torch.full_like(scores, float("-inf")).scatter_(1, drawn, 0.0)
