"""What a complete log with repeated samples says beyond luck."""

from __future__ import annotations

import numpy as np


def any_prompt_without_luck(right: np.ndarray) -> np.ndarray:
    """Success (questions,) of knowing which prompts solve a question; `right` is (questions, prompts, 2).

    One sample says which prompts solve it (all of them, if none does), the other says how often these do;
    averaged over both directions. Counting a question as solved if any answer is right counts lucky hits too.
    """
    rates = []
    for chooser, other in ((0, 1), (1, 0)):
        good = right[:, :, chooser] > 0
        good |= ~good.any(1, keepdims=True)
        rates.append((right[:, :, other] * good).sum(1) / good.sum(1))
    return np.mean(rates, 0)


def spread_beyond_noise(right: np.ndarray) -> float:
    """Standard deviation over prompts of their true accuracy; `right` is (questions, prompts, samples).

    The covariance of the accuracies on two disjoint halves of the questions holds no sampling noise.
    """
    halves = right[::2].mean((0, 2)), right[1::2].mean((0, 2))
    return float(np.sqrt(max(0.0, np.cov(*halves)[0, 1])))
