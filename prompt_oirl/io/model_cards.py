"""Model cards of the Hugging Face hub: README.md in a model's folder, YAML front matter and Markdown.

A card is for people. Nothing reads it, and texts of users stand in it as plain text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.io.files import on_one_line, write_text

CARD = "README.md"
LONGEST = 300
# ASCII that means something within a line of Markdown or a cell; a dot but between digits makes links.
_SPECIAL = re.compile(r"[!-/:-@\[-`{-~](?<![,;?'.()+%-])|(?<!\d)\.(?=\S)|\.(?=[^\s\d])")


def escaped(text: str, longest: int = LONGEST) -> str:
    """Any text on one line, which Markdown shows as it is within a line or a cell.

    Parameters
    ----------
    text : of a user
    longest : letters, after which it is cut
    """
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", on_one_line(text.strip(), longest))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; its cells are Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_card(folder: Path, front: Mapping[str, Any], title: str, parts: Iterable[str]) -> Path:
    """Write a folder's card.

    Parameters
    ----------
    folder : of the model
    front : names and values of the front matter; what is None or empty is left out
    title : Markdown
    parts : paragraphs, tables and headings, Markdown
    """
    # JSON is YAML, in which no text can end the front matter or mean something else.
    matter = [f"{name}: {json.dumps(value)}" for name, value in front.items() if value]
    write_text(
        folder / CARD, "\n".join(["---", *matter, "---", ""]) + "\n".join([f"\n# {title}\n", *_spaced(parts)])
    )
    return folder / CARD


def _spaced(parts: Iterable[str]) -> list[str]:
    return [f"{part}\n" for part in parts if part]
