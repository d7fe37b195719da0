"""The interaction log: one row per answer an LLM ever gave, the only thing the steps read and write.

A row says which question met which prompt, what came back and whether it was right. The log is kept as JSONL,
one Parquet file, or a folder of Parquet partitioned by llm and dataset; `stream` reads any of them row by
row, so a log may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

from prompt_oirl.data.prompts import POSITIONS
from prompt_oirl.data.questions import SPLITS
from prompt_oirl.io.files import InputError, atomic_write, require, write_jsonl
from prompt_oirl.io.json_files import read_jsonl

SCHEMA = 1
CHUNK = 50_000  # rows that are in memory at a time


@dataclass
class LogRow:
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
    refusal: str | None = None  # why a blank answer was not given, in the server's words
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


_FIELDS = {f.name for f in fields(LogRow)}
_KINDS = {f.name: {"str": str, "float": float, "int": int}[str(f.type).split(" ")[0]] for f in fields(LogRow)}
_MAY_BE_NULL = {f.name for f in fields(LogRow) if f.default is None}
_TEXT = ("llm", "dataset", "split", "question_id", "question", "gold", "prompt_id", "prompt")


def write(path: Path, rows: Iterable[LogRow]) -> None:
    """Write a log as JSONL, or as Parquet if `path` ends in .parquet."""
    if path.suffix != ".parquet":
        write_jsonl(path, (asdict(row) for row in rows))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_write(path) as temporary:
        table = pa.Table.from_pylist([asdict(row) for row in rows])
        pq.write_table(table, temporary, compression="zstd", compression_level=19)


def write_partitioned(folder: Path, rows: Iterable[LogRow]) -> int:
    """Write a log of any length as Parquet below `folder`/llm=.../dataset=.../ and return its number of rows.

    Partitions appear once all is written; a log that is there already is never replaced.
    """
    import pyarrow as pa
    import pyarrow.dataset as parquet

    iterator, written = iter(rows), 0
    columns = {str: pa.string(), float: pa.float64(), int: pa.int64()}
    schema = pa.schema([(name, columns[kind]) for name, kind in _KINDS.items()])
    by_source = parquet.partitioning(pa.schema([schema.field("llm"), schema.field("dataset")]), flavor="hive")

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal written
        while chunk := [asdict(row) for row in islice(iterator, CHUNK)]:
            try:
                yield pa.RecordBatch.from_pylist(chunk, schema=schema)
            except UnicodeEncodeError as error:
                raise InputError(
                    f"a row after row {written:,} holds {error.object[error.start : error.end]!a}, half a "
                    "character, which Parquet cannot store; correct the text or keep the log as JSONL"
                ) from error
            written += len(chunk)

    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".writing-", dir=folder) as name:
        made = Path(name)
        parquet.write_dataset(
            batches(),
            made,
            schema=schema,
            format="parquet",
            partitioning=by_source,
            max_rows_per_group=CHUNK,
            max_rows_per_file=20 * CHUNK,
            preserve_order=True,
        )
        parts = [part.relative_to(made) for part in sorted(made.glob("llm=*/dataset=*"))]
        for part in parts:
            if (folder / part).exists():
                raise InputError(f"{folder / part} holds a log already; move it away or give another folder")
        for part in parts:
            (folder / part).parent.mkdir(exist_ok=True)
            (made / part).rename(folder / part)
    return written


def read(path: Path, *, hint: str) -> list[LogRow]:
    """All rows of a log, checked."""
    return list(stream(path, hint=hint))


def stream(path: Path, *, hint: str) -> Iterator[LogRow]:
    """Read and check a log row by row; every complaint names file:row and what to do.

    `path` is a JSONL or Parquet file, or the llm=.../dataset=... folder of a partitioned log.
    """
    empty, named = True, _named_by_folder(path) if path.is_dir() else {}
    for file in files_of(path):
        records = _parquet_records if file.suffix == ".parquet" else read_jsonl
        for number, row in enumerate(records(file, hint=hint), 1):
            yield checked(named | row if named else row, f"{file}:{number}", hint)
            empty = False
    if empty:
        raise InputError(f"{path}: no interactions; {hint}")


def files_of(path: Path) -> list[Path]:
    """The files that make up a log, in the order of their rows; a folder's are its *.parquet."""
    if not path.is_dir():
        return [path]
    files = sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: (len(str(p)), str(p)))
    files = [p for p in files if not p.name.startswith((".", "_"))]  # of the programs that write such folders
    strange = [p for p in files if p.suffix != ".parquet"]
    if strange:
        raise InputError(
            f"{strange[0]}: a log's folder holds .parquet files alone; rename it or move it away"
        )
    return files


