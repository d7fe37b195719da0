"""Voting: counting, weights, stopping, and cross-fitted curves, on small tables with known answers."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from conftest import run_step, tiny_interactions
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from prompt_oirl.data import interactions
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv
from prompt_oirl.stats.cells import column_means
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.splits import Split, assign_folds, cluster_splits, crossfit_splits
from prompt_oirl.voting import stopping, votes
from prompt_oirl.voting.evaluate import (
    POLICIES,
    Curve,
    Learned,
    curve_rows,
    evaluate_voting,
    learn,
    reward_predictor,
)
from prompt_oirl.voting.votes import NO_ANSWER, NOT_LOGGED, VoteTable, calls_made, count_votes, order_by

seeds = st.integers(0, 10_000)


def random_table(seed: int, n: int = 12, prompts: int = 5, logged: float = 1.0) -> VoteTable:
    """Random answers 0..3 of which answer 0 is right; -1 gave no number, right or not, and some are not
    logged."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(-1, 4, (n, prompts))
    right = np.where(answers == NO_ANSWER, rng.random(answers.shape) < 0.5, answers == 0).astype(float)
    missing = rng.random(answers.shape) > logged
    answers[missing], right[missing] = NOT_LOGGED, np.nan
    return VoteTable(votes.in_column_order(answers), right)


def simulated(n: int, success: np.ndarray, seed: int = 0, wrong: int = 8) -> VoteTable:
    """Prompts that err independently: right with their `success` (n, P), else one of `wrong` answers."""
    rng = np.random.default_rng(seed)
    right = rng.random((n, success.shape[1])) < success
    answers = np.where(right, 0, rng.integers(1, wrong + 1, right.shape))
    return VoteTable(votes.in_column_order(answers), right.astype(float))


# --- counting ----------------------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_one_call_is_the_prompt_itself(seed: int) -> None:
    table = random_table(seed)
    for j in range(5):
        order = np.full((12, 1), j)
        count = count_votes(table, order, np.ones(table.answers.shape))
        assert (count.right[:, 0] == table.right[:, j]).all()
        assert count.right.mean() == table.right[:, j].mean()


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_the_order_of_calls_does_not_matter_once_all_have_answered(seed: int) -> None:
    table = random_table(seed, logged=0.8)
    rng = np.random.default_rng(seed)
    weights = rng.random(table.answers.shape) + 0.1  # real numbers: no ties
    orders = [rng.permuted(np.tile(np.arange(5), (12, 1)), axis=1) for _ in range(2)]
    first, second = (count_votes(table, order, weights) for order in orders)
    assert (first.leader[:, -1] == second.leader[:, -1]).all()
    np.testing.assert_allclose(first.lead[:, -1], second.lead[:, -1])
    np.testing.assert_allclose(first.second[:, -1], second.second[:, -1])


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_counting_is_the_plain_count(seed: int) -> None:
    table = random_table(seed, logged=0.7)
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 4, table.answers.shape).astype(float)
    order = rng.permuted(np.tile(np.arange(5), (12, 1)), axis=1)
    count = count_votes(table, order, weights)
    for i in range(12):
        tally: dict[int, float] = defaultdict(float)
        unread = next((table.right[i, j] for j in order[i] if table.answers[i, j] != NOT_LOGGED), 0)
        for k, j in enumerate(order[i]):
            if table.answers[i, j] >= 0:
                tally[int(table.answers[i, j])] += weights[i, j]  # a dict keeps the first given first
            leader = max(tally, key=lambda a: tally[a]) if tally else NO_ANSWER
            others = [v for a, v in tally.items() if a != leader]
            assert count.leader[i, k] == leader
            assert count.lead[i, k] == (tally[leader] if tally else 0)
            assert count.second[i, k] == max(others, default=0)
            assert count.right[i, k] == (table.right[i, leader] if tally else unread)


