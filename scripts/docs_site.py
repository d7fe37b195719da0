"""What `make docs` adds to mkdocs: pages from outside docs/, links that leave it, help texts, docstrings.

mkdocs.yml names this file twice: its functions are mkdocs' hooks, its class is an extension of griffe, which
reads the docstrings.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stdout, suppress
from pathlib import PurePosixPath
from textwrap import fill
from typing import Any
from unittest.mock import patch

import griffe
from mkdocs.structure.files import File

import prompt_oirl
from prompt_oirl.io.files import REPO_ROOT

PAGES = {
    "README.md": "index.md",
    "docs/README.md": "reading_order.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "reporting.md",
    "data/README.md": "data.md",
    "data/nano_llama/README.md": "nano_llama.md",
    "results/README.md": "results.md",
}
ORIGINS = {page: origin for origin, page in PAGES.items()}
COPIED = (".png", ".csv")  # tables and figures that pages link to
_FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.S | re.M)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)\s#]*)(#[^)\s]*)?\)")
_NAMED = re.compile(r"^(Parameters|Attributes)\n-+\n((?:.+\n?)*)", re.M)
_ONE_LINE = re.compile(r"^(Returns|Raises|Yields):", re.M)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand outside docs/, and those that are made of the code."""
    files.remove(files.get_file_from_path("README.md"))
    texts = {page: (REPO_ROOT / origin).read_text(encoding="utf-8") for origin, page in PAGES.items()}
    for page, text in {**texts, "python.md": python_page(), "commands.md": commands_page()}.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Turn links to where their targets stand on the site; what is not there is named."""
    folder = PurePosixPath(ORIGINS.get(page.file.src_uri, f"docs/{page.file.src_uri}")).parent

    def replaced(found: re.Match[str]) -> str:
        picture, text, target, anchor = found.groups()
        path = os.path.normpath(folder / target).replace(os.sep, "/")
        if path in PAGES or path.startswith("docs/"):
            return f"[{text}]({PAGES.get(path, path.removeprefix('docs/'))}{anchor or ''})"
        if path.endswith(COPIED):
            if files.get_file_from_path(path) is None:
                files.append(File.generated(config, path, abs_src_path=str(REPO_ROOT / path)))
            return f"{picture}[{text}]({path})"
        return text if PurePosixPath(path).name in text.replace("\\", "") else f"{text} (`{path}`)"

    parts = _FENCE.split(markdown)  # every second one is code
    return "".join(part if i % 2 else _LINK.sub(replaced, part) for i, part in enumerate(parts))


def python_page() -> str:
    """The public names of the package, for mkdocstrings to fill in."""
    names = [name for name in prompt_oirl.__all__ if not name.startswith("_")]
    return "# Python\n\n" + "".join(f"::: prompt_oirl.{name}\n\n" for name in sorted(names, key=str.lower))


def commands_page() -> str:
    """What --help shows, of `prompt-oirl` and of each of its commands."""
    whole = _help()
    names = re.search(r"\{([\w,]+)\}", whole)
    assert names is not None
    parts = [f"# Commands\n\n```text\n{whole}```\n"]
    parts += [f"\n## {name}\n\n```text\n{_help(name)}```\n" for name in names[1].split(",")]
    return "".join(parts)


def _help(*command: str) -> str:
    from prompt_oirl.cli.main import main

    out = io.StringIO()
    plain = {"NO_COLOR": "1", "COLUMNS": "80"}
    with patch.dict(os.environ, plain), redirect_stdout(out), suppress(SystemExit):
        main([*command, "--help"])
    lines = (line.rstrip() for line in out.getvalue().splitlines())
    return "".join(
        f"{fill(line, 80, break_long_words=False) if len(line) > 80 else line}\n" for line in lines
    )


class PlainSections(griffe.Extension):
    """Makes Markdown of the sections of our docstrings, whose parameters stand as `name : what it is`."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """A docstring with its parameters and attributes as lists."""

    def listed(found: re.Match[str]) -> str:
        items = re.sub(r"^(\w[\w, *]*?) :", r"- `\1`:", found[2], flags=re.M)
        return f"**{found[1]}**\n\n{items}"

    return _ONE_LINE.sub(r"**\1**", _NAMED.sub(listed, docstring))
