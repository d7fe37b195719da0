"""Graders: is this answer right? `original` repeats the published verdicts bit for bit, `strict` is ours.

Both read text only: linear regular expressions on a bounded text, decimal arithmetic, nothing evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

MAX_CHARACTERS = 20_000  # the end of a longer answer is what is graded
MAX_CUES, MAX_SENTENCE = 20, 400  # how many announcements are followed, and how far

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


# A number with sign, currency, thousands, decimals, or written as a fraction or mixed number. Every quantifier
# is bounded, so no text can make matching slow.
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-\u2212\u2013]\s?)?(?:[$\u20ac\u00a3\u00a5]\s?)?(?P<sign2>[-\u2212])?"
    r"(?:(?P<whole>\d{1,30}(?:,\d{3}){0,9})(?!,\d{3})(?P<decimals>\.\d{1,30})?|(?P<point>\.\d{1,30}))"
    r"(?:(?:(?P<mixed>\s)(?P<top>\d{1,9}))?\s?/\s?(?P<bottom>\d{1,9})(?![\d/]))?"
)
# Words after which a final answer stands. The last one in the text counts.
_CUE = re.compile(r"answers?\s{0,3}(?:is|are|=|:)|####|\\boxed\s{0,3}\{", re.I)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
TOLERANCE = Fraction(1, 100)


def strict_number(text: str) -> Fraction | None:
    """The number an answer settles on: the one an explicit cue announces, else the last one; None if none.

    Behind a cue, the result of an equation comes before its terms, else the first number of the sentence.
    """
    text = text[-MAX_CHARACTERS:]
    for cue in reversed(list(_CUE.finditer(text))[-MAX_CUES:]):
        tail = text[cue.end() : cue.end() + MAX_SENTENCE].lstrip(" :*\n\t")
        end = _SENTENCE_END.search(tail)
        sentence = tail[: end.start()] if end else tail
        _, equals, result = sentence.rpartition("=")
        found = _numbers(result if equals and _NUMBER.search(result) else sentence)
        if found:
            return found[0]
    found = _numbers(text)
    return found[-1] if found else None


def strict(answer: str, gold: str) -> bool:
    """Right if the settled number equals the gold one; decimals of a repeating fraction may be rounded."""
    number, wanted = strict_number(answer), gold_number(gold)
    if number is None or wanted is None:
        return False
    if number == wanted:
        return True
    # 0.67 for 2/3 is right, 3 for 2.995 of an integer question is not: rounding is for non-integers only.
    allowed = TOLERANCE * max(Fraction(1), abs(wanted)) / 2
    return wanted.denominator != 1 and abs(number - wanted) <= allowed


def gold_number(gold: str) -> Fraction | None:
    found = _numbers(gold)
    return found[-1] if found else None


def _numbers(text: str) -> list[Fraction]:
    return [value for match in _NUMBER.finditer(text) if (value := _value(match)) is not None]


def _value(match: re.Match[str]) -> Fraction | None:
    digits = (match["whole"] or "0").replace(",", "") + (match["decimals"] or match["point"] or "")
    value = Fraction(digits)
    if match["bottom"] is not None:
        bottom = int(match["bottom"])
        if bottom == 0:
            return None
        value = value + Fraction(int(match["top"]), bottom) if match["top"] else value / bottom
    return -value if match["sign"] or match["sign2"] else value


GRADERS: dict[str, Callable[[str, str], bool]] = {"original": original, "strict": strict}
