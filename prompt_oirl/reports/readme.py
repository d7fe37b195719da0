"""Tables that are committed, and the pages that quote them: filled in from the CSVs, wherever the marks
`<!-- table: NAME -->` and `<!-- end -->` stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.io.files import read_csv, write_csv, write_text


def replace_rows(table: Path, rows: Iterable[Mapping[str, Any]], key: Sequence[str]) -> None:
    """Write rows into a committed CSV in place of those with the same key; all others stay as they are.

    So a table keeps the logs that one run did not measure.

    Parameters
    ----------
    table : the CSV; it may not be there yet
    rows : with the columns of the table; those with a new key go to the end
    key : columns that say which measurement a row belongs to
    """
    before = read_csv(table, hint="restore it from git") if table.is_file() else []
    merged = by_key(before, key) | by_key(rows, key)
    write_csv(table, [row for part in merged.values() for row in part])


def by_key(rows: Iterable[Mapping[str, Any]], key: Sequence[str]) -> dict[tuple[str, ...], list[dict]]:
    """The rows by what stands in some of their columns, in the order of first appearance."""
    found: dict[tuple[str, ...], list[dict]] = {}
    for row in rows:
        found.setdefault(tuple(str(row[column]) for column in key), []).append(dict(row))
    return found


def pages(root: Path) -> list[Path]:
    """README.md, the pages in docs/ and those of the embedded data, as far as they are there."""
    found = [
        root / "README.md",
        *sorted((root / "docs").glob("*.md")),
        *sorted(root.glob("data/*/README.md")),
    ]
    return [path for path in found if path.is_file() and "fetched" not in path.parts]


def fill_tables(root: Path, tables: Mapping[str, str]) -> None:
    """Put every table of `tables` (name -> markdown) into the pages below `root` that have a place for it."""
    for path in pages(root):
        text = filled = path.read_text(encoding="utf-8")
        for name, table in tables.items():
            filled = replace_table(filled, name, table)
        if filled != text:
            write_text(path, filled)


def replace_table(text: str, name: str, table: str) -> str:
    """`text` with what stands between the marks of a table replaced; without such marks it stays as it is.

    Parameters
    ----------
    text : of a page
    name : of the table, as its first mark has it
    table : markdown to put there, with a line break at its end
    """
    pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.S)
    return pattern.sub(lambda m: m[1] + table + m[2], text)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table; cells are taken as they are."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
