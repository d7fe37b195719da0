"""Graders of numbers: `original` repeats the published verdicts bit for bit, `strict` is ours.

Both read text only: linear regular expressions on a bounded text, decimal arithmetic, nothing evaluated.
Choices, truth values and texts are graded in `kinds`, OPRO's published grader is `opro`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction

MAX_CHARACTERS = 20_000  # the end of a longer answer is what is graded

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


# A number with sign, currency, thousands, decimals, or written as a fraction or mixed number. Every
# quantifier is bounded, so no text can make matching slow.
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-\u2212\u2013]\s?)?(?:[$\u20ac\u00a3\u00a5]\s?)?(?P<sign2>[-\u2212])?"
    r"(?:(?P<whole>\d{1,30}(?:,\d{3}){0,9})(?!,\d{3})(?P<decimals>\.\d{1,30})?|(?P<point>\.\d{1,30}))"
    r"(?:(?:(?P<mixed>\s)(?P<top>\d{1,9}))?\s?/\s?(?P<bottom>\d{1,9})(?![\d/]))?"
)
# Where a text states its answer: an explicit announcement, or a sentence that concludes. "The answer:" at the
# end of a line opens a derivation instead and does not count.
_STATEMENT = re.compile(
    r"answers?\s{0,3}(?:to [^.\n]{1,80} )?(?:is|are|=|:)(?!\s{0,3}\n)|####|\\boxed\s{0,3}\{"
    r"|(?:^|(?<=[.!?:\n*]) {0,3})(?:so|therefore|thus|hence|finally|in total|in conclusion)\b",
    re.I,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_IS = re.compile(r"\b(?:is|are|was|were|be|equals)\s{1,2}(?=[-$\u20ac\u00a3\u2212]?\s?[\d.])", re.I)
_CLOSED = tuple(".!?)]}\"'\u201d\u2019*:$")
_ANSWER_BEHIND = re.compile(r"\bis the (?:correct |right |final )?answer\b", re.I)  # "10 is the answer"
MAX_STATEMENTS, MAX_SENTENCE = 20, 400  # how many statements are looked at, and how far each is followed
OPEN_END = 250  # a text cut off in mid-sentence this far behind its last statement has not settled on it


def strict_number(text: str) -> Fraction | None:
    """The number an answer settles on, None if it settles on none.

    The last statement that holds a number decides: behind "=" its result, else what "is" is, else its first
    number. Without any statement it is the number that "is the answer", else the last number of the text.
    Number words count where a text has no digit.
    """
    text = text[-MAX_CHARACTERS:].rstrip()
    read = _stated if any(c.isdigit() for c in text) else spelled_number
    for start, sentence in statements(text):
        found = read(sentence)
        if found is not None:
            cut_off = not text.endswith(_CLOSED) and len(text) - start > OPEN_END
            return None if cut_off else found
    if read is spelled_number:
        return spelled_number(text) if len(text.split()) <= 6 else None
    behind = list(_ANSWER_BEHIND.finditer(text))
    sentence = re.split(r"[.!?](?:\s|$)|\n", text[: behind[-1].start()][-MAX_SENTENCE:])[-1] if behind else ""
    found_anywhere = _numbers(sentence) or _numbers(text)
    return found_anywhere[-1] if found_anywhere else None


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Place and first sentence of what `text` states as its answer, last statement first."""
    for statement in reversed(list(_STATEMENT.finditer(text))[-MAX_STATEMENTS:]):
        tail = text[statement.end() : statement.end() + MAX_SENTENCE].lstrip(" :*,\t")
        end = _SENTENCE_END.search(tail)
        yield statement.start(), tail[: end.start()] if end else tail


UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: i for i, word in enumerate(UNITS.split())}
_WORDS |= {word: 20 + 10 * i for i, word in enumerate(TENS.split())}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6}
_WORD = "|".join(sorted([*_WORDS, *_SCALES], key=len, reverse=True))
_SPELLED = re.compile(
    rf"\b(?:(minus|negative)\s)?((?:{_WORD})(?:(?:-|\s(?:and\s)?)(?:{_WORD})){{0,12}})\b", re.I
)


def spelled_number(text: str) -> Fraction | None:
    """The first number written in words, on word boundaries: "twenty-one" is 21, "none" is none."""
    found = _SPELLED.search(text)
    if found is None:
        return None
    total = group = 0
    for word in re.split(r"[-\s]+", found[2].lower()):
        if word in _WORDS:
            group += _WORDS[word]
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in _SCALES:
            total, group = total + max(group, 1) * _SCALES[word], 0
    return Fraction(-(total + group) if found[1] else total + group)


def _stated(sentence: str) -> Fraction | None:
    """The number one sentence states."""
    _, equals, result = sentence.rpartition("=")
    if equals and _NUMBER.search(result):
        return next(iter(_numbers(result)), None)
    said = list(_IS.finditer(sentence))
    found = _numbers(sentence[said[-1].end() :] if said else sentence)
    return found[0] if found else None


def strict(answer: str, gold: str) -> bool:
    """Right if the settled number is the gold one, or its rounding to the two or more decimals given."""
    number, wanted = strict_number(answer), gold_number(gold)
    if number is None or wanted is None:
        return False
    noise = Fraction(1, 10**9) * max(Fraction(1), abs(wanted))  # 0.4999999999999999 is a computer's one half
    decimals = _decimals(number)
    rounding = Fraction(1, 2 * 10**decimals) if decimals is not None and decimals >= 2 else Fraction(0)
    return abs(number - wanted) <= max(noise, rounding)


def _decimals(number: Fraction) -> int | None:
    """Decimals that write `number` exactly, None if none up to twelve do."""
    return next((d for d in range(13) if (number * 10**d).denominator == 1), None)


def gold_number(gold: str) -> Fraction | None:
    """The last number of a gold answer, exactly."""
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
