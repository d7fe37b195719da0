"""The six steps as a user runs them, on the toy task at tiny size, and arith on a small log."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alol_steps import SMALL, STEPS, call, script, step, synthetic_log, table
from huggingface_hub import ModelCard
from safetensors.torch import save_file

from prompt_oirl.alol.evaluation import aggregation
from prompt_oirl.alol.evaluation import responses as evaluation
from prompt_oirl.alol.evaluation.figures import draw_curve
from prompt_oirl.alol.models.checkpoints import ModelSource, read_tensors
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.training.losses import PRESETS
from prompt_oirl.io.files import REPO_ROOT, InputError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 1 to 3 done."""
    root = tmp_path_factory.mktemp("alol")
    call(1, root, train_rows=120, validation_rows=40, test_rows=30)
    call(2, root, num_train_epochs=4, batch_size=16)
    call(3, root, value_epochs=3)
    return root


@pytest.mark.slow
def test_the_steps_as_commands(tmp_path):
    """All six with the published scripts' flags."""
    root, folder = tmp_path, tmp_path / "alol_exps" / "toy" / "main"
    step(1, root, "-tn", "toy", *SMALL, own_process=True)
    step(2, root, "-e", "4", "-bs", "16", "-lr", "3e-3")
    printed = step(3, root, "-a2c_n", "3", "-v_bs", "64")
    assert "held-out prompts" in printed and "above 0" in printed
    flags = ["-algo", "a_lol", "-c", "0.9", "--steps", "6", "-ts", "-t", "-ev_b"]  # -ts: good_priority
    assert "6 updates" in step(4, root, *flags, "--eval_steps", "3", "-bs", "8", "-as", "2", own_process=True)
    policy = json.loads((folder / "policies" / "a_lol-seed0" / "policy.json").read_text())
    assert policy["algorithm"] == "a_lol" and policy["recipe"]["accumulation"] == 2 and policy["rows"] < 120
    curve = table(folder / "policies" / "a_lol-seed0" / "curve.csv")
    assert [r["step"] for r in curve] == [str(i) for i in range(1, 7)] and float(
        curve[0]["ratio"]
    ) == pytest.approx(1, abs=1e-4)
    assert [bool(r["score"]) for r in curve] == [False, False, True] * 2
    assert (folder / "policies" / "a_lol-seed0" / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert {r["segment"] for r in table(folder / "advantages" / "advantage_stats.csv")} == {
        "all",
        "easy",
        "hard",
    }
    printed = step(5, root, own_process=True)
    assert "reference" in printed and "a_lol-seed0" in printed
    results = root / "results" / "alol" / "toy"
    said = [
        json.loads(line)
        for line in (results / "main" / "a_lol-seed0" / "test" / "predictions.jsonl").read_text().splitlines()
    ]
    assert len(said) == 30 and {"response", "match", "final_reward"} <= set(said[0])
    assert "a_lol" in step(6, root, "--baselines", "reference")
    levels = table(results / "alol_toy_test.csv")
    assert {r["algorithm"] for r in levels} == {"reference", "a_lol"}
    assert {r["metric"] for r in levels} >= {"match", "length_words", "perplexity_of_data", "distinct_1"}
    no_pickle = [p for p in root.rglob("*") if p.suffix in (".pt", ".bin", ".pkl", ".pth", ".tmp")]
    assert not no_pickle


@pytest.mark.parametrize("algorithm", PRESETS)
def test_every_algorithm_trains(root, algorithm):
    beta = 0.1 if algorithm == "a_lol_kl" else 0.0
    call(
        4,
        root,
        algorithm=algorithm,
        kl_beta=beta,
        max_steps=2,
        batch_size=8,
        policy=f"{algorithm}-try",
        eval_every=0,
    )
    folder = root / "alol_exps" / "toy" / "main" / "policies" / f"{algorithm}-try"
    assert (folder / "model" / "model.safetensors").is_file()
    assert float(table(folder / "curve.csv")[0]["loss"]) > 0


def test_the_toy_task_rewards_easy_prompts_and_splits_prompts():
    splits = toy.make_rows({"train": 300, "validation": 100, "test": 100}, 1)
    prompts = {split: {row.prompt for row in rows} for split, rows in splits.items()}
    assert not prompts["train"] & prompts["test"] and not prompts["train"] & prompts["validation"]
    easy = [row.reward for row in splits["train"] if row.segment == "easy"]
    hard = [row.reward for row in splits["train"] if row.segment == "hard"]
    assert min(easy) >= 0.8 and max(hard) <= 0.2 + 1e-9
    assert np.mean([row.components["match"] == 1 for row in splits["train"]]) == pytest.approx(0.5, abs=0.1)


def test_complaints_are_one_line(root, tmp_path):
    assert "run alol_step1_prepare_data.py" in step(3, tmp_path, fails=True)
    for flags, said in (
        ({"task_name": "nobody"}, "unknown task"),
        ({"algorithm": "a_lol_kl"}, "--kl_beta"),
        ({"run": "../x"}, "plain folder name"),
        ({"max_steps": 0}, "--steps 0"),
        ({"model_name_or_path": "no/such/folder"}, "there is no such folder"),
        ({"adapter_path": "/no/adapter"}, "the adapter '/no/adapter'.*: pass --adapter_path"),
        ({"policy": "../x"}, "--policy '../x': give a plain folder name"),
        ({"policy": "reference"}, "--policy reference: give another name"),
        ({"validation_prompts": 0}, "--validation_prompts 0"),
        ({"tuning": "lora", "lora_rank": 0}, "--lora_rank 0"),
        ({"max_response_length": 0}, "--max_response_length 0"),
    ):
        with pytest.raises(InputError, match=said) as error:
            call(4, root, **flags)
        assert "\n" not in str(error.value)
    for number, flags, said in (
        (1, {"prompt": "nan"}, "--prompt is for arith, not for toy"),
        (3, {"value_rate": float("inf"), "force": True}, "--value_rate inf"),
        (
            5,
            {"samples": 2, "decoding": "greedy"},
            "--samples 2: responses that are not sampled are",
        ),
    ):
        with pytest.raises(InputError, match=said):
            call(number, root, **flags)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "adapter_config.json"])
