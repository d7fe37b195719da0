"""Speed and memory of fits on synthetic logs of up to 10^7 answers, each in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np

from benchmarks.measuring import comparison, cpu_seconds, gigabytes, run_measured
from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.pipeline import fits
from prompt_oirl.reward_models import TrainingSet, boosted, make, pairs

SIZES = (10**5, 10**6, 10**7)
PROMPTS = 10  # asked of every synthetic question


def scale(repeats: int, sizes: tuple[int, ...] = SIZES) -> Iterator[dict[str, Any]]:
    """Synthetic logs from memory-mapped vectors: each size and model in a process of its own, once."""
    for model in ("xgboost", "interaction"):
        smaller: dict[str, float] = {}
        for n in sizes:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                command = [sys.executable, "-m", "benchmarks.scale", model, str(n), folder]
                found = run_measured(command, cwd=Path(__file__).parents[1])
                parts = json.loads((Path(folder) / "parts.json").read_text(encoding="utf-8"))
            peak = max(found["gb"], parts.pop("peak"))
            found = {f"{part}, CPU seconds": value for part, value in parts.items()} | {
                "all, minutes by the clock": found["seconds"] / 60,
                "peak memory, GB": peak,
            }
            for part, value in found.items():
                name, unit = part.split(", ")
                work = (
                    f"{model} trained from files on {n:,} answers: {name}; baseline: a tenth of the answers"
                )
                sides = (smaller.get(part, np.nan), value)
                # The ratio says how much more the larger log takes.
                yield comparison(work, unit, n, sides, higher_is_better=True, repeats=1)
            smaller = found


def synthetic(n: int, folder: Path) -> TrainingSet:
    """`n` answers, ten prompts to each question; the questions' 64-d vectors lie in `folder`."""
    rng = np.random.default_rng(0)
    u, d = n // PROMPTS, 64
    vectors = np.lib.format.open_memmap(folder / "questions.npy", "w+", np.float32, (u, d))
    prompts = rng.normal(size=(PROMPTS, d)).astype(np.float32)
    prompts /= np.linalg.norm(prompts, axis=1, keepdims=True)
    labels = np.empty((u, PROMPTS), dtype=np.float32)
    for start in range(0, u, 2**16):
        block = rng.normal(size=(min(2**16, u - start), d)).astype(np.float32) / 8
        vectors[start : start + len(block)] = block
        logits = 6 * block[:, :1] + 4 * block @ prompts.T
        labels[start : start + len(block)] = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    vectors.flush()
    questions: Any = MappedQuestions([np.load(folder / "questions.npy", mmap_mode="r")])
    return TrainingSet(questions, prompts, labels, np.ones_like(labels), d)


def train_synthetic(model: str, n: int, folder: Path) -> dict[str, float]:
    """Fit on `n` synthetic answers from files, 50 rounds.

    Returns: CPU seconds of each part, and peak: memory in 10^9 bytes.
    """
    train = synthetic(n, folder)
    parts: dict[str, float] = {}
    threads = min(2, fits.available_cores())
    settings: dict[str, Any] = {"nthread": threads} if model == "xgboost" else {}
    learner = make(model, **settings)
    if model == "xgboost":
        learner.settings = {"max_depth": 10, "rounds": 50}
        parts["axes and bins"] = cpu_seconds(
            lambda: pairs.quantised_pairs(train, boosted.XGBOOST_FAST["max_bin"], threads)
        )
    parts["50 rounds" if model == "xgboost" else "fit"] = cpu_seconds(lambda: learner.fit(train))
    some = train.questions[:10000]
    parts["scoring 100000 pairs"] = cpu_seconds(lambda: learner.predict(some, train.prompts))
    return parts | {"peak": gigabytes(getrusage(RUSAGE_SELF))}


if __name__ == "__main__":
    model, n, folder = sys.argv[1:]
    os.environ["OMP_WAIT_POLICY"] = "passive"
    parts = json.dumps(train_synthetic(model, int(n), Path(folder)))
    Path(folder, "parts.json").write_text(parts, encoding="utf-8")
