"""Graders of numbers: `original` repeats the published verdicts bit for bit, `strict` is ours.

Both read text only: linear regular expressions on a bounded text, exact arithmetic, nothing evaluated.
Choices, truth values and texts are graded in `kinds`, OPRO's published grader is `opro`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from prompt_oirl.grading.numerals import Numeral, decimal_comma, numerals, spelled_number
from prompt_oirl.grading.plain_text import MAX_CHARACTERS, plain, without_reasoning
from prompt_oirl.grading.statements import SHORT, UNSETTLED, Statement, refuses, settled

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


_IS = re.compile(r"\b(?:is|are|was|were|be|equals|(?<!ing a )total of)\s{1,3}(?=[-+]?[\d.])", re.I)
_DENIED = re.compile(
    r"(?:\b(?:(?:can|could|will|should) ?)?(?:not(?: be)?|never|neither|nor|instead of|rather than)"
    r"|n't(?: be)?)"
    r"\s(?:a |an |equal to |just )?(?=[-+]?[\d.])"
)
_ASIDE = re.compile(
    r"\(|;|,?\s(?:because|since|as|given|after|out of|which|if|when|while|where|having)\b", re.I
)
_BRACKETS = re.compile(r"\([^()]{0,200}\)")
_EITHER = re.compile(r"\b(?:either|between)\s[^\d.]{0,30}$", re.I)
_OR = re.compile(r"\s?(%|[^\W\d]{0,20})\s{0,2}\b(?:or|oder|ou|o)\s(?:maybe |perhaps |possibly )?", re.I)
_UNIT = re.compile(r"\s?(%|[^\W\d]{0,20})")
_NONE = Numeral(None, 0, 0)
_ANSWER_BEHIND = re.compile(r"\bis the (?:correct |right |final )?answer\b", re.I)  # "10 is the answer"
_OPENING = re.compile(r"\W{0,4}([-+]?\d[\d.,]{0,20})(?:[.]\s(?=[^\W\d])|\n)")  # then how it was found
_SECOND_ITEM = re.compile(r"^\W{0,4}2[.)]", re.M)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
MAX_SENTENCE = 400


def strict_number(text: str, question: str = "") -> Fraction | None:
    """The number an answer settles on, None if it settles on none.

    The last statement that holds a number decides: behind "=" its result, else what "is" is, else its first
    number. Without any statement it is the number that "is the answer", else the last bold one of the last
    line, else the last number of the text. Number words count where there are no digits.

    Parameters
    ----------
    text : what the LLM wrote
    question : its text, which may tell the decimal sign
    """
    comma = decimal_comma(text, question)
    digits = re.search(r"\d", text) is not None

    def stated(statement: Statement) -> Fraction | str | None:
        return _stated(statement, comma, digits)

    def whole(part: str) -> Fraction | str | None:
        return _of_whole(part, text, comma)

    return settled(text, stated, whole)


def _stated(statement: Statement, comma: bool, digits: bool) -> Fraction | str | None:
    """The number one statement makes."""
    sentence, denied = statement.text, False
    if statement.rank and refuses(sentence):
        return UNSETTLED
    for match in reversed(list(_DENIED.finditer(sentence))):
        gone = numerals(sentence[match.end() :], comma)[:1]
        if gone and gone[0].start == 0:
            sentence, denied = sentence[: match.start()] + sentence[match.end() + gone[0].end :], True
    found = _chosen(sentence, comma, statement.rank)
    if found is None:
        if denied and statement.rank:
            return UNSETTLED
        if not digits:
            return spelled_number(sentence)
        return spelled_number(sentence, at_start=True) if statement.rank else None
    if found.value is None:
        return UNSETTLED if statement.rank else None
    return found.value


def _chosen(sentence: str, comma: bool, rank: int) -> Numeral | None:
    """The numeral that a sentence is about."""
    if rank:  # what follows the answer explains it
        outside = _BRACKETS.sub(" ", sentence)
        if numerals(outside, comma):
            sentence = outside
        aside = _ASIDE.search(sentence)
        if aside and numerals(sentence[: aside.start()], comma):
            sentence = sentence[: aside.start()]
    _, equals, result = sentence.rpartition("=")
    if equals and (found := numerals(result, comma)):
        return found[0]
    said = list(_IS.finditer(sentence))
    found = [n for n in numerals(sentence, comma) if not said or n.start >= said[-1].end()]
    if len(found) > 1 and found[0].value != found[1].value:
        either = _EITHER.search(sentence[: found[0].start])
        if either or _are_alternatives(sentence, *found[:2]):
            return _NONE
    return found[0] if found else None


def _are_alternatives(text: str, first: Numeral, second: Numeral) -> bool:
    """Whether two numbers in a row are two answers: "10 or 12 apples", not "150 cents or 1.50 dollars"."""
    between = _OR.fullmatch(text[first.end : second.start])
    if not between:
        return False
    units = between[1], _UNIT.match(text, second.end)[1]  # type: ignore[index]
    if first.value is not None and second.value is not None and units[0] != units[1]:
        alike = {first.value, second.value, first.value * 100, second.value * 100}
        return (not units[0] or not units[1]) and len(alike) == 4  # 150 cents or $1.50; 0.5 or 50%
    return units[0] in ("", units[1])


def _of_whole(part: str, answer: str, comma: bool) -> Fraction | str | None:
    """The number of a text that states none."""
    if refuses(part):
        return UNSETTLED
    opening = _OPENING.match(part)
    if opening and not _SECOND_ITEM.search(part):
        part = opening[1]
    behind = list(_ANSWER_BEHIND.finditer(part))
    sentence = re.split(r"[.!?](?:\s|$)|\n", part[: behind[-1].start()][-MAX_SENTENCE:])[-1] if behind else ""
    found = (
        numerals(sentence, comma) or _bold(part, answer, comma) or numerals(_BRACKETS.sub(" ", part), comma)
    )
    found = found or numerals(part, comma)
    if len(found) > 1 and _are_alternatives(part, *found[-2:]):
        return UNSETTLED
    if found:
        return UNSETTLED if found[-1].value is None else found[-1].value
    return spelled_number(part) if len(part.split()) <= SHORT else None


def _bold(part: str, answer: str, comma: bool) -> list[Numeral]:
    """The numbers in the last bold words of an answer, if they stand in its last line."""
    bold = list(_BOLD.finditer(without_reasoning(answer)[-MAX_CHARACTERS:]))
    if not bold:
        return []
    words = plain(bold[-1][1])
    return numerals(words, comma) if words in part.rpartition("\n")[2] else []


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
    found = numerals(text)
    if len(found) != 1 or found[0].value is None or _AMBIGUOUS.search(text):
        return None
    around = _UNIT_POWER.sub("", text[: found[0].start] + text[found[0].end :])
    return None if any(c.isdigit() for c in around) or _DENIED.search(text) else found[0].value


GRADERS: dict[str, Callable[[str, str], bool]] = {"original": original, "strict": strict}
