"""Graders: is this answer right? `original` repeats the published verdicts bit for bit."""

from __future__ import annotations

import re

# The published grader: the last unsigned decimal number of the answer against the last one of the gold
# string, equal as floats. It drops signs and splits thousands ("1,170" reads as 170), so it is kept for
# parity only.
_UNSIGNED = re.compile(r"\d+\.?\d*|\.\d+")


def original_number(text: str) -> float | None:
    """Last unsigned decimal number in `text`, None if there is none."""
    found = _UNSIGNED.findall(text)
    return float(found[-1]) if found else None


def original(answer: str, gold: str) -> bool:
    """Verdict of Prompt-OIRL's step 1 on one answer."""
    number = original_number(answer)
    return number is not None and number == original_number(gold)
