"""What plans name: cells that are open, once each, and those that matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.planning import policies
from prompt_oirl.planning.known import Known

NAMES = ("uniform", "best", "interaction")


def known_of(labels: np.ndarray, phi: np.ndarray | None = None) -> Known:
    counts = (~np.isnan(labels)).astype(float)
    rng = np.random.default_rng(9)
    phi = rng.standard_normal((len(labels), 3)) if phi is None else phi
    return Known(labels, counts, lambda: np.arange(len(labels)), lambda: phi)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.integers(1, 30),
    st.integers(1, 5),
    st.floats(0, 1),
    st.integers(1, 60),
    st.integers(0, 5),
)
def test_plans_name_open_cells_once_and_as_many_as_the_budget(
    name: str, n: int, k: int, share: float, budget: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((n, k)) < share, rng.integers(0, 2, (n, k)), np.nan).astype(float)
    cells = [(a.question, a.prompt) for a in getattr(policies, name)(known_of(labels), budget, rng)]
    assert len(set(cells)) == len(cells) and all(np.isnan(labels[cell]) for cell in cells)
    open_ = int(np.isnan(labels).sum())
    if name != "best":
        assert len(cells) == min(budget, open_)


@pytest.mark.parametrize("name", [*NAMES, "repeats"])
def test_the_same_seed_plans_the_same(name: str) -> None:
    labels = np.where(np.random.default_rng(0).random((40, 4)) < 0.5, 1.0, np.nan)
    plans = [getattr(policies, name)(known_of(labels), 20, np.random.default_rng(3)) for _ in range(2)]
    assert plans[0] == plans[1]


def test_repeats_ask_the_least_asked_cells_first_and_over_again() -> None:
    labels = np.array([[1.0, np.nan], [0.0, 1.0]])
    known = Known(labels, np.array([[2.0, 0], [1, 1]]), lambda: np.arange(2), lambda: np.zeros((2, 1)))
    cells = [(a.question, a.prompt) for a in policies.repeats(known, 5, np.random.default_rng(0))]
    assert set(cells[:2]) == {(1, 0), (1, 1)} and cells[2] == (0, 0) and len(cells) == 5


def test_halving_finds_the_best_of_sixteen_prompts() -> None:
    right = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        answers = (rng.random((400, 16)) < np.r_[0.8, np.full(15, 0.5)]).astype(float)
        labels = np.full_like(answers, np.nan)
        for _ in range(4):  # rounds: log2 of 16
            for ask in policies.best(known_of(labels), 160, rng):
                labels[ask.question, ask.prompt] = answers[ask.question, ask.prompt]
        asked = (~np.isnan(labels)).sum(0)
        right += asked[0] == asked.max()
        assert np.sort(asked).tolist()[-2:] == [10 + 20 + 40 + 80] * 2
    assert right >= 19


def test_where_each_kind_has_its_prompt_the_interaction_asks_few_of_the_poor_ones() -> None:
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 2, 300)
    phi = np.column_stack([2.0 * kind - 1, rng.standard_normal((300, 2)) * 0.1])
    truth = np.full((300, 6), 0.1)
    truth[np.arange(300), kind] = 0.9
    answers = (rng.random(truth.shape) < truth).astype(float)
    labels = np.full_like(answers, np.nan)
    for _ in range(6):
        for ask in policies.interaction(known_of(labels, phi), 60, rng):
            labels[ask.question, ask.prompt] = answers[ask.question, ask.prompt]
    asked = (~np.isnan(labels)).sum(0)
    assert asked[:2].mean() > 2 * asked[2:].mean()
