"""Where fits run: this machine's cores, or the workers of a Dask cluster.

Workers get arrays, share no disk with us, and return a record and a model's bytes; whoever asked writes the
files. Only features that lie in files are read by the workers themselves (`spread`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psutil
from joblib import Parallel, delayed, effective_n_jobs, parallel_config

from prompt_oirl.io.extras import missing
from prompt_oirl.io.files import InputError
from prompt_oirl.io.manifest import package_code_version, package_versions
from prompt_oirl.pipeline import fits, spread
from prompt_oirl.pipeline.fit_data import FitData
from prompt_oirl.pipeline.plan import FitSpec

# Models that train on memory-mapped features, and how all workers of a cluster share such a fit.
FROM_FILES: dict[str, Callable[..., Any]] = {"xgboost": spread.grow, "interaction": spread.describe}
ADDRESS = re.compile(r"(?:tcp|tls)://(?:[\w.-]+|\[[\w:.%]+\]):(\d{1,5})", re.ASCII)
TLS_VARIABLES = {
    f"DASK_DISTRIBUTED__COMM__TLS__{name}": f"distributed.comm.tls.{setting}"
    for name, setting in (
        ("CA_FILE", "ca-file"),
        ("CLIENT__CERT", "client.cert"),
        ("CLIENT__KEY", "client.key"),
    )
}
Task = tuple[FitSpec, str, FitData]  # a fit, its key, and what it learns from
TIMEOUT = 20  # seconds in which a scheduler must answer
MUST_AGREE = ("numpy", "scikit-learn", "xgboost", "lightgbm")  # what decides the bits of a model


def run_fits(tasks: Sequence[Task], jobs: int = -1, dask: str = "") -> Iterator[tuple[dict[str, Any], bytes]]:
    """Do fits side by side and yield their records and model bytes, in the order of `tasks`.

    Parameters
    ----------
    tasks : what to fit
    jobs : fits at a time on this machine, though no more than there are tasks; -1: one per core. Where
    features lie in files, fits run one by one
    dask : address of a scheduler; as many fits as its cluster has threads then run there, and a task whose
    worker dies is done again by another, also by one that came later. Where features lie in files, all
    workers share each fit of more than `pairs.LARGE` questions. Empty: this machine

    Raises: InputError if the cluster cannot be used or is lost, or if features lie in files and the model
    needs them in memory.
    """
    if mapped := any(data.mapped() for _, _, data in tasks):
        for model in {fit.model for fit, _, _ in tasks} - set(FROM_FILES):
            raise InputError(
                f"--model {model} needs its features in memory: raise --memory_gb, or choose "
                f"{' or '.join(FROM_FILES)}"
            )
        jobs = 1  # each fit uses all cores and as much memory as is meant to be used at all
    if mapped and dask:
        with cluster(dask, []) as client:
            for task in tasks:
                yield fits.train(*task, spread=partial(FROM_FILES[task[0].model], client))
        return
    if dask:
        yield from _on_cluster(tasks, dask)
        return
    # What joblib says of tasks in flight when the caller stops early is no news to who stopped it, nor that
    # it replaced a worker that had waited long.
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
    warnings.filterwarnings("ignore", message=".*tasks (have been successfully executed|which were still)")
    # Workers inherit the ignored Ctrl-C: the parent alone hears it, says so in one line and ends them.
    hears_interrupts = signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs = min(effective_n_jobs(-1) if jobs == -1 else jobs, len(tasks))
    with parallel_config("loky", initializer=end_with, initargs=(os.getpid(),)):
        results = Parallel(n_jobs=jobs, return_as="generator", batch_size=1)(_calls(tasks))
    signal.signal(signal.SIGINT, hears_interrupts)
    yield from results


class ClusterLost(InputError):
    """Nobody is left who could go on, or who holds what the fits learn from."""


def _on_cluster(tasks: Sequence[Task], address: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Fits on a cluster. Workers that come later hold no data: when all of the first have died, what is left
    is started anew, as long as some fits came to an end in between."""
    done, lost = 0, None
    while done < len(tasks):
        before = done
        try:
            with cluster(address, [data for _, _, data in tasks[done:]]):
                for result in Parallel(return_as="generator", batch_size=1)(_calls(tasks[done:])):
                    done += 1
                    yield result
        except InputError as error:
            if not isinstance(error, ClusterLost) or done == before:
                raise lost or error from error.__cause__
            lost = error