def test_damaged_model_folders_are_refused(tmp_path, file):
    toy.write_model(tmp_path / "model", 0)
    text = "[]" if file == "adapter_config.json" else "{}"
    (tmp_path / "model" / file).write_text(text)
    with pytest.raises(InputError, match="cannot be loaded|names no base model") as error:
        ModelSource(str(tmp_path / "model")).load("cpu")
    assert "\n" not in str(error.value)


def test_what_a_killed_run_left_beside_a_model_goes_away(tmp_path):
    old, new = tmp_path / ".model.a.tmp", tmp_path / ".model.b.tmp"
    old.mkdir(), new.mkdir()
    os.utime(old, (0, 0))
    toy.write_model(tmp_path / "model", 0)
    assert not old.exists() and new.exists()


def test_a_model_without_some_of_its_weights_is_refused_not_drawn_at_random(tmp_path):
    toy.write_model(tmp_path, 0)
    weights, _ = read_tensors(tmp_path / "model.safetensors", "")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="damaged .no weights for model.layers.1.mlp.up_proj.weight"):
        ModelSource(str(tmp_path)).load("cpu")


def test_validations_per_epoch(root):
    """-vf counts validations per pass over the rows that are drawn, as published."""
    module = script(4)
    args = module.Args(root=root, validations_per_epoch=2, num_train_epochs=3, batch_size=10)
    recipe = args.recipe_for(120)
    assert (recipe.steps, recipe.eval_every) == (36, 6)
    with pytest.raises(InputError, match="without --eval_every"):
        module.Args(root=root, validations_per_epoch=2, eval_every=3).recipe_for(120)


def test_a_finished_step_is_skipped_and_tables_repeat(root, capsys):
    flags: dict[str, Any] = {
        "max_steps": 2,
        "algorithm": "wbc",
        "eval_every": 0,
        "policy": "again",
        "run": "main",
    }
    call(4, root, **flags)
    call(4, root, **flags)
    assert "again: up to date" in capsys.readouterr().out
    call(5, root, policies="again")
    results = root / "results" / "alol" / "toy"
    for name in ("one", "two"):
        call(6, root, output_csv=results / f"{name}.csv")
    assert (results / "one.csv").read_bytes() == (results / "two.csv").read_bytes()


def test_what_is_missing_or_damaged_is_said(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root / "alol_exps" / "toy" / "main", copy / "alol_exps" / "toy" / "main")
    folder = copy / "alol_exps" / "toy" / "main"
    (cache,) = (folder / "advantages").glob("advantages.*.safetensors")
    whole = cache.read_bytes()
    flags: dict[str, Any] = {"max_steps": 1, "policy": "x", "eval_every": 0}
    for damage in (lambda: cache.write_bytes(whole[:-8]), cache.unlink):
        damage()
        with pytest.raises(
            InputError, match="step3.json records; run alol_step3_estimate_advantage.py again"
        ):
            call(4, copy, **flags)
    cache.write_bytes(whole)
    with pytest.raises(InputError, match="missing .*advantages"):  # other precision, other log-probabilities
        call(4, copy, precision="bf16", **flags)
    (folder / "reference").rename(folder / "elsewhere")
    with pytest.raises(InputError, match="run alol_step2_train_reference.py"):
        call(4, copy, **flags)
    (folder / "elsewhere").rename(folder / "reference")
    rows = (folder / "data" / "train.jsonl").read_text().splitlines()
    rows[4] = rows[4].replace('"final_reward": ', '"final_reward": 7')
    (folder / "data" / "train.jsonl").write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match="train.jsonl:5: final_reward"):
        call(4, copy, **flags)


