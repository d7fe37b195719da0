"""Tables as they lie in files: CSV with any separator, JSON lines, an array of objects, a workbook.

Each function returns the rows under the number that a user finds them by: the line a row begins on, the row
of the sheet, or which object of the array it is.
"""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from prompt_oirl.io.extras import missing
from prompt_oirl.io.files import InputError, decode_lines, on_one_line
from prompt_oirl.io.json_files import each_key_once, numbered_objects

LARGEST_UNPACKED = (
    2**30
)  # bytes that a packed table may hold; a small file can unpack to more than the memory
_SEPARATOR_LINE = re.compile(r'"?sep=([^\s"]|\t)"?,*\s*', re.IGNORECASE)  # Excel's own, not part of the table
_BEHIND_RETURN = re.compile(r"(?<=\r)(?!\n)")
_SPACE = re.compile(r"\s*")


def read_csv(file: Iterable[bytes], name: str, hint: str, separator: str = ",") -> pd.DataFrame:
    """All cells as text. Cells missing at the end of a row are empty; cells beyond the header must be.

    Parameters
    ----------
    file : lines of UTF-8; a first one such as `sep=;` names another separator
    name, hint : beginning and end of a complaint
    separator : stands between cells

    Raises: InputError naming the line.
    """
    csv.field_size_limit(2**31 - 1)  # a question may be longer than the default
    lines = _csv_lines(file, name, hint)
    first, skipped = next(lines, ""), 0
    if named := _SEPARATOR_LINE.fullmatch(first):
        separator, first, skipped = named[1], next(lines, ""), 1
    reader = csv.reader(chain([first], lines), strict=True, delimiter=separator)
    start, header, rows = 1 + skipped, None, []
    try:
        for row in reader:
            if row and header is None:
                header = row
            elif row:
                rows.append((start, row))
            start = reader.line_num + 1 + skipped
    except csv.Error as error:
        cause = "a quote is opened here and not closed, or not doubled within a text"
        raise InputError(f"{name}:{start}: not a readable CSV ({cause}: {error}); {hint}") from error
    if header is None:
        raise InputError(f"{name}: the file is empty; {hint}")
    if len(header) == 1 and (other := {";", "\t"} & set(header[0])):
        sep = min(other)
        remedy = "name the file .tsv" if sep == "\t" else "put a first line sep=; above the header"
        raise InputError(f"{name}: cells are separated by {sep!r}; save the table with commas, or {remedy}")
    return _below(header, rows, name)


def _csv_lines(file: Iterable[bytes], name: str, hint: str) -> Iterator[str]:
    """Lines that end at \\n, \\r or both."""
    for line in decode_lines(file, name, hint):
        yield from _BEHIND_RETURN.split(line) if "\r" in line else [line]


def _below(header: list[Any], rows: Iterable[tuple[int, list[Any]]], name: str) -> pd.DataFrame:
    """The rows below a header, each as long as it."""
    width, names = len(header), {_bare(cell) for cell in header} - {""}
    numbers, kept = [], []
    for number, row in rows:
        if any(cell not in (None, "") for cell in row[width:]):
            raise InputError(
                f"{name}:{number}: {len(row)} cells where the header has {width}; put texts with "
                "commas in quotes"
            )
        if _bare(row[0]) in names and _is_header(row, names):
            raise InputError(
                f"{name}:{number}: the names of the columns stand here again, as where files were joined; "
                "delete the line, or name the files one by one"
            )
        numbers.append(number)
        kept.append(row[:width] + [""] * (width - len(row)))
    return pd.DataFrame(kept, columns=header, index=numbers, dtype=object)


def _is_header(row: list[Any], names: set[str]) -> bool:
    """Whether a row holds names of columns only, two or more if there are."""
    given = [bare for cell in row if (bare := _bare(cell))]
    return len(given) >= min(2, len(names)) and len(set(given)) == len(given) and set(given) <= names


def _bare(cell: Any) -> str:
    return "" if cell is None else str(cell).strip("\ufeff \t\r\n")


def read_json_lines(lines: Iterable[bytes], name: str, hint: str) -> pd.DataFrame:
    """One object a line; blank lines are read over.

    Parameters
    ----------
    lines : UTF-8, cut at \\n only, so odd Unicode line separators stay inside a text
    name, hint : as in `read_csv`

    Raises: InputError naming the line.
    """
    numbers, rows = [], []
    for number, row in numbered_objects(decode_lines(lines, name, hint), name, hint):
        numbers.append(number)
        rows.append(row)
    return pd.DataFrame(rows, dtype=object, index=numbers)


