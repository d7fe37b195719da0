"""The interaction model, the simulated logs and the diagnosis, on logs whose truth is known."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import run_in_process

from prompt_oirl import reward_models
from prompt_oirl.data.user_log import read_log
from prompt_oirl.reward_models import evidence
from prompt_oirl.reward_models.boosted_interaction import BoostedInteraction
from prompt_oirl.reward_models.cells import SLOPE_DOUBT, Cells, cluster_weights, over_blocks, sigmoid
from prompt_oirl.reward_models.effects import learn_effects
from prompt_oirl.reward_models.evidence import sign_flip_p_value, stakes_of
from prompt_oirl.reward_models.held_out import Calibration, Deal, Predictions, held_out_choices
from prompt_oirl.reward_models.interaction import InteractionModel
from prompt_oirl.reward_models.random_effects import PRECISIONS, Grams, RandomEffects, Spectrum
from prompt_oirl.reward_models.study import Gain, Study, study
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.selection import diagnosis, log_facts, variance
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.simulation import MAWPS, SimulatedLog, hide, logging_propensities, simulate
from prompt_oirl.selection.verdict import decide_verdict

RATES = (0.6, 0.55, 0.5, 0.2)


def fitted(log: SimulatedLog, **changes) -> InteractionModel:
    model = InteractionModel()
    model.fit(replace(log.training_set(), **changes))
    return model


def picks(model: InteractionModel, log: SimulatedLog) -> np.ndarray:
    return model.predict(log.vectors[~log.train], log.prompt_vectors).argmax(1)


def test_it_gains_where_there_is_something_to_gain():
    log = simulate(8, train=1500, test=1000, rates=RATES, seed=1)
    train = log.training_set()
    model = fitted(log)
    assert model.settings["p_value"] < 1e-6
    assert log.gain(picks(model, log), int(train.prompt_means.argmax())) > 4


def test_without_support_everyone_gets_the_train_best_prompt():
    logs = [simulate(0, train=300, test=50, rates=RATES, seed=seed) for seed in range(12)]
    models = [fitted(log) for log in logs]
    assert sum(model.settings["interaction"] > 0 for model in models) <= 2, (
        "about one in thirty logs looks like more"
    )
    for log, model in zip(logs, models):
        if not model.settings["interaction"]:
            assert (picks(model, log) == log.training_set().prompt_means.argmax()).all()


def test_differences_among_hopeless_prompts_are_no_evidence():
    """Strong interaction between two prompts that are never best: real, and worth nothing."""
    log = simulate(0, train=1500, test=300, rates=(0.8, 0.15, 0.15), seed=3)
    rng = np.random.default_rng(0)
    direction = log.vectors[:, 0] / log.vectors[:, 0].std()
    p = np.column_stack([np.full(1800, 0.8), sigmoid(-2 + 1.2 * direction), sigmoid(-2 - 1.2 * direction)])
    log = replace(log, truth=p, correct=(rng.random(p.shape) < p)[:, :, None].astype(np.float32))
    assert (picks(fitted(log), log) == 0).mean() > 0.99


def test_probabilities_are_calibrated_on_new_questions():
    log = simulate(5, train=2000, test=2000, rates=RATES, seed=2)
    p = fitted(log).predict(log.vectors[~log.train], log.prompt_vectors).ravel()
    truth = log.truth[~log.train].ravel()
    for part in np.array_split(np.argsort(p), 10):
        assert abs(p[part].mean() - truth[part].mean()) < 0.04


def test_incomplete_and_fractional_logs():
    log = simulate(8, train=1500, test=500, rates=RATES, samples=3, seed=4)
    sparse = hide(log, logging_propensities(log, "by_question", 0.6))
    train = sparse.training_set()
    assert 0.2 < np.isnan(train.labels).mean() < 0.7 and ((train.labels > 0) & (train.labels < 1)).any()
    model = fitted(sparse)
    assert log.gain(picks(model, log), int(log.truth.mean(0).argmax())) > 2


def one_prompt(log: SimulatedLog):
    t = log.training_set()
    return replace(t, prompts=t.prompts[:1], labels=t.labels[:, :1], weights=t.weights[:, :1])


def all_right(log: SimulatedLog):
    t = log.training_set()
    return replace(t, labels=np.ones_like(t.labels))


def one_answer_per_question(log: SimulatedLog):
    t = log.training_set()
    keep = np.arange(t.labels.shape[1]) == np.arange(len(t.labels))[:, None] % t.labels.shape[1]
    return replace(t, labels=np.where(keep, t.labels, np.nan), weights=np.where(keep, t.weights, 0))


def few(log: SimulatedLog):
    t = log.training_set(log.train & (np.arange(len(log.train)) < 12))
    return t


@pytest.mark.parametrize("shape", [one_prompt, all_right, one_answer_per_question, few])
def test_odd_logs(shape):
    log = simulate(3, train=150, test=50, rates=RATES, seed=5)
    train = shape(log)
    model = InteractionModel()
    model.fit(train)
    p = model.predict(log.vectors[~log.train], train.prompts)
    assert p.shape == (50, len(train.prompts)) and (p > 0).all() and (p < 1).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.integers(1, 5), st.integers(1, 60))
def test_any_small_log_is_fitted(seed: int, missing: float, k: int, n: int):
    rng = np.random.default_rng(seed)
    labels = rng.random((n, k)).round(1).astype(np.float32)
    asked = rng.random((n, k)) >= missing
    train = reward_models.TrainingSet(
        rng.standard_normal((n, 6)).astype(np.float32),
        rng.standard_normal((k, 3)).astype(np.float32),
        np.where(asked, labels, np.nan).astype(np.float32),
        (asked * rng.integers(1, 4, (n, k))).astype(np.float32),
        4,
    )
    model = InteractionModel()
    model.fit(train)
    p = model.predict(train.questions, train.prompts)
    assert np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()


def test_a_prompt_never_seen_is_between_its_relatives():
    log = simulate(8, train=800, test=100, rates=RATES, seed=6)
    vectors = np.eye(4, 5, dtype=np.float32)
    model = fitted(log, prompts=vectors)
    new = np.array([[0.7, 0.7, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=np.float32)
    p = model.predict(log.vectors[~log.train], np.concatenate([vectors, new]))
    assert (p[:, :4] == model.predict(log.vectors[~log.train], vectors)).all()
    assert (p[:, 5] < p[:, :4].max(1)).all(), "nothing is known of a stranger, so it is never the best"


def test_save_and_load(tmp_path: Path):
    log = simulate(8, train=300, test=50, rates=RATES, seed=7)
    model = fitted(log)
    digest = reward_models.save(model, tmp_path / "m.safetensors")
    again = reward_models.load(reward_models.make("interaction"), tmp_path / "m.safetensors", digest)
    assert (
        again.predict(log.vectors, log.prompt_vectors) == model.predict(log.vectors, log.prompt_vectors)
    ).all()
    assert again.settings == pytest.approx(model.settings)


def test_whole_clusters_leave_the_inner_folds():
    """Copies of questions look like new evidence unless their cluster moves as one."""
    log = simulate(0, train=300, test=100, rates=(0.5, 0.5, 0.5), seed=8)
    t = log.training_set()
    copies = {name: np.repeat(getattr(t, name), 4, 0) for name in ("questions", "labels", "weights")}
    alone, together = InteractionModel(), InteractionModel()
    alone.fit(replace(t, **copies, clusters=np.arange(1200)))
    together.fit(replace(t, **copies, clusters=np.repeat(np.arange(300), 4)))
    assert alone.settings["p_value"] < 0.02 and together.settings["p_value"] > 0.05


def test_near_duplicates_weigh_as_much_as_they_tell():
    rng = np.random.default_rng(0)
    clusters, a = np.repeat(np.arange(200), 3), np.ones((600, 4))
    once = (rng.random((200, 4)) < 0.5).astype(float)
    np.testing.assert_allclose(cluster_weights(np.repeat(once, 3, 0), a, clusters), 1 / 3, atol=0.01)
    free = (rng.random((600, 4)) < 0.5).astype(float)
    assert cluster_weights(free, a, clusters).mean() > 0.9
    assert (cluster_weights(free, a, np.arange(600)) == 1).all()


def test_random_effects_are_ridge_regressions_averaged_by_their_likelihood():
    rng = np.random.default_rng(0)
    phi, a = rng.standard_normal((60, 5)), rng.random((60, 3)) + 0.5
    y = rng.standard_normal((60, 3))
    cells = Cells(np.zeros((60, 3)), a, np.arange(60), np.ones(60))
    grams = Grams.of(phi, cells, shared=False)
    moments, noise = phi.T @ (a * y), np.array([0.5, 1.0, 2.0])
    effects = RandomEffects.of(
        Spectrum.of(grams).prompts(cells.asked), moments, np.ones(3), noise, np.ones(3)
    )
    log_likelihood = np.zeros(len(PRECISIONS))
    for i, precision in enumerate(PRECISIONS):
        only = effects.coefficients(np.eye(len(PRECISIONS))[i])
        for j in range(3):
            x = phi.T @ (phi * a[:, j, None]) / noise[j] + precision * np.eye(5)
            np.testing.assert_allclose(only[:, j], np.linalg.solve(x, moments[:, j] / noise[j]), atol=1e-9)
            covariance = phi @ phi.T / precision + np.diag(noise[j] / a[:, j])
            _, logdet = np.linalg.slogdet(covariance)
            log_likelihood[i] -= 0.5 * (logdet + y[:, j] @ np.linalg.solve(covariance, y[:, j]))
    expected = np.exp(log_likelihood - log_likelihood.max()) / np.sqrt(PRECISIONS)
    np.testing.assert_allclose(effects.plausible, expected / expected.sum(), rtol=1e-6, atol=1e-12)


def test_the_gradient_is_zero_at_the_learned_difficulty():
    """One information per prompt in Newton's steps: the fixed point is that of the exact likelihood."""
    log = simulate(5, train=400, test=10, rates=RATES, seed=3)
    cells, phi = Cells.of(log.training_set()), log.vectors[log.train].astype(float)
    effects = learn_effects(phi, cells)
    d = (phi @ effects.difficulty)[:, None]
    assert np.abs((cells.a * (cells.y - sigmoid(effects.b_alone + d))).sum(0)).max() < 3


