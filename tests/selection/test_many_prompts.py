"""Memory stays small however many prompts a log or a choice has, or is refused beforehand."""

from __future__ import annotations

import csv
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from in_process import run_in_process

from prompt_oirl.features.prompt_axes import prompt_features
from prompt_oirl.io.files import REPO_ROOT

WORDS = [f"{a}{b}" for a in ("red", "blue", "green", "white", "grey") for b in ("box", "cat", "sun", "tree")]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 prompts, two answers to each, of 200 questions."""
    rng = np.random.default_rng(0)
    questions = [f"{i}: {' '.join(rng.choice(WORDS, 8))}?" for i in range(200)]
    path = tmp_path_factory.mktemp("many") / "log.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "prompt", "correct", "answer"])
        for i in range(40_000):
            writer.writerow(
                [questions[i * 7 % 200 if i < 20_000 else i * 3 % 200], f"Prompt {i % 20_000}", i % 2, "7"]
            )
    return path


@pytest.mark.parametrize("command", ["fit", "diagnose", "evaluate", "vote", "report", "plan"])
def test_20000_prompts_are_refused_before_the_work(log: Path, tmp_path: Path, command: str) -> None:
    flags = {
        "fit": ["--out", str(tmp_path / "selector")],
        "report": ["--out", str(tmp_path / "page.html")],
        "plan": ["--budget", "9", "--out", str(tmp_path / "plan.jsonl")],
    }
    script = REPO_ROOT / "prompt_oirl" / "__main__.py"
    arguments = [command, str(log), *flags.get(command, []), "--embedder", "tfidf"]
    done = run_in_process([sys.executable, script, *arguments], REPO_ROOT)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(
        "error: the log has 200 questions x 20,000 prompts, more than memory may hold: keep the rows of the "
        "2,000 prompts with the most answers (10% of the rows)"
    ), done.stderr
    assert not list(tmp_path.iterdir())


def test_prompts_are_told_apart_in_little_memory() -> None:
    logged = np.random.default_rng(0).normal(size=(2_000, 384)).astype(np.float32)
    tracemalloc.start()
    found = prompt_features(logged, np.arange(2_000), logged)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is logged and most < 100e6  # 6 GB where all pairs of vectors stood side by side