def _calls(tasks: Sequence[Task]) -> Iterator[Any]:
    return (delayed(fits.train)(*task) for task in tasks)


def end_with(parent: int) -> None:
    """End this process within a second of `parent`, which a kill -9 leaves no time to say good-bye."""

    def watch() -> None:
        while os.getppid() == parent and psutil.pid_exists(parent):  # Windows names a dead parent too
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def check_scheduler(address: str) -> None:
    """Refuse an address at which no Dask scheduler answers in time; Client itself would wait for ever."""
    import dask
    from distributed import rpc
    from distributed.security import Security

    port = ADDRESS.fullmatch(address)
    if not port or not 1 <= int(port[1]) <= 65535:
        raise InputError(f"--dask {address!a}: an address looks like tcp://HOST:PORT or tls://HOST:PORT")

    security = Security()
    if address.startswith("tls:"):
        missing = [name for name, setting in TLS_VARIABLES.items() if not dask.config.get(setting)]
        if missing:
            raise InputError(f"--dask {address}: set {', '.join(missing)} to your files (docs/larger.md)")
    try:
        secrets = security.get_connection_args("client")
    except OSError as error:
        raise InputError(
            f"--dask {address}: the files that {', '.join(TLS_VARIABLES)} name cannot be used ({error})"
        ) from error

    async def ask() -> Any:
        async with rpc(address, connection_args=secrets) as scheduler:
            return (await scheduler.identity())["type"]

    try:
        found = asyncio.run(asyncio.wait_for(ask(), TIMEOUT))
    except Exception as error:  # a stranger's bytes may look like anything to Dask, an array of 3 EiB too
        found = type(error).__name__
    if found != "Scheduler":
        raise InputError(
            f"--dask {address}: no scheduler answers there ({found}); start one with: dask scheduler"
        )


@contextmanager
def cluster(address: str, shared: Sequence[FitData]) -> Iterator[Any]:
    """joblib on the Dask cluster at `address`, and its client; every worker gets a copy of `shared` and must
    run our code."""
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise missing("--dask needs Dask", "dask") from error
    check_scheduler(address)
    client = Client(address, timeout=TIMEOUT)
    for talks in ("distributed.client", "tornado.application"):  # what is wrong is said once, below
        logging.getLogger(talks).setLevel(logging.CRITICAL)
    with client:
        if not client.scheduler_info()["workers"]:
            raise InputError(
                f"--dask {address}: no worker; start some with: dask worker {address} --nthreads 1"
            )
        distinct = list({id(data): data for data in shared}.values())
        # Else the scheduler thins out the copies, and with a worker that dies the only one left may be lost.
        thins_out = client.amm.running()
        client.amm.stop()
        try:
            _check_versions(client, address)
            with parallel_config(backend="dask", scatter=distinct):
                yield client
        except (OSError, CancelledError, KilledWorker) as error:
            raise ClusterLost(
                f"--dask {address}: the cluster was lost ({type(error).__name__}); finished fits are kept: "
                "start scheduler and workers again, then run the same command again"
            ) from error
        finally:
            if thins_out:
                with suppress(OSError):  # no scheduler any more
                    client.amm.start()


def _check_versions(client: Any, address: str) -> None:
    ours = versions()
    for worker, theirs in client.run(versions, on_error="return").items():
        if isinstance(theirs, OSError):  # it died just now
            continue
        if isinstance(theirs, BaseException):
            raise theirs
        if theirs != ours:
            what = ", ".join(
                f"{name} {theirs.get(name)} here {ours[name]}"
                for name in ours
                if theirs.get(name) != ours[name]
            )
            raise InputError(f"--dask {address}: worker {worker} has {what}; install the same there")


def versions() -> dict[str, str]:
    """Versions of the packages and the code that a worker must share with us."""
    return package_versions(MUST_AGREE) | {"prompt_oirl": package_code_version()}
