"""Speed of step 4: the published fit beside ours, where a fit spends its time, the whole sweep.

CPU seconds are reported where other work on the machine would distort the clock: a fit has one thread, so on
an idle machine it takes that long, and two threads that never wait take half.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import both_clocks, comparison, run_measured
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths
from prompt_oirl.pipeline import fits, offline_dataset
from prompt_oirl.pipeline.fit_data import FitData, fit_data
from prompt_oirl.pipeline.plan import FitSpec
from prompt_oirl.stats import metrics

STEP4 = "llama_step4_offline_evaluation.py"
TIMED_ROUNDS = 20  # of the published 2000; a round costs the same early and late


def step4_one(repeats: int) -> Iterator[dict[str, Any]]:
    """One K = 6 GSM8K model: the published settings on the concatenated matrix, and the default preset."""
    import xgboost

    from prompt_oirl.reward_models.boosted import PAPER_ROUNDS, XGBOOST_PAPER
    from prompt_oirl.reward_models.pairs import quantised_pairs

    data = offline_dataset.load(LLM, "gsm8k", Paths())
    split = data.names.paper_split()
    shared = fit_data(data, [split])["paper"]
    everything = tuple(range(len(data.names.train_prompts)))
    fit = FitSpec(LLM, "gsm8k", "paper", "paper", everything, "xgboost", "fast")
    vectors, prompts, size = data.features("paper")
    questions = np.asarray(vectors)
    index, k = data.names.train_index[split.train], len(everything)

    def concatenated(rows: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [np.repeat(questions[rows, :size], k, 0), np.tile(prompts[:k], (len(rows), 1))], 1
        )

    def published(rounds: int, **more: float) -> Any:
        matrix = xgboost.DMatrix(concatenated(index), data.train_labels[split.train].reshape(-1), nthread=2)
        settings = {**XGBOOST_PAPER, "objective": "binary:logistic", "nthread": 2, **more}
        return xgboost.train(settings, matrix, rounds)

    def ours() -> None:
        quantised_pairs.cache_clear()
        fits._whole_sets.cache_clear()
        fits.train(fit, "", shared)

    ours()
    published(1)
    sides: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(repeats):
        start, rounds = both_clocks(lambda: published(1)), both_clocks(lambda: published(1 + TIMED_ROUNDS))
        sides.append((start + PAPER_ROUNDS * (rounds - start) / TIMED_ROUNDS, both_clocks(ours)))
    middle = np.median(np.array(sides), 0)
    rounds_timed = f"{PAPER_ROUNDS} rounds extrapolated from {TIMED_ROUNDS}"
    work = f"step 4, one GSM8K model of six prompts; published: two threads, {rounds_timed}; ours: one thread"
    for unit, both in zip(("CPU seconds", "seconds by the clock"), middle.T):
        yield comparison(work, unit, len(index) * k, both)
    # As published but 20 times coarser: the same shrinkage in total, and an hour less.
    coarse = published(PAPER_ROUNDS // 20, eta=20 * XGBOOST_PAPER["eta"])
    test = data.names.test_index
    labels = data.test_labels[:, :k]
    old = coarse.inplace_predict(concatenated(test)).reshape(-1, k)
    record, content = fits.train(fit, "", shared)
    with tempfile.TemporaryDirectory() as folder:
        fits.save(fit, record, content, Paths(Path(folder)))
        new = fits.load_fit(fit, record, Paths(Path(folder))).predict(questions[test], prompts[:k])
    for name, measure in (("AUC", metrics.auc), ("log loss", metrics.log_loss)):
        work = f"step 4, {name} of that model on the 1,000 unseen GSM8K questions; "
        work += "published settings at eta 0.02 x 100"
        scores = measure(labels, old), measure(labels, new)
        yield comparison(work, name, labels.size, scores, higher_is_better=True, repeats=1)


def step4_profile(repeats: int) -> Iterator[dict[str, Any]]:
    """Where a GSM8K fit spends its time, by itself and as one of the 63 that share bins."""
    from prompt_oirl.reward_models.pairs import quantised_pairs

    data = offline_dataset.load(LLM, "gsm8k", Paths())
    shared = fit_data(data, [data.names.paper_split()])["paper"]
    for subset in ((0, 1, 2, 3, 4, 5), (0, 1, 2), (0,)):
        fit = FitSpec(LLM, "gsm8k", "paper", "paper", subset, "xgboost", "fast")
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(repeats):
            quantised_pairs.cache_clear()
            fits._whole_sets.cache_clear()
            alone = profiled(fit, shared)
            for part, seconds in profiled(fit, shared).items():
                found.setdefault(part, []).append((alone[part], seconds))
        for part, pairs in found.items():
            before, after = np.median(pairs, 0)
            work = (
                f"step 4, GSM8K, {len(subset)} prompts: {part}; baseline: nothing shared with other subsets"
            )
            yield comparison(work, "CPU seconds", 1, (before, after), ratio=before / max(after, 1e-4))


def profiled(fit: FitSpec, shared: FitData) -> dict[str, float]:
    """CPU seconds of the parts of one fit."""
    import cProfile
    import pstats

    profile = cProfile.Profile(time.process_time)
    profile.runcall(fits.train, fit, "", shared)
    seconds: dict[str, float] = {}
    for (file, _, function), row in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        seconds[f"{Path(file).name}:{function}"] = seconds.get(f"{Path(file).name}:{function}", 0) + row[3]
    parts = {
        "gathering labels": seconds.get("fits.py:_whole_sets", 0.0),
        "bins": seconds.get("pairs.py:matrix_of", 0.0),
        "boosting rounds": seconds["training.py:train"],
    }
    whole = seconds["fits.py:train"]
    return {"everything": whole, **parts, "axes, prediction, metrics": whole - sum(parts.values())}


def step4_sweep(repeats: int) -> Iterator[dict[str, Any]]:
    """All 63 subsets of three datasets on the paper split, on two cores, once."""
    with tempfile.TemporaryDirectory() as folder:
        root = linked_root(Path(folder))
        found = run_measured(step4(root, "--split", "paper", "--jobs", "2"), cwd=REPO_ROOT / "llama_exps")
    for what, unit, limit, ours in (
        ("time", "minutes by the clock", 10.0, found["seconds"] / 60),
        ("CPU time", "CPU minutes", 20.0, found["cpu"] / 60),
        ("peak memory of all processes", "GB", 1.5, found["gb"]),
    ):
        work = f"step 4, 63 subsets x 3 datasets, paper split, two workers: {what}; baseline: the limit set"
        yield comparison(work, unit, 198, (limit, ours), repeats=1)


def linked_root(folder: Path) -> Path:
    """A root that shares labels and embeddings with the checkout, and has no models yet."""
    (folder / "llama_exps").mkdir(parents=True)
    for name in (f"llama_exps/LM{LLM}", "embeddings", "data"):
        if not (REPO_ROOT / name).exists():
            raise InputError(f"missing {REPO_ROOT / name}: run scripts/fetch_data.py and steps 2 and 3 first")
        (folder / name).symlink_to(REPO_ROOT / name)
    return folder


def step4(root: Path, *flags: str) -> list[str]:
    """The command of step 4 on `root`, to be run in llama_exps/."""
    return [sys.executable, STEP4, "--root", str(root), *flags]
