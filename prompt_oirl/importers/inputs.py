"""The files that an importer reads, from what the user names: files and folders."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import realpath
from pathlib import Path

from prompt_oirl.io.files import InputError, on_one_line, require


def files_of(files: Sequence[Path], patterns: Sequence[str], what: str) -> list[Path]:
    """Files as they are named, and of each folder those of some names, at any depth; each once.

    Parameters
    ----------
    files : files and folders
    patterns : names that are read in folders, such as "samples_*.jsonl"
    what : of the tool's output, the end of a complaint

    Raises: InputError on a path that isn't there, and on a folder without such files.
    """
    found: list[Path] = []
    for path in files:
        if not path.is_dir():
            found.append(require(path, f"correct the path; give {what}"))
            continue
        inside = sorted(p for pattern in patterns for p in path.rglob(pattern) if p.is_file())
        if not inside:
            raise InputError(f"{on_one_line(str(path), 200)}: no {' or '.join(patterns)} in it; give {what}")
        found += inside
    return list({realpath(path): path for path in found}.values())