def test_answers_that_cannot_be_read_cast_no_vote_and_the_first_of_them_stands() -> None:
    table = VoteTable(np.array([[NO_ANSWER, NO_ANSWER, 2]] * 2), np.array([[1.0, 0, 0], [0, 1, 1]]))
    count = count_votes(table, np.array([[0, 1, 2]] * 2), np.ones((2, 3)))
    assert count.right.tolist() == [[1, 1, 0], [0, 0, 1]]  # the one vote beats a right answer nobody can read
    assert count.leader.tolist() == [[NO_ANSWER, NO_ANSWER, 2]] * 2
    assert calls_made(table, np.array([[0, 1, 2]] * 2)).tolist() == [[1, 2, 3]] * 2


def test_renaming_answers_changes_nothing() -> None:
    answers = np.array([[7, 3, 7, NO_ANSWER], [3, 7, 3, NOT_LOGGED]])
    swapped = np.where(answers == 7, 30, np.where(answers == 3, 70, answers))
    assert (votes.in_column_order(answers) == votes.in_column_order(swapped)).all()
    assert votes.in_column_order(answers).tolist() == [[0, 1, 0, -1], [0, 1, 0, -2]]


def test_prompts_that_are_not_logged_are_asked_last() -> None:
    table = VoteTable(np.array([[NOT_LOGGED, 1, 2]]), np.array([[np.nan, 0, 1]]))
    assert order_by(table, np.array([[0.9, 0.2, 0.5]])).tolist() == [[2, 1, 0]]
    same = order_by(table, np.array([[0.9, 0.5, 0.5]]), np.array([0.0, 0.1, 0.2]))
    assert same.tolist() == [[2, 1, 0]]  # ties go to the prompt that is better overall


# --- reading answers ---------------------------------------------------------------------------------


def test_answers_are_read_as_the_grader_reads_them() -> None:
    cells = [
        (0, 0, 0, "So the answer is 1,170.", 1.0),
        (0, 1, 0, "1170", 1.0),
        (0, 2, 0, "I don't know.", 0.0),
        (1, 0, 1, "5", 0.0),
        (1, 0, 0, "7", 1.0),
        (1, 1, 0, " ", 1.0),  # blank, graded right all the same
    ]
    first, second = votes.vote_tables(cells, (2, 3), "number")  # the lower sample stands in the first
    assert first.answers.tolist() == [[0, 0, NO_ANSWER], [0, NO_ANSWER, NOT_LOGGED]]
    assert np.array_equal(first.right, [[1, 1, 0], [1, 1, np.nan]], equal_nan=True)
    assert second.answers.tolist() == first.answers.tolist()
    assert np.array_equal(second.right, [[1, 1, 0], [0, 1, np.nan]], equal_nan=True)
    original = votes.vote_tables(cells, (2, 3), "original")[0].answers  # splits thousands, as published
    assert original[0].tolist() == [0, 1, NO_ANSWER]
    words = [(0, 0, 0, "Blue.", 1.0), (0, 1, 0, " blue ", 1.0), (0, 2, 0, "red", 0.0)]
    assert votes.vote_tables(words, (1, 3), "text")[0].answers.tolist() == [[0, 0, 2]]
    with pytest.raises(InputError, match="choose one of number, choice, bool, text, original"):
        votes.vote_tables(cells, (2, 3), "regex")


def test_a_text_that_was_not_kept_is_not_an_answer_and_an_empty_one_is() -> None:
    rows = tiny_interactions(n_train=0, n_test=1)[:3]
    rows[0].answer, rows[1].answer = None, ""
    cells = list(votes.vote_cells(rows, [rows[0].question_id], [row.prompt_id for row in rows]))
    assert [(column, answer) for _, column, _, answer, _ in cells] == [(1, ""), (2, rows[2].answer)]
    (table,) = votes.vote_tables(cells, (1, 3))
    assert table.logged.tolist() == [[False, True, True]] and table.answers[0, 1] == NO_ANSWER


