"""The interaction log: one row per answer an LLM ever gave, the only thing the steps read and write.

A row says which question met which prompt, what came back and whether it was right (ARCHITECTURE, "The
interaction log"). `read` and `write` keep it as JSONL; `LabelTable` is the log seen as matrices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.artifacts import InputError, atomic_write, read_jsonl, require, write_jsonl
from prompt_oirl.questions import SPLITS

SCHEMA = 1


@dataclass
class Interaction:
    """One answered (question, prompt) pair. `correct` in 0..1 is the verdict reward models learn from."""

    llm: str
    dataset: str
    split: str
    question_id: str
    question: str
    gold: str
    prompt_id: str
    prompt: str
    correct: float
    position: str = "after"
    group: str | None = None
    sample: int = 0
    answer: str | None = None
    finish_reason: str | None = None
    correct_original: float | None = None
    correct_strict: float | None = None
    grader: str = "original"
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    time: float | None = None
    schema: int = SCHEMA


_FIELDS = {f.name for f in fields(Interaction)}
_NUMBERS = ("temperature", "top_p", "max_new_tokens", "seed", "tokens_in", "tokens_out", "cost", "time")
_TEXT = ("llm", "dataset", "split", "question_id", "question", "gold", "prompt_id", "prompt")


def write(path: Path, rows: Iterable[Interaction]) -> None:
    """Write a log as JSONL, or as Parquet if `path` ends in .parquet."""
    if path.suffix != ".parquet":
        write_jsonl(path, (asdict(row) for row in rows))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_write(path) as temporary:
        table = pa.Table.from_pylist([asdict(row) for row in rows])
        pq.write_table(table, temporary, compression="zstd", compression_level=19)


def read(path: Path, *, remedy: str) -> list[Interaction]:
    """Read and check a log, JSONL or Parquet; every complaint names file:row and what to do."""
    records = _parquet_records if path.suffix == ".parquet" else read_jsonl
    rows = []
    for number, row in enumerate(records(path, remedy=remedy), 1):
        rows.append(checked(row, f"{path}:{number}", remedy))
    if not rows:
        raise InputError(f"{path}: no interactions; {remedy}")
    return rows


def _parquet_records(path: Path, *, remedy: str) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(require(path, remedy)) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}); {remedy}"
        ) from error


def checked(row: Any, where: str, remedy: str) -> Interaction:
    """A row as an Interaction, or an error that says what is wrong with it."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected one JSON object per line; {remedy}")
    if row.get("schema") != SCHEMA:
        raise InputError(f"{where}: schema {row.get('schema')!r}, this version reads {SCHEMA}; {remedy}")
    unknown, missing = set(row) - _FIELDS, {*_TEXT, "correct"} - set(row)
    if unknown or missing:
        raise InputError(
            f"{where}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}; {remedy}"
        )
    bad = [name for name in _TEXT if not isinstance(row[name], str)]
    if bad:
        raise InputError(f"{where}: {bad[0]} is not text; {remedy}")
    for name in ("question_id", "prompt_id"):
        if not row[name].isprintable() or not row[name]:
            raise InputError(f"{where}: {name} {row[name]!a} is empty or holds a control character; {remedy}")
    if row["split"] not in SPLITS:
        raise InputError(f"{where}: split is {row['split']!r}, expected one of {', '.join(SPLITS)}; {remedy}")
    correct = row["correct"]
    if not isinstance(correct, int | float) or not 0 <= correct <= 1:
        raise InputError(f"{where}: correct is {correct!r}, expected a number from 0 to 1; {remedy}")
    if not isinstance(row.get("sample", 0), int) or not isinstance(row.get("answer"), str | None):
        raise InputError(f"{where}: sample must be a whole number and answer text or null; {remedy}")
    for name in _NUMBERS:
        if isinstance(row.get(name), bool) or not isinstance(row.get(name), int | float | None):
            raise InputError(f"{where}: {name} is {row[name]!r}, expected a number or null; {remedy}")
    return Interaction(**row)


def check_one_source(rows: Iterable[Interaction], llm: str, dataset: str, where: str) -> None:
    """Refuse a log that pools rows of several models, datasets, decodings or graders."""
    first: tuple | None = None
    for number, row in enumerate(rows, 1):
        if (row.llm, row.dataset) != (llm, dataset):
            raise InputError(
                f"{where}:{number}: a row of llm {row.llm!r}, dataset {row.dataset!r}; keep one log for each"
            )
        kind = (row.grader, row.temperature, row.top_p, row.max_new_tokens)
        first = first or kind
        if kind != first:
            raise InputError(
                f"{where}:{number}: grader, temperature, top_p, max_new_tokens are {kind}, above {first}; keep one log for each"
            )


@dataclass
class LabelTable:
    """One split of a log as matrices: rows are questions in log order, columns prompts.

    `labels` is float32 (n, P), the mean `correct` over samples, NaN where a prompt was never asked.
    """

    question_ids: list[str]
    questions: list[str]
    golds: list[str]
    groups: list[str | None]
    labels: np.ndarray


def label_table(
    rows: Iterable[Interaction], split: str, prompt_ids: Sequence[str], where: str = "log"
) -> LabelTable:
    """Gather one split; a (question, prompt, sample) that stands twice in the log is refused."""
    column = {prompt: j for j, prompt in enumerate(prompt_ids)}
    index: dict[str, int] = {}
    texts: list[str] = []
    golds: list[str] = []
    groups: list[str | None] = []
    cells: list[tuple[int, int, float]] = []
    seen: set[tuple[str, str, int]] = set()
    for row in rows:
        if row.split != split or row.prompt_id not in column:
            continue
        key = (row.question_id, row.prompt_id, row.sample)
        if key in seen:
            raise InputError(
                f"{where}: question {key[0]}, prompt {key[1]}, sample {key[2]} stands twice; merge the log first"
            )
        seen.add(key)
        i = index.setdefault(row.question_id, len(index))
        if i == len(texts):
            texts.append(row.question)
            golds.append(row.gold)
            groups.append(row.group)
        elif texts[i] != row.question:
            raise InputError(
                f"{where}: question_id {row.question_id} names two different questions; make ids unique"
            )
        cells.append((i, column[row.prompt_id], row.correct))
    total = np.zeros((len(index), len(column)))
    count = np.zeros((len(index), len(column)))
    if cells:
        i_, j_, value = (np.array(part) for part in zip(*cells))
        np.add.at(total, (i_.astype(int), j_.astype(int)), value)
        np.add.at(count, (i_.astype(int), j_.astype(int)), 1)
    with np.errstate(invalid="ignore"):
        labels = (total / count).astype(np.float32)
    return LabelTable(list(index), texts, golds, groups, labels)
