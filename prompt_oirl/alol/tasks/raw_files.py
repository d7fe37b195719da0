"""Where the published tasks' raw files lie, and what to fetch by hand where no one may fetch it for you.

Files with a known sha256 come with `scripts/fetch_data.py --datasets hh`. Others lie behind an account or a
form, or no hash of them is known here; data/sources.toml lists them under `by_hand`, and a step that misses
one says where to get it and where to put it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prompt_oirl.alol.tasks.task import Request
from prompt_oirl.io.download import ByHand, read_by_hand
from prompt_oirl.io.files import InputError, Paths, sha256


def find(request: Request, names: Sequence[str]) -> list[Path]:
    """The files of the given names below --input_dir, or where data/sources.toml puts them; one line for what
    is missing."""
    return [_find(request, name) for name in names]


def present(request: Request, names: Sequence[str]) -> list[Path]:
    """Those of the files that are there; all of them missing is an error."""
    found = [path for name in names for path in candidates(request, name) if path.is_file()]
    return found or find(request, names[:1])


def candidates(request: Request, name: str) -> list[Path]:
    """Where a file may lie, best place first."""
    if request.input_dir is not None:
        return [request.input_dir / Path(name).name, request.input_dir / name]
    fetched = Paths(request.root).fetched
    return [fetched / folder / name for folder in ("LoL-RL/data", "comet-atomic-2020", "by_hand")]


def _find(request: Request, name: str) -> Path:
    places = candidates(request, name)
    for path in places:
        if path.is_file():
            if request.input_dir is None:  # files of one's own may be other ones
                _check(path, name)
            return path
    listed = _listed(name)
    if listed is None:
        raise InputError(
            f"missing {places[-1]}: run scripts/fetch_data.py --datasets {request.task}, or pass --input_dir"
        )
    raise InputError(f"missing {places[-1]}: {listed.how} ({listed.url}), then run the same command again")


def _check(path: Path, name: str) -> None:
    listed = _listed(name)
    if listed is not None and listed.sha256 and sha256(path) != listed.sha256:
        raise InputError(f"{path}: not the file of {listed.url} (its sha256 differs); download it again")


def _listed(name: str) -> ByHand | None:
    return next((entry for entry in read_by_hand() if entry.path == name), None)