def test_sums_of_folds_give_the_fit_without_them():
    log = simulate(5, train=300, test=10, rates=RATES, seed=1)
    phi = log.vectors[log.train].astype(float)
    for case in (log, hide(log, logging_propensities(log, "uniform", 0.6))):
        cells = Cells.of(case.training_set())
        deal = Deal(phi, cells, 0, 0)
        kept = np.flatnonzero(~np.isin(deal.folds, (1, 3)))
        plain = learn_effects(phi[kept], cells.rows(kept), Grams.of(phi[kept], cells.rows(kept), deal.shared))
        fast = deal.without(1, 3)
        np.testing.assert_allclose(fast.interaction, plain.interaction, atol=1e-8)
        np.testing.assert_allclose(fast.difficulty, plain.difficulty, atol=1e-8)


def test_held_out_predictions_know_nothing_of_their_fold():
    """Whatever the answers of one fold are, what is said of it and chosen on it stays."""
    log = simulate(8, train=300, test=10, rates=RATES, seed=2)
    phi, cells = log.vectors[log.train].astype(float), Cells.of(log.training_set())
    before = held_out_choices(Deal(phi, cells, 0, 0))
    fold = before.folds == 2
    after = held_out_choices(Deal(phi, replace(cells, y=np.where(fold[:, None], 1 - cells.y, cells.y)), 0, 0))
    for name in ("logits", "best", "difficulty", "interaction"):
        np.testing.assert_allclose(getattr(after, name)[fold], getattr(before, name)[fold], atol=1e-9)
    np.testing.assert_allclose(after.inner[2, ~fold], before.inner[2, ~fold], atol=1e-6)
    assert np.isnan(before.inner[2, fold]).all()