def test_rows_that_nothing_can_be_learned_from_are_refused(root, tmp_path):
    shutil.copytree(root / "alol_exps" / "toy" / "main", tmp_path / "alol_exps" / "toy" / "main")
    folder = tmp_path / "alol_exps" / "toy" / "main"
    rows = [json.loads(line) for line in (folder / "data" / "train.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"chosen": False, "reward_components": {"final_reward": 0.0}}
    (folder / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags: dict[str, Any] = {"model_name_or_path": str(folder / "reference"), "max_steps": 1}
    with pytest.raises(InputError, match="every training row is a rejected response"):
        call(2, tmp_path, **flags)
    with pytest.raises(InputError, match="no training row has a reward above 0, so wbc would learn nothing"):
        call(4, tmp_path, **flags, algorithm="wbc", policy="nothing")


def test_other_rows_from_step_1_make_what_was_learned_and_measured_on_the_old_ones_stale(root, tmp_path):
    shutil.copytree(root / "alol_exps" / "toy" / "main", tmp_path / "alol_exps" / "toy" / "main")
    call(4, tmp_path, algorithm="wbc", max_steps=1, batch_size=8, policy="p", eval_every=0)
    with pytest.raises(InputError, match="other settings.*pass --force to train anew"):
        call(4, tmp_path, algorithm="wbc", max_steps=2, batch_size=8, policy="p", eval_every=0)
    call(5, tmp_path, policies="p")
    call(1, tmp_path, train_rows=120, validation_rows=40, test_rows=20)
    with pytest.raises(
        InputError, match="test.jsonl: not what manifest.json records; run alol_step5_evaluate.py again"
    ):
        call(6, tmp_path)
    call(5, tmp_path, policies="p")
    call(6, tmp_path)
    call(1, tmp_path, train_rows=100, validation_rows=40, test_rows=20)
    for number, flags, said in (
        (3, {}, "step2.json records; run alol_step2_train_reference.py again"),
        (5, {"policies": "p"}, "step4.json records; train the policy again by step 4"),
        (6, {}, "run alol_step5_evaluate.py again, or remove"),
    ):
        with pytest.raises(InputError, match=said):
            call(number, tmp_path, **flags)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing(root, tmp_path):
    """A file-size limit stands in for a full disk; the same command then goes on."""
    flags = ["--algorithm", "nll", "--steps", "2", "--policy", "full", "--save_every", "1"]
    result = subprocess.run(
        [sys.executable, f"{STEPS[4]}.py", "--root", str(root), *flags],
        cwd=REPO_ROOT / "alol_exps",
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert result.returncode == 1 and result.stderr.startswith("error: cannot write"), result.stderr
    assert len(result.stderr.strip().split("\n")) == 1 and "free some space" in result.stderr
    folder = root / "alol_exps" / "toy" / "main" / "policies" / "full"
    assert not list(folder.rglob("*.tmp")) and not list(folder.rglob("*.safetensors"))
    call(4, root, algorithm="nll", max_steps=2, policy="full", save_every=1)
    assert (folder / "model" / "model.safetensors").is_file()


def test_arith_from_a_small_log(tmp_path, capsys):
    log = synthetic_log(tmp_path / "arith.parquet")
    model, tokenizer = toy.make_model(0)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{{ '\n' }}{% endfor %}"
    model.resize_token_embeddings(24)
    model.config.max_position_embeddings = 256
    model.save_pretrained(tmp_path / "nano")
    tokenizer.save_pretrained(tmp_path / "nano")
    flags: dict[str, Any] = {"task_name": "arith", "model_name_or_path": str(tmp_path / "nano")}
    call(1, tmp_path, **flags, log=log)
    call(3, tmp_path, **flags, value_samples=2, value_epochs=1, max_response_length=8)
    call(
        4,
        tmp_path,
        **flags,
        max_steps=2,
        batch_size=4,
        eval_every=1,
        validation_prompts=3,
        max_response_length=8,
    )
    policy = tmp_path / "alol_exps" / "arith" / "main" / "policies" / "a_lol-seed0" / "model"
    assert "step 5 of A-LoL fills this in" in (policy / "README.md").read_text()
    call(5, tmp_path, **flags, max_response_length=8)
    card = ModelCard((policy / "README.md").read_text())
    assert card.data.library_name == "transformers" and "a_lol" in card.data.tags
    assert "| base model | nano |" in card.text
    assert re.search(r"\| final&#95;reward \| all \| \S+ \| \S+ to \S+ \| \d+ \|", card.text)
    call(5, tmp_path, **flags, max_response_length=8, force=True)  # step 4 counts as finished still
    printed = capsys.readouterr().out
    assert "responses cut off" in printed and "a_lol-seed0" in printed
    torch.manual_seed(0)


def test_intervals_cover_seeds_and_questions():
    """Coverage by simulation: 95 % intervals hold the true mean about that often, for shared questions."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        question, seed = rng.normal(0, 1, 60), rng.normal(0, 0.3, 5)
        repeats = [{str(g): 1 + question[g] + s + rng.normal(0, 0.5) for g in range(60)} for s in seed]
        value, low, high, seeds, groups = aggregation.interval(["main"] * 5, repeats)
        hits += low <= 1 <= high
        assert (seeds, groups) == (5, 60)
    assert 0.93 <= hits / 300 <= 1.0
    value, low, high, *_ = aggregation.interval(["a", "b", "c"], [{"q": v} for v in (1.0, 2.0, 3.0)])
    assert value == 2 and high - value == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)


def test_steps_5_and_6_give_one_interval_and_shares_stay_within_their_range():
    rows = [replace(row, group=f"g{i // 2}") for i, row in enumerate(toy.make_rows({"test": 31}, 0)["test"])]
    said = [[" ".join(row.prompt.split()[:4]) if i % 3 else "x"] for i, row in enumerate(rows)]
    components = evaluation.reward_responses(toy.TASK, rows, said)
    table = evaluation.metric_rows(rows, said, components, np.ones(31), np.ones(31))
    (five,) = (r for r in table if (r["segment"], r["metric"]) == ("all", "match"))
    by_group: dict[str, list[float]] = {}
    for row, found in zip(rows, components):
        by_group.setdefault(row.cluster, []).append(found[0]["match"])
    scores = {"all": {"match": {g: float(np.mean(v)) for g, v in by_group.items()}}}
    one = aggregation.Evaluated(("a_lol",), "main", 0, scores, {"all": {"distinct_1": (0.5, 0.4, 0.6)}})
    six = {r["metric"]: r for r in aggregation.levels([one])}
    assert all(six["match"][name] == five[name] for name in ("value", "ci_low", "ci_high", "groups"))
    assert [six["distinct_1"][name] for name in ("value", "ci_low", "ci_high")] == [0.5, 0.4, 0.6]

    repeats = [
        aggregation.Evaluated(("a_lol",), run, 0, {"all": {"match": {"q": v}}}, {})
        for run, v in (("a", 0.2), ("b", 1.0), ("c", 1.0))
    ]
    (level,) = aggregation.levels(repeats)
    assert level["ci_low"] >= 0 and level["ci_high"] == 1


def test_a_curve_without_ratios_is_drawn_without_a_warning(tmp_path, recwarn):
    draw_curve([{"step": 1.0, "loss": 0.5, "nll": 0.5}], "dpo", tmp_path / "curve.png")
    assert not recwarn.list


def test_differences_are_paired_by_run_and_seed():
    def evaluated(algorithm: str, strategy: str, seed: int, value: float) -> aggregation.Evaluated:
        settings = (algorithm, strategy, 0.9, 0.0, 1e-3, 80)
        scores = {"all": {"match": {"q1": value, "q2": value + 0.2}}}
        return aggregation.Evaluated(
            settings, "main", seed, scores, {"all": {"distinct_1": (value, value, value)}}
        )

    found = [
        evaluated(name, strategy, seed, level + seed)
        for name, strategy, level in (
            ("wbc", "none", 0.1),
            ("wbc", "good_priority", 0.4),
            ("a_lol", "none", 0.3),
        )
        for seed in range(3)
    ]
    rows = aggregation.differences([*found, evaluated("a_lol", "none", 9, 99.0)], ["wbc:none"])
    (row,) = (r for r in rows if r["algorithm"] == "a_lol" and r["metric"] == "match")
    assert row["seeds"] == 3 and row["value"] == pytest.approx(0.2) and row["ci_low"] == pytest.approx(0.2)
    with pytest.raises(InputError, match="2 different settings.*wbc:good_priority"):
        aggregation.differences(found, ["wbc"])
