"""How a result looks at the end of a notebook's cell: sentences and a small table, as markup.

Texts of users and models are put on one line, cut and escaped, and formulas in them are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from prompt_oirl.io.files import on_one_line
from prompt_oirl.stats.metrics import format_number

ROWS_SHOWN = 20
LONGEST_CELL, LONGEST_SENTENCE = 60, 2000


def as_html(lines: Sequence[str], table: pd.DataFrame) -> str:
    """Sentences, the first in bold, and the first rows of a table.

    Parameters
    ----------
    lines : plain text, one sentence or more each
    table : texts and numbers; what is missing stays empty
    """
    said = [escape(on_one_line(line, LONGEST_SENTENCE)) for line in lines]
    head = "".join(f"<th>{_cell(str(column).replace('_', ' '))}</th>" for column in table.columns)
    rows = [
        "".join(f"<td>{_cell(value)}</td>" for value in row) for row in table.values[:ROWS_SHOWN].tolist()
    ]
    more = f"<p>{len(table) - ROWS_SHOWN:,} more rows in to_frame()</p>" * (len(table) > ROWS_SHOWN)
    # A notebook would typeset "$...$" of a prompt: these classes keep MathJax away.
    return (
        '<div class="tex2jax_ignore mathjax_ignore">'
        + "".join(f"<p>{line}</p>" for line in [f"<b>{said[0]}</b>", *said[1:]])
        + f"<table><thead><tr>{head}</tr></thead><tbody>"
        + "".join(f"<tr>{row}</tr>" for row in rows)
        + f"</tbody></table>{more}</div>"
    )


def _cell(value: Any) -> str:
    """A text, or a number to four digits."""
    if isinstance(value, str):
        return escape(on_one_line(value, LONGEST_CELL))
    return "" if pd.isna(value) else format_number(value)
