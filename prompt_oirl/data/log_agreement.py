"""How far two logs agree that should hold the same answers: of another back end, machine or day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import row_key


@dataclass(frozen=True)
class Agreement:
    """Counts over the answers that stand in both logs."""

    answers: int
    same_text: int
    same_verdict: int
    same_reading: int
    """As many tokens read: the model was shown the same conversation."""
    same_booking: int
    """Of those of the same text: also the same verdict, tokens written and reason of the end."""


def agreement(first: Iterable[LogRow], second: Iterable[LogRow]) -> Agreement:
    """Compare answer by answer; an answer in one log alone does not count.

    Parameters
    ----------
    first, second : logs of the same dataset, each with one row per question, prompt and sample
    """
    known = {row_key(row): row for row in second}
    both = [(row, known[row_key(row)]) for row in first if row_key(row) in known]
    same = [(a, b) for a, b in both if a.answer == b.answer]
    return Agreement(
        answers=len(both),
        same_text=len(same),
        same_verdict=sum(a.correct == b.correct for a, b in both),
        same_reading=sum(a.tokens_in == b.tokens_in for a, b in both),
        same_booking=sum(_booking(a) == _booking(b) for a, b in same),
    )


def _booking(row: LogRow) -> tuple[float, int | None, str | None]:
    return row.correct, row.tokens_out, row.finish_reason
