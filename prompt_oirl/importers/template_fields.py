"""The fields that a Jinja or Nunjucks template shows, read off its text: no template is ever run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prompt_oirl.importers.json_values import shown

USUAL = (
    "question",
    "input",
    "query",
    "problem",
    "prompt",
    "text",
)  # fields of questions, if no template tells
_BLOCK = re.compile(r"\{\{.{0,1000}?\}\}|\{%.{0,1000}?%\}", re.DOTALL)
_CONDITION = re.compile(r"\{%-?\s*(if|elif)\b")
_KEY = re.compile(r"""\bdoc\[['"](\w+)['"]\]""")
_TEXT = re.compile(r"""'[^']*'|"[^"]*\"""")
_NAME = re.compile(r"(?:\bdoc\.|(?<![\w.]))([A-Za-z_]\w*)")


def fields_in(template: str) -> list[str]:
    """Names that stand in the template's blocks, in order; among them words such as `for`, and filters.

    What stands in a condition only is not shown: it may be the right answer, which examples have.
    """
    shown_blocks = [block for block in _BLOCK.findall(template) if not _CONDITION.match(block)]
    bare = [_TEXT.sub("''", _KEY.sub(r"\1", block)) for block in shown_blocks]
    return list(dict.fromkeys(name for block in bare for name in _NAME.findall(block)))


def question_of(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The question that some fields make, one a line; of none of them the first usual field.

    Parameters
    ----------
    values : all fields
    names : those that templates show; what isn't there is passed over
    """
    there = [name for name in names if name in values]
    if not there:
        there = [name for name in USUAL if isinstance(values.get(name), str)][:1]
    return "\n".join(text for name in there if (text := shown(values[name]))) or None
