"""What the command line writes: rows as a table, CSV or JSON lines on stdout, remarks on stderr."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TextIO

from prompt_oirl.io.files import LONGEST_MESSAGE, InputError, csv_writer, on_one_line

Format = Literal["table", "csv", "jsonl"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs cells that begin so


def write_rows(
    rows: Sequence[Mapping[str, Any]],
    form: Format,
    excel_safe: bool = False,
    *,
    columns: Sequence[str] | None = None,
    header: bool = True,
) -> None:
    """Write rows to stdout, always as UTF-8 with plain line ends.

    Parameters
    ----------
    form : table (aligned text, four digits), csv or jsonl
    excel_safe : in CSV, put ' before texts that a spreadsheet would take for a formula
    columns : default: the keys of the first row; give them where there may be no row
    header : in CSV, begin with the names of the columns
    """
    columns = list(rows[0] if columns is None else columns)
    out = io.StringIO(newline="")
    if form == "jsonl":
        for row in rows:
            out.write(json.dumps({c: plain(row.get(c)) for c in columns}) + "\n")
    elif form == "csv":
        writer = csv_writer(out)
        if header:
            writer.writerow(columns)
        for row in rows:
            cells = [_cell(row.get(c)) for c in columns]
            writer.writerow(
                [
                    f"'{c}" if excel_safe and isinstance(row.get(k), str) and c.startswith(_FORMULA) else c
                    for k, c in zip(columns, cells)
                ]
            )
    else:
        table = [columns, *([_cell(row.get(c), 4) for c in columns] for row in rows)]
        widths = [max(len(on_one_line(line[i])) for line in table) for i in range(len(columns))]
        for line in table:
            out.write("  ".join(on_one_line(c).ljust(w) for c, w in zip(line, widths)).rstrip() + "\n")
    write_stdout(out.getvalue())


def write_stdout(text: str) -> None:
    """Write text to stdout as UTF-8, whatever the console's encoding."""
    if sys.stdout is None:
        raise InputError("stdout is closed: let it go to a file or a pipe")
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def plain(value: Any) -> Any:
    """What JSON can hold: NumPy's numbers as Python's, NaN as null, no negative zero."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return None if value != value else value + 0.0
    return value


def _cell(value: Any, digits: int = 6) -> str:
    value = plain(value)
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    from prompt_oirl.stats.metrics import format_number

    return format_number(value, digits)


def say(text: str) -> None:
    """Write a remark to stderr, without control characters that a text or a file's name may bring."""
    print(on_one_line(text, LONGEST_MESSAGE), file=sys.stderr)


def say_warning(message: Warning | str, *_: Any) -> None:
    """Write a warning to stderr as a remark, as `warnings.showwarning` calls it."""
    say(f"note: {message}")


class OnlyErrors(io.TextIOBase):
    """A stream that hands on lines that tell of an error or a warning, and drops all others.

    Parameters
    ----------
    stream : where those lines go; None where stderr is closed
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        """Take a part of a line, or several lines."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if self._stream is not None and line.startswith(("error: ", "warning: ")):
                self._stream.write(f"{line}\n")
                self._stream.flush()
        return len(text)
