"""Tables that a user hands over: CSV, JSONL (both also gzipped) or Parquet, a file or stdin; complaints name
the row."""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from prompt_oirl.io.files import InputError, decode_lines, on_one_line, parse_jsonl, read_jsonl, require

LARGEST_UNPACKED = (
    2**30
)  # bytes that a gzipped text may hold; a small file can unpack to more than the memory
TABLES = (".csv", ".jsonl", ".parquet", ".csv.gz", ".jsonl.gz")
_TRUE, _FALSE = {"true", "yes", "right", "correct"}, {"false", "no", "wrong", "incorrect"}


def read_table(path: str | Path, hint: str) -> pd.DataFrame:
    """A CSV, JSONL or Parquet file, the first two also gzipped (`-`: CSV or JSONL on stdin), indexed by the
    line each row begins on.

    Raises: InputError on a file that cannot be read, or that unpacks to more than `LARGEST_UNPACKED` bytes.
    """
    if str(path) == "-":
        return _from_bytes(read_stdin(), hint)
    path = Path(path)
    kind = next((kind for kind in TABLES if path.name.lower().endswith(kind)), "")
    if not kind:
        raise InputError(
            f"{path}: the name must end in .csv, .jsonl or .parquet, or in .csv.gz or .jsonl.gz; {hint}"
        )
    require(path, f"correct the path; {hint}")
    if kind == ".csv.gz":
        return _read_csv(io.BytesIO(_file_bytes(path)), str(path), hint)
    if kind == ".jsonl.gz":
        return _json_lines(_file_bytes(path), str(path), hint)
    if kind == ".csv":
        with path.open("rb") as file:
            return _read_csv(file, str(path), hint)
    if kind == ".jsonl":
        return _numbered(list(read_jsonl(path, hint=hint)))
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # Arrow raises many kinds for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a readable Parquet file ({reason}); {hint}") from error
    return frame.set_axis(range(1, len(frame) + 1))


def read_stdin() -> bytes:
    """All of stdin, unpacked if it is gzipped."""
    if sys.stdin is None:
        raise InputError("stdin is closed: name a file, or pipe something in")
    data = sys.stdin.buffer.read()
    return _unpacked(io.BytesIO(data), "stdin") if data.startswith(b"\x1f\x8b") else data


def _file_bytes(path: Path) -> bytes:
    """All of a file, unpacked if its name ends in .gz."""
    with require(path, "correct the path").open("rb") as file:
        return _unpacked(file, str(path)) if path.suffix.lower() == ".gz" else file.read()


