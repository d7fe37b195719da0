"""Which verdict of a tool counts, and what it says as a number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.tables import short

_WORDS = {
    1.0: ("c", "correct", "true", "yes", "y", "pass", "passed", "right"),
    0.0: ("i", "incorrect", "n", "false", "no", "fail", "failed", "wrong"),
    0.5: ("p", "partial"),
}
MEANING = {word: number for number, words in _WORDS.items() for word in words}


def chosen_verdict(names: Iterable[str], verdict: str | None, source: str) -> str | None:
    """The name of the verdict to take; None if there is none at all.

    Parameters
    ----------
    names : verdicts that the files hold
    verdict : what the user asks for (--verdict), or None: the only one there is
    source : the beginning of a complaint

    Raises: InputError that lists the names if there are several, or the one asked for is not among them.
    """
    found = list(dict.fromkeys(names))
    there = on_one_line(", ".join(found[:20]), 400) or "none"
    if verdict is not None and verdict not in found:
        asked = on_one_line(verdict)
        raise InputError(f"{source}: there is no verdict {asked} (there are: {there}); correct --verdict")
    if verdict is None and len(found) > 1:
        raise InputError(f"{source}: several verdicts: {there}; choose one with --verdict NAME")
    return verdict if verdict is not None or not found else found[0]


def as_correct(value: Any, name: str, where: str) -> float | None:
    """A verdict as 0..1: a number, true or false, or a word such as C, I, P (half) or pass; None if empty.

    Raises: InputError on another value, with `where` at its beginning.
    """
    if isinstance(value, str) and value.strip().lower() in MEANING:
        return MEANING[value.strip().lower()]
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value) if isinstance(value, bool | int | float | str) else math.inf
    except (ValueError, OverflowError):
        number = math.inf
    if math.isnan(number):
        return None
    if not 0 <= number <= 1:
        raise InputError(
            f"{where}: the verdict {on_one_line(name)} is {short(value)}, expected a number from 0 to 1, or "
            "right or wrong in a word; choose another with --verdict NAME, or grade the answers"
        )
    return number


def refuse_verdict(verdict: str | None, tool: str) -> None:
    """Refuse --verdict for a tool whose files hold none."""
    if verdict is not None:
        raise InputError(
            f"--verdict {on_one_line(verdict)}: files of {tool} hold no verdicts; leave it out, and grade "
            "the answers"
        )


def ungraded_note(name: str | None, corrects: Sequence[float | None]) -> list[str]:
    """A sentence on answers that lack the verdict which others have; none if all have it."""
    lacking = sum(correct is None for correct in corrects)
    if name is None or not lacking:
        return []
    return [f"{lacking:,} of {len(corrects):,} answers have no verdict of their own."]


def verdict_note(name: str | None, rows: int) -> str:
    """A sentence that says what `correct` is."""
    if name is None:
        need = "it needs" if rows == 1 else "they need"
        return f"{counted(rows, 'answer')} without a verdict: {need} grading."
    return f"correct is the verdict {on_one_line(name)}."
