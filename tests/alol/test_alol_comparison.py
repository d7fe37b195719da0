"""How algorithms are compared: one policy measured, its rate chosen, and what the claims' tables say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from alol_steps import call, table

from prompt_oirl.alol.evaluation import aggregation
from prompt_oirl.alol.experiments import claim_tables, claims, comparison_tables
from prompt_oirl.alol.experiments.compare_algorithms import CompareOptions, tune
from prompt_oirl.alol.experiments.measurement import (
    REFERENCE,
    TRAINED,
    Measurement,
    PreparedRun,
    flipped,
    load_run,
    measure,
)
from prompt_oirl.alol.steps.train_policy import PolicyOptions
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.io.files import InputError, write_json
from prompt_oirl.io.json_files import read_json


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PreparedRun:
    """Steps 1 to 3 of a small toy run."""
    root = tmp_path_factory.mktemp("compared")
    call(1, root, train_rows=60, validation_rows=20, test_rows=12)
    call(2, root, max_steps=4, batch_size=8, eval_every=0)
    call(3, root, value_epochs=1, value_samples=1)
    return load_run(PolicyOptions(root=root, validation_prompts=10))


def test_the_reference_is_kept_where_no_validation_beats_it(run, tmp_path):
    still = TrainingRecipe(2, 8, learning_rate=0.0, weight_decay=0.0, eval_every=1)
    for name in (REFERENCE, "nll"):
        measure(run, Measurement(name, still, tmp_path / f"{name}.json"))
    moving = replace(still, learning_rate=0.05)  # far off: from here on no response is a word
    measure(run, Measurement("nll", moving, tmp_path / "moved.json"))
    reference, same, moved = (read_json(tmp_path / f"{n}.json", hint="") for n in (REFERENCE, "nll", "moved"))
    assert same["keeps_reference"] and same["scores"] == reference["scores"]
    assert moved["validation_of_reference"] == same["validation_of_reference"]
    scores = moved["scores"]["all"]
    beaten = max(score for _, score in moved["validation"]) <= moved["validation_of_reference"]
    assert moved["keeps_reference"] == beaten
    assert scores[TRAINED] != reference["scores"]["all"]["match"]
    assert scores["match"] == (reference["scores"]["all"]["match"] if beaten else scores[TRAINED])
    with pytest.raises(InputError, match="another learning_rate"):
        measure(run, Measurement("nll", still, tmp_path / "moved.json"))


def test_measuring_again_gives_the_same_and_leaves_the_reference_alone(run, tmp_path):
    recipe = TrainingRecipe(3, 8, learning_rate=1e-3, seed=5)
    for name in ("one", "two"):
        measure(run, Measurement("a_lol", recipe, tmp_path / f"{name}.json", flipped=0.3))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_flips_turn_round_rewards_and_advantages_of_a_share_of_the_rows(run, share):
    data, most = run.data, run.data.task.max_reward
    found = flipped(data, share, 3)
    changed = [i for i, (a, b) in enumerate(zip(data.rows, found.rows)) if a != b]
    assert len(changed) == round(share * len(data.rows)) and flipped(data, 0.0, 3) is data
    for i in changed:
        assert found.rows[i].reward == pytest.approx(most - data.rows[i].reward)
        assert found.rows[i].response == data.rows[i].response
    assert found.advantages is not None and data.advantages is not None
    values = np.array([row.reward for row in found.rows]) - found.advantages.advantages
    assert np.allclose(values, data.advantages.values, atol=1e-6)
    assert [r.reward for r in flipped(data, share, 3).rows] == [r.reward for r in found.rows]


def test_the_best_two_rates_are_tried_again_and_the_best_mean_is_taken(run, tmp_path):
    args = CompareOptions(task="arith", root=tmp_path, learning_rates=(1e-4, 1e-3, 1e-2))
    scores = {(1e-4, 100): 0.5, (1e-3, 100): 0.7, (1e-2, 100): 0.6, (1e-3, 101): 0.4, (1e-2, 101): 0.6}
    tuning, asked = tune(args, run, "dpo"), []
    with pytest.raises(StopIteration) as ended:
        one = next(tuning)[1]
        while True:
            assert not one.tested and one.recipe.steps == 30
            asked.append((one.recipe.learning_rate, one.seed))
            write_json(one.path, {"validation": [[15, 0.1], [30, scores[asked[-1]]]]})
            one = tuning.send(None)[1]
    assert ended.value.value == 1e-2
    assert asked == [(1e-4, 100), (1e-3, 100), (1e-2, 100), (1e-3, 101), (1e-2, 101)]


def test_policies_are_paired_with_the_reference_of_their_seed():
    def one(name: str, seed: int, value: float) -> aggregation.Evaluated:
        scores = {"all": {"match": {"q1": value, "q2": value}}}
        return aggregation.Evaluated((name, "none", 0.9, 0.0, 1e-3, 80), "main", seed, scores, {})

    found = [
        one(n, seed, level + 0.1 * seed) for n, level in (("reference", 0.1), ("pro", 0.4)) for seed in (0, 1)
    ]
    (row,) = aggregation.differences(found, ["reference"])
    assert row["value"] == pytest.approx(0.3) == row["ci_low"]
    (row,) = aggregation.differences(found[1:], ["reference"])  # its only seed serves them all
    assert row["value"] == pytest.approx(0.25) and row["seeds"] == 2


def record(task: str, name: str, value: float, **about: Any) -> dict[str, Any]:
    """As `measure` writes it, with two question groups round `value`."""
    found = {"algorithm": name, "strategy": claims.strategy_of(task, name), "seed": 0, "run": "one_prompt"}
    found |= {"kl_beta": 0.0, "learning_rate": 1e-3, "steps": 80, "flipped": 0.0, "keeps_reference": False}
    found |= {"validation": [[40, value]], "validation_of_reference": 0.5} | about
    groups = {"q1": value - 0.1, "q2": value + 0.1}
    metric = "match" if task == "toy" else "final_reward"
    return found | {"scores": {"all": {metric: groups, TRAINED: groups}}}


def test_spread_is_pooled_over_runs_and_compared_by_family():
    records = [
        record("toy", name, level + width * sign, run=run, seed=seed)
        for name, width in (("a_lol", 0.01), ("wbc", 0.02))
        for run, level in (("seed0", 0.3), ("seed1", 0.7))
        for seed, sign in ((0, -1), (1, 0), (2, 1))
    ]
    records = [r | {"groups": r["scores"]["all"]["match"]} for r in records]
    rows = claim_tables.steadiness("toy", records)
    by = {row["algorithm"]: row for row in rows if row["quantity"] == "sd"}
    assert by["a_lol"]["value"] == pytest.approx(0.01) and by["wbc"]["value"] == pytest.approx(0.02)
    # chi-squared with 4 degrees of freedom: .4844 and 11.143 are its 2.5 and 97.5 % points
    assert by["wbc"]["ci_low"] == pytest.approx(0.02 * np.sqrt(4 / 11.143), rel=1e-3)
    assert by["wbc"]["ci_high"] == pytest.approx(0.02 * np.sqrt(4 / 0.4844), rel=1e-3)
    (ratio,) = (row for row in rows if row["quantity"] == "sd ratio")
    # F with 4 and 4: 9.605 is its 97.5 % point
    assert ratio["value"] == pytest.approx(0.5) and ratio["ci_high"] == pytest.approx(
        0.5 * np.sqrt(9.605), rel=1e-3
    )


def test_the_claims_of_both_tasks_become_a_table_and_a_figure(tmp_path):
    with pytest.raises(InputError, match="run without --tables_only"):
        claim_tables.write_claims(claims.ClaimOptions(root=tmp_path))
    levels = {"nll": 0.3, "wbc": 0.5, "a_lol": 0.7}
    for task, arms in (("toy", claims.toy_arms()), ("arith", claims.arith_arms())):
        for number, arm in enumerate(arms):
            for seed in range(2):
                value = levels.get(arm.algorithm, 0.6) - 0.5 * arm.flipped + 0.01 * seed
                value += 0.05 * (arm.strategy == "good_random")
                about = {"strategy": arm.strategy, "flipped": arm.flipped, "steps": arm.steps or 80}
                about |= {"seed": seed, "run": f"seed{seed}" if task == "toy" else "one_prompt"}
                path = tmp_path / "results" / "alol" / "claims" / task / f"{number}-seed{seed}.json"
                write_json(path, record(task, arm.algorithm, value, **about))
    args = claims.ClaimOptions(root=tmp_path)
    for name in ("reference", "nll", "a_lol", "wbc", "pro", "ppo"):
        for seed in range(3):
            path = CompareOptions(task="arith", root=tmp_path).result_file(name, seed)
            write_json(path, record("arith", name, 0.4 + 0.01 * seed, seed=seed))
    claim_tables.write_claims(args)
    reference = tmp_path / "results" / "reference"
    rows = table(reference / "alol_claims.csv")
    assert (reference / "alol_claims.png").stat().st_size > 10_000

    def found(**wanted: str) -> float:
        (row,) = (r for r in rows if all(r[name] == of for name, of in wanted.items()))
        return float(row["value"])

    gain = {"claim": "sparing", "task": "toy", "quantity": "difference", "updates": "20"}
    assert found(**gain, strategy="good_random") == pytest.approx(0.05)
    wrong = {"claim": "robust", "algorithm": "a_lol", "quantity": "difference", "flipped": "0.3"}
    assert found(**wrong, task="toy", against="no flips") == pytest.approx(-0.15)
    assert found(**wrong, task="arith", against="wbc") == pytest.approx(0.2)
    assert found(**wrong, task="arith", against="nll") == pytest.approx(0.25)
    ratio = {"claim": "steady", "task": "arith", "quantity": "sd ratio"}
    assert found(**ratio, against="own answers") == pytest.approx(1)
    flips = claim_tables.render_flips(claim_tables.claim_rows(args)[0])
    assert "| toy | `r_lol` |" in flips and "at 30 %, above nll" in flips
    assert "| not shown |" in claim_tables.render_comparisons(claim_tables.claim_rows(args)[0])


@pytest.mark.parametrize(
    ("low", "high", "shows"), [(0.2, 0.8, "steadier"), (0.8, 1.2, "not shown"), (1.1, 2, "less steady")]
)
def test_a_claim_is_shown_only_by_a_whole_interval(low, high, shows):
    row = {"value": np.float64(low + high) / 2, "ci_low": low, "ci_high": high}
    assert claim_tables.verdict(row, 1.0, ("steadier", "less steady")) == shows


def test_the_comparison_says_what_was_chosen_and_how_often_the_reference_was_kept(tmp_path):
    args = CompareOptions(task="arith", root=tmp_path)
    for name, level in (("reference", 0.5), ("nll", 0.5), ("pro", 0.7), ("a_lol", 0.6), ("a_lol_seq", 0.4)):
        for seed in range(2):
            kept = {"keeps_reference": name == "nll" and seed == 0, "seed": seed}
            trained = [] if name == "reference" else [[15, level], [30, level - 0.1]]
            found = record("arith", name, level, **kept, validation=trained)
            write_json(args.result_file(name, seed), found)
            write_json(args.results / "tuning" / f"{name}-{seed}.json", found | {"scores": {}, "seed": 100})
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "a_lol.md"
    marks = ("<!-- table: alol_arith -->", "<!-- table: alol_arith_findings -->")
    page.write_text("".join(f"{mark}\n<!-- end -->\n" for mark in marks))
    comparison_tables.write_tables(args)
    line = {
        cells[0]: cells
        for text in page.read_text().split("\n")[3:-2]
        if (cells := text.strip("| ").split(" | "))
    }
    assert line["pro"][1:3] == ["pairs", "0.001"] and line["pro"][5].startswith("+0.200")
    assert line["nll"][6] == "1 of 2" and line["pro"][6] == "0 of 2"
    said = page.read_text()
    assert "- above the reference: `pro`, `a_lol`; below it: `a_lol_seq`\n" in said
    assert "- trained weights alone below the reference: `a_lol_seq`\n" in said
    assert "validation prefers `a_lol`; it differs by +0.100 [+0.100, +0.100] from `reference`" in said
    rows = table(tmp_path / "results" / "reference" / "alol_arith_validation.csv")
    assert {r["step"] for r in rows if r["algorithm"] == "pro"} == {"0", "15", "30"}
    assert not [r for r in rows if r["algorithm"] == "reference"]
