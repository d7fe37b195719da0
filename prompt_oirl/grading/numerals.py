"""Numbers as they are written: signs in words, thousands and decimals of several countries, fractions,
powers, scientific notation, scale words; and what looks like a number but is none: a range, a date."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

# Digits with their thousands, for a decimal point and for a decimal comma. What can be only one thing is read
# as that in both.
_GROUPED = (
    r"\d{1,3}(?:\.\d{3}){1,9},\d{1,30}|\d{1,3}(?:\.\d{3}){2,9}"  # 1.234,50; 1.234.567
    r"|\d{1,3}(?:,\d{3}){1,9}\.\d{1,30}|\d{1,3}(?:,\d{3}){2,9}"  # 1,234.50; 1,234,567
    r"|\d{1,2}(?:,\d{2}){1,6},\d{3}(?:\.\d{1,30})?"  # 1,00,000
    r"|\d{1,3}(?:[' ]\d{3}){1,9}(?:[.,]\d{1,30})?"  # 1'234; 1 234
)
_POINT = (
    rf"(?:{_GROUPED}|\d{{1,3}},\d{{3}}|\d{{1,30}},\d{{1,2}}|0,\d{{1,30}}"
    r"|\d{1,30}(?:\.\d{1,30})?|\.\d{1,30})"
)
_COMMA = rf"(?:{_GROUPED}|\d{{1,3}}\.\d{{3}}|\d{{1,30}}(?:[.,]\d{{1,30}})?|[.,]\d{{1,30}})"
_END = r"(?!\d|[.,']\d|\s?(?:\^|\u03c0|\u221a|\\(?:pi|sqrt)))"
_WORD_SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "lakh": 10**5,
    "million": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "trillion": 10**12,
}
_SCALES = {"": 1, **_WORD_SCALES, "k": 10**3, "K": 10**3, "mn": 10**6, "M": 10**6, "bn": 10**9, "B": 10**9}


def _pattern(digits: str) -> re.Pattern[str]:
    number = rf"(?:{digits}){_END}"
    ratio = rf"{number}(?:\s?/\s?\d{{1,9}}(?![\d/]|[.,]\d))?%?"
    between = r"(?:\s?[-~+*x\u00d7\u00f7]\s?|:|\s?\.\.\.?\s?|\s(?:and|to|plus|minus|times|through|und|bis)\s)"
    return re.compile(
        rf"(?<![\w.^\\{{\u221a\u00b1])(?P<sign>(?:negative|minus)\s|[-+](?!\s))?(?P<body>"
        rf"(?P<mantissa>{number})\s?[x\u00d7*]\s?10\s?\^\s?\(?(?P<power>[-+]?\d{{1,3}})(?!\d)"
        rf"|(?P<e_mantissa>{digits})[eE](?P<e_power>[-+]?\d{{1,3}})(?![\w.]\d)"
        rf"|(?P<base>\d{{1,9}})\s?\^\s?\(?(?P<exponent>-?\d{{1,3}})(?!\d)"
        rf"|(?P<whole>\d{{1,9}})(?:\s|\sand\s)(?P<top>\d{{1,9}})\s?/\s?(?P<bottom>\d{{1,9}})(?![\d/])"
        rf"|(?P<list>(?<=[(\[])\d{{1,9}}(?:,-?\d{{1,2}}(?!\d)){{1,50}}(?=[)\]])"
        rf"|(?:(?<=[(\[])|(?<={{ ))\s?{ratio}(?:\s?,\s?{ratio}){{1,50}}(?=\s?\\?[)\]}}])"
        rf"|{ratio}(?:,\s?{ratio}){{0,50}},?(?:{between}[-$]?{ratio}){{1,50}})"
        rf"|(?P<over>{number})\s?/\s?(?P<under>\d{{1,9}})(?![\d/]|[.,]\d)"
        rf"|(?P<plain>{number})(?:(?P<scale>(?-i:k|K|M|B|bn|mn))(?![\w/])"
        rf"|\s(?P<word>mn|bn|{'|'.join(_WORD_SCALES)})s?\b)?"
        rf"|(?P<other>\d[\d.,:/']{{0,60}}\d))",
        re.I,
    )


_NUMERAL = {False: _pattern(_POINT), True: _pattern(_COMMA)}
_ONLY_COMMA = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d|(?<![\d.,])\d{1,30},\d{1,2}(?![\d,])")
_ONLY_POINT = re.compile(r"\d,\d{3}[.,]\d|(?<![\d.,])\d{1,30}\.\d{1,2}(?![\d.])")


@dataclass(frozen=True)
class Numeral:
    """A number in a text, or what looks like one: then `value` is None."""

    value: Fraction | None
    start: int
    end: int


def decimal_comma(*texts: str) -> bool:
    """Whether the decimal sign of these texts is the comma: a number can be read in no other way, and none
    has a decimal point."""
    return any(map(_ONLY_COMMA.search, texts)) and not any(map(_ONLY_POINT.search, texts))


def numerals(text: str, comma: bool = False) -> list[Numeral]:
    """The numbers of a plain text in their order.

    Parameters
    ----------
    text : as `plain_text.plain` gives it
    comma : the decimal sign is the comma, so that 1.234 is above a thousand
    """
    return [Numeral(_value(m, comma), m.start(), m.end()) for m in _NUMERAL[comma].finditer(text)]


def numeral_at_start(text: str, comma: bool = False) -> int:
    """How many characters the number takes that a plain text starts with; 0 if it starts with none."""
    found = _NUMERAL[comma].match(text)
    return found.end() if found else 0


def _value(match: re.Match[str], comma: bool) -> Fraction | None:
    if match["list"] or match["other"]:
        return None
    sign = -1 if (match["sign"] or "+").strip().lower() in ("-", "minus", "negative") else 1
    if match["mantissa"] or match["e_mantissa"]:
        mantissa = _decimal(match["mantissa"] or match["e_mantissa"], comma)
        return sign * mantissa * Fraction(10) ** int(match["power"] or match["e_power"])
    if match["base"]:
        base, exponent = Fraction(int(match["base"])), int(match["exponent"])
        return sign * base**exponent if base or exponent >= 0 else None
    under = match["bottom"] or match["under"]
    if under:
        if int(under) == 0:
            return None
        if match["bottom"]:
            return sign * (int(match["whole"]) + Fraction(int(match["top"]), int(under)))
        return sign * _decimal(match["over"], comma) / int(under)
    scale = _SCALES[match["scale"] or (match["word"] or "").lower()]
    return sign * _decimal(match["plain"], comma) * scale


def _decimal(digits: str, comma: bool) -> Fraction:
    digits = digits.replace("'", "").replace(" ", "")
    signs = [c for c in digits if c in ".,"]
    if not signs:
        return Fraction(int(digits))
    last, behind = signs[-1], len(digits) - max(digits.rfind("."), digits.rfind(",")) - 1
    grouping = "." if comma else ","
    if len(set(signs)) == 2:  # the last of two different signs is the decimal one
        whole, _, rest = digits.rpartition(last)
    elif len(signs) > 1 or (last == grouping and behind == 3 and not digits.startswith("0")):
        whole, rest = digits, ""
    else:
        whole, _, rest = digits.rpartition(last)
    return Fraction((whole.replace(",", "").replace(".", "") or "0") + "." + (rest or "0"))


# --- in words ----------------------------------------------------------------------------------------

UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: i for i, word in enumerate(UNITS.split())}
_WORDS |= {word: 20 + 10 * i for i, word in enumerate(TENS.split())}
_BIG = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "eighth": 8, "tenth": 10}
_WORD = "|".join(sorted([*_WORDS, *_BIG], key=len, reverse=True))
_SPELLED = re.compile(
    rf"\b(?:(minus|negative)\s)?((?:{_WORD})(?:(?:-|\s(?:and\s)?)(?:{_WORD})){{0,12}})"
    rf"(?:(\sand\sa\shalf)|[-\s]({'|'.join(_PARTS)})s?)?\b(?!\sof\sthe)",
    re.I,
)


_LEAD = re.compile(r"\s*(?:(?:about|approximately|exactly|only|a total of)\s)?", re.I)


def spelled_number(text: str, at_start: bool = False) -> Fraction | None:
    """The first number written in words, on word boundaries: "twenty-one" is 21, "none" is none.

    Parameters
    ----------
    text : plain
    at_start : the text must open with it
    """
    lead = _LEAD.match(text)
    found = _SPELLED.match(text, lead.end() if lead else 0) if at_start else _SPELLED.search(text)
    if found is None:
        return None
    total = group = 0
    for word in re.split(r"[-\s]+", found[2].lower()):
        if word in _WORDS:
            group += _WORDS[word]
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in _BIG:
            total, group = total + max(group, 1) * _BIG[word], 0
    value = Fraction(total + group)
    if found[3]:
        value += Fraction(1, 2)
    if found[4]:
        value /= _PARTS[found[4].lower()]
    return -value if found[1] else value
