"""The selector that serves, by the hash of its file: a policy. A new one takes over while requests run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.io.files import InputError, require
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.storage import FIT_FIRST, HEADER, version_id

WARM_UP = "How many apples are there?"


@dataclass(frozen=True)
class Policy:
    """A fitted selector and its id."""

    selector: PromptSelector
    id: str


def load_policy(folder: str | Path, embedder: str | None = None) -> Policy:
    """Load a selector and ask it once, so that its first question is as quick as the others.

    Parameters
    ----------
    folder : of the selector
    embedder : that it was fitted with, needed if that is a folder or hub id, see `PromptSelector.load`

    Raises: InputError if there is no selector, a damaged one, or one that changes while it is read.
    """
    header = require(Path(folder) / HEADER, FIT_FIRST)
    before = version_id(folder)
    selector = PromptSelector.load(folder, embedder)
    selector.predict_proba([WARM_UP])
    if version_id(folder) != before:
        raise InputError(f"{header} changed while it was read: try again")
    return Policy(selector, before)


def version_of(folder: str | Path) -> tuple[int, int, int] | None:
    """What changes when selector.json is replaced; None while there is none."""
    try:
        found = (Path(folder) / HEADER).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
