"""Tables that a user hands over: CSV, TSV, JSONL, NDJSON, JSON (all also gzipped), Parquet or .xlsx, a file
or stdin; complaints name the row."""

from __future__ import annotations

import gzip
import io
import math
import sys
import zlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from unicodedata import normalize

import numpy as np
import pandas as pd

from prompt_oirl.io import table_formats
from prompt_oirl.io.extras import need
from prompt_oirl.io.files import InputError, decode_lines, on_one_line, require

_TEXTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")  # may be gzipped
TABLES = (*_TEXTS, *(f"{kind}.gz" for kind in _TEXTS), ".parquet", ".xlsx")
_TRUE = {"true", "t", "yes", "y", "right", "correct", "c", "pass", "passed"}
_FALSE = {"false", "f", "no", "n", "wrong", "incorrect", "i", "fail", "failed"}


def read_table(path: str | Path, hint: str) -> pd.DataFrame:
    """A table in a file whose name ends in one of `TABLES`; `-`: CSV, JSONL or a JSON array on stdin.

    Parameters
    ----------
    path : the file
    hint : what the user can do, the end of a complaint

    Returns: the rows, indexed by the line each begins on; in JSON, Parquet and .xlsx by number.
    Raises: InputError on a file that cannot be read, or that unpacks to more than `LARGEST_UNPACKED` bytes.
    """
    if str(path) == "-":
        return _from_bytes(read_stdin(), hint)
    path = Path(path)
    _refuse_folder(path)
    kind = next((kind for kind in TABLES if path.name.lower().endswith(kind)), "")
    if not kind:
        raise InputError(
            f"{path}: the name must end in {', '.join(_TEXTS)}, one of these with .gz, .parquet "
            f"or .xlsx; {hint}"
        )
    require(path, f"correct the path; {hint}")
    if kind == ".xlsx":
        return table_formats.read_workbook(path, hint)
    if kind != ".parquet":
        with path.open("rb") if not kind.endswith(".gz") else io.BytesIO(_file_bytes(path)) as file:
            return _from_text(file, kind.removesuffix(".gz"), str(path), hint)
    need(str(path), "parquet")
    try:
        frame = pd.read_parquet(path)
        texts = [name for name, kind in frame.dtypes.items() if isinstance(kind, pd.StringDtype)]
        frame = frame.astype(dict.fromkeys(texts, object))  # here what is no UTF-8 shows
    except Exception as error:  # Arrow raises many kinds for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a readable Parquet file ({reason}); {hint}") from error
    return frame.set_axis(range(1, len(frame) + 1))


