"""Metrics against scikit-learn and plain loops; bootstrap intervals against simulated truth."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn_metrics

from prompt_oirl.stats.metrics import (
    MOST_DRAWN,
    ClusterBootstrap,
    RankedScores,
    auc,
    auc_within_prompt,
    auc_within_question,
    format_interval,
    format_number,
    interval,
    log_loss,
    precision_recall_f1,
    question_pairs,
)

EXAMPLES = settings(max_examples=50, deadline=None)
SHAPE = st.tuples(st.integers(1, 12), st.integers(1, 4))
LABEL = st.sampled_from([0.0, 1.0])
LABEL_OR_NAN = st.sampled_from([0.0, 1.0, np.nan])
SCORE = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])  # few values, so ties are common
WEIGHT = st.sampled_from([0.5, 1.0, 2.0, 7.0])


def draw(data: st.DataObject, shape: tuple[int, ...], elements: st.SearchStrategy[float]) -> np.ndarray:
    return data.draw(arrays(np.float64, shape, elements=elements))


# --- AUC ---------------------------------------------------------------------------------------------


@EXAMPLES
@given(shape=SHAPE, data=st.data())
def test_auc_equals_scikit_learn(shape: tuple[int, int], data: st.DataObject) -> None:
    labels, scores = draw(data, shape, LABEL_OR_NAN), draw(data, shape, SCORE)
    weights = draw(data, shape, WEIGHT)
    known = ~np.isnan(labels)
    if len(set(labels[known])) < 2:
        assert np.isnan(auc(labels, scores)) and np.isnan(auc(labels, scores, weights))
        return
    y, s, w = labels[known], scores[known], weights[known]
    assert auc(labels, scores) == pytest.approx(sklearn_metrics.roc_auc_score(y, s))
    expected = sklearn_metrics.roc_auc_score(y, s, sample_weight=w)
    assert auc(labels, scores, weights) == pytest.approx(expected)


@EXAMPLES
@given(n=st.integers(2, 15), data=st.data())
def test_auc_of_success_rates_counts_single_answers(n: int, data: st.DataObject) -> None:
    right = data.draw(arrays(np.int64, n, elements=st.integers(0, 4)))
    wrong = data.draw(arrays(np.int64, n, elements=st.integers(0, 4)))
    scores = draw(data, (n,), SCORE)
    counts = right + wrong
    answered = counts > 0
    rates = np.divide(right, counts, out=np.full(n, np.nan), where=answered)
    y = np.repeat(np.tile([1.0, 0.0], n), np.stack([right, wrong], 1).ravel())
    s = np.repeat(np.repeat(scores, 2), np.stack([right, wrong], 1).ravel())
    merged = auc(rates, scores, counts.astype(float))
    if len(set(y)) < 2:
        assert np.isnan(merged)
    else:
        assert merged == pytest.approx(sklearn_metrics.roc_auc_score(y, s))


def test_auc_knows_order_and_nothing_else() -> None:
    labels = np.array([0.0, 0, 1, 1])
    assert auc(labels, np.array([1.0, 2, 3, 4])) == 1
    assert auc(labels, np.array([4.0, 3, 2, 1])) == 0
    assert auc(labels, np.zeros(4)) == 0.5
    assert np.isnan(auc(np.zeros(0), np.zeros(0)))
    scores = np.random.default_rng(0).random(4)
    assert auc(labels, scores) == auc(labels, 10 * scores - 3)


@EXAMPLES
@given(shape=SHAPE, data=st.data())
def test_auc_within_prompt_is_the_mean_of_columns(shape: tuple[int, int], data: st.DataObject) -> None:
    labels, scores = draw(data, shape, LABEL_OR_NAN), draw(data, shape, SCORE)
    expected = []
    for y, s in zip(labels.T, scores.T):
        known = ~np.isnan(y)
        if len(set(y[known])) == 2:
            expected.append(sklearn_metrics.roc_auc_score(y[known], s[known]))
    got = auc_within_prompt(labels, scores)
    assert got == pytest.approx(np.mean(expected)) if expected else np.isnan(got)


@EXAMPLES
@given(shape=SHAPE, data=st.data())
def test_auc_within_question_equals_a_double_loop(shape: tuple[int, int], data: st.DataObject) -> None:
    labels, scores = draw(data, shape, LABEL_OR_NAN), draw(data, shape, SCORE)
    won = pairs = 0.0
    for y, s in zip(labels, scores):
        for a in range(len(y)):
            for b in range(len(y)):
                if y[a] == 1 and y[b] == 0:
                    pairs += 1
                    won += 1.0 if s[a] > s[b] else 0.5 if s[a] == s[b] else 0.0
    got = auc_within_question(labels, scores)
    assert got == pytest.approx(won / pairs) if pairs else np.isnan(got)
    per_question = question_pairs(labels, scores)
    assert per_question[0].sum() == pytest.approx(won) and per_question[1].sum() == pytest.approx(pairs)


def test_auc_within_question_sees_choosing_and_not_difficulty() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.random((400, 1))
    labels = (rng.random((400, 3)) < difficulty).astype(float)
    scores = np.repeat(difficulty, 3, 1)
    assert auc(labels, scores) > 0.75 and auc_within_prompt(labels, scores) > 0.75
    assert auc_within_question(labels, scores) == 0.5


# --- log loss ----------------------------------------------------------------------------------------


@EXAMPLES
@given(shape=SHAPE, data=st.data())
def test_log_loss_equals_scikit_learn(shape: tuple[int, int], data: st.DataObject) -> None:
    labels, weights = draw(data, shape, LABEL_OR_NAN), draw(data, shape, WEIGHT)
    scores = draw(data, shape, st.floats(0.001, 0.999))
    known = ~np.isnan(labels)
    if not known.any():
        return
    for w in (None, weights):
        expected = sklearn_metrics.log_loss(
            labels[known], scores[known], labels=[0, 1], sample_weight=None if w is None else w[known]
        )
        assert log_loss(labels, scores, w) == pytest.approx(expected)


def test_log_loss_of_sure_scores_is_finite_and_of_success_rates_is_cross_entropy() -> None:
    assert log_loss(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == pytest.approx(0, abs=1e-6)
    assert 10 < log_loss(np.array([1.0, 0.0]), np.array([0.0, 1.0])) < 20
    single = log_loss(np.array([1.0, 0, 0, 0]), np.full(4, 0.3))
    assert log_loss(np.array([0.25]), np.array([0.3]), np.array([4.0])) == pytest.approx(single)


def test_a_cell_of_weight_zero_does_not_count() -> None:
    labels, scores = np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.9, 0.2])
    weights = np.array([1.0, 0.0, 1.0])
    assert log_loss(labels, scores, weights) == log_loss(labels[weights > 0], scores[weights > 0])
    assert np.isnan(auc(labels, scores, weights))


# --- precision, recall, F1 ---------------------------------------------------------------------------


def mean_of_defined(values: list[float]) -> float:
    defined = [v for v in values if not np.isnan(v)]
    return sum(defined) / len(defined) if defined else np.nan


@EXAMPLES
@given(shape=SHAPE, data=st.data())
def test_precision_recall_f1_equal_plain_loops(shape: tuple[int, int], data: st.DataObject) -> None:
    labels = draw(data, shape, LABEL)
    positive = draw(data, shape, LABEL).astype(bool)
    columns: list[list[float]] = [[], [], []]
    agree = 0
    for y, p in zip(labels.T, positive.T):
        true_positive = sum(1 for a, b in zip(y, p) if a == 1 and b)
        false_positive = sum(1 for a, b in zip(y, p) if a == 0 and b)
        false_negative = sum(1 for a, b in zip(y, p) if a == 1 and not b)
        agree += sum(1 for a, b in zip(y, p) if (a == 1) == b)
        said, right = true_positive + false_positive, true_positive + false_negative
        precision = true_positive / said if said else np.nan
        recall = true_positive / right if right else np.nan
        columns[0].append(precision)
        columns[1].append(recall)
        columns[2].append(2 * precision * recall / (precision + recall) if true_positive else np.nan)
    expected = [mean_of_defined(c) for c in columns] + [agree / labels.size]
    np.testing.assert_allclose(precision_recall_f1(labels, positive), expected)


@EXAMPLES
@given(n=st.integers(4, 30), data=st.data())
def test_precision_recall_f1_of_one_prompt_equal_scikit_learn(n: int, data: st.DataObject) -> None:
    labels = draw(data, (n, 1), LABEL)
    positive = draw(data, (n, 1), LABEL).astype(bool)
    labels[0] = positive[0] = True  # one hit, so that nothing is undefined
    y, p = labels[:, 0].astype(bool), positive[:, 0]
    expected = [f(y, p) for f in (sklearn_metrics.precision_score, sklearn_metrics.recall_score)]
    expected += [sklearn_metrics.f1_score(y, p), sklearn_metrics.accuracy_score(y, p)]
    np.testing.assert_allclose(precision_recall_f1(labels, positive), expected)


@EXAMPLES
@given(n=st.integers(2, 20), data=st.data())
def test_a_cell_that_was_never_asked_is_neither_right_nor_wrong(n: int, data: st.DataObject) -> None:
    labels = draw(data, (n, 1), LABEL_OR_NAN)
    positive = draw(data, (n, 1), LABEL).astype(bool)
    labels[0] = 1.0
    asked = ~np.isnan(labels[:, 0])
    expected = precision_recall_f1(labels[asked], positive[asked])
    np.testing.assert_allclose(precision_recall_f1(labels, positive), expected)


# --- bootstrap over clusters -------------------------------------------------------------------------


@EXAMPLES
@given(n=st.integers(1, 20), data=st.data())
def test_the_point_is_the_plain_mean(n: int, data: st.DataObject) -> None:
    clusters = data.draw(arrays(np.int64, n, elements=st.integers(-3, 5)))
    values = draw(data, (n, 3), st.sampled_from([0.0, 0.3, 1.0, np.nan]))
    values[0] = 1.0
    mean, low, high = ClusterBootstrap(clusters, resamples=50).mean(values).T
    np.testing.assert_allclose(mean, np.nanmean(values, 0))
    known = ~np.isnan(low)
    assert (low <= high)[known].all()
    assert (low[known] >= np.nanmin(values) - 1e-9).all() and (high[known] <= np.nanmax(values) + 1e-9).all()


@EXAMPLES
@given(n=st.integers(2, 20), data=st.data())
def test_ratio_and_mean_equal_a_loop_over_resamples(n: int, data: st.DataObject) -> None:
    clusters = data.draw(arrays(np.int64, n, elements=st.integers(0, 6)))
    values = draw(data, (n, 2), st.floats(0, 1))
    bootstrap = ClusterBootstrap(clusters, seed=1, resamples=20)
    ids = np.unique(clusters)
    draws = []
    for weights in bootstrap.weights:
        assert weights.sum() == len(ids)
        rows = [i for c, w in zip(ids, weights) for _ in range(int(w)) for i in np.flatnonzero(clusters == c)]
        draws.append(values[rows].mean(0))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    got = bootstrap.mean(values)
    np.testing.assert_allclose(got[:, 1:], np.stack([low, high], 1), atol=1e-6)


def test_a_constant_has_no_width() -> None:
    clusters = np.arange(30) // 3
    values = np.stack([np.full(30, 0.25), np.where(np.arange(30) % 2, np.nan, 1.0)], 1)
    np.testing.assert_allclose(ClusterBootstrap(clusters).mean(values), [[0.25] * 3, [1.0] * 3], rtol=1e-6)


def test_intervals_that_hold_together_are_wider_and_nothing_widens_a_constant() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(300, 12))
    values[rng.random(values.shape) < 0.1] = np.nan
    bootstrap = ClusterBootstrap(np.arange(300))
    alone, together = bootstrap.mean(values), bootstrap.simultaneous(values)
    np.testing.assert_allclose(together[:, 0], alone[:, 0])
    widths = (together[:, 2] - together[:, 1]) / (alone[:, 2] - alone[:, 1])
    # 12 independent columns: the quantile of the largest of 12 normal deviations over that of one.
    np.testing.assert_allclose(widths, 2.86 / 1.96, rtol=0.08)
    np.testing.assert_allclose(bootstrap.simultaneous(values[:, :1])[0], alone[0], atol=0.01)
    with_constant = bootstrap.simultaneous(np.column_stack([values, np.full(300, 0.5)]))
    np.testing.assert_array_equal(with_constant[:-1], together)
    np.testing.assert_array_equal(with_constant[-1], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(bootstrap.simultaneous(np.zeros((300, 2))), np.zeros((2, 3)))


def test_equal_seeds_give_equal_intervals_and_columns_share_their_resamples() -> None:
    rng = np.random.default_rng(0)
    clusters, values = rng.integers(0, 20, 100), rng.random((100, 1))
    first = ClusterBootstrap(clusters, seed=4).mean(values)
    assert (first == ClusterBootstrap(clusters, seed=4).mean(values)).all()
    assert (first != ClusterBootstrap(clusters, seed=5).mean(values)).any()
    shifted = ClusterBootstrap(clusters, seed=4).mean(np.concatenate([values, values + 1], 1))
    np.testing.assert_allclose(shifted[1] - shifted[0], 1, atol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_interval_covers_the_truth_on_clustered_data(missing: float) -> None:
    """Nominal 95 %; rows taken for independent would cover far less, which shows the clusters matter."""
    rng = np.random.default_rng(7)
    truth, covered, covered_by_rows, runs = 0.4, 0, 0, 200
    for run in range(runs):
        clusters = np.repeat(np.arange(60), rng.integers(1, 9, 60))
        values = truth + 0.5 * rng.normal(size=60)[clusters] + 0.3 * rng.normal(size=len(clusters))
        values[rng.random(len(values)) < missing] = np.nan
        _, low, high = ClusterBootstrap(clusters, run, resamples=200).mean(values[:, None])[0]
        covered += low <= truth <= high
        _, low, high = ClusterBootstrap(np.arange(len(values)), run, resamples=200).mean(values[:, None])[0]
        covered_by_rows += low <= truth <= high
    assert 0.88 <= covered / runs <= 0.99
    assert covered_by_rows / runs < 0.8


def test_many_clusters_are_drawn_in_few_units_with_intervals_as_wide() -> None:
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(30_000), 2)
    values = np.repeat(rng.standard_normal(30_000), 2) + 0.5 * rng.standard_normal(60_000)
    bootstrap = ClusterBootstrap(cluster, seed=1)
    assert bootstrap.n_clusters == 30_000 and bootstrap.weights.shape[1] == MOST_DRAWN
    point, low, high = bootstrap.mean(values[:, None])[0]
    error = values.reshape(-1, 2).mean(1).std() / np.sqrt(30_000)
    assert point == pytest.approx(values.mean(), abs=1e-9)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.06)
    assert (bootstrap.cluster[::2] == bootstrap.cluster[1::2]).all()


def test_auc_of_the_bootstrap_is_the_auc_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < 0.4).astype(float)
    scores = 0.4 * labels + rng.random((200, 3))
    labels[rng.random(labels.shape) < 0.2] = np.nan
    bootstrap = ClusterBootstrap(np.arange(200) // 4, resamples=100)
    pooled = bootstrap.auc(labels, scores, resamples=100)
    within = bootstrap.auc_within_prompt(labels, scores, resamples=100)
    assert pooled[0] == pytest.approx(auc(labels, scores))
    assert within[0] == pytest.approx(auc_within_prompt(labels, scores))
    for point, low, high in (pooled, within):
        assert low < point < high and high - low < 0.2


def test_one_resample_of_the_auc_equals_an_auc_of_the_drawn_rows() -> None:
    rng = np.random.default_rng(3)
    labels, scores = (rng.random(60) < 0.5).astype(float), rng.random(60).round(1)
    weights = rng.integers(0, 3, 60)
    drawn = np.repeat(np.arange(60), weights)
    got = RankedScores(labels, scores).auc(weights.astype(float))
    assert got == pytest.approx(sklearn_metrics.roc_auc_score(labels[drawn], scores[drawn]))


def test_interval_skips_nan_draws_and_is_nan_without_any() -> None:
    draws = np.stack([np.arange(101.0), np.r_[np.arange(100.0), np.nan], np.full(101, np.nan)], 1)
    low, high = interval(draws)
    np.testing.assert_allclose(low, [2.5, 2.475, np.nan])
    np.testing.assert_allclose(high, [97.5, 96.525, np.nan])


def test_an_interval_is_written_one_way() -> None:
    assert format_interval("0.4123", 0.38, "0.4429") == "0.412 [0.380, 0.443]"
    assert format_interval(0.012, -0.003, 0.0271, points=True) == "+1.2 [-0.3, +2.7]"
    assert format_interval(0.012, float("nan"), "nan", points=True) == "+1.2 [no interval]"
    as_percent = format_interval(0.5, 0.4, 0.6, points=True, signed=False, unit=" %")
    assert as_percent == "50.0 % [40.0, 60.0]"
    assert format_interval(1.5, 1, 2, signed=True, digits=2) == "+1.50 [+1.00, +2.00]"
    assert format_interval(-1e-17, -0.0004, -0.0, points=True) == "+0.0 [+0.0, +0.0]"


NEAR_ZERO = st.floats(-1e-3, 1e-3) | st.floats(-1e6, 1e6) | st.sampled_from([-0.0, 1.11e-16, -5e-324, -4e-10])


@given(numbers=st.tuples(NEAR_ZERO, NEAR_ZERO, NEAR_ZERO), points=st.booleans(), digits=st.integers(0, 6))
def test_no_number_is_minus_nothing(numbers: tuple[float, float, float], points: bool, digits: int) -> None:
    text = format_interval(*numbers, points=points, digits=digits)
    assert not re.search(r"-0(\.0*)?(?![.\d])", text)
    for value in numbers:
        shown = format_number(value, digits + 1)
        assert not re.fullmatch(r"-0(\.0*)?", shown) and float(shown) == pytest.approx(
            value, rel=0.6 * 10.0**-digits, abs=1e-9
        )
        assert abs(value) >= 1e-9 or shown == "0"


def test_numbers_of_a_table() -> None:
    shown = [format_number(v) for v in (0.123456, 1.11e-16, -1e-12, 12345.6, 1.0, 2e-6, -0.5, float("inf"))]
    assert shown == ["0.1235", "0", "0", "12346", "1", "2e-06", "-0.5", "inf"]