def read_json_array(data: bytes, name: str, hint: str) -> pd.DataFrame:
    """An array of objects, which are numbered from 1; or one object a line, which some write as .json.

    Parameters
    ----------
    data : UTF-8
    name, hint : as in `read_csv`

    Raises: InputError naming the line on which an object begins.
    """
    lines = data.splitlines(keepends=True)
    text, rows = "".join(decode_lines(lines, name, hint)), []
    if _one_a_line(text):
        return read_json_lines(lines, name, hint)
    read = json.JSONDecoder(object_pairs_hook=each_key_once).raw_decode
    at = _after_space(text, 0)

    def refuse(what: str) -> InputError:
        line = text.count("\n", 0, at) + 1
        return InputError(
            f"{name}:{line}: {what}; give an array of objects in brackets, or one object a line as "
            f".jsonl; {hint}"
        )

    if text[at : at + 1] != "[":
        raise refuse("no array begins here")
    at = _after_space(text, at + 1)
    while text[at : at + 1] != "]":
        try:
            row, end = read(text, at)
        except (ValueError, RecursionError) as error:
            raise refuse(f"not valid JSON ({on_one_line(str(error), 120)})") from error
        if not isinstance(row, dict):
            raise refuse("no object begins here")
        rows.append(row)
        at = _after_space(text, end)
        if text[at : at + 1] == ",":
            at = _after_space(text, at + 1)
        elif text[at : at + 1] != "]":
            raise refuse("expected a comma or the closing bracket")
    at = _after_space(text, at + 1)
    if at < len(text):
        raise refuse("more stands behind the array")
    return pd.DataFrame(rows, dtype=object, index=range(1, len(rows) + 1))


def _one_a_line(text: str) -> bool:
    """Whether an object ends with its line, and more lines follow."""
    first, _, more = text.lstrip().partition("\n")
    try:
        return first.startswith("{") and bool(more.strip()) and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _after_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _refuse_merged_cells(path: Path) -> None:
    """Of merged cells only the first has the text: the others would count as empty."""
    with zipfile.ZipFile(path) as parts:
        sheets = [name for name in parts.namelist() if name.startswith("xl/worksheets/sheet")]
        first = parts.read(min(sheets, key=lambda name: (len(name), name))) if sheets else b""
        found = re.search(rb'<mergeCell [^>]*ref="([A-Z0-9:]{1,20})"', first)
    if found:
        raise InputError(
            f"{path}: cells {found[1].decode()} are merged; take them apart and fill each, or save as .csv"
        )


def read_workbook(path: Path, hint: str) -> pd.DataFrame:
    """The only table of an .xlsx file, on its first sheet; what formulas gave is taken as stored.

    Parameters
    ----------
    path : the workbook
    hint : the end of a complaint

    Raises: InputError on a file that is no workbook or too large, at a formula without a value, and on other
    sheets with the same header, which would be passed over.
    """
    try:
        import openpyxl
        from openpyxl.utils.escape import unescape
    except ImportError as error:
        raise missing(f"{path}: .xlsx needs openpyxl", "import", ", or save the sheet as .csv") from error

    opened = []

    def sheet(values: bool) -> Iterator[tuple[Any, ...]]:
        opened.append(openpyxl.load_workbook(path, read_only=True, data_only=values))
        return opened[-1].worksheets[0].iter_rows()

    try:
        with zipfile.ZipFile(path) as parts:
            unpacked = sum(part.file_size for part in parts.infolist())
        if unpacked > LARGEST_UNPACKED:
            raise InputError(
                f"{path}: unpacks to more than {LARGEST_UNPACKED:,} bytes, the limit for packed tables; take "
                "fewer rows"
            )
        _refuse_merged_cells(path)
        rows = []
        for number, (values, formulas) in enumerate(zip(sheet(True), sheet(False)), 1):
            if any(v.value is None and f.value is not None for v, f in zip(values, formulas)):
                raise InputError(
                    f"{path}:{number}: a formula without a stored value; open and save the file in a "
                    "spreadsheet, or paste the cells as values"
                )
            cells = [unescape(v.value) if isinstance(v.value, str) else v.value for v in values]
            if any(cell not in (None, "") for cell in cells):
                rows.append((number, cells))
        for other in opened[0].worksheets[1:] if rows else ():
            header = next(other.iter_rows(values_only=True), ())
            if {_bare(cell) for cell in header} == {_bare(cell) for cell in rows[0][1]}:
                raise InputError(
                    f"{path}: the sheet {on_one_line(other.title)} has the header of the first one; save "
                    "each as a .csv and name them all"
                )
    except InputError:
        raise
    except Exception as error:  # openpyxl raises many kinds for a damaged file
        reason = on_one_line(str(error) or type(error).__name__, 120)
        raise InputError(f"{path}: not a readable .xlsx workbook ({reason}); {hint}") from error
    finally:
        for book in opened:
            book.close()
    if not rows:
        raise InputError(f"{path}: the first sheet is empty; {hint}")
    return _below(["" if cell is None else cell for cell in rows[0][1]], rows[1:], str(path))