def _unpacked(file: IO[bytes], name: str) -> bytes:
    try:
        data = gzip.GzipFile(fileobj=file).read(LARGEST_UNPACKED + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{name}: not a whole gzip file ({error}); pack it again") from error
    if len(data) > LARGEST_UNPACKED:
        raise InputError(
            f"{name}: unpacks to more than {LARGEST_UNPACKED:,} bytes, the limit for gzipped files; unpack "
            "it yourself, or take fewer rows"
        )
    return data


def _from_bytes(data: bytes, hint: str) -> pd.DataFrame:
    if data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
        return _json_lines(data, "stdin", hint)
    return _read_csv(io.BytesIO(data), "stdin", hint)


def _json_lines(data: bytes, name: str, hint: str) -> pd.DataFrame:
    lines = decode_lines(data.removesuffix(b"\n").split(b"\n"), name, hint)
    return _numbered(list(parse_jsonl(lines, name, hint)))


def _numbered(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, dtype=object, index=range(1, len(rows) + 1))


def read_texts(path: str, column: str, lines: bool) -> list[str]:
    """Texts of one column of a table, see `read_text_table`."""
    return texts(read_text_table(path, column, lines), column, f"{path}:")


def read_text_table(path: str, column: str, lines: bool) -> pd.DataFrame:
    """A table with a column of texts; with `lines` plain text makes one, a row a line.

    Parameters
    ----------
    path : as of `read_table`, or with `lines` any other file, plain or gzipped
    column : name of the column that holds the texts
    lines : read what is no such table as plain text, leaving out its blank lines

    Raises: InputError on a table or text that cannot be read.
    """
    hint = f"give a CSV or JSONL with a column {column}" + ", or plain text with one a line" * lines
    if path == "-":
        data = read_stdin()
        first = data.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
        header = [c.strip(b' "\r') for c in first.split(b",")]
        if lines and not first.startswith(b"{") and column.encode() not in header:
            return _lines(data, "stdin", hint, column)
        frame = _from_bytes(data, hint)
    elif lines and not path.lower().endswith(TABLES):
        return _lines(_file_bytes(Path(path)), path, hint, column)
    else:
        frame = read_table(path, hint)
    return checked_columns(frame, [column], "stdin" if path == "-" else path, hint)


def checked_columns(frame: pd.DataFrame, needed: Sequence[str], source: str, hint: str) -> pd.DataFrame:
    """The frame with its columns' names stripped; refused if one is missing or stands there twice.

    Parameters
    ----------
    frame : a table as it was read
    needed : names of the columns that must be there
    source : name of the table, the beginning of a complaint
    hint : what the user can do, the end of a complaint

    Raises: InputError naming the column.
    """
    frame = frame.set_axis([str(c).strip() for c in frame.columns], axis=1)
    missing = [c for c in needed if c not in frame.columns]
    if missing:
        have = on_one_line(", ".join(frame.columns[:12]), 200) or "none"
        raise InputError(f"{source}: the column {missing[0]} is missing (there are: {have}); {hint}")
    doubled = frame.columns[frame.columns.duplicated() & (frame.columns != "")]
    if len(doubled):
        raise InputError(f"{source}: two columns are called {on_one_line(doubled[0])}; {hint}")
    return frame


def _lines(data: bytes, name: str, hint: str, column: str) -> pd.DataFrame:
    found = [line.strip() for line in decode_lines(data.split(b"\n"), name, hint) if line.strip()]
    return pd.DataFrame({column: found}, dtype=object)


def _read_csv(file: IO[bytes], name: str, hint: str) -> pd.DataFrame:
    """All cells as text. Cells missing at the end of a row are empty; cells beyond the header must be."""
    csv.field_size_limit(2**31 - 1)  # a question may be longer than the default
    lines, rows = [], []
    reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
    try:
        header = next(filter(None, reader), None)
        if header is None:
            raise InputError(f"{name}: the file is empty; {hint}")
        if len(header) == 1 and (other := {";", "\t"} & set(header[0])):
            raise InputError(f"{name}: cells are separated by {min(other)!r}; save the table with commas")
        start = reader.line_num + 1
        for row in reader:
            if any(row[len(header) :]):
                raise InputError(
                    f"{name}:{start}: {len(row)} cells where the header has {len(header)}; put texts with "
                    "commas in quotes"
                )
            if row:
                lines.append(start)
                rows.append(row[: len(header)] + [""] * (len(header) - len(row)))
            start = reader.line_num + 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{name}: not a readable UTF-8 CSV (after line {reader.line_num}: {error}); {hint}"
        ) from error
    return pd.DataFrame(rows, columns=header, index=lines, dtype=object)


def numbers(frame: pd.DataFrame, column: str, where: str, low: float, high: float = math.inf) -> np.ndarray:
    """A column as float64 (n,), empty as NaN; words for yes and no count as 1 and 0 in `correct`.

    Parameters
    ----------
    frame : n rows; complaints give the number that the index has for a row
    column : name of the column
    where : stands before the row's number in a complaint, such as "log.csv:"
    low, high : smallest and largest value allowed; `high` is by default no limit

    Raises: InputError at the first cell that is neither empty nor a finite number within the limits.
    """
    values = np.empty(len(frame))
    expected = "a number of 0 or more, or empty" if math.isinf(high) else f"a number from {low:g} to {high:g}"
    if column == "correct":
        expected += ", true or false"
    for i, (number, value) in enumerate(zip(frame.index, frame[column].tolist())):
        if is_empty(value):
            values[i] = np.nan
            continue
        word = value.strip().lower() if isinstance(value, str) else None
        try:
            if column == "correct" and word in _TRUE | _FALSE:
                values[i] = word in _TRUE
            else:
                values[i] = float(value)
        except (TypeError, ValueError, OverflowError):
            values[i] = math.inf
        if not low <= values[i] <= high or math.isinf(values[i]):
            raise InputError(f"{where}{number}: {column} is {short(value)}, expected {expected}")
    return values


def texts(frame: pd.DataFrame, column: str, where: str) -> list[str]:
    """A column as texts; an empty prompt is a prompt, an empty question is none.

    Parameters
    ----------
    frame, column, where : as in `numbers`

    Raises: InputError at the first cell that is no text, and in the column "question" at a blank one.
    """
    found = []
    for number, value in zip(frame.index, frame[column].tolist()):
        if is_empty(value):
            value = ""
        if not isinstance(value, str):
            raise InputError(f"{where}{number}: {column} is {short(value)}, expected text")
        if column == "question" and not value.strip():
            raise InputError(f"{where}{number}: the question is empty; leave the row out")
        check_text(value, f"{where}{number}: the {column}")
        found.append(value)
    return found


def check_text(text: str, what: str) -> None:
    """Refuse lone surrogates, which no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{what} holds half of a surrogate pair, which is no text: repair the encoding"
        ) from None


def is_empty(value: Any) -> bool:
    """Whether a cell counts as empty."""
    return value is None or value is pd.NA or value == "" or (isinstance(value, float) and math.isnan(value))


def short(value: Any) -> str:
    """A cell for a message: ASCII, at most 40 characters."""
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
