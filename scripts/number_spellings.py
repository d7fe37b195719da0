"""How a number is spelled today: each function takes a plain one, such as "1234" or "-0.75"."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from prompt_oirl.grading.numerals import TENS, UNITS

Spelling = Callable[[str], str]
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
VULGAR = {Fraction(1, 2): "½", Fraction(1, 4): "¼", Fraction(3, 4): "¾"}


def plain(value: str) -> str:
    return value


def with_commas(value: str) -> str:
    """9500 -> 9,500."""
    return f"{int(value):,}" if re.fullmatch(r"-?\d+", value) else value


def latex_thousands(value: str) -> str:
    """9500 -> 9{,}500."""
    return with_commas(value).replace(",", "{,}")


def latex_fraction(value: str) -> str:
    r"""0.75 -> \frac{3}{4}."""
    number = Fraction(value)
    return f"{'-' if number < 0 else ''}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"


def vulgar(value: str) -> str:
    """3.75 -> 3¾; what is no quarter stays as it is."""
    whole, part = divmod(Fraction(value), 1)
    return f"{whole or ''}{VULGAR[part]}" if part in VULGAR else value


def in_words(value: str) -> str:
    """1205 -> one thousand two hundred and five."""
    number = int(value)
    if number < 0:
        return f"minus {in_words(str(-number))}"
    for size, name in ((10**6, "million"), (1000, "thousand")):
        if number >= size:
            above, below = divmod(number, size)
            return f"{in_words(str(above))} {name}" + (f" {in_words(str(below))}" if below else "")
    if number >= 100:
        above, below = divmod(number, 100)
        return f"{UNITS.split()[above]} hundred" + (f" and {in_words(str(below))}" if below else "")
    if number < 20:
        return UNITS.split()[number]
    tens, ones = divmod(number, 10)
    return TENS.split()[tens - 2] + (f"-{UNITS.split()[ones]}" if ones else "")


def negative(value: str) -> str:
    """-35 -> negative 35."""
    return value.replace("-", "negative ")


def true_minus(value: str) -> str:
    return value.replace("-", "\u2212")


def _mantissa(value: str) -> tuple[str, int]:
    digits, power = f"{int(value):.12e}".split("e")
    return digits.rstrip("0").rstrip("."), int(power)


def scientific(value: str) -> str:
    """1200 -> 1.2 × 10^3."""
    digits, power = _mantissa(value)
    return f"{digits} × 10^{power}"


def scientific_superscript(value: str) -> str:
    """1200 -> 1.2 × 10³."""
    digits, power = _mantissa(value)
    return f"{digits} × 10{str(power).translate(SUPERSCRIPTS)}"


def scientific_latex(value: str) -> str:
    r"""1200 -> 1.2 \times 10^{3}."""
    digits, power = _mantissa(value)
    return f"{digits} \\times 10^{{{power}}}"


def scientific_e(value: str) -> str:
    """1200 -> 1.2e3."""
    digits, power = _mantissa(value)
    return f"{digits}e{power}"


def _scaled(value: str, names: tuple[str, str]) -> str:
    millions = int(value) >= 10**6
    return f"{Decimal(value) / (10**6 if millions else 1000):f}{names[millions]}"


def scale_word(value: str) -> str:
    """1500000 -> 1.5 million."""
    return _scaled(value, (" thousand", " million"))


def scale_letter(value: str) -> str:
    """1500 -> 1.5k."""
    return _scaled(value, ("k", "M"))


def german(value: str) -> str:
    """1234 -> 1.234,00."""
    return f"{int(value):,}.00".translate(str.maketrans(",.", ".,"))


def french(value: str) -> str:
    """1234 -> 1 234 with the narrow space that does not break."""
    return f"{int(value):,}".replace(",", "\u202f")


def swiss(value: str) -> str:
    """1234 -> 1'234."""
    return f"{int(value):,}".replace(",", "'")


def indian(value: str) -> str:
    """150000 -> 1,50,000."""
    return re.sub(r"(?<=\d)(?=(?:\d\d)+$)", ",", value[:-3]) + f",{value[-3:]}"


def _in_digits(zero: str) -> Spelling:
    digits = str.maketrans({str(i): chr(ord(zero) + i) for i in range(10)})
    return lambda value: value.translate(digits)


full_width, arabic_indic, devanagari, bold_digits = (_in_digits(zero) for zero in "０٠०𝟎")
