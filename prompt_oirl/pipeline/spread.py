"""One large fit on all workers of a Dask cluster, each of which reads its own questions from the files.

XGBoost (`grow`): Dask brings labels, weights and settings; XGBoost's own collective adds up the sums per bin
(https://xgboost.readthedocs.io/en/stable/tutorials/external_memory.html, distributed training). The
interaction model (`describe`): workers compute phi and the sums of each block, the client adds them up.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from prompt_oirl.features.mapped import MappedQuestions, QuestionFiles
from prompt_oirl.io.files import InputError
from prompt_oirl.pipeline.fit_data import content_hash
from prompt_oirl.reward_models.cells import OverBlocks, blocks_of
from prompt_oirl.reward_models.pages import check_room, page_bytes
from prompt_oirl.reward_models.pairs import QuantisedPairs, pair_columns
from prompt_oirl.reward_models.question_features import QuestionFeatures
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.reward_models.trees import Bins, Growth

JOIN = 600  # seconds in which all workers must have found their bins
AWAY = 20  # seconds without a worker after which all are lost
PROBES = 16  # questions of a block that tell whether a worker reads what the client has
OTHER_FILES = "--dask: a worker's files hold other question features than the client's"
AGAIN = "finished fits are kept: start the workers again, then run the same command again"


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
        raise InputError(OTHER_FILES)
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
    raise InputError(f"--dask: {what} in a fit that all workers share; {AGAIN}")


def describe(client: Any, features: QuestionFeatures, train: TrainingSet) -> tuple[np.ndarray, OverBlocks]:
    """phi of memory-mapped questions, and what does the sums of its blocks on the workers of a cluster.

    A worker reads the questions of a block, keeps their phi and sends a copy, which the client keeps in a
    file: sums of D x D come from the workers, products with a few columns are less work than sending these.
    Blocks of a worker that dies are done again by the others.

    Parameters
    ----------
    client : Dask's; its workers see the files of the questions under the same names
    features, train : as `reward_models.interaction.SpreadSums` takes them

    Raises: InputError if a worker cannot read the files, or if all are lost.
    """
    questions: Any = train.questions
    blocks = list(blocks_of(len(questions)))
    # A task, which Dask can do again: what is scattered is lost with the worker that has it.
    shared = client.submit(copy, features, pure=False)
    parts = [questions.select(np.arange(block.start, block.stop)) for block in blocks]
    kept = [client.submit(phi_of, part.files(), probe(part), shared, pure=False) for part in parts]
    phi = features.room(len(questions))
    for block, found in zip(blocks, in_order(client, list(kept))):
        phi[block] = found

    def each(function: Callable[..., Any], *columns: np.ndarray) -> Iterator[Any]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")
            tasks = [
                client.submit(in_one_thread, function, mine, *(c[block] for c in columns), pure=False)
                for block, mine in zip(blocks, kept)
            ]
        return in_order(client, tasks)

    return phi, each


def phi_of(files: QuestionFiles, expected: str, features: QuestionFeatures) -> np.ndarray:
    """phi of a block, read from this worker's files, which must be the client's."""
    questions = files.open()
    if probe(questions) != expected:
        raise InputError(OTHER_FILES)
    return in_one_thread(features.of_block, questions[:])


def probe(questions: MappedQuestions) -> str:
    """Hash of a few questions of a block."""
    return content_hash(questions[np.linspace(0, len(questions) - 1, PROBES).astype(int)])


def in_one_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function`; one thread of linear algebra from now on, for the bits of the client's sums."""
    threadpool_limits(1, user_api="blas")
    return function(*arguments)


def in_order(client: Any, tasks: list[Any]) -> Iterator[Any]:
    """Results of tasks that any worker may do. Dask would wait for ever for workers to come back."""
    from distributed import wait

    seen = time.monotonic()
    while tasks:
        with suppress(TimeoutError):
            wait(tasks[0], timeout=1)
        if tasks[0].done():
            yield tasks.pop(0).result()
        if tasks[:1] and not tasks[0].done() and not client.nthreads():
            if time.monotonic() > seen + AWAY:
                raise InputError(f"--dask: all workers were lost in a fit that they share; {AGAIN}")
        else:
            seen = time.monotonic()
