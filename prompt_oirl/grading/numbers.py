"""Graders of numbers: `original` repeats the published verdicts bit for bit, `strict` is ours.

Both read text only: linear regular expressions on a bounded text, exact arithmetic, nothing evaluated.
Choices, truth values and texts are graded in `kinds`, OPRO's published grader is `opro`.
"""

from __future__ import annotations

import re
from fractions import Fraction

from prompt_oirl.grading.numerals import numerals
from prompt_oirl.grading.plain_text import plain
from prompt_oirl.grading.stated_numbers import strict_number

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


def strict(answer: str, gold: str, question: str = "") -> bool:
    """Right if the settled number is the gold one, or its rounding to the two or more decimals given.

    Parameters
    ----------
    answer : text of the LLM
    gold : the right number, see `gold_number`
    question : its text, which may tell the decimal sign
    """
    number, wanted = strict_number(answer, question), gold_number(gold)
    if number is None or wanted is None:
        return False
    noise = Fraction(1, 10**9) * max(Fraction(1), abs(wanted))  # 0.4999999999999999 is a computer's one half
    decimals = _decimals(number)
    rounding = Fraction(1, 2 * 10**decimals) if decimals is not None and decimals >= 2 else Fraction(0)
    return abs(number - wanted) <= max(noise, rounding)


def _decimals(number: Fraction) -> int | None:
    """Decimals that write `number` exactly, None if none up to twelve do."""
    return next((d for d in range(13) if (number * 10**d).denominator == 1), None)


_AMBIGUOUS = re.compile(r"(?<![\d.,])[1-9]\d{0,29},\d{1,2}(?![\d,])")  # 3,14: a decimal comma, or two numbers
_UNIT_POWER = re.compile(r"[a-zA-Z]\^-?\d")  # m^2


def gold_number(gold: str) -> Fraction | None:
    """The number a gold answer is, exactly; None unless it is one number (with a unit at most).

    A range, a date, a list and "3,14", which may be one number or two, are none.
    """
    text = plain(gold)
    if "..." in text:  # 0.333... has no end
        return None
    found = numerals(text)
    if len(found) != 1 or found[0].value is None or _AMBIGUOUS.search(text):
        return None
    around = _UNIT_POWER.sub("", text[: found[0].start] + text[found[0].end :])
    return None if any(c.isdigit() for c in around) or re.search(r"\b(?:not|or)\b", text) else found[0].value