def _named_by_folder(path: Path) -> dict[str, str]:
    """llm and dataset as the names llm=.../dataset=... of a partition say them; {} for other folders."""
    names = dict(part.partition("=")[::2] for part in (path.parent.name, path.name))
    return {key: unquote(names[key]) for key in ("llm", "dataset") if key in names}


def _parquet_records(path: Path, *, hint: str) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(require(path, hint)) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():  # a null is what JSONL leaves out
                    yield {name: value for name, value in row.items() if value is not None}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}); {hint}"
        ) from error


def checked(row: Any, where: str, hint: str) -> LogRow:
    """A row as a LogRow, or an error that says what is wrong with it.

    Parameters
    ----------
    row : dictionary of the fields of `LogRow`; those that have a default may be left out, except `schema`
    where : file and number of the row, the beginning of every complaint
    hint : what the user can do, the end of every complaint

    Raises: InputError on another schema, an unknown or missing field, or a value that a field cannot have.
    """
    if row.get("schema") != SCHEMA:
        raise InputError(f"{where}: schema {row.get('schema')!r}, this version reads {SCHEMA}; {hint}")
    unknown, missing = set(row) - _FIELDS, {*_TEXT, "correct"} - set(row)
    if unknown or missing:
        raise InputError(
            f"{where}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}; {hint}"
        )
    for name, value in row.items():
        if name != "correct" and not (_is_a(_KINDS[name], value) or (value is None and name in _MAY_BE_NULL)):
            kind = {str: "text", int: "a whole number", float: "a number"}[_KINDS[name]]
            raise InputError(f"{where}: {name} is not {kind}: {value!a:.80}; {hint}")
    for name in ("llm", "dataset", "question_id", "prompt_id"):
        if not row[name].isprintable() or not row[name]:
            raise InputError(f"{where}: {name} {row[name]!a} is empty or holds a control character; {hint}")
    if row["split"] not in SPLITS:
        raise InputError(f"{where}: split is {row['split']!r}, expected one of {', '.join(SPLITS)}; {hint}")
    if row.get("position", "after") not in POSITIONS:
        raise InputError(
            f"{where}: position is {row['position']!a}, expected one of {', '.join(POSITIONS)}; {hint}"
        )
    correct = row["correct"]
    if not isinstance(correct, int | float) or not 0 <= correct <= 1:
        raise InputError(f"{where}: correct is {correct!r}, expected a number from 0 to 1; {hint}")
    return LogRow(**row)


def _is_a(kind: type, value: Any) -> bool:
    if kind is str:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (kind is float and isinstance(value, float)) or (abs(value) < 2**63 and value == int(value))


def of_one_source(rows: Iterable[LogRow], llm: str, dataset: str, where: str) -> Iterator[LogRow]:
    """Hand the rows on; refuse a log that pools rows of several models, datasets, decodings or graders.

    Parameters
    ----------
    rows : of a log, read one by one as they are handed on
    llm, dataset : names that every row must bear
    where : name of the log, the beginning of every complaint

    Raises: InputError at the first row of another llm or dataset, or whose grader, temperature, top_p or
    max_new_tokens differs from the first row's.
    """
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
                f"{where}:{number}: grader, temperature, top_p, max_new_tokens are {kind}, above {first}; "
                "keep one log for each"
            )
        yield row