def test_slopes_agree_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x = rng.standard_normal((4000, 2))
    y = (rng.random((4000, 2)) < sigmoid(np.array([0.5, -1]) + 0.8 * x)).astype(float)
    cells = Cells(y, np.ones_like(y), np.arange(4000), np.ones(4000))
    (slope,) = cells.slopes(x[None])
    design = np.column_stack([x.ravel(), np.tile([1.0, 0.0], 4000), np.tile([0.0, 1.0], 4000)])
    reference = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-10).fit(design, y.ravel()).coef_[0]
    assert slope == pytest.approx(reference[0], abs=5e-3)
    few = Cells(y[:1], np.ones((1, 2)), np.arange(1), np.ones(1))
    assert abs(few.slopes(x[None, :1])[0] - 1) < SLOPE_DOUBT, "a handful of answers leaves a slope near 1"
    np.testing.assert_allclose(cells.intercepts(slope * x), reference[1:], atol=0.02)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_without_an_interaction_nobody_moves(seed: int):
    log = simulate(0, train=120, test=10, rates=(0.5, 0.5, 0.5), seed=seed)
    train = log.training_set()
    found = study(log.vectors[log.train].astype(float), train)
    assert found.gain is not None
    if not found.supported:
        assert found.b.argmax() == found.effects.best or found.b[found.effects.best] == found.b.max()
        assert all((choice.picks == choice.best).all() for choice in found.choices)


