"""The hh experiment: what is measured of pairs, by hand; the whole path on a tiny model, stopped and
resumed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alol_steps import with_chat_template
from hypothesis import given
from hypothesis import strategies as st

from prompt_oirl.alol.evaluation import aggregation
from prompt_oirl.alol.evaluation.aggregation import Evaluated
from prompt_oirl.alol.experiments import hh_claims, hh_policies, hh_rows, hh_settings, hh_setup, hh_tables
from prompt_oirl.alol.experiments.hh_likelihoods import pair_log_probs
from prompt_oirl.alol.experiments.hh_measures import pair_metrics, reweighted_reward, segments_of
from prompt_oirl.alol.experiments.hh_policies import Job
from prompt_oirl.alol.experiments.hh_results import Results
from prompt_oirl.alol.experiments.hh_settings import HHOptions
from prompt_oirl.alol.models.checkpoints import save_model
from prompt_oirl.alol.models.log_probabilities import Tokens, collate, token_log_probs
from prompt_oirl.alol.rows import FINAL, LOGIT, Row
from prompt_oirl.alol.tasks import toy
from prompt_oirl.io.files import InputError

SIZES = replace(hh_settings.SMALL, rates=(1e-2,), seeds=2, validations=2, test_pairs=8)


def pair(better: float, worse: float, chosen: int = 0) -> list[Row]:
    """Two rows of one prompt."""
    scores = (better, worse)
    return [Row(f"r{i}", "p", "x", {FINAL: s}, chosen=i == chosen, meta={}) for i, s in enumerate(scores)]


def test_metrics_of_a_pair_by_hand():
    """First pair: likelier by 2 nats, gained 1 where the other lost 1; second: nothing changed."""
    rows = [*pair(0.8, 0.2, chosen=1), *pair(0.6, 0.5)]
    log_probs, reference = np.array([[-4.0, -6.0], [-3.0, -3.0]]), np.array([[-5.0, -5.0], [-3.0, -3.0]])
    found = pair_metrics(log_probs, reference, rows, np.array([[2, 6], [3, 3]]))
    assert found["nats_chosen"].tolist() == [1.0, 1.0] and found["nats_better"].tolist() == [2.0, 1.0]
    assert found["nats_by_reward"].tolist() == pytest.approx([0.8 * 2 + 0.2 * 1, 1.0])
    assert found["accuracy"].tolist() == [1.0, 0.5]
    assert found["accuracy_per_token"].tolist() == [0.0, 0.5]  # 2 nats a token against 1
    assert found["gain_accuracy"].tolist() == [1.0, 0.5]
    weight = 1 / (1 + np.exp(-2.0))
    assert found["reweighted_reward"].tolist() == pytest.approx([0.8 * weight + 0.2 * (1 - weight), 0.55])


@given(st.floats(-2000, 2000), st.floats(-2000, 2000), st.floats(0, 1), st.floats(0, 1))
def test_the_reweighted_reward_lies_between_both_rewards(a: float, b: float, r: float, s: float) -> None:
    (found,) = reweighted_reward(np.array([[a, b]]), np.array([[r, s]]))
    assert min(r, s) - 1e-12 <= found <= max(r, s) + 1e-12


def test_segments_share_out_the_pairs():
    rewards = np.linspace(0.05, 0.9, 9)
    rows = [row for r in rewards for row in pair(r + 0.05, 0.05)]
    lengths = np.array([[3, 2], [2, 3], [2, 2]] * 3)
    found = segments_of(rows, lengths)
    assert [int(found[name].sum()) for name in found] == [9, 3, 3, 3, 3, 3]
    assert found["large margin"].tolist() == [False] * 6 + [True] * 3


def test_reading_a_prompt_once_changes_no_log_probability():
    model, tokenizer = toy.make_model(0)
    rng = np.random.default_rng(0)
    tokens = []
    for _ in range(5):
        prompt = rng.integers(4, 20, rng.integers(1, 9)).tolist()
        tokens += [Tokens(prompt, rng.integers(4, 20, rng.integers(1, 6)).tolist()) for _ in range(2)]
    with torch.no_grad():
        expected = [token_log_probs(model, collate([row], 0)).sum().item() for row in tokens]
    for size in (1, 2, 5):
        found = pair_log_probs(model, tokens, tokenizer.pad_token_id, size)
        assert found.ravel().tolist() == pytest.approx(expected, abs=1e-4)


def logged(rewards: list[float]) -> list[Row]:
    return [Row(str(i), "p", "x", {FINAL: r}, meta={LOGIT: 10 * r}) for i, r in enumerate(rewards)]


def test_flips_exchange_rewards_within_pairs_and_grow():
    rows = logged(np.random.default_rng(0).random(40).tolist())
    before: set[int] = set()
    for share in (0.0, 0.1, 0.3, 0.5):
        noisy = hh_rows.with_flipped_rewards(rows, share)
        changed = {i // 2 for i, (a, b) in enumerate(zip(rows, noisy)) if a.reward != b.reward}
        assert len(changed) == round(20 * share) and before <= changed
        for i in changed:
            assert [r.reward for r in noisy[2 * i : 2 * i + 2]] == [
                rows[2 * i + 1].reward,
                rows[2 * i].reward,
            ]
        assert all(row.meta[LOGIT] == 10 * row.reward for row in noisy)
        before = changed


def test_a_turn_without_a_speaker_is_refused():
    turns = ["<|prompter|> Hi ", "<|assistant|>Hello", "<|prompter|>Why?", "<|assistant|>"]
    assert hh_rows.messages_of(turns) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
    ]
    with pytest.raises(InputError, match="a turn begins with 'Human: Hi', not with a speaker"):
        hh_rows.messages_of(["Human: Hi", "<|assistant|>"])


def test_every_policy_has_a_name_of_its_own_and_the_full_form_all_of_them():
    jobs = hh_policies.jobs_of(HHOptions())
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    measured = [job for job in jobs if job.rate is None]
    plain = [job for job in measured if not job.flipped and not job.variant and job.algorithm != "reference"]
    assert {(j.algorithm, j.seed) for j in plain} == {
        (a, s) for a in hh_settings.ALGORITHMS for s in range(3)
    }
    assert len(hh_settings.ALGORITHMS) == 11 and len(plain) == 33
    assert Job("a_lol", 1, variant=hh_policies.ALL_ROWS).name == "a_lol-all_rows-seed1"
    assert Job("dpo", rate=1e-3, flipped=0.3).name == "dpo-flipped30-seed0-rate0.001"


def test_the_rate_is_chosen_by_dev_once_all_are_tried(tmp_path: Path) -> None:
    options = HHOptions(root=tmp_path)
    for rate, score in zip(options.sizes.rates, (0.5, 0.5)):
        assert hh_policies.chosen_rate(options, "nll") is None
        path = hh_policies.result_file(options, Job("nll", rate=rate))
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"dev": [[0, 0.9], [12, score]]}))
    assert hh_policies.chosen_rate(options, "nll") == min(options.sizes.rates)  # of equals


def evaluated(algorithm: str, seed: int, means: list[float], strategy: str = "good_priority") -> Evaluated:
    scores = {"all": {"reweighted_reward": {f"c{i}": mean for i, mean in enumerate(means)}}}
    return Evaluated((algorithm, strategy, 0.9, 0.0, 1e-3, 24), "hh", seed, scores, {})


def results_of(found: list[tuple[Evaluated, dict[str, Any]]]) -> Results:
    records = [
        {"algorithm": one.settings[0], "seed": one.seed, "flipped": 0.0, "variant": ""} | about
        for one, about in found
    ]
    return Results(HHOptions(), [], records, [one for one, _ in found])


def test_claims_by_hand():
    """A-LoL's seeds differ a tenth as much as DPO's; a_lol gains 0.1 over all rows on every dialogue."""
    rng = np.random.default_rng(0)
    found: list[tuple[Evaluated, dict[str, Any]]] = []
    for seed, off in enumerate((-1.0, 0.0, 1.0)):
        for name in hh_claims.A_LOL:
            found.append((evaluated(name, seed, (0.6 + 0.001 * off + np.zeros(9)).tolist()), {}))
        found.append((evaluated("dpo", seed, (0.5 + 0.01 * off + np.zeros(9)).tolist()), {}))
        every = (0.5 + 0.001 * off + rng.normal(0, 1e-6, 9)).tolist()
        found.append((evaluated("a_lol", seed, every, "none"), {"variant": hh_policies.ALL_ROWS}))
    rows = hh_claims.claim_rows(results_of(found))
    (ratio,) = (r for r in rows if r["quantity"] == "sd ratio" and r["against"] == "dpo")
    assert ratio["value"] == pytest.approx(0.1) and ratio["trainings"] == 10
    assert ratio["ci_low"] < 0.1 < ratio["ci_high"] < 1
    (gain,) = (r for r in rows if r["claim"] == "sparing")
    assert gain["value"] == pytest.approx(0.1, abs=1e-5) and gain["ci_low"] > 0
    text = hh_claims.render_claims(rows)
    assert "four variants / dpo | 0.100" in text and text.count("confirmed") == 3


def test_intervals_of_few_seeds_and_many_groups_use_both_degrees_of_freedom():
    """Without a difference between seeds t has the groups' degrees of freedom; with shared groups alike, the
    seeds'."""
    groups = np.random.default_rng(0).normal(0, 1, 80)
    same = [{str(i): v for i, v in enumerate(groups)}] * 3
    _, low, high, *_ = aggregation.interval(["hh"] * 3, same, few_seeds=True)
    assert (high - low) / 2 == pytest.approx(1.9905 * groups.std(ddof=1) / np.sqrt(80), rel=1e-3)
    seeds = [{str(i): v for i in range(80)} for v in (1.0, 2.0, 3.0)]
    _, low, high, *_ = aggregation.interval(["hh"] * 3, seeds, few_seeds=True)
    assert (high - low) / 2 == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)