def test_every_repeat_is_a_vote_as_often_as_the_others_of_its_cell() -> None:
    cells = [(0, 0, s, str(s), float(s == 1)) for s in range(4)] + [
        (0, 1, s, "7", float(s)) for s in range(2)
    ]
    tables = votes.vote_tables(cells, (1, 2))
    assert [table.right.tolist() for table in tables] == [[[0, 0]], [[1, 1]], [[0, 0]], [[0, 1]]]
    assert np.mean([table.right for table in tables], 0).tolist() == [[0.25, 0.5]]


# --- weights -----------------------------------------------------------------------------------------


def test_weights_are_log_odds_and_never_negative() -> None:
    weights = votes.log_odds_weights(np.array([0.5, 0.8, 0.01, 1.0]), agreement=0.1)
    np.testing.assert_allclose(weights[:2], [np.log(10), np.log(40)])
    assert weights[2] == 0 and np.isfinite(weights[3])


def test_agreement_of_wrong_answers_counts_pairs() -> None:
    table = VoteTable(np.array([[0, 1, 1, 3]]), np.array([[1.0, 0, 0, 0]]))
    assert votes.agreement_of_wrong_answers(table) == pytest.approx((1 + 1) / (3 + 2))
    even = simulated(4000, np.full((4000, 4), 0.3), wrong=5)
    assert votes.agreement_of_wrong_answers(even) == pytest.approx(1 / 5, abs=0.01)


def test_log_odds_weights_beat_equal_ones_where_prompts_differ() -> None:
    success = np.tile([0.9, 0.4, 0.4, 0.4, 0.4], (3000, 1))
    table = simulated(3000, success, wrong=3)
    order = order_by(table, success)
    weighted = count_votes(table, order, votes.log_odds_weights(success, 1 / 3)).right[:, -1].mean()
    assert weighted > count_votes(table, order, np.ones(success.shape)).right[:, -1].mean() + 0.05
    assert weighted > 0.89


# --- stopping ----------------------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_a_lead_that_cannot_be_lost_is_certain_and_thresholds_are_monotone(seed: int) -> None:
    table = random_table(seed, n=40)
    weights = np.ones(table.answers.shape)
    order = order_by(table, np.random.default_rng(seed).random(table.answers.shape))
    count = count_votes(table, order, weights)
    (rule,) = stopping.fit_stopping(count, order, weights, [5])
    left = stopping.weight_left(order, weights, rule.max_calls)
    stays = rule.stays(count, left)
    certain = stays == 1.0
    final = count.leader[:, rule.max_calls - 1, None]
    assert (count.leader[:, : rule.max_calls] == final)[
        certain & (count.leader[:, : rule.max_calls] >= 0)
    ].all()
    calls = [stopping.calls_until(stays.copy(), t) for t in (0.0, 0.5, 0.9, 1.1)]
    assert all((a <= b).all() for a, b in zip(calls, calls[1:]))
    assert (calls[0] == 1).all() and (calls[-1] == rule.max_calls).all()


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_the_rule_is_fitted_as_scikit_learn_fits_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((int(rng.integers(3, 300)), 5)) * rng.uniform(0.1, 10, 5)
    x[:, 1] = x[:, 0] if seed % 3 == 0 else x[:, 1]
    x[:, 2] = 1 if seed % 5 == 0 else x[:, 2]
    y = rng.random(len(x)) < 1 / (1 + np.exp(-np.clip(x @ rng.standard_normal(5) * (seed % 4), -30, 30)))
    if y.all() or not y.any():
        return
    mean, scale = x.mean(0), x.std(0) + 1e-9
    model = LogisticRegression(C=1 / stopping.RIDGE, max_iter=5000, tol=1e-10).fit((x - mean) / scale, y)
    coefficients = stopping._fit_logistic(x, y)
    stays = 1 / (1 + np.exp(-(x @ coefficients[:-1] + coefficients[-1])))
    np.testing.assert_allclose(stays, model.predict_proba((x - mean) / scale)[:, 1], atol=1e-5)


