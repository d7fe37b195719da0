"""A log made at a server that misbehaves, steps 2 to 5 on it, and step 5 --live for the picks it lacks."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import STEPS
from misbehaving_server import FAULTS, MisbehavingServer

from prompt_oirl.data import interactions
from prompt_oirl.io.files import REPO_ROOT

KEY = "sk-secret-of-the-test"
STEP_FLAGS = {
    2: [],
    3: ["--embedder", "tfidf"],
    4: ["--subsets", "3", "--split", "paper"],
    5: ["--subsets", "3", "--split", "paper"],
}


def draw(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def fault_of(text: str) -> str:
    """Three of ten conversations meet a fault on their first request."""
    return FAULTS[draw(text) % len(FAULTS)] if draw("fault" + text) % 10 < 3 else ""


def reply(text: str) -> str:
    """Right on additions if asked to think step by step, on the others half of the time."""
    a, b = map(int, re.findall(r"\d+", text)[:2])
    right = "step by step" in text if "finds" in text else draw("luck" + text) % 2 == 0
    return f"The answer is {a + b if right else a + b + 1}."


def question_file(folder: Path) -> Path:
    lines = ["question,gold,split"]
    for i in range(75):
        verb = ("finds", "buys")[i % 2]
        split = "test" if i % 4 == 0 else "train"
        lines.append(f"Ann has {i} apples and {verb} {i * 3} more. How many?,{i * 4},{split}")
    path = folder / "questions.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


class Pipeline:
    """Steps run as a user runs them, against the server; everything printed is kept."""

    def __init__(self, root: Path, server: MisbehavingServer):
        self.root, self.server, self.printed = root, server, ""
        self.questions = question_file(root)

    def run(self, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, script, "--root", str(self.root), "--llm", "m", *flags],
            cwd=REPO_ROOT / "llama_exps",
            env={**os.environ, "OPENAI_API_KEY": KEY},
            capture_output=True,
            text=True,
        )
        self.printed += done.stdout + done.stderr
        return done

    def step1(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            "llama_step1_gen_offline.py",
            "--dataset_eval",
            "toy",
            "--questions",
            str(self.questions),
            "--prompt_idx",
            "0-2",
            "--backend",
            "openai",
            "--model",
            "m",
            "--base_url",
            self.server.url,
            "--timeout",
            "1",
            "--price_in",
            "1",
            *flags,
        )

    def steps_2_to_5(self) -> None:
        for number, flags in STEP_FLAGS.items():
            done = self.run(STEPS[number], *flags)
            assert done.returncode == 0, done.stderr

    @property
    def log(self) -> Path:
        return self.root / "llama_exps" / "LMm" / "toy_interactions.jsonl"


@pytest.fixture
def pipeline(tmp_path: Path, server: MisbehavingServer) -> Pipeline:
    server.fault_of, server.reply = fault_of, reply
    return Pipeline(tmp_path, server)


@pytest.mark.slow
def test_log_at_a_misbehaving_server_then_live(pipeline: Pipeline, server: MisbehavingServer) -> None:
    for _ in range(3):  # what a broken answer cost is missing and asked again by the next run
        done = pipeline.step1()
        if done.returncode == 0:
            break
        assert done.stderr.splitlines()[-1].startswith("error: ") and "still missing" in done.stderr
    assert done.returncode == 0, done.stderr
    rows = interactions.read(pipeline.log, hint="")
    assert len(rows) == len({(r.question_id, r.prompt_id) for r in rows}) == 75 * 3
    assert len(server.answered) == 75 * 3 and set(server.answered.values()) == {1}, "a call was paid twice"
    assert {fault_of(text) for text in server.requests} == {"", *FAULTS}
    assert all(row.cost == pytest.approx(11e-6) for row in rows)

    # The log loses every second answer to a test question: picks that meet a hole are missing.
    holes = [r for i, r in enumerate(rows) if r.split == "test" and i % 2]
    interactions.write(pipeline.log, [r for r in rows if r not in holes])
    pipeline.steps_2_to_5()
    paid = dict(server.answered)
    live = [
        "--live",
        "--lm.backend",
        "openai",
        "--lm.model",
        "m",
        "--lm.base_url",
        server.url,
        "--lm.timeout",
        "1",
    ]
    half = pipeline.run(STEPS[5], *STEP_FLAGS[5], *live, "--budget.max_calls", "3")
    assert half.returncode == 0 and "stopped by --max_calls 3" in half.stdout, half.stderr
    pipeline.steps_2_to_5()
    whole = pipeline.run(STEPS[5], *STEP_FLAGS[5], *live)
    assert whole.returncode == 0, whole.stderr

    with (pipeline.root / "results" / "m" / "toy" / "paper" / "live.csv").open() as file:
        table = {row["selector"]: row for row in csv.DictReader(file)}
    assert int(table["irl_0"]["live_n"]) == int(table["irl_0"]["picks"]) == 19
    assert int(table["irl_0"]["offline_n"]) + int(table["irl_0"]["asked"]) == 19
    after = interactions.read(pipeline.log, hint="")
    new = {(r.question_id, r.prompt_id) for r in after} - {
        (r.question_id, r.prompt_id) for r in rows if r not in holes
    }
    assert new and new <= {(r.question_id, r.prompt_id) for r in holes}
    # Only what the log lacked was asked, each once.
    assert sum(server.answered.values()) - sum(paid.values()) == len(new)
    verdicts = {(r.question_id, r.prompt_id): r.correct for r in rows if not r.refusal}
    assert all(verdicts.get((r.question_id, r.prompt_id), r.correct) == r.correct for r in after)

    files = [p for p in pipeline.root.rglob("*") if p.is_file()]
    assert not [p for p in files if KEY.encode() in p.read_bytes()]
    assert KEY not in pipeline.printed


@pytest.mark.slow
def test_live_without_a_known_decoding_is_refused(pipeline: Pipeline) -> None:
    while pipeline.step1().returncode:
        pass
    rows = interactions.read(pipeline.log, hint="")
    for row in rows:
        row.temperature = None
    interactions.write(pipeline.log, [r for i, r in enumerate(rows) if r.split == "train" or i % 2])
    pipeline.steps_2_to_5()
    done = pipeline.run(STEPS[5], *STEP_FLAGS[5], "--live", "--lm.backend", "openai", "--lm.model", "m")
    assert done.returncode == 1 and "how they were decoded" in done.stderr.splitlines()[-1]