def write_dialogues(data: Path) -> None:
    """LoL-RL's files in small: prompts of random words, which share no near-duplicate, and random letters."""
    rng = np.random.default_rng(0)

    def said(n: int) -> str:
        return " ".join(rng.choice(list(toy.LETTERS), n))

    for names, n in zip(hh_rows.FILES.values(), (16, 30, 40)):
        for name in names:
            lines = []
            for i in range(n):
                asked = " ".join("".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(12))
                turns = [f"<|prompter|>{asked}", "<|assistant|>"]
                long, short = said(int(rng.integers(4, 8))), said(int(rng.integers(1, 4)))
                reward = rng.normal(0, 1, 2).tolist()
                lines.append(
                    {"prefix": [turns, turns], "suffix": [long, short], "reward": reward, "sft_index": i % 2}
                    | {"meta": {"path": "raw/helpful-base/dev.jsonl"}}
                )
            path = data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HHOptions, Path]]:
    monkeypatch.setattr(hh_settings, "SMALL", SIZES)
    threads = torch.get_num_threads()
    options = HHOptions(small=True, root=tmp_path)
    write_dialogues(options.fetched / "LoL-RL" / "data")
    model, tokenizer = toy.make_model(0)
    save_model(tmp_path / "base", model, with_chat_template(tokenizer))
    yield options, tmp_path / "base"
    torch.set_num_threads(threads)