def test_stopping_keeps_its_budget_and_beats_asking_that_many_always() -> None:
    hard = np.random.default_rng(1).random((1500, 1)) < 0.5
    table = simulated(1500, np.where(hard, 0.35, 0.95) * np.ones((1, 9)))
    weights, order = np.ones(table.answers.shape), order_by(table, np.zeros(table.answers.shape))
    count = count_votes(table, order, weights)
    for budget, rule in zip((3, 5), stopping.fit_stopping(count, order, weights, [3, 5])):
        made = rule.calls(count, stopping.weight_left(order, weights, rule.max_calls))
        assert made.mean() <= budget
        assert count.right[np.arange(1500), made - 1].mean() > count.right[:, budget - 1].mean() + 0.01


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_a_decided_majority_stands_whatever_comes_and_an_undecided_one_may_fall(seed: int) -> None:
    table, rng = random_table(seed, n=30), np.random.default_rng(seed)
    order, equal = np.tile(np.arange(5), (30, 1)), np.ones((30, 5))
    count, paid = count_votes(table, order, equal), calls_made(table, order)
    made = stopping.calls_until_decided(count, paid).astype(int)
    for limit in range(1, 6):
        at = made[:, limit - 1]
        assert (at >= 1).all() and (at <= limit).all()
        leaders = np.take_along_axis(count.leader, at[:, None] - 1, 1)[:, 0]
        assert (leaders == count.leader[:, limit - 1]).all()
        for _ in range(5):  # other answers in place of those that were not asked for
            other = table.answers.copy()
            later = np.arange(5) >= at[:, None]
            other[later] = rng.integers(-1, 5, other.shape)[later]
            found = count_votes(VoteTable(other, table.right), order, equal).leader[:, limit - 1]
            assert (found == leaders).all()
        # One call earlier it was open: all that is to come, given to the runner-up, would draw level.
        early = at > 1
        before = np.maximum(at - 2, 0)
        lead = (count.lead - count.second)[np.arange(30), before]
        assert (lead[early] <= limit - (at[early] - 1)).all()


# --- cross-fitting -----------------------------------------------------------------------------------


def splits_of(n: int, seed: int = 0) -> list[Split]:
    """Five folds of n questions that are all different."""
    every = np.arange(n)
    return crossfit_splits(every, every, assign_folds(every, 5, seed), "test", assignment=seed)


def curves_of(table: VoteTable, clusters: np.ndarray, splits: list[Split]) -> dict[str, Curve]:
    """Curves of every way that needs no reward model."""
    learned = [Learned(np.nan_to_num(column_means(table.right[split.learned]))) for split in splits]
    return evaluate_voting([table], table.right, clusters, splits, learned)


def test_curves_of_a_complete_log() -> None:
    success = np.tile(np.linspace(0.3, 0.6, 7), (600, 1))
    table = simulated(600, success)
    curves = curves_of(table, np.arange(600), [*splits_of(600), *splits_of(600, 1)])
    best = curves["best"]
    assert best.calls.tolist() == np.tile(np.arange(1.0, 8), (600, 1)).tolist()
    assert best.right[:, 0].mean() == pytest.approx(
        table.right[:, 6].mean()
    )  # the clearly best one, in each fold
    assert curves["random"].right[:, 0].mean() == pytest.approx(table.right.mean())
    assert (curves["random"].calls == best.calls).all()
    assert (curves["decided"].right == best.right).all() and (curves["decided"].calls <= best.calls).all()
    assert best.right[:, 6].mean() > best.right[:, 0].mean() + 0.1
    assert (curves["any_right"].right >= best.right).all()
    rows = list(curve_rows(curves, ClusterBootstrap(np.arange(600))))
    for row in rows:
        assert row["low"] <= row["success"] <= row["high"]
        assert row["calls"] <= row["budget"] + 0.4
    single = [r for r in rows if r["policy"] == "best" and r["budget"] == 1]
    assert single[0]["gain"] == single[0]["gain_low"] == single[0]["gain_high"] == 0