def _from_text(file: IO[bytes], kind: str, name: str, hint: str) -> pd.DataFrame:
    if kind in (".jsonl", ".ndjson"):
        return table_formats.read_json_lines(file, name, hint)
    if kind == ".json":
        return table_formats.read_json_array(file.read(), name, hint)
    return table_formats.read_csv(file, name, hint, "\t" if kind == ".tsv" else ",")


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name its files, or let the shell do so, as in {path}/*.csv")


def read_stdin(begun: bytes = b"") -> bytes:
    """All of stdin, unpacked if it is gzipped; `begun` is what was read of it before."""
    if sys.stdin is None:
        raise InputError("stdin is closed: name a file, or pipe something in")
    data = begun + sys.stdin.buffer.read()
    return _unpacked(io.BytesIO(data), "stdin") if data.startswith(b"\x1f\x8b") else data


def _file_bytes(path: Path) -> bytes:
    """All of a file, unpacked if its name ends in .gz."""
    _refuse_folder(path)
    with require(path, "correct the path").open("rb") as file:
        return _unpacked(file, str(path)) if path.suffix.lower() == ".gz" else file.read()


def _unpacked(file: IO[bytes], name: str) -> bytes:
    largest = table_formats.LARGEST_UNPACKED
    try:
        data = gzip.GzipFile(fileobj=file).read(largest + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{name}: not a whole gzip file ({error}); pack it again") from error
    if len(data) > largest:
        raise InputError(
            f"{name}: unpacks to more than {largest:,} bytes, the limit for gzipped files; unpack "
            "it yourself, or take fewer rows"
        )
    return data


def _from_bytes(data: bytes, hint: str) -> pd.DataFrame:
    kinds = {b"{": ".jsonl", b"[": ".json"}
    first = data.lstrip(b"\xef\xbb\xbf \r\n\t")[:1]
    return _from_text(io.BytesIO(data), kinds.get(first, ".csv"), "stdin", hint)


def read_texts(path: str, column: str, lines: bool) -> list[str]:
    """Texts of one column of a table, see `read_text_table`."""
    return texts(read_text_table(path, column, lines), column, f"{path}:")


def read_text_table(path: str, column: str, lines: bool, begun: bytes = b"") -> pd.DataFrame:
    """A table with a column of texts; with `lines` plain text makes one, a row a line.

    Parameters
    ----------
    path : as of `read_table`, or with `lines` any other file, plain or gzipped
    column : name of the column that holds the texts
    lines : read what is no such table as plain text, leaving out its blank lines
    begun : what was read of stdin before

    Raises: InputError on a table or text that cannot be read.
    """
    hint = texts_hint(column, lines)
    if path == "-":
        data = read_stdin(begun)
        if lines and is_plain_text(data, column):
            return _lines(data, "stdin", hint, column)
        frame = _from_bytes(data, hint)
    elif lines and not path.lower().endswith(TABLES):
        return _lines(_file_bytes(Path(path)), path, hint, column)
    else:
        frame = read_table(path, hint)
    return checked_columns(frame, [column], "stdin" if path == "-" else path, hint)


def texts_hint(column: str, lines: bool) -> str:
    """What can be given as texts, the end of a complaint; parameters as of `read_text_table`."""
    return f"give a CSV or JSONL with a column {column}" + ", or plain text with one a line" * lines


def is_plain_text(data: bytes, column: str) -> bool:
    """Whether the first line that is not blank begins neither JSON, nor gzip, nor a CSV with the column."""
    first = data.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
    header = [c.strip(b' "\r') for c in first.split(b",")]
    return not first.startswith((b"{", b"\x1f\x8b")) and column.encode() not in header


def checked_columns(frame: pd.DataFrame, needed: Sequence[str], source: str, hint: str) -> pd.DataFrame:
    """The frame, names of columns stripped and in NFC, without columns that have no name; refused if one is
    missing or stands there twice.

    Parameters
    ----------
    frame : a table as it was read
    needed : names of the columns that must be there
    source : name of the table, the beginning of a complaint
    hint : what the user can do, the end of a complaint

    Raises: InputError naming the column.
    """
    frame = frame.set_axis([normalize("NFC", str(c).strip()) for c in frame.columns], axis=1)
    frame = frame.loc[:, frame.columns != ""]
    missing = [c for c in needed if c not in frame.columns]
    if missing:
        have = on_one_line(", ".join(frame.columns[:12]), 200) or "none"
        raise InputError(f"{source}: the column {missing[0]} is missing (there are: {have}); {hint}")
    doubled = frame.columns[frame.columns.duplicated()]
    if len(doubled):
        raise InputError(f"{source}: two columns are called {on_one_line(doubled[0])}; {hint}")
    return frame


def _lines(data: bytes, name: str, hint: str, column: str) -> pd.DataFrame:
    found = [line.strip() for line in decode_lines(data.split(b"\n"), name, hint) if line.strip()]
    return pd.DataFrame({column: found}, dtype=object)


def numbers(frame: pd.DataFrame, column: str, where: str, low: float, high: float = math.inf) -> np.ndarray:
    """A column as float64 (n,), empty as NaN; in `correct`, words for right and wrong count as `high` and 0.

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
        expected += ", true or false, PASS or FAIL, C or I, or empty where there is no verdict"
    for i, (number, value) in enumerate(zip(frame.index, frame[column].tolist())):
        if is_empty(value):
            values[i] = np.nan
            continue
        word = value.strip().lower() if isinstance(value, str) else None
        try:
            if column == "correct" and word in _TRUE | _FALSE:
                values[i] = high * (word in _TRUE)
            elif isinstance(value, bool | np.bool_):
                values[i] = high * value if column == "correct" else value
            elif word is not None and ("_" in word or not word.isascii()):
                raise ValueError(word)  # Python's numbers may hold _ and the digits of all scripts
            elif isinstance(value, np.ndarray | list):  # Parquet's; NumPy makes a number of a single item
                raise TypeError(value)
            else:
                values[i] = float(value)
        except (TypeError, ValueError, OverflowError):
            values[i] = math.inf
        if not low <= values[i] <= high or math.isinf(values[i]):
            percent = column == "correct" and high == 1 < values[i] <= 100
            highest = next(n for n in (5, 10, 100) if not percent or values[i] <= n)
            advice = f"; --scale {highest} reads scores from 0 to {highest}" if percent else ""
            raise InputError(f"{where}{number}: {column} is {short(value)}, expected {expected}{advice}")
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
            remedy = "; write it as text" if isinstance(value, int | float) else ""
            raise InputError(f"{where}{number}: {column} is {short(value)}, expected text{remedy}")
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
    if isinstance(value, str | float | np.floating | Decimal):
        return value == "" or value != value  # NaN
    return value is None or value is pd.NA or value is pd.NaT


def cell_text(value: Any) -> str:
    """A cell as text, "" if it is empty; a missing cell makes a column's whole numbers floats: no ".0"."""
    if is_empty(value):
        return ""
    whole = isinstance(value, float | np.floating) and value.is_integer()
    return str(int(value) if whole else value)


def short(value: Any) -> str:
    """A cell for a message: ASCII, at most 40 characters."""
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
