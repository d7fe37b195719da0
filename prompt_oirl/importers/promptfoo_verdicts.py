"""The verdicts of promptfoo's results: by type of assertion, by metric, and of all but latency and cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from prompt_oirl.importers.json_values import at, filled, items
from prompt_oirl.importers.verdicts import as_correct, chosen_verdict
from prompt_oirl.io.files import InputError

STATUS, ALL = "Status", "all"
_NOT_OF_THE_ANSWER = ("latency", "cost")

Verdicts = Mapping[str, Sequence[Any]]  # values of one result by name


def verdicts_of(result: Any) -> dict[str, list[Any]]:
    """Values of a result by type of assertion and by metric; None where the grader failed.

    What did not pass is wrong, whatever its score: only what passed counts by its score.
    """
    verdicts: dict[str, list[Any]] = defaultdict(list)
    parts = list(items(at(result, "gradingResult", "componentResults")))
    for i, part in enumerate(parts):  # an assert-set has parts of its own, which are added behind
        parts += items(at(part, "componentResults"))
        # What code returns as its verdict does not name the assertion: it is in the same place of the test.
        assertion = at(part, "assertion") or at(result, "testCase", "assert", i)
        score, passed = at(part, "score"), at(part, "pass")
        value = score if isinstance(score, int | float) and passed is not False else passed
        if at(part, "metadata", "graderError") is True:
            value = None
        for name in {filled(at(assertion, key)): None for key in ("type", "metric")}:
            if name not in (None, "assert-set"):
                verdicts[str(name)].append(value)
    if isinstance(result, dict) and "gradingResult" not in result:  # versions before 0.30 say no more
        verdicts["success"] = [at(result, "success")]
    return dict(verdicts)


def chosen_of(results: Sequence[Verdicts], asked: str | None, source: str) -> str | None:
    """The verdict to take, as of `chosen_verdict`; latency and cost are listed last."""
    names = _names(results)
    own_all = ALL in names
    several = STATUS not in names and len(set(names) - set(_NOT_OF_THE_ANSWER)) > (asked != ALL)
    last = [name for name in _NOT_OF_THE_ANSWER if name in names]
    names = [name for name in names if name not in last] + [ALL] * (several and not own_all) + last
    try:
        return chosen_verdict(names, asked, source)
    except InputError as error:
        meaning = f" ({ALL}: the worst of all but latency and cost)" if several and not own_all else ""
        raise InputError(f"{error}{meaning}") from None


def _names(results: Sequence[Verdicts]) -> list[str]:
    """Verdicts that can be told apart: a metric that is all there is of its type is no other verdict."""
    values: dict[str, list[Any]] = defaultdict(list)
    for i, verdicts in enumerate(results):
        for name, found in verdicts.items():
            values[name].append((i, found))
    return [a for i, a in enumerate(values) if all(values[a] != values[b] for b in list(values)[:i])]


def correct_of(verdicts: Verdicts, chosen: str | None, where: str) -> float | None:
    """The worst of the chosen verdict's values; None without one, or if a grader failed."""
    if chosen == ALL and ALL not in verdicts:
        asked = [name for name in verdicts if name not in _NOT_OF_THE_ANSWER]
    else:
        asked = [chosen] if chosen is not None and chosen in verdicts else []
    found = [as_correct(value, name, where) for name in asked for value in verdicts[name]]
    return None if None in found else min(found, default=None)  # type: ignore[type-var]