@pytest.mark.slow
def test_nothing_is_learned_from_the_fold_that_is_evaluated() -> None:
    table = simulated(200, np.tile(np.linspace(0.3, 0.7, 5), (200, 1)))
    splits = splits_of(200)
    features = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    own = splits[2].test
    lied = table.right.copy()
    lied[own] = 1 - lied[own]
    found = []
    for right in (table.right, lied):
        predict = reward_predictor(
            "linear",
            features,
            np.eye(5, dtype=np.float32),
            6,
            np.arange(200),
            right.astype(np.float32),
            np.arange(200),
        )
        success = [column_means(right[split.learned]) for split in splits]
        learned = learn(predict, splits, np.arange(200), success)
        lying = VoteTable(table.answers, right)
        found.append(evaluate_voting([lying], right, np.arange(200), splits, learned))
    for name, curve in found[0].items():
        other = found[1][name]
        assert (curve.calls[own] == other.calls[own]).all()
        if name not in ("any_right", "random"):  # one answer wins; its verdict alone is turned round
            assert (curve.right[own] == 1 - other.right[own]).all(), name


def test_incomplete_logs_pay_only_for_what_is_there() -> None:
    table = random_table(3, n=100, logged=0.5)
    curves = curves_of(table, np.arange(100), splits_of(100))
    paid = curves["best"].calls
    assert (paid[:, -1] == table.logged.sum(1)).all()
    assert (np.diff(paid, axis=1) >= 0).all()


def test_logs_without_answers_and_folds_that_leak_are_refused() -> None:
    empty = VoteTable(np.full((10, 3), NOT_LOGGED), np.full((10, 3), np.nan))
    with pytest.raises(InputError, match="answers of two prompts"):
        curves_of(empty, np.arange(10), splits_of(10))
    with pytest.raises(InputError, match="two clusters"):
        curves_of(random_table(0, n=10), np.zeros(10, dtype=int), cluster_splits(np.zeros(10), 5, 0))
    with pytest.raises(AssertionError, match="shares a cluster"):
        curves_of(random_table(0, n=10), np.zeros(10, dtype=int), splits_of(10))


# --- the measurement ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_measuring_scripts_run_on_a_log_of_ones_own(tmp_path: Path) -> None:
    rows = tiny_interactions(n_train=40, n_test=60)
    for row in rows:  # a wrong answer names a wrong number
        row.answer = row.answer if row.correct else f"The answer is {int(row.gold) + len(row.prompt_id)}."
        row.grader = "strict"
    interactions.write(Paths(tmp_path).labels("tiny") / "toy_interactions.jsonl", rows)
    run_step(2, tmp_path)
    run_step(3, tmp_path)

    def run(script: str, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(REPO_ROOT / "scripts" / script), "--root", str(tmp_path)]
        return subprocess.run(
            [*command, "--out", str(tmp_path), *flags], capture_output=True, text=True, timeout=300
        )

    flags = ["--llm", "tiny", "--dataset", "toy", "--assignments", "2"]
    tables = []
    for _ in range(2):
        done = run("measure_voting.py", *flags)
        assert done.returncode == 0, done.stderr
        tables.append((tmp_path / "results" / "reference" / "voting.csv").read_bytes())
    assert tables[0] == tables[1]
    found = read_csv(tmp_path / "results" / "reference" / "voting.csv", hint="")
    assert len(found) == len(POLICIES) * 5
    assert all(float(r["low"]) <= float(r["success"]) <= float(r["high"]) for r in found)
    assert (tmp_path / "results" / "reference" / "voting.png").read_bytes().startswith(b"\x89PNG")
    for script, wrong, said in (
        ("measure_transfer.py", ["--logs", "tiny/toy"], "--embedder minilm"),  # TF-IDF vectors do not compare
        ("measure_off_policy.py", ["--logs", "1"], "2 or more"),
    ):
        refused = run(script, *wrong)
        assert refused.returncode == 1 and said in refused.stderr, refused.stderr
        assert refused.stderr.count("\n") == 1 and "Traceback" not in refused.stderr