def test_the_whole_path_resumes_and_ends_in_tables(experiment: tuple[HHOptions, Path]) -> None:
    pytest.importorskip("peft")
    options, base = experiment
    hh_setup.set_up(options, base)
    hh_policies.work(options, base, os.getpid())
    jobs = hh_policies.jobs_of(options)
    assert all(hh_policies.result_file(options, job).is_file() for job in jobs)
    # Killed after training, or in the middle of it: what is missing is made again, to the same numbers.
    again = [Job("dpo", 1), Job("a_lol", flipped=0.5)]
    before = [json.loads(hh_policies.result_file(options, job).read_text()) for job in again]
    for job, told in zip(again, before):
        hh_policies.result_file(options, job).unlink()
        half = options.folder / "trained" / replace(job, rate=told["rate"]).name
        (half / "training.json").unlink()
        (half / "training").mkdir()
        (half / "training" / "checkpoint.safetensors").write_bytes(b"half")
    hh_policies.work(options, base, os.getpid())
    for job, told in zip(again, before):
        found = json.loads(hh_policies.result_file(options, job).read_text())
        assert (found["log_probs"], found["samples"]) == (told["log_probs"], told["samples"])
    hh_tables.write_tables(options)
    made = {path.name for path in options.tables.iterdir()}
    names = ("", "_differences", "_policies", "_value", "_claims", "_curves", "_rows")
    assert made == {f"alol_hh{n}.csv" for n in names} | {"alol_hh.png", "alol_hh_claims.png"}
    with (options.tables / "alol_hh.csv").open(newline="") as file:
        rows = [
            r for r in csv.DictReader(file) if (r["segment"], r["metric"]) == ("all", "reweighted_reward")
        ]
    assert [r["algorithm"] for r in rows].count("a_lol") == 2 and len(rows) == 13
    with pytest.raises(InputError, match="holds another experiment"):
        hh_settings.SMALL = replace(SIZES, updates=9)
        hh_setup.set_up(options, base)


WORKER = """
import os, sys
from dataclasses import replace
from pathlib import Path
from prompt_oirl.alol.experiments import hh_policies, hh_settings, hh_setup
hh_settings.SMALL = replace(hh_settings.SMALL, rates=(1e-2,), seeds=2, validations=2, test_pairs=8)
options = hh_settings.HHOptions(small=True, root=Path(sys.argv[1]))
hh_setup.set_up(options, Path(sys.argv[1]) / "base")
hh_policies.work(options, Path(sys.argv[1]) / "base", os.getpid())
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_as_one_that_was_not(
    experiment: tuple[HHOptions, Path], tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    options, base = experiment
    moments = ("rows/train.jsonl", "reference/model", "advantages.safetensors", "measured/nll-seed0.json")
    for moment in moments:
        process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], env={**os.environ})
        while not (options.folder / moment).exists() and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", WORKER, str(tmp_path)], check=True, env={**os.environ})
    whole = HHOptions(small=True, root=tmp_path / "whole")
    write_dialogues(whole.fetched / "LoL-RL" / "data")
    hh_setup.set_up(whole, base)
    hh_policies.work(whole, base, os.getpid())
    for job in hh_policies.jobs_of(options):
        if job.rate is None:
            mine, other = (json.loads(hh_policies.result_file(o, job).read_text()) for o in (options, whole))
            assert mine["log_probs"] == other["log_probs"], job.name
