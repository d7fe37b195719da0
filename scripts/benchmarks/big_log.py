"""The commands on a log of a million answers, and the page of 50,000 questions in headless Chromium."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from check_report import browser, opened

from benchmarks.measuring import comparison, run_measured
from prompt_oirl.io.files import REPO_ROOT

QUESTIONS, PROMPTS = 50_000, 20
LIMIT = 1.0  # seconds in which the page sorts


def big_log(repeats: int) -> Iterator[dict[str, Any]]:
    """`diagnose` and `report` of a made log of 50,000 questions x 20 prompts, with tfidf; once."""
    size = f"log of {QUESTIONS * PROMPTS:,} answers, {QUESTIONS:,} questions x {PROMPTS} prompts, tfidf"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log, page = Path(folder) / "log.csv", Path(folder) / "report.html"
        write_log(log)
        commands = {"diagnose": ["diagnose", str(log)], "report": ["report", str(log), "--out", str(page)]}
        environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT)}
        for name, arguments in commands.items():
            command = [sys.executable, "-m", "prompt_oirl", *arguments, "--embedder", "tfidf"]
            used = run_measured(command, cwd=Path(folder), env=environment)
            for key, unit in {"seconds": "seconds by the clock", "cpu": "CPU seconds", "gb": "GB"}.items():
                yield comparison(f"{name}, {size}", unit, QUESTIONS, (np.nan, used[key]), repeats=1)
        for what, seconds in in_browser(page).items():
            work = f"page of {QUESTIONS:,} questions ({page.stat().st_size / 1e6:.0f} MB): {what}"
            work += "; baseline: the limit set"
            yield comparison(work, "seconds by the clock", QUESTIONS, (LIMIT, seconds), repeats=1)


def write_log(path: Path) -> None:
    """Questions of random words, each prompt with a rate of its own and a kind of question it likes."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("abcdefghijklmnoprstuvw"), 6)) for _ in range(4_000)])
    kind = rng.integers(0, 4, QUESTIONS)
    texts = [f"kind{k} " + " ".join(some) for k, some in zip(kind, rng.choice(words, (QUESTIONS, 12)))]
    rate = np.linspace(0.4, 0.6, PROMPTS) + 0.1 * (np.arange(PROMPTS) % 4 == kind[:, None])
    right = (rng.random((QUESTIONS, PROMPTS)) < rate).astype(int)
    pd.DataFrame(
        {
            "question": np.repeat(texts, PROMPTS),
            "prompt": np.tile([f"Prompt number {j}." for j in range(PROMPTS)], QUESTIONS),
            "correct": right.ravel(),
            "answer": np.where(right.ravel(), "yes", "no"),
        }
    ).to_csv(path, index=False)


def in_browser(page: Path) -> dict[str, float]:
    """Seconds until the page shows its first rows, and until they are sorted by score."""
    with browser() as chromium:
        began = time.perf_counter()
        tab, _ = opened(chromium, page, "desktop", "light")
        shown = time.perf_counter()
        tab.click("th [data-sort=score]")
        tab.wait_for_selector("th[aria-sort=ascending] [data-sort=score]")
        tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return {"opened": shown - began, "sorted by score": time.perf_counter() - shown}
