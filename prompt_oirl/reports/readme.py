"""Tables of README: filled in from committed CSVs between `<!-- table: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re


def replace_table(text: str, name: str, table: str) -> str:
    pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.S)
    return pattern.sub(lambda m: m[1] + table + m[2], text)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
