"""Files: where they lie, how they are written whole or not at all, how they are read without trust."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import numpy as np

REPO_ROOT = Path(__file__).resolve().parents[2]


LONGEST_MESSAGE = 4_000


class InputError(Exception):
    """Something the user can fix. The message is one line without control characters and names the hint."""

    def __init__(self, message: str):
        super().__init__(on_one_line(message, LONGEST_MESSAGE))


_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_RESERVED = ("all", "labels")  # flags and file names of the steps


def is_file_name(name: str) -> bool:
    """Whether a name given by the user may become part of file names."""
    return bool(_NAME.fullmatch(name)) and name not in _RESERVED


def check_folder_name(flag: str, name: str) -> None:
    """Refuse a name given by the user that is no plain folder's."""
    if not name.strip() or name in (".", "..") or "/" in name or not name.isprintable():
        raise InputError(f"{flag} {name!a}: give a plain folder name, without slashes and control characters")


def on_one_line(text: str, longest: int = 60) -> str:
    """Text of models and users as a terminal may show it: one line, no control character."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


@dataclass(frozen=True)
class Paths:
    """Every folder of the pipeline, relative to one root (the checkout, unless a step is told `--root`)."""

    root: Path = REPO_ROOT

    @property
    def fetched(self) -> Path:
        """What scripts/fetch_data.py has fetched."""
        return self.root / "data" / "fetched"

    @property
    def embeddings(self) -> Path:
        """Vectors of questions and prompts, by LLM and dataset."""
        return self.root / "embeddings"

    def labels(self, llm: str) -> Path:
        """Log, labels, clusters and folds of an LLM."""
        return self.root / "llama_exps" / f"LM{llm}"

    def opro_log(self, llm: str) -> Path:
        """Folder of the interaction log that OPRO's runs extend."""
        return self.root / "opro_exps" / f"LM{llm}"

    def opro_results(self, task: str, run: str) -> Path:
        """Tables and proposals of one OPRO run."""
        return self.root / "results" / "opro" / task / run

    def committed_log(self, llm: str, dataset: str) -> Path:
        """A log that comes with the project."""
        return self.root / "data" / f"{llm}_log" / f"{dataset}.parquet"

    def partitioned_log(self, llm: str, dataset: str) -> Path:
        """A log as a folder of Parquet files (scripts/convert_log.py)."""
        return (
            self.root / "data" / "logs" / f"llm={quote(llm, safe='')}" / f"dataset={quote(dataset, safe='')}"
        )

    def models(self, llm: str) -> Path:
        """Reward models of an LLM; the published name is llama_models."""
        return self.root / "llama_exps" / f"{llm.removesuffix('2') if llm == 'llama2' else llm}_models"

    def results(self, llm: str, dataset: str, split: str) -> Path:
        """Tables of step 5. Parameters: names of LLM and dataset; `split`, the protocol, such as crossfit."""
        return self.root / "results" / llm / dataset / split


_umask_lock = Lock()  # the umask cannot be asked for without setting it for all threads


def _file_mode() -> int:
    with _umask_lock:
        umask = os.umask(0)
        os.umask(umask)
    return 0o666 & ~umask


STALE_SECONDS = 600
_read: list[Path] = []  # files that the user named to be read


