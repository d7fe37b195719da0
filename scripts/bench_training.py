"""Speed of step 4: the published fit beside ours, the whole sweep, logs of up to 10^7 answers, a cluster.

CPU seconds are reported where other work on the machine would distort the clock: a fit has one thread, so on an idle
machine it takes that long, and two threads that never wait take half.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths
from prompt_oirl.pipeline import fits, offline_dataset
from prompt_oirl.pipeline.fit_data import FitData, fit_data
from prompt_oirl.stats import metrics

STEP4 = "llama_step4_offline_evaluation.py"
TIMED_ROUNDS = 20  # of the published 2000; a round costs the same early and late
SIZES = (10**5, 10**6, 10**7)
PROMPTS = 10  # asked of every synthetic question


def measured(command: list[str], **more: Any) -> dict[str, float]:
    """Run a command; seconds by the clock and of CPU, and the largest memory of it and its children, 10^9 bytes."""
    import psutil

    before, started = os.times(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more)
    watched, peak = psutil.Process(process.pid), 0.0
    while process.poll() is None:
        try:
            family = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(p.memory_full_info().pss for p in family) / 1e9)
        except psutil.Error:
            pass  # one of them has just ended
        time.sleep(2)
    after = os.times()
    if process.returncode:
        raise InputError(
            f"{' '.join(command)} failed: {(process.stderr.read() if process.stderr else '')[-300:]}"
        )
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.perf_counter() - started, "cpu": cpu, "gb": peak}


def both_clocks(work: Any) -> np.ndarray:
    """Seconds of CPU and by the clock, (2,)."""
    started = time.perf_counter()
    busy = cpu_seconds(work)
    return np.array([busy, time.perf_counter() - started])


def cpu_seconds(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def step4_one(repeats: int) -> Iterator[dict[str, Any]]:
    """One K = 6 GSM8K model: the published settings on the concatenated matrix, and the default preset."""
    import xgboost

    from prompt_oirl.reward_models.boosted import PAPER_ROUNDS, XGBOOST_PAPER
    from prompt_oirl.reward_models.pairs import quantised_pairs

    data = offline_dataset.load(LLM, "gsm8k", Paths())
    split = data.names.paper_split()
    shared = fit_data(data, [split])["paper"]
    everything = tuple(range(len(data.names.train_prompts)))
    fit = fits.Fit(LLM, "gsm8k", "paper", "paper", everything, "xgboost", "fast")
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
    medians = np.median(np.array(sides), 0)
    for unit, baseline, mine in zip(("CPU seconds", "seconds by the clock"), *medians):
        yield {
            "work": f"step 4, one GSM8K model of six prompts; published: two threads, {PAPER_ROUNDS} rounds extrapolated "
            f"from {TIMED_ROUNDS}; ours: one thread",
            "unit": unit, "n": len(index) * k, "baseline": baseline, "ours": mine, "ratio": baseline / mine,
        }  # fmt: skip
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
        before, after = measure(labels, old), measure(labels, new)
        yield {
            "work": f"step 4, {name} of that model on the 1,000 unseen GSM8K questions; published settings at eta 0.02 x 100",
            "unit": name, "n": labels.size, "baseline": before, "ours": after, "ratio": after / before, "repeats": 1,
        }  # fmt: skip


def step4_profile(repeats: int) -> Iterator[dict[str, Any]]:
    """Where a GSM8K fit spends its time, by itself and as one of the 63 that share bins."""
    from prompt_oirl.reward_models.pairs import quantised_pairs

    data = offline_dataset.load(LLM, "gsm8k", Paths())
    shared = fit_data(data, [data.names.paper_split()])["paper"]
    for subset in ((0, 1, 2, 3, 4, 5), (0, 1, 2), (0,)):
        fit = fits.Fit(LLM, "gsm8k", "paper", "paper", subset, "xgboost", "fast")
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(repeats):
            quantised_pairs.cache_clear()
            fits._whole_sets.cache_clear()
            alone = profiled(fit, shared)
            for part, seconds in profiled(fit, shared).items():
                found.setdefault(part, []).append((alone[part], seconds))
        for part, pairs in found.items():
            before, after = (statistics.median(side) for side in zip(*pairs))
            yield {
                "work": f"step 4, GSM8K, {len(subset)} prompts: {part}; baseline: nothing shared with other subsets",
                "unit": "CPU seconds", "n": 1, "baseline": before, "ours": after, "ratio": before / max(after, 1e-4),
            }  # fmt: skip


def profiled(fit: fits.Fit, shared: FitData) -> dict[str, float]:
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
        found = measured(step4(root, "--split", "paper", "--jobs", "2"), cwd=REPO_ROOT / "llama_exps")
    for what, unit, limit, ours in (
        ("time", "minutes by the clock", 10.0, found["seconds"] / 60),
        ("CPU time", "CPU minutes", 20.0, found["cpu"] / 60),
        ("peak memory of all processes", "GB", 1.5, found["gb"]),
    ):
        yield {
            "work": f"step 4, 63 subsets x 3 datasets, paper split, two workers: {what}; baseline: the limit set",
            "unit": unit, "n": 198, "baseline": limit, "ours": ours, "ratio": limit / ours, "repeats": 1,
        }  # fmt: skip


def linked_root(folder: Path) -> Path:
    """A root that shares labels and embeddings with the checkout, and has no models yet."""
    (folder / "llama_exps").mkdir(parents=True)
    for name in (f"llama_exps/LM{LLM}", "embeddings", "data"):
        if not (REPO_ROOT / name).exists():
            raise InputError(f"missing {REPO_ROOT / name}: run scripts/fetch_data.py and steps 2 and 3 first")
        (folder / name).symlink_to(REPO_ROOT / name)
    return folder


def step4(root: Path, *flags: str) -> list[str]:
    return [sys.executable, STEP4, "--root", str(root), *flags]


def scale(repeats: int, sizes: tuple[int, ...] = SIZES) -> Iterator[dict[str, Any]]:
    """Synthetic logs from memory-mapped vectors: each size and model in a process of its own, once."""
    for model in ("xgboost", "interaction"):
        smaller: dict[str, float] = {}
        for n in sizes:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                command = [sys.executable, str(Path(__file__).resolve()), model, str(n), folder]
                found = measured(command, cwd=folder)
                parts = json.loads((Path(folder) / "parts.json").read_text())
            peak = max(found["gb"], parts.pop("peak"))
            found = {f"{part}, CPU seconds": value for part, value in parts.items()} | {
                "all, minutes by the clock": found["seconds"] / 60,
                "peak memory, GB": peak,
            }
            for part, value in found.items():
                name, unit = part.split(", ")
                yield {
                    "work": f"{model} trained from files on {n:,} answers: {name}; baseline: a tenth of the answers",
                    "unit": unit, "n": n, "ours": value, "repeats": 1,
                    "baseline": smaller.get(part, np.nan), "ratio": value / smaller.get(part, np.nan),
                }  # fmt: skip
            smaller = found


def train_synthetic(model: str, n: int, folder: Path) -> dict[str, float]:
    """CPU seconds of each part of a fit on `n` answers: 64-d questions, ten prompts each, 50 rounds, from files."""
    from prompt_oirl.features.mapped import MappedQuestions
    from prompt_oirl.reward_models import TrainingSet, boosted, make, pairs

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
    train = TrainingSet(questions, prompts, labels, np.ones_like(labels), d)
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
    some = questions[:10000]
    parts["scoring 100000 pairs"] = cpu_seconds(lambda: learner.predict(some, prompts))
    parts["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # mapped pages count too
    return parts


def cluster(repeats: int) -> Iterator[dict[str, Any]]:
    """MAWPS, subsets of five and six prompts: two local processes beside a Dask cluster of two, and one of them killed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = ("--dataset", "mawps", "--split", "paper", "--subsets", "5,6")
        local = linked_root(folder / "local")
        before = measured(step4(local, *flags, "--jobs", "2"), cwd=REPO_ROOT / "llama_exps")["seconds"]
        for killed in (False, True):
            root = linked_root(folder / f"cluster{killed}")
            with dask_cluster(folder) as (address, workers):
                started = time.perf_counter()
                run = subprocess.Popen(
                    step4(root, *flags, "--dask", address),
                    cwd=REPO_ROOT / "llama_exps",
                    stdout=subprocess.DEVNULL,
                )
                while killed and not list(Paths(root).models(LLM).glob("*.json")) and run.poll() is None:
                    time.sleep(0.1)
                if killed:
                    workers[0].kill()
                if run.wait():
                    raise InputError("step 4 on the cluster failed")
                after = time.perf_counter() - started
            table = "mawps_xgboost_validation.csv"
            same = (Paths(root).models(LLM) / table).read_bytes() == (
                Paths(local).models(LLM) / table
            ).read_bytes()
            how = "one of two Dask workers killed" if killed else "two Dask workers"
            yield {
                "work": f"step 4, MAWPS, 10 fits, {how} against two local processes; CSV bytes {'equal' if same else 'DIFFER'}",
                "unit": "seconds by the clock", "n": 10, "baseline": before, "ours": after, "ratio": before / after, "repeats": 1,
            }  # fmt: skip


class dask_cluster:
    """A scheduler and two worker processes on this machine, without a shared folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> tuple[str, list[subprocess.Popen]]:
        import socket

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"tcp://127.0.0.1:{port}"
        quiet: dict[str, Any] = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "cwd": self.folder,
        }
        dask = [sys.executable, "-m", "dask"]
        self.processes = [
            subprocess.Popen(
                [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], **quiet
            )
        ]
        for i in range(2):
            local = self.folder / f"worker{i}_{port}"
            local.mkdir()
            worker = [
                *dask,
                "worker",
                address,
                "--nthreads",
                "1",
                "--no-dashboard",
                "--no-nanny",
                "--local-directory",
                str(local),
            ]
            self.processes.append(subprocess.Popen(worker, **quiet))
        from distributed import Client

        with Client(address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
        return address, self.processes[1:]

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    model, n, folder = sys.argv[1:]
    os.environ["OMP_WAIT_POLICY"] = "passive"
    Path(folder, "parts.json").write_text(json.dumps(train_synthetic(model, int(n), Path(folder))))
