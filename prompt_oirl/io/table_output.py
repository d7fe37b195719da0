"""Tables written whole, as .parquet, .csv or .jsonl, and never over a file that is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prompt_oirl.io.extras import need
from prompt_oirl.io.files import InputError, atomic_write, on_one_line
from prompt_oirl.io.tables import is_empty

ENDINGS = (".parquet", ".csv", ".jsonl")
WHOLE_NUMBERS = ("sample", "tokens_in", "tokens_out")


def refuse_input_as_output(out: Path, inputs: Sequence[str | Path]) -> None:
    """Refuse an output over a file that is read, by whatever path, or in a folder that is read.

    Parameters
    ----------
    out : file to write
    inputs : files or folders; "-" is stdin
    """
    place = out.resolve()
    for path in map(Path, (i for i in inputs if str(i) != "-")):
        # What stands in a folder that is read may be read: not so Parquet, which no tool writes.
        inside = path.is_dir() and path.resolve() in place.parents and out.suffix.lower() != ".parquet"
        same = path.resolve() == place or (path.exists() and place.exists() and path.samefile(place))
        if same or (inside and out.exists()):
            where = "is" if same else "may be"
            raise InputError(
                f"--out {on_one_line(str(out), 200)} {where} one of the files to read: choose another --out"
            )


def check_table_output(out: Path, inputs: Sequence[str | Path]) -> None:
    """Refuse a table whose name ends otherwise than in `ENDINGS`, or that would lie over an input."""
    if out.suffix.lower() not in ENDINGS or out.is_dir():
        raise InputError(f"--out {on_one_line(str(out), 200)}: name a file that ends in {', '.join(ENDINGS)}")
    if out.suffix.lower() == ".parquet":
        need("--out .parquet", "parquet")
    refuse_input_as_output(out, inputs)


def as_csv(table: pd.DataFrame) -> str:
    """A table as CSV; texts stand in quotes, since a lone carriage return would end a row."""
    return table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")


def write_table(out: Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all.

    Parameters
    ----------
    out : its name ends in one of `ENDINGS`
    table : texts and numbers; what is missing stays empty
    """
    table = table.astype(object).mask(table.isna(), None)  # type: ignore[call-overload]
    with atomic_write(out) as temporary:
        if out.suffix.lower() == ".parquet":
            table.apply(_typed).to_parquet(temporary, index=False)
        elif out.suffix.lower() == ".csv":
            temporary.write_text(as_csv(table), encoding="utf-8", newline="\n")
        else:
            lines = (json.dumps(row, default=str) + "\n" for row in table.to_dict("records"))
            temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def _typed(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of objects as Parquet needs it: of one kind."""
    if column.name in WHOLE_NUMBERS:
        return pd.to_numeric(column, errors="coerce").astype("Int64")
    if column.name in ("correct", "cost"):
        return column.astype("float64")
    import pyarrow

    try:
        pyarrow.array(column, from_pandas=True)
        return column
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):  # of several kinds: as texts
        return column.map(lambda value: None if is_empty(value) else str(value)).astype(object)
