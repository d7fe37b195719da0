"""Tables of README and of the pages in docs/: filled in from committed CSVs, wherever the marks
`<!-- table: NAME -->` and `<!-- end -->` stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from prompt_oirl.io.files import write_text


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
