"""Whether a gold answer is a value of its kind, so that none is misread later."""

from __future__ import annotations

import re
from fractions import Fraction

from prompt_oirl.grading import kinds, numbers, verdict

_TRUTH = re.compile(
    r"\W{0,2}(?:(?:not )?(?:true|false|valid|invalid)|yes|no|y|n|[01]|ja|nein|да|нет|是|否)\W{0,2}", re.I
)
_EXPONENT = re.compile(r"\d[eE][-+]?\d")


def objection(gold: str, kind: str, question: str) -> str | None:
    """What stands against a gold answer, and what to give instead; None if nothing does.

    Parameters
    ----------
    gold : as the file of questions has it
    kind : number, choice, bool or text
    question : its text, whose options a choice must name
    """
    if kind == "number":
        return _number(gold)
    if kind == "bool" and not _TRUTH.fullmatch(gold.strip()):
        return "give true or false, yes or no, valid or invalid"
    if kind == "choice":
        listed = kinds.options(question)
        letter = gold.strip().strip("().").upper()
        if len(listed) > 1 and len(letter) == 1 and letter.isalpha() and letter not in listed:
            return f"the question lists the options {', '.join(listed)}"
    if not verdict("strict", gold, gold, kind, question):
        return {"choice": "give the option's letter, such as B", "text": "give one line of text"}.get(
            kind, "give true or false, yes or no, valid or invalid"
        )
    return None


def _number(gold: str) -> str | None:
    """`gold_number` against Python's own reading of the digits, and against an answer that states it."""
    number = numbers.gold_number(gold)
    digits = gold.strip().replace("\u2212", "-").replace(",", "").lstrip("$").strip()
    plain: Fraction | None
    try:
        plain = Fraction(digits)
    except (ValueError, ZeroDivisionError):
        plain = number
    said = numbers.strict_number(f"The answer is {gold.strip()}")
    if number is not None and number == plain == said and not _EXPONENT.search(gold):
        return None
    return (
        "give one finite number in digits, with a decimal point (3.14) and without an exponent; set kind to "
        "choice for a letter, bool for yes or no, text for anything else (a range, a date, a formula)"
    )
