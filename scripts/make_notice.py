"""NOTICE: what is shipped, fetched and depended upon, and under which licence.

    python scripts/make_notice.py

Sources come from data/sources.toml, dependencies from pyproject.toml, their licences from the packages'
metadata in this environment, which must have them all but those of `NOT_HERE`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from textwrap import fill

from prompt_oirl.features.minilm_download import WHEEL
from prompt_oirl.io.download import Wheel, read_by_hand, read_sources, read_wheels
from prompt_oirl.io.files import REPO_ROOT, InputError, write_text
from prompt_oirl.io.manifest import run_step

SHIPPED = (
    "data/prompts.csv: the prompts of Prompt-OIRL, MIT, (c) 2024 Hao Sun",
    "prompt_oirl/examples, data/arith, data/nano_llama, data/nano_log, data/nano_opro_log: texts, weights "
    "and answers of this project's own making, MIT as all else",
)
# Licences of packages that need not be here, read from their pages.
NOT_HERE = {"fastapi": "MIT", "gguf": "MIT"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass
class Args:
    out: Path = REPO_ROOT / "NOTICE"
    """Where to."""


def main(args: Args) -> None:
    """Write the file."""
    lines = [
        "prompt-oirl is MIT licensed, see LICENSE.",
        "",
        "The repository, and in part the package, contain",
    ]
    lines += ["", *(_item(text) for text in SHIPPED)]
    lines += [
        "",
        "They do not contain, but fetch where it is asked for (data/sources.toml has each file)",
        "",
    ]
    lines += [_item(text) for text in fetched()]
    lines += ["", "They name files that a person may fetch (scripts/fetch_data.py says how):", ""]
    lines += sorted({f"- {hand.path}: {hand.licence}" for hand in read_by_hand()})
    lines += ["", "They depend on packages that pip installs, of which they contain nothing:", ""]
    lines += [f"- {name}: {licence(name)}" for name in dependencies()]
    write_text(args.out, "\n".join(lines) + "\n")


def fetched() -> Iterator[str]:
    """What is downloaded, a text each."""
    for wheel in [WHEEL, *read_wheels()]:
        yield f"{_what(wheel)}, {wheel.licence}, {wheel.copyright}"
    for source in read_sources():
        note = f". {source.licence_note}" if source.licence_note else ""
        yield f"{source.name} ({source.repository}), {source.licence}, (c) {source.copyright}{note}"


def _what(wheel: Wheel) -> str:
    if wheel == WHEEL:
        return f"all-MiniLM-L6-v2, from the hub or the package {wheel.requirement}"
    return f"a model in the package {wheel.requirement}"


def dependencies() -> list[str]:
    """Names of the direct dependencies, with those of the extras that users install."""
    project = tomllib.loads((REPO_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed = [
        *project["dependencies"],
        *(r for name in extras if name not in ("dev", "docs") for r in extras[name]),
    ]
    names = {match[0].lower() for requirement in listed if (match := _NAME.match(requirement))}
    return sorted(names - {"prompt-oirl"})


def licence(name: str) -> str:
    """What a package's metadata says."""
    if name in NOT_HERE:
        return NOT_HERE[name]
    try:
        about = metadata(name)
    except PackageNotFoundError as error:
        raise InputError(f"{name} is not installed: pip install -e '.[all]'") from error
    if "License-Expression" in about:
        return about["License-Expression"]
    kinds = [c.split(" :: ")[-1] for c in about.get_all("Classifier", []) if c.startswith("License ::")]
    said = about["License"].splitlines() if "License" in about else []
    found = ", ".join(kind for kind in kinds if kind != "OSI Approved") or " ".join(said[:1])
    if not found:
        raise InputError(f"{name} names no licence: add it to NOT_HERE")
    return found


def _item(text: str) -> str:
    return fill(f"- {text}", 110, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    run_step(main, Args)