def test_prompts_that_tie_move_nobody():
    """Two prompts with the same answers: the tie is decided once, not by the last digit of a sum."""
    log = simulate(0, train=200, test=10, rates=(0.5, 0.5), seed=0)
    train = log.training_set()
    train = replace(train, labels=np.repeat(train.labels[:, :1], 2, 1))
    found = study(log.vectors[log.train].astype(float), train)
    assert found.gain is not None and found.gain.measured == (0, 0, 0) and not found.supported


def test_calibration_counts_prompts_that_might_be_chosen():
    """m of a hopeless prompt is right, m among the good ones is noise: its share is what counts."""
    rng = np.random.default_rng(0)
    m = rng.standard_normal((4000, 3)) * np.array([0.5, 0.5, 2.0])
    b = np.array([0.5, 0.4, -6.0])
    y = (rng.random(m.shape) < sigmoid(b + m * np.array([0.0, 0.0, 1.0]))).astype(float)
    cells = Cells(y, np.ones_like(y), np.arange(4000), np.ones(4000))
    held_out = Predictions(np.zeros(4000), np.tile(b, (4000, 1)), m)
    assert Calibration.of(cells, held_out).share < 0.15
    assert Calibration.of(cells, held_out, supported=False).share == 0.0


# --- simulated logs ----------------------------------------------------------------------------------


def test_simulated_log_has_what_it_says():
    log = simulate(3, train=2000, test=2000, rates=MAWPS["rates"], seed=0)
    best_single = log.expected.mean(0).max()
    assert 100 * (log.expected.max(1).mean() - best_single) == pytest.approx(3, abs=0.01)
    np.testing.assert_allclose(log.truth.mean(0), MAWPS["rates"], atol=0.02)
    assert abs(log.truth.mean() - log.correct.mean()) < 0.01
    assert len(set(log.questions())) == 4000 and len(log.rows()) == 24000
    assert sum(log.components().values()) == pytest.approx(log.truth.mean() * (1 - log.truth.mean()))
    again = simulate(3, train=2000, test=2000, rates=MAWPS["rates"], seed=0)
    assert (again.correct == log.correct).all()


def test_hidden_cells_follow_their_propensities():
    log = simulate(3, train=3000, test=100, rates=RATES, seed=0)
    for policy in ("uniform", "prefers_good", "by_question"):
        propensities = logging_propensities(log, policy, 0.4)
        hidden = hide(log, propensities)
        kept = ~np.isnan(hidden.correct[log.train][:, :, 0])
        np.testing.assert_allclose(kept.mean(0), propensities[log.train].mean(0), atol=0.04)
        assert not np.isnan(hidden.correct[~log.train]).any()


# --- diagnosis ---------------------------------------------------------------------------------------


def found_with(gain: tuple[float, float, float], p_value: float) -> Study:
    whole = Gain(gain, gain, gain, 0.1, (0.5, 0.4, 0.6))
    phi, labels = np.zeros((3, 1)), np.zeros((3, 2))
    train = TrainingSet(phi, np.eye(2), labels, np.ones((3, 2)), 1)
    effects = learn_effects(phi, Cells.of(train))
    supported = gain[1] > 0 or (p_value <= 0.05 and gain[0] > 0)
    return Study(phi, train, effects, np.zeros(2), 1.0, 1.0, p_value, supported, (), whole)


@pytest.mark.parametrize(
    ("gain", "p_value", "word", "said"),
    [
        ((0.02, 0.01, 0.03), 0.001, "worth it", "gains +2.0 points [+1.0, +3.0]"),
        ((0.02, -0.01, 0.05), 0.001, "not enough data", "it brings +2.0 points [-1.0, +5.0]"),
        (
            (0.02, 0.01, 0.03),
            0.3,
            "not enough data",
            "test disagree: A selector chooses per question, though",
        ),
        ((0.002, 0.001, 0.003), 0.001, "not shown", "1 point is ruled out"),
        ((-0.001, -0.006, 0.004), 0.3, "not shown", "1 point is ruled out"),
        ((-0.02, -0.03, -0.01), 0.01, "not shown", "would lose"),
        ((0.0, -0.02, 0.02), 0.3, "not enough data", "About"),
    ],
)
def test_verdict_and_words_agree_with_the_interval(gain, p_value, word, said) -> None:
    found = decide_verdict(found_with(gain, p_value), 1000)
    assert found.word == word and said in found.reason


