"""The sampler: right frequencies, nothing that is not wanted, the same stream from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from prompt_oirl.alol.training.sampling import make_sampler
from prompt_oirl.io.files import InputError

ADVANTAGE = np.array([0.5, -0.3, 0.1, 0.0, 0.4, 0.2, 0.9], dtype=np.float32)
CHOSEN = np.array([True, True, True, True, True, True, False])


def drawn(strategy: str, seed: int = 0, steps: int = 400, n: int = 50) -> np.ndarray:
    sampler = make_sampler(strategy, ADVANTAGE, CHOSEN, seed)
    return np.concatenate([sampler.draw(step, n) for step in range(steps)])


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [
        ("good_priority", np.where(CHOSEN, ADVANTAGE.clip(0), 0)),
        ("good_random", (CHOSEN & (ADVANTAGE > 0)).astype(float)),
        ("all_priority", ADVANTAGE.clip(0)),
        ("none", CHOSEN.astype(float)),
    ],
)
def test_frequencies(strategy, weights):
    weights = weights.astype(np.float64)
    counts = np.bincount(drawn(strategy), minlength=len(ADVANTAGE))
    assert not counts[weights == 0].any()
    expected = weights[weights > 0] / weights.sum() * counts.sum()
    found = counts[weights > 0]
    if strategy == "none":  # epochs: every row equally often, but for the last one
        assert found.max() - found.min() <= 1
    else:
        assert chisquare(found, expected).pvalue > 0.001


def test_negative_advantages_are_never_drawn_under_good_priority():
    assert (ADVANTAGE[drawn("good_priority")] > 0).all()


@pytest.mark.parametrize("strategy", ["none", "good_priority", "good_random", "all_priority"])
def test_a_step_is_a_function_of_seed_and_step(strategy):
    a, b = (make_sampler(strategy, ADVANTAGE, CHOSEN, 3) for _ in range(2))
    first = [a.draw(step, 5) for step in range(10)]
    assert all(np.array_equal(b.draw(step, 5), first[step]) for step in reversed(range(10)))
    assert not np.array_equal(drawn(strategy, seed=1), drawn(strategy, seed=2))


def test_epochs_are_whole_for_any_batch_size():
    sampler = make_sampler("none", None, np.ones(7, dtype=bool), 0)
    stream = np.concatenate([sampler.draw(step, 3) for step in range(7)])
    assert all(sorted(stream[at : at + 7]) == list(range(7)) for at in (0, 7, 14))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="no row has a weight above 0"):
        make_sampler("good_priority", -np.ones(3), np.ones(3, dtype=bool), 0)
    with pytest.raises(InputError, match="alol_step3_estimate_advantage"):
        make_sampler("good_random", None, np.ones(3, dtype=bool), 0)
