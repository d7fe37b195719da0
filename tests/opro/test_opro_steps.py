"""Steps 1 and 2 of OPRO as a user runs them, against a server that misbehaves; killed, resumed, under two
hash seeds."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from in_process import run_in_process
from misbehaving_server import FAULTS, MisbehavingServer, error
from opro_toy import pick, reply_to, toy_questions

from prompt_oirl.data import interactions
from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.opro import search_proposer

KEY = "sk-secret-of-the-test"
STEP1, STEP2 = "opro_step1_optimize_prompts.py", "opro_step2_evaluate_prompts.py"
STEP3, STEP4 = "opro_step3_select_per_query.py", "opro_step4_ablations.py"
SIZES = ["--train_size", "12", "--validation_size", "10", "--test_size", "30"]
SMALL = [*SIZES, "--loop.steps", "3", "--loop.samples", "4", "--loop.finalists", "3", "--max_gen_len", "60"]


class Runner:
    def __init__(self, root: Path, server: MisbehavingServer):
        self.root, self.server = root, server
        root.mkdir(exist_ok=True)
        self.questions = root / "questions.jsonl"
        rows = [
            {"id": q.id, "question": q.text, "gold": q.gold, "split": q.split, "group": q.group}
            for q in toy_questions()
        ]
        self.questions.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def command(self, script: str, *flags: str) -> list[str]:
        model = [
            "--scorer.backend",
            "openai",
            "--scorer.model",
            "m",
            "--scorer.base_url",
            self.server.url,
            "--scorer.timeout",
            "1",
        ]
        return [
            sys.executable,
            script,
            "--task",
            "toy",
            "--questions",
            str(self.questions),
            "--root",
            str(self.root),
            *model,
            *flags,
        ]

    def step1(self, *flags: str) -> list[str]:
        optimizer = [
            "--optimizer.backend",
            "openai",
            "--optimizer.model",
            "o",
            "--optimizer.base_url",
            self.server.url,
        ]
        return self.command(
            STEP1, *SMALL, *optimizer, "--optimizer.timeout", "1", "--initial", "Solve it.", *flags
        )

    def run(
        self, command: list[str], own_process: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        cwd, env = REPO_ROOT / "opro_exps", self.environment(**environment)
        if own_process:
            return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
        return run_in_process(command, cwd, env)

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(REPO_ROOT), **more}

    @property
    def folder(self) -> Path:
        return self.root / "results" / "opro" / "toy" / "default"

    def results(self) -> dict[str, bytes]:
        return {
            str(p.relative_to(self.folder)): p.read_bytes()
            for p in sorted(self.folder.rglob("*"))
            if p.is_file()
        }

    def rows(self) -> list[interactions.LogRow]:
        return interactions.read(self.root / "opro_exps" / "LMm" / "toy_interactions.jsonl", hint="")


@pytest.fixture
def runner(tmp_path: Path, server: MisbehavingServer) -> Runner:
    server.reply_to = reply_to
    return Runner(tmp_path / "root", server)


@pytest.mark.slow
def test_optimise_at_a_misbehaving_server_then_evaluate(runner: Runner, server: MisbehavingServer) -> None:
    server.fault_of = lambda text: FAULTS[pick(text) % len(FAULTS)] if pick("fault", text) % 16 == 0 else ""
    # A client that waits one second at most, and a server, get a process each: neither holds up the other.
    done = runner.run(runner.step1(), own_process=True)
    assert done.returncode == 0, done.stderr
    rows = runner.rows()
    assert len({(r.question_id, r.prompt_id) for r in rows}) == len(rows)
    asked = {text: n for text, n in server.answered.items() if "Begin it" not in text}
    assert len(asked) == len(rows) and set(asked.values()) == {1}, "an answer was paid twice"
    assert sum(server.answered.values()) - len(asked) == 12, "proposals"
    assert {server.fault_of(text) for text in server.requests} > {""}

    result = list(csv.DictReader((runner.folder / "result.csv").open()))
    assert [row["what"] for row in result] == [
        "test accuracy, initial",
        "test accuracy, winner",
        "test gain, winner - initial",
    ]
    assert {row["proposer"] for row in result} == {"o"} and float(result[2]["value"]) > 0
    assert (runner.folder / "accuracy_per_step.png").read_bytes()[:4] == b"\x89PNG"
    report = (runner.folder / "seed0" / "report.md").read_text()
    assert "Proposer: o. Scorer: m." in report and f"{len(rows):,} of {len(rows):,} answers" in report

    assert f"for step 2 {runner.folder / 'winners.csv'}" in done.stdout
    found = runner.folder / "seed0" / "instructions.csv"
    step2 = runner.command(STEP2, *SIZES, "--max_gen_len", "60", "--instructions", str(found), "--top", "3")
    done = runner.run(step2, own_process=True)
    assert done.returncode == 0, done.stderr
    other = runner.run([*step2, "--part", "validation"])
    assert (
        other.returncode == 1 and '--part "test" (now "validation"); give --run another name' in other.stderr
    )
    table = list(
        csv.DictReader((runner.root / "results" / "opro" / "toy" / "instructions" / "evaluation.csv").open())
    )
    assert (
        table[0]["accuracy"] == result[0]["value"] and len(table) == 3 and table[0]["gain_over_first"] == "0"
    )
    log = runner.rows()
    assert len({(r.question_id, r.prompt_id) for r in log}) == len(log) > len(rows)
    files = [p for p in runner.root.rglob("*") if p.is_file()]
    assert not [p for p in files if KEY.encode() in p.read_bytes()]


def test_an_optimizer_without_credit_stops_the_run_at_once(runner: Runner, server: MisbehavingServer) -> None:
    server.respond = lambda body: (402, error("Insufficient Balance")) if body["model"] == "o" else None
    done = runner.run(runner.step1())
    assert done.returncode == 1 and "refused: HTTP 402: Insufficient Balance" in done.stderr.splitlines()[-1]
    assert sum(body["model"] == "o" for body in server.bodies) == 1


def test_failures_of_the_optimizer_count_as_calls(runner: Runner, server: MisbehavingServer) -> None:
    server.respond = lambda body: (503, error("down")) if body["model"] == "o" else None
    done = runner.run(runner.step1("--optimizer_budget.max_calls", "3"))
    assert done.returncode == 0 and "stopped by the optimizer's --max_calls 3" in done.stdout, done.stderr
    assert sum(body["model"] == "o" for body in server.bodies) == 3


def test_a_tracker_is_told_every_step_and_changes_nothing(runner: Runner, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    silent = Runner(tmp_path / "silent", runner.server)
    assert silent.run(silent.step1()).returncode == 0
    for _ in range(2):  # the second run repeats the first one's past
        done = runner.run(runner.step1("--report_to", "tensorboard"))
        assert done.returncode == 0, done.stderr
    told = runner.folder / "seed0" / "tensorboard"
    assert {n: b for n, b in runner.results().items() if "tensorboard" not in n} == silent.results()
    read = EventAccumulator(str(told))
    read.Reload()
    rows = list(csv.DictReader((runner.folder / "seed0" / "steps.csv").open()))
    assert len(rows) == 4
    for name in ("mean", "best", "best_so_far"):
        known = [(i, float(row[name])) for i, row in enumerate(rows) if row[name]]
        assert [(e.step, e.value) for e in read.Scalars(name)] == [(i, pytest.approx(v)) for i, v in known]
    asked = [e.value for e in read.Scalars("answers_asked")]
    assert asked[0] == 12 and asked == sorted(asked)


def test_killed_and_resumed(tmp_path: Path, server: MisbehavingServer) -> None:
    server.reply_to = reply_to
    whole = Runner(tmp_path / "whole", server)
    done = whole.run(whole.step1())
    assert done.returncode == 0, done.stderr
    paid = Counter(server.answered)
    runner = Runner(tmp_path / "killed", server)
    total = sum(paid.values())
    kills = 0
    for moment in (0.1, 0.4, 0.7, 0.95):
        before = sum(server.answered.values())
        process = subprocess.Popen(
            runner.step1(),
            cwd=REPO_ROOT / "opro_exps",
            env=runner.environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and sum(server.answered.values()) - total < moment * total:
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        assert sum(server.answered.values()) >= before
    done = runner.run(runner.step1())
    assert done.returncode == 0 and kills >= 3, done.stderr
    assert runner.results() == whole.results()
    again = Counter(server.answered) - paid
    assert sum(again.values()) <= total + 8 * kills, "more than the batch in flight was lost"
    mine, theirs = ({(r.question_id, r.prompt_id): r.answer for r in w.rows()} for w in (runner, whole))
    assert mine == theirs


@pytest.mark.slow
def test_same_bytes_under_two_hash_seeds(tmp_path: Path, server: MisbehavingServer) -> None:
    server.reply_to = reply_to
    results = []
    for hash_seed in ("1", "2"):
        runner = Runner(tmp_path / hash_seed, server)
        flags = ["--proposer", "search", "--seeds", "2", "--loop.exemplar_policy", "hardest"]
        done = runner.run(runner.step1(*flags), own_process=True, PYTHONHASHSEED=hash_seed)
        assert done.returncode == 0, done.stderr
        found = runner.results()
        results.append(found)
    assert results[0] == results[1] and len(results[0]) > 15
    text = {
        name: data.decode()
        for name, data in results[0].items()
        if name.endswith((".csv", ".md")) and b"step" in data
    }
    named = [n for n in text if "steps.csv" in n or "report.md" in n or "result.csv" in n]
    assert named and all("phrase-search" in text[n] for n in named), "the search is named in every output"


def test_flags_that_cannot_work_are_refused_in_one_line(runner: Runner, server: MisbehavingServer) -> None:
    done = runner.run(runner.step1("--dry_run"))
    assert (
        done.returncode == 0
        and "scorer calls, at most: 256 (156 train, 40 validation, 60 test" in done.stdout
    )
    assert not server.requests and not runner.folder.exists()
    runner.folder.joinpath("seed0").mkdir(parents=True)
    for flags, message in (
        (["--seeds", "0"], "--seeds 0: give 1 or more"),
        (["--train_size", "0"], "--train_size 0: give 1 or more"),
        (["--loop.steps", "0"], "--loop.steps 0"),
        (["--meta.buckets", "x"], "--meta.buckets x"),
        (["--run", "../x"], "--run '../x': give a plain folder name"),
        (["--run", "a\tb"], "--run 'a\\tb'"),
        (["--scorer_budget.max_calls", "-1"], "--scorer_budget.max_calls -1"),
        (["--task", "a[b"], "--task 'a[b'"),
        (["--temperature", "-1"], "temperature"),
    ):
        done = runner.run(runner.step1(*flags))
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    done = runner.run(runner.step1("--scorer_budget.max_calls", "5"))
    assert done.returncode == 0 and "stopped by the scorer's --max_calls 5" in done.stdout, done.stderr
    done = runner.run(runner.step1("--loop.samples", "3"))
    assert done.returncode == 1 and "was started with --loop.samples 4 (now 3)" in done.stderr
    done = runner.run(runner.step1("--scorer.model", "other", "--llm", "m"))
    assert (
        done.returncode == 1 and "holds answers of {'model': 'm'}, not of {'model': 'other'}" in done.stderr
    )
    done = runner.run(runner.command(STEP2, "--instructions", str(runner.root / "none.txt")))
    assert done.returncode == 1 and "missing" in done.stderr.splitlines()[-1]


def test_damaged_tables_of_step_1_are_refused_by_step_3(runner: Runner) -> None:
    folder = runner.folder / "seed0"
    folder.mkdir(parents=True)
    for settings, table, said in (
        ('{"position": "after"}', "", "not the settings of a run"),
        (
            '{"position": "after", "parts_seed": 0}',
            "prompt_id,kind,instruction,train\na,measured,A.,x\n",
            "train is no number",
        ),
    ):
        (folder / "run.json").write_text(settings)
        (folder / "trajectory.csv").write_text(table)
        done = runner.run(runner.command(STEP3, "--fit_size", "10", "--test_size", "5"))
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.slow
def test_select_per_query_and_ablations_replay_the_log(runner: Runner, server: MisbehavingServer) -> None:
    search = ["--proposer", "search", "--search_space", "small", "--parts_seed", "0"]
    assert runner.run(runner.step1(*search)).returncode == 0
    sizes = ["--validation_size", "10", "--test_size", "30", "--max_gen_len", "60"]
    step3 = runner.command(
        STEP3, *sizes, "--fit_size", "24", "--pool", "3", "--model", "linear", "--embedder", "tfidf"
    )
    done = runner.run(step3)
    assert done.returncode == 0, done.stderr
    folder = runner.folder / "seed0"
    table = {r["what"]: float(r["value"]) for r in csv.DictReader((folder / "selection.csv").open())}
    gain = table["picked per question"] - table["single best of the pool"]
    assert table["gain of picking"] == pytest.approx(gain) and table[
        "any of the pool (lucky hits count)"
    ] >= max(table["picked per question"], table["single best of the pool"])
    picks = list(csv.DictReader((folder / "picks.csv").open()))
    assert len(picks) == 30 and len({p["pick"] for p in picks}) <= 3
    before = sum(server.answered.values())
    assert runner.run(step3).returncode == 0 and sum(server.answered.values()) == before

    step4 = runner.command(
        STEP4,
        *SIZES,
        "--max_gen_len",
        "60",
        "--instructions",
        "12",
        "--seeds",
        "2",
        "--arms",
        "default",
        "samples=2",
        "order=descending",
        "one step",
        "quarter",
    )
    done = runner.run(step4, own_process=True, PYTHONHASHSEED="1")
    assert done.returncode == 0, done.stderr
    out = runner.root / "results" / "opro" / "toy" / "ablations"
    rows = list(csv.DictReader((out / "ablations.csv").open()))
    scored = {row["arm"]: float(row["scored"]) for row in rows}
    assert scored["default"] == scored["samples=2"] == scored["one step"] == 13 > scored["quarter"]
    assert {row["proposer"] for row in rows} == {"phrase-search"} and (out / "ablations.png").is_file()
    found = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    before = sum(server.answered.values())
    done = runner.run(step4, own_process=True, PYTHONHASHSEED="2")
    assert done.returncode == 0 and " 0 asked for" in done.stdout, "a second time is a replay"
    assert sum(server.answered.values()) == before
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == found
    done = runner.run(runner.command(STEP4, "--arms", "nonsense"))
    assert done.returncode == 1 and "choose from default" in done.stderr
    done = runner.run(runner.command(STEP3, "--run", "none"))
    assert done.returncode == 1 and "run opro_step1_optimize_prompts.py" in done.stderr


def test_without_any_scorer_call_an_instruction_is_found(runner: Runner, server: MisbehavingServer) -> None:
    """Instructions measured in step 2 teach the reward model; the search on its predictions asks nobody."""
    texts = runner.root / "texts.txt"
    texts.write_text("\n".join(search_proposer.SMALL.instructions()[:22]) + "\n")
    done = runner.run(
        runner.command(STEP2, *SIZES, "--max_gen_len", "60", "--instructions", str(texts), "--part", "train")
    )
    assert done.returncode == 0, done.stderr
    log = runner.root / "opro_exps" / "LMm" / "toy_interactions.jsonl"
    asked = len(server.requests)
    predict = [
        "--proposer",
        "search",
        "--score_by",
        "reward_model",
        "--judge",
        "reward_model",
        "--run",
        "predicted",
        "--reward_log",
        str(log),
        "--reward.threshold",
        "-1",
    ]
    done = runner.run(runner.step1(*predict))
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == asked, "a predicting run called the server"
    assert "no answer was asked for; rank correlation on left-out instructions" in done.stdout
    assert "(predicted)" in done.stdout
