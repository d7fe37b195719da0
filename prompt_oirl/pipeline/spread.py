"""One large fit on all workers of a Dask cluster, each of which reads its own questions from the files.

Dask starts the workers and brings labels, weights and settings; XGBoost's own collective adds up the sums per
bin (https://xgboost.readthedocs.io/en/stable/tutorials/external_memory.html, distributed training).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from prompt_oirl.io.files import InputError
from prompt_oirl.pipeline.fit_data import content_hash
from prompt_oirl.reward_models.pages import check_room, page_bytes
from prompt_oirl.reward_models.pairs import QuantisedPairs, pair_columns
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.reward_models.trees import Bins, Growth

JOIN = 600  # seconds in which all workers must have found their bins


def grow(
    client: Any, growth: Growth, bins: Bins, train: TrainingSet, validation: TrainingSet | None
) -> list[Any]:
    """Boosters grown on memory-mapped questions by all workers of a cluster together.

    Parameters
    ----------
    client : Dask's; its workers see the files of the questions under the same names
    growth, bins, train, validation : as `reward_models.trees.Spread` takes them

    Raises: InputError if a worker cannot read the files or is lost.
    """
    from distributed.comm import get_address_host

    sets = [train] if validation is None else [train, validation]
    answered = [np.flatnonzero(part.weights.any(1)) for part in sets]
    workers = sorted(client.nthreads())[: min(map(len, answered))]
    rows = zip(*(np.array_split(part, len(workers)) for part in answered))
    shares = [
        client.scatter([by_name(part.rows(r)) for part, r in zip(sets, own)], workers=[worker], hash=False)
        for worker, own in zip(workers, rows)
    ]

    def on_each(work: Any, *common: Any) -> list[Any]:
        tasks = [
            client.submit(work, *common, share, workers=[worker], pure=False)
            for worker, share in zip(workers, shares)
        ]
        return finished(client, tasks, workers)

    expected = content_hash(np.asarray(bins.sample.questions))
    bins = replace(bins, sample=by_name(bins.sample))
    on_each(check, bins, expected)  # one that failed later would keep the others waiting
    first = workers[0]
    tracker = client.run(start_tracker, len(workers), get_address_host(first), workers=[first])[first]
    return next(boosters for boosters in on_each(grow_share, tracker, growth, bins) if boosters)


def by_name(part: TrainingSet) -> Any:
    """The same set with the names of its files in place of the questions, to be sent to a worker."""
    questions: Any = part.questions
    return replace(part, questions=questions.files(), clusters=None, whole=None)


def opened(part: Any) -> TrainingSet:
    """Undo `by_name`."""
    return replace(part, questions=part.questions.open())


def check(bins: Bins, expected: str, share: list[Any]) -> None:
    """Refuse a share whose files are not the client's, as the sample tells, or whose pages find no room."""
    sample = opened(bins.sample)
    if content_hash(np.asarray(sample.questions)) != expected:
        raise InputError("--dask: a worker's files hold other question features than the client's")
    cells = sum(int((part.weights > 0).sum()) for part in [sample, *share])
    check_room(page_bytes(cells, pair_columns(sample, bins.whole_features)))


def start_tracker(n_workers: int, host: str) -> dict[str, Any]:
    """Start, on this worker, what tells XGBoost's workers of each other; returns where they find it."""
    from xgboost.tracker import RabitTracker

    tracker = RabitTracker(n_workers=n_workers, host_ip=host, sortby="task", timeout=JOIN)
    tracker.start()
    threading.Thread(target=tracker.wait_for, daemon=True).start()
    return tracker.worker_args()


def grow_share(tracker: dict[str, Any], growth: Growth, bins: Bins, share: list[Any]) -> list[Any] | None:
    """This worker's part: its rows in the bins of the sample, then the trees, which all workers end up with.

    Returns: the boosters, from one of the workers.
    """
    from distributed import get_worker
    from xgboost import collective

    worker = get_worker()
    parameters = [{**each, "nthread": worker.state.nthreads} for each in growth.parameters]
    # Bins come first and alone: once connected, XGBoost would look for bins of all workers' samples together.
    shared = QuantisedPairs(bins.whole_features, opened(bins.sample), growth.max_bin, worker.state.nthreads)
    with collective.CommunicatorContext(**tracker, dmlc_task_id=worker.address):
        matrix = shared.matrix_of(opened(share[0]), bins.features, shared.matrix)
        held_out = [shared.matrix_of(opened(part), bins.features, matrix) for part in share[1:]]
        boosters = replace(growth, parameters=parameters).grow(matrix, *held_out)
        return boosters if collective.get_rank() == 0 else None


def finished(client: Any, tasks: Sequence[Any], workers: Sequence[str]) -> list[Any]:
    """Results of one task per worker. Dask would wait for ever for a task that only a lost worker may do."""
    while not all(task.done() for task in tasks) and set(workers) <= set(client.nthreads()):
        if any(task.status == "error" for task in tasks):
            break
        time.sleep(0.1)
    if all(task.status == "finished" for task in tasks):
        return client.gather(list(tasks))
    error = next((task.exception() for task in tasks if task.status == "error"), None)
    time.sleep(1)  # those whom a worker left behind may fail before the scheduler misses it
    lost = sorted(set(workers) - set(client.nthreads()))
    client.cancel(list(tasks))
    if isinstance(error, InputError) and not lost:
        raise error
    what = f"worker {', '.join(lost)} was lost" if lost else f"the workers lost touch ({error!r:.200})"
    raise InputError(
        f"--dask: {what} in a fit that all workers share; finished fits are kept: start the workers again, "
        "then run the same command again"
    )