def test_worth_it_says_so_where_held_out_answers_alone_leave_it_open() -> None:
    found = found_with((0.02, 0.01, 0.03), 0.001)
    assert found.gain is not None
    open_ = replace(found, gain=replace(found.gain, measured=(0.015, -0.001, 0.031)))
    said = decide_verdict(open_, 1000)
    assert said.word == "worth it" and "Held-out answers alone say +1.5 [-0.1, +3.1]" in said.reason
    assert "Held-out answers alone" not in decide_verdict(found, 1000).reason


def test_a_small_log_without_a_gain_says_that_it_is_small() -> None:
    for groups, small in ((20, True), (2000, False)):
        found = decide_verdict(found_with((0.0, 0.0, 0.0), 1.0), groups)
        assert found.word == "not shown" and ("more questions" in found.reason) == small


def diagnosed(log: SimulatedLog) -> diagnosis.Diagnosis:
    answers = log.prompt_log()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return diagnosis.diagnose_fitted(PromptSelector(log.embedder()).fit(answers), answers)


def test_verdicts():
    strong = diagnosed(simulate(8, train=1000, test=1, rates=RATES, seed=0))
    assert strong.verdict == "worth it" and strong.gain is not None and strong.gain.estimate[1] > 0.01
    assert [p["questions"] for p in strong.curve] == [250, 500, 1000]
    nothing = diagnosed(simulate(0, train=1000, test=1, rates=RATES, seed=1))
    assert nothing.verdict == "not shown" and nothing.more_questions == 0
    small = diagnosed(simulate(3, train=80, test=1, rates=(0.5, 0.5, 0.5), seed=2))
    assert small.verdict != "worth it"
    assert "best single prompt" in "\n".join(diagnosis.report_lines(strong))


@pytest.mark.parametrize("n, k", [(8, 3), (200, 1)])
def test_too_little_is_said(n: int, k: int):
    found = diagnosed(simulate(0, train=n, test=1, rates=(0.5,) * k, seed=0))
    assert found.verdict == "not enough data" and found.gain is None


def test_variance_components():
    rates = tuple(np.linspace(0.2, 0.6, 8))
    true, estimated = [], []
    for seed in range(5):
        log = simulate(3, train=2000, test=1, rates=rates, samples=2, seed=seed)
        rows = log.prompt_log()
        split = variance.variance_split(rows.question, rows.prompt, rows.correct.astype(float), (2000, 8))
        assert split is not None and split.repeated
        true.append(list(log.components().values()))
        estimated.append([split.prompt, split.difficulty[1], split.interaction[1], split.noise[1]])
    true, estimated = np.mean(true, 0), np.mean(estimated, 0)
    assert (np.abs(estimated - true) < np.maximum(0.1 * true, 0.005 * true.sum())).all()


def test_one_answer_per_cell_gives_bounds_that_hold():
    log = simulate(3, train=3000, test=1, rates=RATES, seed=1)
    rows = log.prompt_log()
    split = variance.variance_split(rows.question, rows.prompt, rows.correct.astype(float), (3000, 4))
    assert split is not None and not split.repeated and np.isnan(split.interaction[1])
    true = log.components()
    for name in ("difficulty", "interaction", "noise"):
        low, _, high = getattr(split, name)
        assert low - 0.003 < true[name] < high + 0.003
    assert split.total == pytest.approx(sum(true.values()), rel=0.03)


def test_oracle_without_luck():
    log = simulate(0, train=2000, test=1, rates=(0.5, 0.5, 0.5), samples=2, seed=0)
    raw, without = variance.oracle(log.prompt_log())
    best = log.truth[log.train].max(1).mean()
    assert raw > best + 0.1, "luck flatters"
    assert 0.5 < without < best + 0.02


