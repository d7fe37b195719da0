"""CPU seconds and memory of `diagnose` and the report on simulated logs, without start-up and embedding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np

from benchmarks.measuring import comparison, cpu_seconds, gigabytes, run_measured
from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.reports.html import page
from prompt_oirl.reports.own_log import make_report
from prompt_oirl.selection.diagnosis import diagnose
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.simulation import simulate

SIZES = ((1_500, 6), (6_507, 2), (100_000, 10))  # questions x prompts
COMPARED = 2  # of them, with the version before: the largest would take it hours
BEFORE = "162ec5a"  # when diagnose, evaluate, vote and report each fitted models of their own


def diagnosis(repeats: int) -> Iterator[dict[str, Any]]:
    """Each size in a process of its own, once; beside it the version before, where git has it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        before = Path(folder) / "before"
        git = ["git", "-C", str(REPO_ROOT), "worktree"]
        there = subprocess.run([*git, "add", "--detach", str(before), BEFORE], capture_output=True)
        try:
            for i, (questions, prompts) in enumerate(SIZES):
                ours = _measured(REPO_ROOT, questions, prompts, folder)
                theirs: dict[str, float] = {}
                if i < COMPARED and there.returncode == 0:
                    theirs = _measured(before, questions, prompts, folder)
                for what, unit in WORK.items():
                    work = f"{what}, simulated log of {questions:,} questions x {prompts} prompts"
                    sides = (theirs.get(what, np.nan), ours[what])
                    baseline = f"; baseline: before one study served all ({BEFORE})"
                    yield comparison(work + baseline, unit, questions, sides, repeats=1)
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], capture_output=True)


WORK = {
    "diagnose": "CPU seconds",
    "report": "CPU seconds",
    "diagnose and report, peak memory": "GB",
}


def _measured(checkout: Path, questions: int, prompts: int, folder: str) -> dict[str, float]:
    out = Path(folder) / "found.json"
    command = [sys.executable, "-m", "benchmarks.diagnosis", str(questions), str(prompts), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    run_measured(command, cwd=Path(__file__).parents[1], env=environment)
    return json.loads(out.read_text(encoding="utf-8"))


def measure(questions: int, prompts: int) -> dict[str, float]:
    """Diagnose a log with three attainable points and make its page."""
    rates = tuple(np.linspace(0.45, 0.6, prompts))
    simulated = simulate(3, train=questions, test=1, rates=rates, seed=0)
    log, embedder = simulated.prompt_log(), simulated.embedder()
    log = replace(
        log, answer=["yes" if right else "no" for right in log.correct]
    )  # so that votes can be counted
    return {
        "diagnose": cpu_seconds(lambda: diagnose(log, embedder)),
        "report": cpu_seconds(lambda: page(make_report(PromptSelector(embedder), log, "simulated"))),
        "diagnose and report, peak memory": gigabytes(getrusage(RUSAGE_SELF)),
    }


if __name__ == "__main__":
    questions, prompts, out = sys.argv[1:]
    Path(out).write_text(json.dumps(measure(int(questions), int(prompts))), encoding="utf-8")
