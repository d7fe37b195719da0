"""Off-policy estimators: exact properties, refusals, and intervals that cover on a small simulation."""

from __future__ import annotations

import itertools
import runpy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.pipeline import off_policy_coverage
from prompt_oirl.stats.off_policy import (
    LoggedRewards,
    direct_method,
    doubly_robust,
    estimate_propensities,
    evaluate_policy,
    inverse_propensity,
    self_normalised,
)
from prompt_oirl.stats.off_policy_rewards import CrossFit, cross_fit, ridge_rewards

seeds = st.integers(0, 10_000)


def policy(rng: np.random.Generator, n: int, prompts: int) -> np.ndarray:
    return rng.dirichlet(np.ones(prompts), n)


def fixed(predicted: np.ndarray) -> CrossFit:
    """A reward model that was there before the log."""
    return CrossFit(predicted, np.stack([predicted] * 2), np.arange(len(predicted)) % 2)


def bandit(rng: np.random.Generator, truth: np.ndarray, propensities: np.ndarray) -> np.ndarray:
    """Binary rewards, one prompt logged per question."""
    logged = rng.multinomial(1, propensities).astype(bool)
    return np.where(logged, rng.random(truth.shape) < truth, np.nan)


# --- exact properties --------------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_ips_and_doubly_robust_are_unbiased_under_known_propensities(seed: int) -> None:
    """Over every possible log, weighted by probability, the mean is the truth, whatever the model says."""
    rng = np.random.default_rng(seed)
    rewards, propensities = rng.random((3, 2)), rng.uniform(0.1, 0.9, (3, 2))
    target, predicted = policy(rng, 3, 2), fixed(rng.random((3, 2)))
    expected = np.zeros(2)
    for cells in itertools.product([False, True], repeat=6):
        logged = np.array(cells).reshape(3, 2)
        log = LoggedRewards(np.where(logged, rewards, np.nan), propensities, np.arange(3))
        chance = np.where(logged, propensities, 1 - propensities).prod()
        values = inverse_propensity(log, target).value, doubly_robust(log, target, predicted).value
        expected += chance * np.array(values)
    np.testing.assert_allclose(expected, (target * rewards).sum(1).mean())


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_doubly_robust_is_the_direct_method_where_residuals_are_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.random((20, 3))
    rewards = np.where(rng.random((20, 3)) < 0.5, predicted, np.nan)
    log, target = LoggedRewards(rewards, np.full((20, 3), 0.5), np.arange(20)), policy(rng, 20, 3)
    dr, dm = doubly_robust(log, target, fixed(predicted)), direct_method(log, target, fixed(predicted))
    assert dr.value == pytest.approx(dm.value)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_a_complete_log_is_simply_averaged(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rewards, target = rng.random((20, 3)), policy(rng, 20, 3)
    log = LoggedRewards(rewards, np.ones((20, 3)), np.arange(20))
    truth = (target * rewards).sum(1).mean()
    assert inverse_propensity(log, target).value == pytest.approx(truth)
    assert self_normalised(log, target).value == pytest.approx(truth)
    assert doubly_robust(log, target, fixed(rng.random((20, 3)))).value == pytest.approx(truth)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_self_normalised_moves_with_the_rewards_and_stays_among_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rewards = bandit(rng, np.full((30, 3), 0.5), np.full((30, 3), 1 / 3))
    log, target = LoggedRewards(rewards, np.full((30, 3), 1 / 3), np.arange(30)), policy(rng, 30, 3)
    moved = LoggedRewards(rewards + 5, log.propensities, log.clusters)
    a, b = self_normalised(log, target), self_normalised(moved, target)
    assert b.value == pytest.approx(a.value + 5) and b.high - b.low == pytest.approx(a.high - a.low)
    assert np.nanmin(rewards) <= a.value <= np.nanmax(rewards)


def test_copies_of_a_question_in_its_cluster_add_no_certainty() -> None:
    rng = np.random.default_rng(0)
    rewards = bandit(rng, np.full((100, 3), 0.5), np.full((100, 3), 1 / 3))
    target = policy(rng, 100, 3)
    four = [np.repeat(a, 4, axis=0) for a in (rewards, np.full((100, 3), 1 / 3), np.arange(100), target)]
    for estimate in (inverse_propensity, self_normalised):
        once = estimate(LoggedRewards(rewards, np.full((100, 3), 1 / 3), np.arange(100)), target)
        copied = estimate(LoggedRewards(*four[:3]), four[3])
        apart = estimate(LoggedRewards(*four[:2], np.arange(400)), four[3])
        assert copied.value == pytest.approx(once.value)
        assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.02)
        assert apart.high - apart.low < 0.6 * (once.high - once.low)


def test_no_question_is_predicted_by_its_own_cluster() -> None:
    rng = np.random.default_rng(0)
    features, rewards, clusters = rng.normal(size=(80, 3)), rng.random((80, 2)), np.arange(80) // 2
    log = LoggedRewards(rewards, np.ones((80, 2)), clusters)
    before = cross_fit(log, ridge_rewards(features, rewards))
    other = rewards.copy()
    own = before.group == 3
    other[own] = 1 - other[own]
    after = cross_fit(log, ridge_rewards(features, other))
    assert (before.held_out[own] == after.held_out[own]).all()
    assert (before.held_out[~own] != after.held_out[~own]).any()
    assert (before.group[::2] == before.group[1::2]).all()