@contextmanager
def never_written(paths: Iterable[Path]) -> Iterator[None]:
    """Refuse to write over these files, by whatever path, while the block runs."""
    before = _read[:]
    _read.extend(path for path in paths if os.path.isfile(path))  # False of any text
    try:
        yield
    finally:
        _read[:] = before


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` in one move, else it is removed.

    A link's target is written, the link stays; what is no regular file (a device, a pipe) is refused.
    """
    try:
        path = path.resolve() if path.is_symlink() else path
        if path.exists() and not path.is_file():
            raise InputError(f"cannot write {path}: it is not a regular file; choose another name")
        if path.exists() and any(path.samefile(other) for other in _read if other.exists()):
            raise InputError(f"cannot write {path}: it is one of the files to read; choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        for left_behind in path.parent.glob(f".{path.name}.*.tmp"):  # by a run that was killed while writing
            with suppress(FileNotFoundError):  # another writer was faster
                if time.time() - left_behind.stat().st_mtime > STALE_SECONDS:
                    left_behind.unlink()
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
        temporary.chmod(_file_mode())
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> InputError:
    # NumPy reports a short write without an error number.
    full = error.errno in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = (
        "free some space"
        if full
        else "make the folder writable, or choose another (--root of a step, --out of prompt-oirl)"
    )
    return InputError(
        f"cannot write {path}: {error.strerror or error}; {hint} and run the same command again"
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON; what it does not know is written as text."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=True, default=str) + "\n")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file."""
    import numpy as np

    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def csv_writer(file: IO[str]) -> Any:
    """A CSV writer that ends rows with \\n and puts a lone carriage return in quotes, as few Pythons do."""
    return csv.writer(SimpleNamespace(write=lambda row: file.write(row.removesuffix("\r\n") + "\n")))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as CSV; floats as their shortest 6-digit form, None and NaN as empty.

    Parameters
    ----------
    columns : header, default the first row's keys (no row: ValueError); a row with another key: KeyError
    """
    rows = iter(rows)
    if not columns:
        first = next(rows, None)
        if first is None:
            raise ValueError(f"{path.name}: no rows, and no columns to write a header from")
        columns, rows = list(first), chain([first], rows)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv_writer(file)
        writer.writerow(columns)
        for row in rows:
            unknown = set(row) - set(columns)
            if unknown:
                raise KeyError(f"{path.name}: columns {sorted(unknown)} are not in the header")
            writer.writerow([_cell(row.get(column)) for column in columns])


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float) or getattr(getattr(value, "dtype", None), "kind", "") == "f":
        return "" if value != value else f"{value:.6g}"
    return value


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=True) + "\n")


def require(path: Path, hint: str) -> Path:
    """Return `path` if it is a readable file, else say which step makes it."""
    if not path.is_file():
        raise InputError(f"missing {path}: {hint}")
    return path


def read_lines(path: Path, *, hint: str) -> Iterator[str]:
    """Lines of a UTF-8 text, cut at \\n only; bytes that are no UTF-8 name their line."""
    with require(path, hint).open("rb") as file:
        yield from decode_lines(file, path, hint)


def decode_lines(lines: Iterable[bytes], source: str | Path, hint: str, first: int = 1) -> Iterator[str]:
    """Lines of bytes as text; what is no UTF-8 names its line, after `source` and before `hint`;
    `first` is the number of the first."""
    for number, line in enumerate(lines, first):
        try:  # utf-8-sig: an editor's byte order mark is not part of the first line
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            why = f"not UTF-8 ({error.reason}); save it as UTF-8, or {hint}"
            raise InputError(f"{source}:{number}: {why}") from error


def read_csv(path: Path, *, hint: str, columns: Iterable[str] = ()) -> list[dict[str, str]]:
    """All records of a CSV with a header that holds at least `columns`. Parameters as in `csv_records`."""
    return [row for _, row in csv_records(path, hint=hint, columns=columns)]


def csv_records(
    path: Path, *, hint: str, columns: Iterable[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, record); a record over several lines counts by its last.

    Parameters
    ----------
    path, hint : CSV in UTF-8 with a header; what the user can do, the end of every complaint (InputError)
    columns : names that the header must hold
    """
    # utf-8-sig: a spreadsheet's byte order mark is not part of the first column's name.
    with require(path, hint).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)  # else an open quote swallows what follows
        try:
            missing = set(columns) - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{path}:1: columns {sorted(missing)} are missing; {hint}")
            for row in reader:
                yield reader.line_num, row
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}:{reader.line_num + 1}: cannot be read ({error}); {hint}") from error


def sha256(path: Path) -> str:
    """Hash of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_texts(texts: Iterable[str]) -> str:
    """Hash of a sequence of texts; where one ends and the next begins counts."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def content_key(value: Any) -> str:
    """Short hash of any JSON-like value: equal settings, equal key, whatever the order of the fields."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
