"""Predicting instructions: ranks on planted truth, refusal on noise, nothing learned from test, hybrid at a
share of the calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opro_toy import HELPFUL, quality, toy_parts, toy_questions, toy_task
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import HashingVectorizer
from test_opro_loop import Bench, gain

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.prompts import Prompt, prompt_id
from prompt_oirl.io.files import InputError, read_csv
from prompt_oirl.llms import Decoding
from prompt_oirl.opro import ablation_tables, ablations, report
from prompt_oirl.opro.ablation_tables import ArmResult, mean_over_runs_and_groups
from prompt_oirl.opro.loop import LoopSettings, optimise
from prompt_oirl.opro.meta_prompt import MetaPromptSettings
from prompt_oirl.opro.predicting_scorers import HybridScorer, RewardModelScorer, cells_for
from prompt_oirl.opro.prompt_rewards import (
    Measured,
    PromptRewards,
    RewardSettings,
    TextVectors,
    rank_correlation,
    spearman,
)
from prompt_oirl.opro.search_proposer import SMALL, PhraseSearch

WORDS = (*HELPFUL, "banana", "purple", "maybe", "hurry", "loudly", "somehow", "perhaps", "quickly")


def encode(texts: Sequence[str]) -> np.ndarray:
    return HashingVectorizer(n_features=64, token_pattern=r"\w+").transform(texts).toarray()


def instructions(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 4, replace=False)) for _ in range(n)]


def planted(n: int = 40, noise: bool = False) -> Measured:
    """Success on 30 questions: more helpful words, more right answers; or no relation at all."""
    rng = np.random.default_rng(1)
    texts = list(dict.fromkeys(instructions(n)))
    chance = np.full(len(texts), 0.5) if noise else np.array([0.2 + 0.15 * quality(t) for t in texts])
    labels = (rng.random((30, len(texts))) < chance).astype(np.float32)
    return Measured([q.text for q in toy_questions(90)][:30], texts, labels)


def rewards(**changes: Any) -> PromptRewards:
    return PromptRewards(RewardSettings(**changes), TextVectors(encode))


# --- rank correlation ------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert spearman(a, b)[0] == pytest.approx(spearmanr(a, b).statistic)
    else:
        assert np.isnan(spearman(a, b)[0])


def test_rank_correlation_of_perfect_and_of_no_predictions() -> None:
    data = planted()
    clusters = np.arange(30) // 2
    perfect = np.tile(data.labels.mean(0), (30, 1))
    value, low, high = rank_correlation(data.labels, perfect, clusters)
    assert value == pytest.approx(1) and low > 0.5 and high <= 1
    shuffled = np.random.default_rng(0).permuted(perfect, axis=1)
    value, low, high = rank_correlation(data.labels, shuffled[:1].repeat(30, 0), clusters)
    assert low < 0 < high
    perfect[:, 0] = np.nan  # without a prediction it drops out
    assert rank_correlation(data.labels, perfect, clusters)[0] == pytest.approx(1)


# --- the ensemble ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["ridge", "linear"])
def test_left_out_instructions_are_ranked_where_words_matter_and_not_where_nothing_does(model: Any) -> None:
    for noise, lowest, highest in ((False, 0.6, 1.0), (True, -0.5, 0.5)):
        data = planted(noise=noise)
        predicted = rewards(model=model, members=6).fit(data)
        value, low, high = rank_correlation(data.labels, predicted, np.arange(30), resamples=200)
        assert lowest < value < highest and low < value < high, (model, noise, value)


def test_what_an_ensemble_never_saw_is_predicted_with_more_spread() -> None:
    data = planted()
    model = rewards()
    model.fit(data)
    _, spread = model.predict(
        data.questions, [data.prompts[0], "zebra quantum umbrella", "check write think step"]
    )
    assert (spread >= 0).all() and spread[0] > 0
    values, spread = model.predict(data.questions, data.prompts)
    assert ((values >= 0) & (values <= 1)).all() and values.shape == data.labels.shape
    again = rewards()
    again.fit(data)
    np.testing.assert_array_equal(again.predict(data.questions, data.prompts)[0], values)


def test_missing_answers_are_no_wrong_answers() -> None:
    """Two instructions of equal worth, one asked on the hard questions only."""
    labels = np.full((20, 6), np.nan, dtype=np.float32)
    labels[:, 2:] = np.repeat([[1.0], [0.0]], 10, axis=0)
    labels[:10, 0], labels[10:, 1] = 1, 0
    texts = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    model = rewards()
    model.fit(Measured([f"question {i}" for i in range(20)], texts, labels))
    values, _ = model.predict([f"question {i}" for i in range(20)], texts)
    assert abs(values[:, 0].mean() - values[:, 1].mean()) < 0.1


@pytest.mark.parametrize(
    "flags", [{"members": 0}, {"top": 0}, {"explore": -1}, {"beta": float("nan")}, {"threshold": 2.0}]
)
def test_settings_that_cannot_work_are_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--reward"):
        RewardSettings(**flags)
    with pytest.raises(InputError, match="minilm"):
        TextVectors.load("tfidf")


# --- the scorers -----------------------------------------------------------------------------------------


def rows_of(data: Measured, llm: str = "toy") -> list[LogRow]:
    by_text = {q.text: q for q in toy_questions(90)}
    return [
        LogRow(llm, "toy", q.split, q.id, q.text, q.gold, prompt_id(p), p, float(data.labels[i, j]))
        for i, text in enumerate(data.questions)
        if (q := by_text[text])
        for j, p in enumerate(data.prompts)
    ]


def test_nothing_is_learned_from_validation_test_or_another_llm() -> None:
    parts, rows = toy_parts(toy_task()), rows_of(planted())
    assert {row.split for row in rows} == {"train", "validation", "test"}
    cells = cells_for(parts, rows, "toy")
    train = {q.text for q in parts.train}
    assert cells and {q for q, _, _ in cells} == train & {row.question for row in rows}
    assert cells_for(parts, rows, "other") == []


def test_reward_model_scorer_predicts_the_lower_bound_and_asks_nobody(tmp_path: Path) -> None:
    parts, task = toy_parts(toy_task()), toy_task()
    groups = {q.text: parts.groups[q.id] for q in task.questions}
    cells = cells_for(parts, rows_of(planted()), "toy")
    ensemble = rewards(beta=2.0)
    scorer = RewardModelScorer(ensemble, cells, groups)
    good, bad = (Prompt(prompt_id(t), t) for t in ("check step write final", "banana purple maybe hurry"))
    scores = scorer.score([good, bad], parts.train, 0, "train")
    assert scores[0] and scores[1] and scores[0].mean > scores[1].mean and scores[0].kind == "predicted"
    values, spread = ensemble.predict([q.text for q in parts.train], [good.text])
    assert scores[0].mean == pytest.approx(np.clip(values[:, 0] - 2 * spread[0], 0, 1).mean())

    bench = Bench(tmp_path, PhraseSearch("chat"))
    run = bench.prepare(steps=6, samples=8, initial=("Banana.",))
    run.scorer = run.final_scorer = scorer
    optimise(run)
    report.write_tables(run, tmp_path / "run", "reward model")
    assert not bench.scorer.asked and not bench.rows(), "a predicting run asked the model"  # type: ignore[attr-defined]
    assert run.winner and run.winner.prompt and quality(run.winner.prompt.text) > 0
    what = [row["what"] for row in read_csv(tmp_path / "run" / "result.csv", hint="")]
    assert what and all(w.endswith("(predicted)") for w in what)


def test_reward_model_scorer_is_refused_where_it_cannot_rank() -> None:
    parts = toy_parts(toy_task())
    groups = {q.text: parts.groups[q.id] for q in toy_task().questions}
    with pytest.raises(InputError, match=r"Spearman -?0\.\d\d .* below --reward.threshold 0.3; measure more"):
        RewardModelScorer(rewards(), cells_for(parts, rows_of(planted(noise=True)), "toy"), groups)
    few = cells_for(parts, rows_of(planted(4)), "toy")
    with pytest.raises(InputError, match="holds 4 instructions"):
        RewardModelScorer(rewards(), few, groups)


def hybrid_run(folder: Path, **loop: Any) -> tuple[Bench, Any]:
    bench = Bench(folder, PhraseSearch("chat"))
    run = bench.prepare(**{"steps": 12, "samples": 24, **loop})
    run.scorer = HybridScorer(run.final_scorer, rewards(top=2, explore=1, threshold=0.0), [], run.seed)
    with bench.log.held():
        optimise(run)
    report.write_tables(run, folder / "run", "toy")
    report.write_report(run, folder / "run", "toy", bench.spending)
    return bench, run


def test_hybrid_measures_few_logs_only_those_and_climbs(tmp_path: Path) -> None:
    bench, run = hybrid_run(tmp_path)
    measured = [c for c in run.candidates if c.train]
    assert len(measured) == 1 + 12 * 3 and len(run.candidates) > 200
    assert {c.train.kind for c in measured} == {"measured"}
    logged = {r.prompt for r in bench.rows() if r.split == "train"}
    assert logged == {c.prompt.text for c in measured}, "predicted scores are in the log"
    assert gain(run) > 0.1
    table = read_csv(tmp_path / "run" / "predictions.csv", hint="")
    assert {row["picked"] for row in table} == {"best", "random"} and all(row["measured"] for row in table)
    by_pick = {
        k: np.mean([float(r["measured"]) for r in table if r["picked"] == k]) for k in ("best", "random")
    }
    assert by_pick["best"] > by_pick["random"] + 0.05
    assert "Accepted but never measured" in (tmp_path / "run" / "report.md").read_text()
    hybrid_run(tmp_path / "short", steps=2)
    said = (tmp_path / "short" / "run" / "report.md").read_text()
    assert (
        "never tried, for fewer than 8 instructions were measured" in said and "all picks are random" in said
    )


def test_hybrid_again_is_the_same_and_pays_nothing_and_stops_at_its_limit(tmp_path: Path) -> None:
    bench, _ = hybrid_run(tmp_path / "a", max_scored=11)
    first, asked = bench.bytes(), len(bench.scorer.asked)  # type: ignore[attr-defined]
    again, run = hybrid_run(tmp_path / "a", max_scored=11)
    assert len(run.scored) == 11 and not again.scorer.asked and asked > 0  # type: ignore[attr-defined]
    assert again.bytes() == first


# --- ablations -------------------------------------------------------------------------------------------


def test_arms_spend_the_same_calls_and_quarters_a_quarter() -> None:
    base, calls = LoopSettings(), (40, 50)
    arms = ablations.arms(160)
    assert {name for axis in ablations.AXES.values() for name in axis.values()} == set(arms)
    full = 40 * 161 + 50 * (base.finalists + 1)
    for arm in arms.values():
        loop = arm.loop_settings(base, 160, calls)
        most = 40 * loop.max_scored + 50 * (loop.finalists + 1)  # type: ignore[operator]
        assert loop.steps * loop.samples >= 160
        assert most == full if not arm.quarter else full / 4 - 40 < most <= full / 4


def test_small_space_is_closed_under_the_search() -> None:
    space = set(SMALL.instructions())
    assert len(space) == 22 + 22 * 21
    search, shown = PhraseSearch("chat", SMALL), "Let's solve the problem."
    for step in range(30):
        text = f"text:\n{shown}\nscore:\n50\n\ntext:\nAnswer at once.\nscore:\n40\n"
        turns = [[{"role": "user", "content": text}]] * 8
        answers = search.generate(turns, decoding=Decoding(1.0, 1.0, None), seeds=range(step, step + 8))
        found = [a.text.removeprefix("<INS>").removesuffix("</INS>") for a in answers]
        assert set(found) <= space
        shown = found[0]


def test_interval_over_runs_and_groups_holds_the_mean_and_widens_with_fewer_groups() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random((6, 60)) < 0.6).astype(float)
    mean, low, high = mean_over_runs_and_groups(values, np.arange(60))
    assert mean == pytest.approx(values.mean()) and low < mean < high
    same = np.repeat(values[:, :6], 10, axis=1)  # six questions ten times: a group each
    wide = mean_over_runs_and_groups(same, np.repeat(np.arange(6), 10))
    assert wide[2] - wide[1] > 1.5 * (high - low)
    narrow = mean_over_runs_and_groups(values, np.arange(60), level=0.5)
    assert low < narrow[1] < narrow[2] < high


def test_table_pairs_by_seed_and_question() -> None:
    def outcome(arm: str, seed: int, test: list[float]) -> ArmResult:
        return ArmResult(arm, seed, 100, [0.2, 0.5, 0.5], "x", 0.5, np.array(test), np.zeros(2))

    outcomes = [outcome("default", s, [0.0, 1.0]) for s in (0, 1)] + [outcome("samples=1", 1, [1.0, 1.0])]
    table = {(r["axis"], r["value"]): r for r in ablation_tables.table(outcomes, np.array([0, 1]), "p", "s")}
    row = table["instructions per step", "1"]
    assert (row["over_default"], row["seeds"], row["best_train"], row["test"]) == (0.5, 1, 0.5, 1.0)
    assert row["early"] == row["early_ci_low"] == 0.5
    assert table["instructions per step", "8"]["over_default"] is None
    table = {
        (r["axis"], r["value"]) for r in ablation_tables.table(outcomes, np.array([0, 1]), "p", "s", "Go.")
    }
    assert ("start", "Go.") in table and ("start", ablations.INITIAL) not in table
    ablations.check_base(LoopSettings(finalists=3), MetaPromptSettings())
    with pytest.raises(InputError, match="--loop.samples 4: the arms of step 4 set it themselves"):
        ablations.check_base(LoopSettings(samples=4), MetaPromptSettings())
    curve = list(ablation_tables.curve_rows(outcomes[:1]))
    assert [(r["scored"], r["best_train"]) for r in curve] == [(1, 0.2), (2, 0.5), (3, 0.5)]
