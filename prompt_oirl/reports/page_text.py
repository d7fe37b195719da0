"""Texts and numbers as a page shows them: controls visible, long texts cut, markup escaped."""

from __future__ import annotations

import math
import re
import unicodedata
from html import escape

import numpy as np

from prompt_oirl.stats.metrics import format_interval, format_number

LONGEST, SHORTEST = 4000, 300
LONGEST_NAME = 120
# C0 and C1 controls but tab and line feed, direction overrides, surrogates, byte order mark, line separators.
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
# More marks on one letter than any script has: they would tower over their neighbours.
_MARK = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u20d0-\u20ff\ufe20-\ufe2f]"
_PILE = re.compile(f"({_MARK}{{4}}){_MARK}+")


def shown(text: str, longest: int = LONGEST) -> str:
    """Text as it may be displayed: controls made visible, cut at `longest` characters."""
    cut = text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest:,} more characters)"
    cut = _PILE.sub(r"\1", cut)
    return _ODD.sub(lambda m: chr(0x2400 + ord(m[0])) if ord(m[0]) < 32 else f"⟨U+{ord(m[0]):04X}⟩", cut)


def escaped(text: str, longest: int = LONGEST) -> str:
    """`shown`, as markup."""
    return escape(shown(text, longest))


def one_line(text: str, longest: int = 46) -> str:
    """Text on one line of about `longest` ordinary letters; wide letters count for more."""
    text = shown(" ".join(text.split()))
    if len(text) * 2 <= longest:
        return text
    widths = [
        2.0 if unicodedata.east_asian_width(c) in "WF" else 1.6 if c.isupper() else 1.0
        for c in text[: longest + 1]
    ]
    fitting = int(np.searchsorted(np.cumsum(widths), longest, side="right"))
    return text if fitting >= len(text) else f"{text[: fitting - 1]}…"


def rate(value: float, low: float, high: float) -> str:
    """A success rate in percent with its interval: "41.2 % [38.0, 44.3]"; "not known" where it is not finite.

    Parameters
    ----------
    value, low, high : shares, 0..1
    """
    return _known(value, format_interval(value, low, high, points=True, signed=False, unit=" %"))


def points_gained(value: float, low: float, high: float) -> str:
    """A gain in points with its interval: "+1.2 [-0.3, +2.7]"; "not known" where it is not finite.

    Parameters
    ----------
    value, low, high : differences of success rates, 0.01 is one point
    """
    return _known(value, format_interval(value, low, high, points=True))


def _known(value: float, text: str) -> str:
    return text if math.isfinite(value) else "not known"


def number_shown(value: float | None) -> str:
    """Four digits; nothing where the number is missing or not finite."""
    return "" if value is None or not math.isfinite(value) else format_number(value)
