"""Which rows a training step sees: the sampling strategies of A-LoL, seeded, for any batch size.

| strategy     | rows                               | probability            |
|--------------|------------------------------------|------------------------|
| none         | chosen rows, in shuffled epochs    | each once per epoch    |
| good_priority| chosen rows with w > 0             | proportional to w      |
| good_random  | chosen rows with w > 0             | equal                  |
| all_priority | chosen and rejected rows with w > 0| proportional to w      |

w is what the loss weights with: the reward of wbc, r_gold and r_lol, the advantage of the a_lol family (and
of nll, where good_random trains plainly on the rows that beat expectation). Draws are with replacement, as
published. A priority on top of a weighted loss gives a row weight w squared in expectation, in the published
code and here.

The rows of step s are a function of (seed, s) alone, so a resumed run draws what an uninterrupted one would.
The published sampler drew from a generator that no seed controlled, and four rows whatever the batch size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prompt_oirl.io.files import InputError
from prompt_oirl.io.tracking import Report

Strategy = Literal["none", "good_priority", "good_random", "all_priority"]


@dataclass
class RowSampler:
    """Draws row numbers. `probabilities` float64 (n,), or None for shuffled epochs over `rows`."""

    rows: np.ndarray
    probabilities: np.ndarray | None
    seed: int

    def __post_init__(self) -> None:
        if self.probabilities is not None:
            total = np.cumsum(self.probabilities)
            self._cumulative = total / total[-1]
        self._epoch: tuple[int, np.ndarray] | None = None

    def draw(self, step: int, n: int) -> np.ndarray:
        """int64 (n,): the rows of one optimiser step, out of `n` per step."""
        if self.probabilities is not None:
            u = np.random.default_rng([self.seed, step]).random(n)
            # side="right": a row of probability 0 has an empty interval and is never hit.
            return self.rows[np.searchsorted(self._cumulative, u, side="right")]
        places = np.arange(step * n, (step + 1) * n)
        return np.array([self._shuffled(p // len(self.rows))[p % len(self.rows)] for p in places.tolist()])

    def _shuffled(self, epoch: int) -> np.ndarray:
        if self._epoch is None or self._epoch[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
            self._epoch = (epoch, order)
        return self._epoch[1]


def with_share_of_rows(report: Report, sampler: RowSampler, per_step: int, rows: int) -> Report:
    """`report`, told besides which share of the training rows, or pairs, was drawn so far.

    Parameters
    ----------
    report : is told steps from 1, each once
    sampler : draws `per_step` of them in each
    rows : how many there are
    """
    seen: set[int] = set()

    def told(step: int, values: Mapping[str, Any]) -> None:
        if step > 0:
            seen.update(sampler.draw(step - 1, per_step).tolist())
        report(step, {**values, "share_of_rows": len(seen) / rows})

    return told


def make_sampler(strategy: str, weights: np.ndarray | None, chosen: np.ndarray, seed: int) -> RowSampler:
    """The sampler of a strategy.

    Parameters
    ----------
    strategy : see the module
    weights : float (n,), rewards or advantages; None if there are none
    chosen : bool (n,), false on rejected rows
    seed : of the draws

    Raises: InputError if the strategy needs weights and there are none, or if it leaves no row to draw.
    """
    eligible = np.ones_like(chosen) if strategy == "all_priority" else chosen
    if strategy == "none":
        if not eligible.any():
            raise InputError("every training row is a rejected response: check `chosen` in the rows")
        return RowSampler(np.flatnonzero(eligible), None, seed)
    if weights is None:
        raise InputError(
            f"--sampling_strategy {strategy} needs advantages: run alol_step3_estimate_advantage.py first"
        )
    kept = np.flatnonzero(eligible & (weights > 0))
    if not len(kept):
        raise InputError(
            f"--sampling_strategy {strategy}: no row has a weight above 0; the value estimate or the "
            "rewards are off"
        )
    w = np.ones(len(kept)) if strategy == "good_random" else weights[kept].astype(np.float64)
    return RowSampler(kept, w / w.sum(), seed)
