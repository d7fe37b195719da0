"""How long a command takes from its start to its end, and how fast MiniLM embeds and a selector chooses."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measuring import clock_seconds, comparison
from prompt_oirl.features.embedders import Embedder, SentenceEmbedder, load_embedder
from prompt_oirl.features.minilm_files import minilm_folder
from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.selection.selector import PromptSelector

LEAST = 5  # repeats of a command
TEXTS = 400  # questions that each side embeds per repeat
OTHER = "baseline: MiniLM in sentence-transformers"


def startup(repeats: int) -> Iterator[dict[str, Any]]:
    """Each command on a log of 300 questions and 4 prompts; embedding; one choice and many."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        script = REPO_ROOT / "scripts" / "make_example_log.py"
        _run([sys.executable, str(script), "--out", "log.csv", "--questions", "questions.csv"], folder)
        yield from _commands(folder, max(repeats, LEAST))
        yield from _embedding(folder / "log.csv", repeats)


def _commands(folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    ours = [sys.executable, "-m", "prompt_oirl"]
    general = ["--embedder", str(minilm_folder())]  # a folder goes through sentence-transformers
    yield _interleaved(
        "prompt-oirl --help; baseline: Python alone",
        folder,
        repeats,
        [sys.executable, "-c", "pass"],
        [*ours, "--help"],
    )
    for name, flags in {
        "fit": ["log.csv", "--out", "selector"],
        "select": ["selector", "questions.csv"],
        "diagnose": ["log.csv"],
        "evaluate": ["log.csv"],
        "vote": ["log.csv"],
        "report": ["log.csv", "--out", "page.html"],
    }.items():
        other = [*ours, name, *(flag.replace("selector", "other_selector") for flag in flags), *general]
        what = "20 questions" if name == "select" else "a log of 300 x 4"
        work = f"prompt-oirl {name}, {what}, from start to end; {OTHER}"
        yield _interleaved(work, folder, repeats, other, [*ours, name, *flags])


def _interleaved(
    work: str, folder: Path, repeats: int, baseline: list[str], ours: list[str]
) -> dict[str, Any]:
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats):
        for command, found in zip((baseline, ours), seconds):
            found.append(clock_seconds(lambda command=command: _run(command, folder)))
    sides = map(statistics.median, seconds)
    return comparison(work, "seconds by the clock, median", repeats, sides, repeats=repeats)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def _embedding(log: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Distinct questions of the demo's log: in sentence-transformers, and in the ways that there are."""
    stored = pd.read_parquet(REPO_ROOT / "data" / "nano_log" / "arith.parquet", columns=["question"])
    texts = stored.question.drop_duplicates().sample(TEXTS, random_state=0).tolist()
    selector = PromptSelector().fit(str(log))
    exact = SentenceEmbedder("minilm")
    expected, picks = exact.encode(texts), _picks(selector, exact, texts)
    for name in ("minilm", "minilm-bf16", "minilm-int8"):
        fast = load_embedder(name)
        cosine = float((fast.encode(texts) * expected).sum(1).min())
        same = int((_picks(selector, fast, texts) == picks).sum())
        work = (
            f"embedding {TEXTS} questions, {name} (least cosine {cosine:.6f}, {same} of {TEXTS} picks equal)"
        )
        times = _times(repeats, partial(exact.encode, texts), partial(fast.encode, texts))
        sides = [TEXTS / seconds for seconds in times]
        unit = "texts per second by the clock"
        yield comparison(f"{work}; {OTHER}", unit, TEXTS, sides, higher_is_better=True)
    selector.embedder_ = load_embedder("minilm")
    asked = iter(texts * repeats)
    one, many = _times(
        repeats, lambda: [selector.select([next(asked)]) for _ in range(50)], lambda: selector.select(texts)
    )
    work = "choosing a prompt for a question, several hundred in one call; baseline: one call each"
    sides = [1e3 * one / 50, 1e3 * many / TEXTS]
    yield comparison(work, "ms per question by the clock", TEXTS, sides)


def _picks(selector: PromptSelector, embedder: Embedder, texts: list[str]) -> np.ndarray:
    selector.embedder_ = embedder
    return selector.select(texts)


def _times(repeats: int, *works: Callable[[], Any]) -> list[float]:
    """The median of each by the clock, interleaved."""
    found = [[clock_seconds(work) for work in works] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*found)]