def test_facts_name_what_is_wrong():
    rows = [
        {
            "question": f"How many {word} are in {i} boxes of {other}?",
            "prompt": p,
            "correct": int(p == "good" and i % 2),
            "answer": a,
            "split": s,
        }
        for i, (word, other) in enumerate((f"w{i}x", f"o{i}y") for i in range(30))
        for p, a in (("good", "the answer is 7."), ("bad", "so first we will take the number of all the"))
        for s in ("train", "test")
    ]
    facts = log_facts.data_facts(read_log(pd.DataFrame(rows)))
    assert facts.broken_prompts == ["prompt 2"] and set(facts.truncated) == {"prompt 2"}
    assert facts.test_questions_in_train == 30 and facts.duplicate_rows == 60
    assert any("leak" in line for line in facts.lines())


def test_measure_selection_runs(tmp_path: Path):
    script = Path(__file__).parents[2] / "scripts" / "measure_selection.py"
    command = [sys.executable, str(script), "--parts", "variance", "--logs", "1", "--root", str(tmp_path)]
    page = tmp_path / "docs" / "selection.md"
    page.parent.mkdir()
    page.write_text("<!-- table: selection_variance -->\n<!-- end -->\n")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/reference/selection_variance.csv").read_text().startswith("component,samples")
    assert "| difficulty | 2 | 1 |" in page.read_text()
    done = run_in_process([*command, "--parts", "variants"], tmp_path)
    assert done.returncode != 0 and done.stderr.startswith("error: --parts variants: choose from"), (
        done.stderr
    )


@pytest.mark.parametrize("groups", [2**13, 40], ids=["each by itself", "in groups"])
def test_sign_flips_find_nothing_where_nothing_is(groups: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evidence, "GROUPS", groups)
    rng = np.random.default_rng(0)
    phi, clusters = rng.standard_normal((200, 10)), np.arange(200) // 2
    alike = np.ones(3)

    def p_value(residual: np.ndarray, stakes: np.ndarray = alike) -> float:
        k = residual.shape[1]
        cells = Cells(np.zeros((200, k)), np.ones((200, k)), clusters, np.ones(200))
        return sign_flip_p_value(partial(over_blocks, phi), cells, residual, np.ones(k), stakes[:k])

    chance = [p_value(rng.standard_normal((200, 3))) for _ in range(200)]
    assert 0.4 < np.mean(chance) < 0.6 and np.mean(np.array(chance) <= 0.1) < 0.17
    assert np.mean(np.array(chance) <= 0.05) < 0.1
    signal = rng.standard_normal((200, 3)) + 0.5 * phi @ rng.standard_normal((10, 3))
    assert p_value(signal) < 1e-4
    assert p_value(signal[:, :1]) == 1.0
    shared = np.repeat(signal[:, :1], 3, 1)  # a question that is easy for all prompts chooses none
    assert p_value(shared + 1e-9 * rng.standard_normal((200, 3))) > 0.05
    # Only prompt 2 depends on the question.
    bad = np.column_stack([rng.standard_normal((200, 2)), signal[:, 2]])
    assert p_value(bad) < 0.01 and p_value(bad, np.array([1.0, 1.0, 1e-4])) > 0.05


def test_stakes_fall_with_the_distance_to_the_best():
    stakes = stakes_of(np.array([0.0, -0.25, -3.0]))
    assert stakes[0] == 1 and 0.4 < stakes[1] < 0.6 and stakes[2] < 1e-6


def test_boosted_interaction_gains_where_trees_can_and_stays_where_not(tmp_path: Path):
    """Trees see a threshold: prompt 1 is right where the first feature is positive, prompt 0 elsewhere."""
    rng = np.random.default_rng(0)
    log = simulate(0, train=600, test=200, rates=(0.5, 0.5, 0.5), seed=9)
    x = log.vectors[:, 0] > 0
    truth = np.column_stack([np.where(x, 0.3, 0.7), np.where(x, 0.7, 0.3), np.full(len(x), 0.2)])
    correct = (rng.random((*truth.shape, 1)) < truth[:, :, None]).astype(np.float32)
    clear = replace(log, truth=truth, correct=correct)
    for case, supported in ((clear, True), (log, False)):
        model = BoostedInteraction()
        model.fit(case.training_set())
        test = case.vectors[~case.train]
        p = model.predict(test, case.prompt_vectors)
        gain = case.gain(p.argmax(1), int(case.training_set().prompt_means.argmax()))
        assert (model.settings["interaction"] > 0) == supported
        assert gain > 10 if supported else gain == 0
        digest = reward_models.save(model, tmp_path / "m.safetensors")
        again = reward_models.load(
            reward_models.make("boosted_interaction"), tmp_path / "m.safetensors", digest
        )
        assert (again.predict(test, case.prompt_vectors) == p).all()
