"""Step 4 on a Dask cluster of two, one of which is killed and replaced every minute: the local files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Literal

from conftest import write_tiny_log
from distributed import Client

from prompt_oirl.io.files import REPO_ROOT, Paths
from torture.watch import Soaked, Watch

WORKERS = 2
STEP4 = ("llama_step4_offline_evaluation.py", "--split", "crossfit", "--subsets")
STEPS: dict[tuple[str, int], tuple[str, ...]] = {
    ("nano", 2): ("llama_step2_reorg_data.py", "--prompts", "../data/arith/prompts.csv"),
    ("nano", 3): ("llama_step3_data_processing.py",),
    ("nano", 4): (*STEP4, "6"),
    ("tiny", 2): ("llama_step2_reorg_data.py",),
    ("tiny", 3): ("llama_step3_data_processing.py", "--embedder", "tfidf"),
    ("tiny", 4): (*STEP4, "2,3"),
}


def soak(
    items: int, seed: int, work: Path, kill_seconds: float, log: Literal["nano", "tiny"] = "nano"
) -> tuple[Soaked, Watch]:
    """Train on `items` draws of five folds, locally and on the cluster; scheduler and client are watched."""
    local, root = work / "local", work / "root"
    (local / "data").mkdir(parents=True)
    if log == "nano":
        shutil.copytree(Paths().committed_log(log, "arith").parent, local / "data" / "nano_log")
    else:
        write_tiny_log(local)
    draws = ("--assignments", str(items))
    for number, flags in ((2, ()), (3, draws)):
        assert _step(log, number, local, *flags).wait() == 0, f"step {number} failed"
    shutil.copytree(local, root)
    assert _step(log, 4, local, *draws, "--seed", str(seed)).wait() == 0, "step 4 failed"
    models, expected = Paths(root).models(log), _compared(Paths(local).models(log))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    scheduler = _dask(work, "scheduler", "--host", "127.0.0.1", "--port", str(port))
    workers = [_worker(work, address) for _ in range(WORKERS)]
    kills = 0
    client = Client(address, timeout=120)
    try:
        client.wait_for_workers(WORKERS, timeout=120)
        run = _step(log, 4, root, *draws, "--seed", str(seed), "--dask", address)
        with Watch((scheduler.pid, run.pid), lambda: len(list(models.glob("*"))) / len(expected)) as watch:
            for turn in count():
                try:
                    run.wait(kill_seconds)
                    break
                except subprocess.TimeoutExpired:
                    client.wait_for_workers(WORKERS, timeout=120)
                    workers[turn % WORKERS].kill()
                    workers[turn % WORKERS].wait()
                    workers[turn % WORKERS] = _worker(work, address)
                    kills += 1
        print(f"status {run.returncode} after {kills} kills", flush=True)
    finally:
        client.close()
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()
    found = _compared(models)
    wrong = sum(found.get(name) != data for name, data in expected.items())
    made = len(list(models.glob("*.safetensors")))
    return Soaked({"worker killed": kills}, made, made, len(found.keys() - expected.keys()), wrong), watch


def _compared(models: Path) -> dict[str, bytes]:
    """Files by name; of a record, which holds the seconds that its fit took, only that it is there."""
    return {path.name: b"" if path.suffix == ".json" else path.read_bytes() for path in models.glob("*")}


def _step(log: str, number: int, root: Path, *flags: str) -> subprocess.Popen[bytes]:
    script, *own = STEPS[log, number]
    command = [sys.executable, script, *own, "--llm", log, "--root", str(root), *flags]
    environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT)}
    return subprocess.Popen(command, cwd=REPO_ROOT / "llama_exps", env=environment)


def _dask(work: Path, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *command, "--no-dashboard"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _worker(work: Path, address: str) -> subprocess.Popen[bytes]:
    folder = work / f"worker{time.monotonic_ns()}"
    folder.mkdir()
    return _dask(work, "worker", address, "--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
