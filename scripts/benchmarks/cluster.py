"""Speed of step 4 on a Dask cluster, and whether its tables stay the same when a worker is killed."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

from benchmarks.measuring import clock_seconds, comparison, gigabytes, run_measured
from benchmarks.scale import synthetic
from benchmarks.training import linked_root, step4
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths
from prompt_oirl.pipeline import workers
from prompt_oirl.reward_models import make, to_bytes


def cluster(repeats: int) -> Iterator[dict[str, Any]]:
    """MAWPS, subsets of five and six prompts: two local processes, a Dask cluster, one worker killed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = ("--dataset", "mawps", "--split", "paper", "--subsets", "5,6")
        local = linked_root(folder / "local")
        before = run_measured(step4(local, *flags, "--jobs", "2"), cwd=REPO_ROOT / "llama_exps")["seconds"]
        for killed in (False, True):
            root = linked_root(folder / f"cluster{killed}")
            with dask_cluster(folder) as (address, processes):
                started = time.perf_counter()
                run = subprocess.Popen(
                    step4(root, *flags, "--dask", address),
                    cwd=REPO_ROOT / "llama_exps",
                    stdout=subprocess.DEVNULL,
                )
                while killed and not list(Paths(root).models(LLM).glob("*.json")) and run.poll() is None:
                    time.sleep(0.1)
                if killed:
                    processes[0].kill()
                if run.wait():
                    raise InputError("step 4 on the cluster failed")
                after = time.perf_counter() - started
            table = "mawps_xgboost_validation.csv"
            same = len({(Paths(r).models(LLM) / table).read_bytes() for r in (root, local)}) == 1
            how = "one of two Dask workers killed" if killed else "two Dask workers"
            work = f"step 4, MAWPS, 10 fits, {how} against two local processes; CSV bytes "
            work += "equal" if same else "DIFFER"
            yield comparison(work, "seconds by the clock", 10, (before, after), repeats=1)


def spread(repeats: int, model: str = "xgboost", n: int = 10**7) -> Iterator[dict[str, Any]]:
    """One synthetic fit on two Dask workers of a thread each, and in one process of two threads (the
    interaction model has one)."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, dask_cluster(Path(name)) as (address, _):
        found = []
        for where in ("", address):
            command = [sys.executable, "-m", "benchmarks.cluster", model, where, str(n), name]
            run_measured(command, cwd=Path(__file__).parents[1])
            found.append(json.loads((Path(name) / "parts.json").read_text(encoding="utf-8")))
    how = "50 rounds, two Dask workers against one process of two threads"
    if model == "interaction":
        how = "two Dask workers and the client against one process of one thread"
    work = f"{model} from the files of {n:,} answers, {how}; bytes "
    work += "equal" if found[0]["sha256"] == found[1]["sha256"] else "DIFFER"
    units = {"fit": "seconds by the clock", "gb": "GB at most, of the process or one worker"}
    units["client_gb"] = "GB at most, of the process or the client"
    for part, unit in units.items():
        yield comparison(work, unit, n, (side[part] for side in found), repeats=1)


def fit_synthetic(name: str, address: str, n: int, folder: Path) -> dict[str, Any]:
    """Fit a model on `n` answers (XGBoost: 50 rounds), with the workers at `address` if there is one.

    Returns: seconds of the fit, peak memory of this process or of the largest worker and of this process in
    10^9 bytes, and the model's sha256.
    """
    train = synthetic(n, folder)
    with workers.cluster(address, []) if address else nullcontext() as client:
        shared = partial(workers.FROM_FILES[name], client) if client else None
        model: Any = make(name, nthread=2, spread=shared)
        if name == "xgboost":
            model.settings = {"max_depth": 10, "rounds": 50}
        seconds = clock_seconds(lambda: model.fit(train))
        here = gigabytes(getrusage(RUSAGE_SELF))
        peak = max(map(gigabytes, client.run(getrusage, RUSAGE_SELF).values())) if client else here
    digest = hashlib.sha256(to_bytes(model)).hexdigest()
    return {"fit": seconds, "gb": peak, "client_gb": here, "sha256": digest}


@contextmanager
def dask_cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler and two worker processes on this machine, without a shared folder: address, workers."""
    from distributed import Client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    processes = [subprocess.Popen(scheduler, **quiet)]
    try:
        for i in range(2):
            local = folder / f"worker{i}_{port}"
            local.mkdir()
            flags = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", str(local)]
            processes.append(subprocess.Popen([*dask, "worker", address, *flags], **quiet))
        with Client(address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    model, address, n, folder = sys.argv[1:]
    parts = json.dumps(fit_synthetic(model, address, int(n), Path(folder)))
    Path(folder, "parts.json").write_text(parts, encoding="utf-8")
