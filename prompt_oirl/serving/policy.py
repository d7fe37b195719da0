"""The selector that serves, by the hash of its file: a policy. A new one takes over while requests run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.io.files import InputError
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.storage import HEADER

WARM_UP = "How many apples are there?"


@dataclass(frozen=True)
class Policy:
    """A fitted selector and its id."""

    selector: PromptSelector
    id: str


def policy_id(header: bytes) -> str:
    """The id of a selector: 16 hexadecimal digits of the hash of its selector.json."""
    return hashlib.sha256(header).hexdigest()[:16]


def load_policy(folder: str | Path) -> Policy:
    """Load a selector and ask it once, so that its first question is as quick as the others.

    Raises: InputError if there is no selector, a damaged one, or one that changes while it is read.
    """
    path = Path(folder) / HEADER
    before = path.read_bytes() if path.is_file() else b""
    selector = PromptSelector.load(folder)
    selector.predict_proba([WARM_UP])
    if path.read_bytes() != before:
        raise InputError(f"{path} changed while it was read: try again")
    return Policy(selector, policy_id(before))


def version_of(folder: str | Path) -> tuple[int, int, int] | None:
    """What changes when selector.json is replaced; None while there is none."""
    try:
        found = (Path(folder) / HEADER).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