def test_ridge_finds_a_linear_reward() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 2))
    rewards = np.clip(0.5 + features @ np.array([[0.05, -0.05], [0.0, 0.05]]), 0, 1)
    found = ridge_rewards(features, np.where(rng.random(rewards.shape) < 0.5, rewards, np.nan))(
        np.arange(400), np.arange(400, 500)
    )
    np.testing.assert_allclose(found, rewards[400:], atol=0.02)


# --- intervals ---------------------------------------------------------------------------------------


def test_intervals_cover() -> None:
    rng = np.random.default_rng(0)
    covered: dict[str, list[bool]] = {}
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(40)
    of_first = (node_weights / (1 + np.exp(-nodes - 0.5))).sum() / node_weights.sum()
    value = 0.2 * of_first + 0.8 * 0.5  # prompt 1 is right half of the time by symmetry
    for _ in range(120):
        x = rng.normal(size=(150, 1))
        truth = 1 / (1 + np.exp(-(x + np.array([[0.5, 0.0, -0.5]]))))
        chances = np.exp(np.hstack([x, 0 * x, -x]) / 2)
        chances /= chances.sum(1, keepdims=True)
        rewards = bandit(rng, truth, chances)
        target = np.tile([0.2, 0.8, 0.0], (150, 1))
        known = LoggedRewards(rewards, chances, np.arange(150))
        for name, log in (
            ("known", known),
            ("estimated", estimate_propensities(rewards, x, known.clusters)),
        ):
            for estimator, e in evaluate_policy(
                log, target, cross_fit(known, ridge_rewards(x, rewards))
            ).items():
                covered.setdefault(f"{estimator} {name}", []).append(e.low <= value <= e.high)
    for name, hits in covered.items():
        assert np.mean(hits) >= 0.87, (name, np.mean(hits))


def test_estimated_propensities_narrow_the_interval_of_ips() -> None:
    rng = np.random.default_rng(0)
    rewards = bandit(rng, np.full((600, 4), 0.8), np.full((600, 4), 0.25))
    target = np.tile([1.0, 0, 0, 0], (600, 1))
    known = inverse_propensity(LoggedRewards(rewards, np.full((600, 4), 0.25), np.arange(600)), target)
    estimated = inverse_propensity(
        estimate_propensities(rewards, rng.normal(size=(600, 2)), np.arange(600)), target
    )
    assert estimated.high - estimated.low < 0.8 * (known.high - known.low)


# --- refusals ----------------------------------------------------------------------------------------


def test_what_cannot_be_known_is_refused() -> None:
    rewards = np.array([[1.0, np.nan], [np.nan, 0.0]])
    ids = np.arange(2)
    with pytest.raises(InputError, match="propensity 0; correct"):
        LoggedRewards(rewards, np.array([[0.0, 1.0], [0.5, 0.5]]), ids)
    with pytest.raises(InputError, match=r"0\.\.1"):
        LoggedRewards(rewards, np.full((2, 2), 1.5), ids)
    with pytest.raises(ValueError, match="belong together"):
        LoggedRewards(rewards, np.ones((3, 2)), ids)
    first = LoggedRewards(np.array([[1.0, np.nan]] * 2), np.array([[1.0, 0.0]] * 2), ids)
    with pytest.raises(InputError, match=r"prompts \[1\] where the log never holds"):
        inverse_propensity(first, np.full((2, 2), 0.5))
    with pytest.raises(InputError, match="sum to 1"):
        inverse_propensity(first, np.ones((2, 2)))
    nothing = LoggedRewards(np.array([[1.0, np.nan]] * 2), np.full((2, 2), 0.5), ids)
    with pytest.raises(InputError, match="would have asked"):
        self_normalised(nothing, np.array([[0.0, 1.0]] * 2))
    with pytest.raises(InputError, match="two clusters"):
        inverse_propensity(LoggedRewards(rewards, np.full((2, 2), 0.5), np.zeros(2)), np.full((2, 2), 0.5))


# --- the measurement ---------------------------------------------------------------------------------


def test_the_measurement_hides_what_its_policy_says() -> None:
    rng = np.random.default_rng(0)
    rewards = (rng.random((4000, 3)) < 0.4).astype(float)
    features = rng.normal(size=(4000, 6))
    targets = {"first": np.tile([1.0, 0, 0], (4000, 1))}
    population = off_policy_coverage.Population("gsm8k", rewards, features, np.arange(4000), targets)
    for chances, one_each in off_policy_coverage.loggings(population).values():
        logged = ~np.isnan(off_policy_coverage.hide(rewards, chances, one_each, rng))
        assert logged.mean(0) == pytest.approx(chances.mean(0), abs=0.03)
        assert not one_each or (logged.sum(1) == 1).all()
    rows = list(off_policy_coverage.coverage_rows(population, 3, 0))
    script = runpy.run_path(str(REPO_ROOT / "scripts" / "measure_off_policy.py"))
    assert {r["estimator"] for r in rows} == set(script["ESTIMATORS"])
    assert all(r["logs"] == 3 and abs(r["bias"]) < 0.3 for r in rows)
    assert script["render"]([{k: str(v if v is not None else "") for k, v in r.items()} for r in rows])
