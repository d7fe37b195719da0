"""Who picks and how it is evaluated: tie policies, fallback, lookup, and no look at a test answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from offline_datasets import HELD_OUT, INFO, SEEN, dataset

from prompt_oirl import reward_models
from prompt_oirl.features.embedders import save_embeddings
from prompt_oirl.pipeline import evaluate
from prompt_oirl.pipeline.evaluate import BASELINE, SelectorResults, evaluate_selectors
from prompt_oirl.pipeline.fit_data import fit_data
from prompt_oirl.pipeline.fits import training_sets
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.pipeline.plan import FitSpec, Plan
from prompt_oirl.reports import published, result_tables
from prompt_oirl.reports.summary import NOT_IDENTIFIABLE, monte_carlo_error, note, summary_rows
from prompt_oirl.stats import policies
from prompt_oirl.stats.splits import Split, prompt_subsets
from prompt_oirl.voting.votes import NOT_LOGGED, VoteTable, in_column_order

EXAMPLES = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SHAPE = st.tuples(st.integers(1, 10), st.integers(1, 5))
SCORE = st.sampled_from([0.0, 0.2, 0.5, 0.8])
RATE = st.sampled_from([0.1, 0.4, 0.9, np.nan])


# --- selectors ---------------------------------------------------------------------------------------


@EXAMPLES
@given(shape=SHAPE, data=st.data())
def test_published_ties_go_to_the_lowest_index(shape: tuple[int, int], data: st.DataObject) -> None:
    scores = data.draw(arrays(np.float64, shape, elements=SCORE))
    for row, pick in zip(scores.tolist(), policies.argmax_published(scores)):
        assert pick == row.index(max(row))


@EXAMPLES
@given(shape=SHAPE, data=st.data(), seed=st.integers(0, 9))
def test_sound_ties_go_to_training_success(shape: tuple[int, int], data: st.DataObject, seed: int) -> None:
    scores = data.draw(arrays(np.float64, shape, elements=SCORE))
    success = data.draw(arrays(np.float64, shape[1], elements=RATE))
    picks = policies.argmax_sound(scores, success, seed)
    assert (picks == policies.argmax_sound(scores, success, seed)).all()
    for row, pick in zip(scores, picks):
        tied = np.flatnonzero(row == row.max())
        known = [success[j] for j in tied if not np.isnan(success[j])]
        assert pick in tied
        if known:
            assert success[pick] == max(known)


@EXAMPLES
@given(shape=SHAPE, data=st.data(), seed=st.integers(0, 9))
def test_without_ties_both_policies_agree(shape: tuple[int, int], data: st.DataObject, seed: int) -> None:
    ranks = [data.draw(st.permutations(range(shape[1]))) for _ in range(shape[0])]
    scores, success = np.array(ranks, dtype=float), np.zeros(shape[1])
    assert (policies.argmax_sound(scores, success, seed) == policies.argmax_published(scores)).all()


def test_the_draw_among_full_ties_is_uniform_and_seeded() -> None:
    scores, success = np.full((6000, 4), 0.5), np.array([0.3, 0.6, 0.6, 0.6])
    picks = policies.argmax_sound(scores, success, 0)
    shares = np.bincount(picks, minlength=4) / len(picks)
    assert shares[0] == 0 and (abs(shares[1:] - 1 / 3) < 0.03).all()
    assert (picks != policies.argmax_sound(scores, success, 1)).mean() > 0.5
    unknown = np.bincount(policies.argmax_sound(scores, np.full(4, np.nan), 0)) / len(picks)
    assert (abs(unknown - 1 / 4) < 0.03).all()


def test_a_prompt_of_unknown_success_loses_ties_even_to_one_that_never_worked() -> None:
    picks = policies.argmax_sound(np.full((50, 2), 0.5), np.array([np.nan, 0.0]), 0)
    assert (picks == 1).all()


def test_fallback_leaves_the_seen_prompts_only_below_one_half() -> None:
    seen_scores = np.array([[0.49, 0.1], [0.5, 0.1], [0.1, 0.9], [0.0, 0.0]])
    picks = policies.fallback_to_held_out(seen_scores, np.array([0, 1, 2, 3]), np.array([7, 7, 7, 7]))
    assert picks.tolist() == [7, 1, 2, 7]


@EXAMPLES
@given(n=st.integers(0, 15), n_test=st.integers(0, 6), k=st.integers(1, 3), data=st.data())
def test_lookup_equals_a_plain_loop(n: int, n_test: int, k: int, data: st.DataObject) -> None:
    train_index = data.draw(arrays(np.int64, n, elements=st.integers(0, 5)))
    test_index = data.draw(arrays(np.int64, n_test, elements=st.integers(0, 7)))
    labels = data.draw(arrays(np.float32, (n, k), elements=st.sampled_from([0.0, 1.0, np.nan])))
    scores = policies.lookup_scores(train_index, labels, test_index)
    assert scores.shape == (n_test, k)
    for i, question in enumerate(test_index):
        for j in range(k):
            known = [y for q, y in zip(train_index, labels[:, j]) if q == question and not np.isnan(y)]
            expected = sum(known) / len(known) if known else np.nan
            assert scores[i, j] == pytest.approx(expected, nan_ok=True)


def test_picked_takes_one_cell_per_row() -> None:
    labels = np.array([[1.0, 0.0, 0.5], [0.0, np.nan, 1.0]])
    np.testing.assert_array_equal(policies.picked(labels, np.array([2, 1])), [0.5, np.nan])


# --- a small dataset by hand -------------------------------------------------------------------------


class ScoreTable:
    """A reward model that needs no training: a fixed smooth function of both vectors."""

    settings: dict[str, Any] = {}

    def __init__(self, offset: float = 0.0, slope: float = 1.0):
        self.offset, self.slope = offset, slope

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        logits = self.offset + self.slope * (questions[:, : prompts.shape[1]] @ prompts.T)
        return (1 / (1 + np.exp(-logits))).astype(np.float32)


def fit_for(split: Split, subset: tuple[int, ...], group: str = "crossfit", variant: str = "both") -> FitSpec:
    return FitSpec("tiny", "toy", group, split.name, subset, "linear", "fast", variant)


def evaluated(
    data: OfflineDataset,
    subset: tuple[int, ...] = (0, 1, 2),
    splits: Sequence[Split] | None = None,
    model: Any = None,
    variant: str = "both",
) -> SelectorResults:
    splits = splits if splits is not None else data.names.crossfit_splits(5, 0)
    model = model or ScoreTable()
    return evaluate_selectors(
        data, [(fit_for(split, subset, variant=variant), split, model) for split in splits]
    )


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> OfflineDataset:
    return dataset(tmp_path_factory.mktemp("toy"), repeats=2)


# --- evaluating --------------------------------------------------------------------------------------


def test_every_test_row_is_evaluated_once_per_assignment(toy: OfflineDataset) -> None:
    splits = [split for a in (2, 0, 1) for split in toy.names.crossfit_splits(5, a)]
    result = evaluated(toy, splits=splits)
    n = len(toy.names.test_index)
    assert result.rows.tolist() == list(range(n)) * 3
    assert {len(values) for values in (*result.success.values(), *result.picks.values())} == {3 * n}
    assert result.seen_scores.shape == (3 * n, SEEN) and result.held_out_scores.shape == (3 * n, HELD_OUT)
    # scores stand beside their own rows: this model is the same in every fold
    single = evaluated(toy, splits=[toy.names.paper_split()])
    np.testing.assert_allclose(result.seen_scores, np.tile(single.seen_scores, (3, 1)), rtol=1e-5)
    for assignment in range(3):
        part = evaluated(toy, splits=toy.names.crossfit_splits(5, assignment))
        own = slice(assignment * n, (assignment + 1) * n)
        for name, picks in part.picks.items():
            assert (result.picks[name][own] == picks).all()


@pytest.mark.parametrize("subset", prompt_subsets(SEEN))
def test_success_is_the_label_of_the_pick(toy: OfflineDataset, subset: tuple[int, ...]) -> None:
    result = evaluated(toy, subset)
    for name, picks in result.picks.items():
        np.testing.assert_array_equal(result.success[name], toy.test_labels[result.rows, picks])
    seen = toy.test_labels[result.rows][:, list(subset)]
    np.testing.assert_allclose(result.success["random"], seen.mean(1))
    np.testing.assert_allclose(result.success["oracle"], seen.max(1))
    for name in (BASELINE, "irl_0", "irl_0_as_published", "knn", "lookup", "lmsc"):
        assert set(result.picks[name].tolist()) <= set(subset)
        assert (result.success["oracle"] >= result.success[name]).all()
    for name in ("held_out_only", "held_out_only_as_published"):
        assert (result.picks[name] >= SEEN).all()
    best_on_test = toy.test_labels[:, list(subset)].mean(0).max()
    assert result.success["test_best_as_published"].mean() == pytest.approx(best_on_test)
    assert best_on_test >= result.success["random"].mean() - 1e-6


def test_the_oracle_over_all_prompts_beats_everyone(toy: OfflineDataset) -> None:
    result = evaluated(toy)
    assert (result.success["oracle_16"] >= result.success["oracle"]).all()
    for values in result.success.values():
        assert (result.success["oracle_16"] >= values).all()
    for prompt in toy.names.train_prompts:
        single = result.success[f"prompt_{prompt.id}"].mean()
        assert result.success["test_best_as_published"].mean() >= single
    assert "oracle_16" not in evaluated(toy, (0, 1)).success
    assert "lmsc_16" not in evaluated(toy, (0, 1)).success


def test_a_model_that_knows_the_answers_reaches_the_oracle(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    labels = np.eye(5, dtype=np.float32)[np.arange(40) % 5]
    vectors = 9 * labels[:, [0, 1, 2, 3, 4]]
    save_embeddings(
        tmp_path,
        {"questions": vectors, "prompts": np.eye(5, dtype=np.float32), "surface": data.surface},
        INFO,
    )
    result = evaluated(replace(data, test_labels=labels), model=ScoreTable(offset=-4))
    assert result.success["irl_0"].mean() == result.success["oracle"].mean() == 3 / 5
    assert result.success["all_mixed"].mean() == result.success["irl_10"].mean() == 1


@EXAMPLES
@given(data=st.data(), protocol=st.sampled_from(["crossfit", "paper"]))
def test_no_pick_depends_on_a_test_answer(toy: OfflineDataset, data: st.DataObject, protocol: str) -> None:
    shape = toy.test_labels.shape
    labels = data.draw(arrays(np.float32, shape, elements=st.sampled_from([0.0, 1.0])))
    splits = toy.names.crossfit_splits(5, 0) if protocol == "crossfit" else [toy.names.paper_split()]
    before = evaluated(toy, splits=splits)
    after = evaluated(replace(toy, test_labels=labels), splits=splits)
    assert before.picks.keys() == after.picks.keys() >= {BASELINE, "irl_0", "knn", "lookup", "lmsc", "irl_10"}
    for name, picks in before.picks.items():
        assert (after.picks[name] == picks).all(), name


@settings(EXAMPLES, max_examples=8)
@given(data=st.data())
def test_no_pick_depends_on_training_answers_of_its_own_fold(
    toy: OfflineDataset, data: st.DataObject
) -> None:
    """Cross-fitting: the cluster that is evaluated may not speak, not even through its training rows."""
    splits = toy.names.crossfit_splits(5, 0)
    split = splits[data.draw(st.integers(0, 4))]
    used = np.concatenate([split.train, split.validation])
    other = np.setdiff1d(np.arange(len(toy.train_labels)), used)
    labels = toy.train_labels.copy()
    labels[other] = data.draw(
        arrays(np.float32, (len(other), SEEN), elements=st.sampled_from([0.0, 1.0, np.nan]))
    )
    changed = replace(toy, train_labels=labels)
    models = []
    for log in (toy, changed):
        model = reward_models.make("linear")
        model.fit(training_sets(fit_for(split, (0, 1, 2)), fit_data(log, [split])[split.name])[2])
        models.append(model)
    before = evaluated(toy, splits=[split], model=models[0])
    after = evaluated(changed, splits=[split], model=models[1])
    for name, picks in before.picks.items():
        assert (after.picks[name] == picks).all(), name


def test_train_best_is_the_best_on_the_folds_own_training_rows(toy: OfflineDataset) -> None:
    for split in toy.names.crossfit_splits(5, 1):
        used = np.concatenate([split.train, split.validation])
        best = int(toy.train_labels[used].mean(0).argmax())
        assert (evaluated(toy, splits=[split]).picks[BASELINE] == best).all()


def test_without_repeats_lookup_is_train_best(tmp_path: Path, toy: OfflineDataset) -> None:
    data = dataset(tmp_path, repeats=0)
    for log, splits in (
        (data, [data.names.paper_split()]),
        (data, data.names.crossfit_splits(5, 0)),
        (toy, toy.names.crossfit_splits(5, 0)),  # repeats, but crossfit keeps them on one side
    ):
        result = evaluated(log, splits=splits)
        for name in ("lookup", "lookup_as_published"):
            assert (result.picks[name] == result.picks[BASELINE]).all()


def test_leak_probe_crossfit_sees_nothing_where_the_paper_split_sees_all(tmp_path: Path) -> None:
    """Answers are pure noise, copied from train to test: whoever gains on them has seen the copies."""
    rng = np.random.default_rng(0)
    data = dataset(tmp_path, n_texts=150, repeats=2)
    noise = (rng.random((150, SEEN + HELD_OUT)) < 0.5).astype(np.float32)
    data = replace(data, train_labels=np.tile(noise[:, :SEEN], (2, 1)), test_labels=noise)
    leaky, clean = evaluated(data, splits=[data.names.paper_split()]), evaluated(data)
    oracle = noise[:, :SEEN].max(1).mean()
    assert leaky.success["lookup"].mean() == pytest.approx(oracle)
    assert clean.success["lookup"].mean() < oracle - 0.25
    assert abs(clean.success["knn"].mean() - 0.5) < 0.12
    assert (clean.success["lookup"] == clean.success[BASELINE]).all()


def test_near_copies_in_one_cluster_do_not_leak_either(tmp_path: Path) -> None:
    """Each test text has a twin in train: other text, same cluster, vector, answers. Neighbours tell all."""
    data = dataset(tmp_path, n_texts=200, repeats=0, clusters=[i % 100 for i in range(200)])
    noise = (np.random.default_rng(1).random((100, SEEN + HELD_OUT)) < 0.5).astype(np.float32)
    questions, prompts, _ = data.features("paper")
    twins = questions[np.arange(200) % 100, :4]
    save_embeddings(tmp_path, {"questions": twins, "prompts": prompts, "surface": data.surface}, INFO)
    data = replace(data, train_labels=noise[:, :SEEN], test_labels=noise)
    success = {}
    for protocol, splits in (
        ("paper", [data.names.paper_split()]),
        ("crossfit", data.names.crossfit_splits(5, 0)),
    ):
        fits = []
        for split in splits:
            fit, nearest = fit_for(split, (0, 1, 2)), reward_models.make("knn")
            nearest.settings = {"k": 1}
            nearest.fit(training_sets(fit, fit_data(data, [split])[split.name])[2])
            fits.append((fit, split, nearest))
        success[protocol] = evaluate_selectors(data, fits).success
    assert success["paper"]["irl_0"].mean() > success["paper"]["oracle"].mean() - 0.02 > 0.8
    assert success["paper"]["knn"].mean() > success["crossfit"]["knn"].mean()
    for selector in ("irl_0", "knn", "lookup"):
        assert abs(success["crossfit"][selector].mean() - 0.5) < 0.15


def test_constant_scores_fall_on_the_published_prompt(toy: OfflineDataset) -> None:
    low, half = (evaluated(toy, (1, 2), model=ScoreTable(offset, slope=0)) for offset in (-1, 0))
    assert (low.picks["irl_0_as_published"] == 1).all()
    assert (low.picks["held_out_only_as_published"] == SEEN).all()
    assert (low.picks["all_mixed_as_published"] == SEEN).all()  # held-out prompts stand first
    assert (low.picks["irl_10_as_published"] == SEEN).all()
    assert (half.picks["irl_10_as_published"] == 1).all()  # exactly one half stays
    assert (half.picks["irl_10"] == half.picks["irl_0"]).all()
    # sound ties: training success first; held-out prompts are unknown, so they come last and are drawn
    assert (low.picks["irl_0"] == low.picks[BASELINE]).all()
    assert (low.picks["all_mixed"] == low.picks[BASELINE]).all()
    assert set(low.picks["held_out_only"].tolist()) == {SEEN, SEEN + 1}


def test_one_training_prompt_cannot_tell_held_out_prompts_apart(toy: OfflineDataset) -> None:
    for selector in ("irl_10", "held_out_only", "all_mixed"):
        for name in (selector, f"{selector}_as_published"):
            assert note(name, 1) == NOT_IDENTIFIABLE and note(name, 2) == ""
    assert note("irl_0", 1) == note(BASELINE, 1) == ""
    results = [evaluated(toy, subset) for subset in ((0,), (1,), (0, 1, 2))]
    rows = list(summary_rows(toy, results, "linear", "fast", 0))
    for row in rows:
        open_choice = row["selector"].removesuffix("_as_published") in (
            "irl_10",
            "held_out_only",
            "all_mixed",
        )
        assert row["note"] == (NOT_IDENTIFIABLE if row["k"] == 1 and open_choice else "")
        assert row["n"] == len(toy.names.test_index)
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert {row["subset"] for row in rows if row["k"] == 1} == {"0", "1", "mean"}


def test_gains_are_paired_against_train_best(toy: OfflineDataset) -> None:
    result = evaluated(toy)
    rows = {(r["selector"], r["metric"]): r for r in summary_rows(toy, [result], "linear", "fast", 0)}
    for name, success in result.success.items():
        if name != BASELINE:
            gain = rows[name, "gain_over_train_best"]["value"]
            assert gain == pytest.approx((success - result.success[BASELINE]).mean())
    assert (BASELINE, "gain_over_train_best") not in rows


@EXAMPLES
@given(draws=st.integers(2, 5), n=st.integers(2, 8), data=st.data())
def test_the_monte_carlo_error_equals_a_plain_loop(draws: int, n: int, data: st.DataObject) -> None:
    questions = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    values = data.draw(arrays(np.float64, (draws * n, 1), elements=st.floats(-1, 1)))
    frame = pd.DataFrame(
        {"draw": np.repeat(range(draws), n), "question": questions * draws, "value": values[:, 0]}
    )
    each = frame.groupby(["draw", "question"]).value.mean().groupby("draw").mean()
    (found,) = monte_carlo_error(frame.draw.to_numpy(), frame.question.to_numpy(), values)
    assert found == pytest.approx(each.sem(), abs=1e-12)


def test_the_summary_has_a_monte_carlo_error_where_folds_were_drawn_more_than_once(
    toy: OfflineDataset,
) -> None:
    def errors(assignments: range) -> dict[str, Any]:
        splits = [split for a in assignments for split in toy.names.crossfit_splits(5, a)]
        models = [ScoreTable(slope=1 - split.assignment) for split in splits]  # every draw another model
        folds = [(fit_for(split, (0, 1, 2)), split, model) for split, model in zip(splits, models)]
        rows = summary_rows(toy, [evaluate_selectors(toy, folds)], "linear", "fast", 0)
        wanted = {"metric": "success_rate", "weighting": "question"}
        return {r["selector"]: r["monte_carlo"] for r in rows if wanted.items() <= r.items()}

    assert set(errors(range(1)).values()) == {None}
    found = errors(range(3))
    assert found["oracle"] == pytest.approx(0, abs=1e-12)  # no draw changes what a prompt answered
    assert found["irl_0"] > 0.001


def test_every_draw_of_folds_has_a_seed_of_its_own(toy: OfflineDataset) -> None:
    plan = Plan(split="crossfit", subsets=str(SEEN), assignments=3, seed=4)
    seeds = {(fit.split.split("_fold")[0], fit.seed) for fit in plan.fits(toy.names)}
    assert {seed for _, seed in seeds} == {4, 5, 6} and len(seeds) == 3
    assert len({fit.stem for fit in plan.fits(toy.names)}) == 15


@pytest.mark.parametrize("variant", ["question_only", "prompt_only", "shuffled_labels"])
def test_a_sanity_variant_evaluates_only_itself(toy: OfflineDataset, variant: str) -> None:
    result = evaluated(toy, variant=variant)
    assert set(result.success) == {BASELINE, "irl_0", "irl_0_as_published", "test_best_as_published"}
    full = evaluated(toy)
    if variant == "prompt_only":  # questions are zeros: one score per prompt
        assert len(np.unique(result.seen_scores, axis=0)) == 1
    if variant == "question_only":  # prompts are zeros: all tie
        assert (result.seen_scores == result.seen_scores[:, :1]).all()
        assert (result.picks["irl_0"] == full.picks[BASELINE]).all()


def test_a_prompt_without_training_answers_is_nobodys_best(tmp_path: Path) -> None:
    data = dataset(tmp_path, repeats=2)
    labels = data.train_labels.copy()
    labels[:, 0] = np.nan
    result = evaluated(replace(data, train_labels=labels))
    assert (result.picks[BASELINE] != 0).all()
    assert (result.picks["lookup"] != 0).all()


def test_missing_test_answers_stay_missing_and_spoil_nothing_else(tmp_path: Path) -> None:
    data = dataset(tmp_path, repeats=2)
    labels = data.test_labels.copy()
    labels[0] = np.nan
    labels[1, 0] = np.nan
    result = evaluated(replace(data, test_labels=labels))
    whole = evaluated(data)
    for name, success in result.success.items():
        assert np.isnan(success[0]), name
        np.testing.assert_array_equal(success[2:], whole.success[name][2:])
    assert result.success["oracle"][1] == labels[1, 1:SEEN].max()
    assert result.success["random"][1] == labels[1, 1:SEEN].mean()
    rows = list(summary_rows(replace(data, test_labels=labels), [result], "linear", "fast", 0))
    assert all(np.isfinite(row["value"]) for row in rows)


def test_one_missing_test_answer_empties_no_table(tmp_path: Path) -> None:
    data = dataset(tmp_path, repeats=2)
    labels = data.test_labels.copy()
    labels[3] = np.nan
    data = replace(data, test_labels=labels)
    results = [evaluated(data, subset) for subset in prompt_subsets(SEEN)]
    for row in published.performance_rows(results):
        for selector in ("Training Best", "IRL 0", "All Mixed", "IRL 10"):
            assert np.isfinite(row[f"{selector} Mean"]), selector
    for row in result_tables.cost_rows(data, results[-1], price=1.0):
        assert np.isfinite(row["success_rate"]), row["selector"]


def test_a_log_without_held_out_prompts_or_self_critique_is_evaluated_without_them(tmp_path: Path) -> None:
    data = dataset(tmp_path, confidences=False, n_held_out=0)
    result = evaluated(data)
    assert result.held_out_scores.shape == (40, 0)
    assert not {
        name for name in result.success if name.startswith(("lmsc", "held_out", "irl_10", "all_mixed"))
    }


def test_a_fold_without_test_rows_is_no_trouble(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    splits = data.names.crossfit_splits(5, 0)
    empty = replace(splits[0], test=splits[0].test[:0])
    whole = replace(splits[1], test=np.arange(40))
    result = evaluated(data, splits=[empty, whole])
    assert result.rows.tolist() == list(range(40))


def test_calls_are_counted_for_whoever_asks_more_than_once() -> None:
    calls = {name: count(6, 16) for name, count in evaluate.CALLS.items()}
    assert calls == {"lmsc": 12, "lmsc_16": 32, "oracle": 6, "oracle_16": 16}


# --- voting ------------------------------------------------------------------------------------------


def with_votes(data: OfflineDataset, logged: Sequence[int]) -> OfflineDataset:
    """Answers of the prompts in columns `logged`: the right ones agree, wrong ones are all different."""
    shape = data.test_labels.shape
    answers = np.where(data.test_labels > 0, 0, 1 + np.arange(shape[1]))
    answers[:, [j for j in range(shape[1]) if j not in logged]] = NOT_LOGGED
    right = np.where(answers == NOT_LOGGED, np.nan, data.test_labels)
    return replace(data, votes=VoteTable(in_column_order(answers), right))


def test_step_5_votes_over_the_logged_answers(toy: OfflineDataset) -> None:
    result = evaluated(with_votes(toy, range(SEEN + HELD_OUT)))
    labels = toy.test_labels[result.rows]
    # Wrong answers never agree: two right ones settle it; one wins only if it is counted first or outweighs.
    for name, columns in (("vote_majority", labels[:, :SEEN]), ("vote_16_majority", labels)):
        rights = columns.sum(1)
        assert (result.success[name][rights >= 2] == 1).all()
        assert (result.success[name][rights == 0] == 0).all()
    assert (result.calls_of("vote_weighted", 5), result.calls_of("vote_16_3", 5)) == (SEEN, 3)
    assert "vote_3" not in result.success  # three prompts of three is vote_weighted
    assert result.calls_of("irl_0", 5) == 1 and result.calls_of("oracle_16", 5) == 5
    # Of the first two votes that differ, the one of higher predicted reward wins: the pick decides.
    alone = labels[:, :SEEN].sum(1) == 1
    assert (result.success["vote_majority"][alone] == result.success["irl_0"][alone]).all()
    paid = {
        row["selector"]: row["calls_per_question"] for row in result_tables.cost_rows(toy, result, price=1.0)
    }
    assert paid["vote_majority"] == SEEN and paid["vote_16_weighted"] == SEEN + HELD_OUT


def test_votes_take_only_prompts_whose_answers_are_logged(toy: OfflineDataset) -> None:
    one = evaluated(with_votes(toy, [0, 3]))  # one seen and one held-out prompt
    assert "vote_majority" not in one.success and one.calls["vote_16_majority"] == 2
    subset = evaluated(with_votes(toy, range(SEEN + HELD_OUT)), subset=(0, 2))
    assert subset.calls["vote_majority"] == 2 and "vote_16_majority" not in subset.success
    assert not [name for name in evaluated(toy).success if name.startswith("vote")]
