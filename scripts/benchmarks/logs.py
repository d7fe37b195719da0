"""Speed of reading logs and of finding near-duplicates."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import comparison, cpu_seconds
from prompt_oirl.data import interactions, near_duplicates
from prompt_oirl.data.label_table import LabelTableBuilder
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import Paths
from prompt_oirl.pipeline import offline_dataset

ROWS = 20_000


def logs(repeats: int) -> Iterator[dict[str, Any]]:
    """Reading the MAWPS log from JSONL and from partitioned Parquet; all question pairs against MinHash."""
    path = Paths().labels(LLM) / "mawps_interactions.jsonl"
    hint = "run steps 2 and 3"
    with tempfile.TemporaryDirectory() as folder:
        interactions.write_partitioned(Path(folder), islice(interactions.stream(path, hint=hint), ROWS))
        parquet = Path(folder) / f"llm={LLM}" / "dataset=mawps"

        def read(log: Path) -> None:
            table = LabelTableBuilder()
            for row in islice(interactions.stream(log, hint=hint), ROWS):
                if row.split == "train":
                    table.add(row)

        times = [[cpu_seconds(partial(read, log)) for log in (path, parquet)] for _ in range(repeats)]
    work = "reading and checking a log; baseline: JSONL, ours: partitioned Parquet"
    yield comparison(work, "CPU microseconds per answer", ROWS, 1e6 / ROWS * np.median(times, 0))
    for dataset in ("gsm8k", "svamp"):
        yield from near_duplicate_lines(dataset, repeats)


def near_duplicate_lines(dataset: str, repeats: int) -> Iterator[dict[str, Any]]:
    """All pairs of a dataset's questions against MinHash: time, and how many pairs both find."""
    texts = offline_dataset.load_names(LLM, dataset, Paths()).texts
    limit, found = near_duplicates.EXACT_LIMIT, []
    times: list[list[float]] = []
    try:
        for _ in range(repeats):
            times.append([])
            for near_duplicates.EXACT_LIMIT in (limit, 0):
                times[-1].append(cpu_seconds(lambda: found.append(near_duplicates.cluster_texts(texts))))
    finally:
        near_duplicates.EXACT_LIMIT = limit
    exact, likely = found[:2]
    both = np.unique(np.stack([exact, likely]), axis=1, return_inverse=True)[1].ravel()
    work = f"near-duplicates among {len(texts):,} {dataset.upper()} questions, all pairs against MinHash"
    yield comparison(work, "CPU seconds", len(texts), np.median(times, 0))
    sides, work = (pairs(exact), pairs(both)), f"{work}: pairs in one cluster with both"
    yield comparison(work, "pairs", len(texts), sides, higher_is_better=True, repeats=1)


def pairs(clusters: np.ndarray) -> int:
    """How many pairs share a cluster."""
    sizes = np.bincount(clusters)
    return int((sizes * (sizes - 1) // 2).sum())
