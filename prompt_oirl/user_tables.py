"""Tables that a user hands over: CSV, JSONL or Parquet, a file or stdin; complaints name the row."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prompt_oirl.artifacts import InputError, read_jsonl, require

_TRUE, _FALSE = {"true", "yes", "right", "correct"}, {"false", "no", "wrong", "incorrect"}


def read_table(path: str | Path, remedy: str) -> tuple[pd.DataFrame, int]:
    """A CSV, JSONL or Parquet file (`-`: CSV or JSONL on stdin) as text columns, and the number of its first row."""
    if str(path) == "-":
        return _from_bytes(sys.stdin.buffer.read(), remedy)
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl", ".parquet"):
        raise InputError(f"{path}: the name must end in .csv, .jsonl or .parquet; {remedy}")
    require(path, f"correct the path; {remedy}")
    if kind == ".csv":
        return _read_csv(path, str(path), remedy), 2
    if kind == ".jsonl":
        return pd.DataFrame(list(read_jsonl(path, remedy=remedy)), dtype=object), 1
    try:
        return pd.read_parquet(path), 1
    except Exception as error:  # Arrow raises many kinds for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a readable Parquet file ({reason}); {remedy}") from error


def _from_bytes(data: bytes, remedy: str) -> tuple[pd.DataFrame, int]:
    if data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
        return pd.DataFrame(_jsonl(data, remedy), dtype=object), 1
    return _read_csv(io.BytesIO(data), "stdin", remedy), 2


def read_texts(path: str, column: str, lines: bool) -> list[str]:
    """Texts of one column of a CSV, JSONL or Parquet file (`-`: stdin), or with `lines` plain text, one a line."""
    remedy = f"give a CSV or JSONL with a column {column}" + ", or plain text with one a line" * lines
    if path == "-":
        data = sys.stdin.buffer.read()
        first = data.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
        header = [c.strip(b' "\r') for c in first.split(b",")]
        if lines and not first.startswith(b"{") and column.encode() not in header:
            return _lines(data, "stdin", remedy)
        frame, first_row = _from_bytes(data, remedy)
    elif lines and Path(path).suffix.lower() not in (".csv", ".jsonl", ".parquet"):
        return _lines(require(Path(path), "correct the path").read_bytes(), path, remedy)
    else:
        frame, first_row = read_table(path, remedy)
    if column not in frame:
        raise InputError(f"{path}: the column {column} is missing; {remedy}")
    return texts(frame.set_axis(range(first_row, first_row + len(frame))), column, f"{path}:")


def _lines(data: bytes, name: str, remedy: str) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 ({error.reason}); {remedy}") from error
    return [line.strip() for line in text.split("\n") if line.strip()]


def _jsonl(data: bytes, remedy: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"stdin:{number}: not valid JSON ({error}); {remedy}") from error
        if not isinstance(row, dict):
            raise InputError(f"stdin:{number}: expected one JSON object per line; {remedy}")
        rows.append(row)
    return rows


def _read_csv(source: Path | io.BytesIO, name: str, remedy: str) -> pd.DataFrame:
    try:
        return pd.read_csv(source, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError:
        raise InputError(f"{name}: the file is empty; {remedy}") from None
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: not a readable UTF-8 CSV ({reason}); {remedy}") from error


def numbers(frame: pd.DataFrame, column: str, where: str, low: float, high: float = math.inf) -> np.ndarray:
    """A column as float64, empty as NaN; words for yes and no count as 1 and 0 in `correct`."""
    values = np.empty(len(frame))
    expected = (
        "a number from 0 to 1, true or false" if column == "correct" else "a number of 0 or more, or empty"
    )
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
        except (TypeError, ValueError):
            values[i] = math.inf
        if not low <= values[i] <= high or math.isinf(values[i]):
            raise InputError(f"{where}{number}: {column} is {short(value)}, expected {expected}")
    return values


def texts(frame: pd.DataFrame, column: str, where: str) -> list[str]:
    """A column as texts; an empty prompt is a prompt, an empty question is none."""
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
    return value is None or value is pd.NA or value == "" or (isinstance(value, float) and math.isnan(value))


def short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
