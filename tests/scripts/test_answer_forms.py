"""The forms of today: what is said stands in the text, and each spelling can be read back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

import number_spellings as spellings
import pytest
from answer_forms import FORMS, TEXTS, Said, write
from hypothesis import given
from hypothesis import strategies as st
from labelled_answers import made_wrong

from prompt_oirl.grading.numerals import spelled_number

GOLDEN = {
    spellings.with_commas: [("9500", "9,500"), ("-1200", "-1,200"), ("0.75", "0.75")],
    spellings.latex_thousands: [("9500", "9{,}500")],
    spellings.latex_fraction: [("0.75", r"\frac{3}{4}"), ("-4.25", r"-\frac{17}{4}")],
    spellings.vulgar: [("0.5", "½"), ("3.75", "3¾"), ("0.9", "0.9")],
    spellings.in_words: [
        ("0", "zero"),
        ("1205", "one thousand two hundred and five"),
        ("-35", "minus thirty-five"),
        ("2000000", "two million"),
    ],
    spellings.negative: [("-35", "negative 35")],
    spellings.true_minus: [("-35", "\u221235")],
    spellings.scientific: [("1200", "1.2 × 10^3")],
    spellings.scientific_superscript: [("70000", "7 × 10⁴")],
    spellings.scientific_latex: [("1200", r"1.2 \times 10^{3}")],
    spellings.scientific_e: [("12345", "1.2345e4")],
    spellings.scale_word: [("70000", "70 thousand"), ("1500000", "1.5 million")],
    spellings.scale_letter: [("1500", "1.5k"), ("123456700", "123.4567M")],
    spellings.german: [("1234", "1.234,00")],
    spellings.french: [("1234567", "1\u202f234\u202f567")],
    spellings.swiss: [("48781", "48'781")],
    spellings.indian: [("1234", "1,234"), ("150000", "1,50,000"), ("12345678", "1,23,45,678")],
    spellings.full_width: [("38", "３８")],
    spellings.arabic_indic: [("25", "٢٥")],
    spellings.devanagari: [("1.6", "१.६")],
    spellings.bold_digits: [("72", "𝟕𝟐")],
}


@pytest.mark.parametrize("spell", GOLDEN, ids=lambda spell: getattr(spell, "__name__", "?"))
def test_spellings(spell: Callable[[str], str]) -> None:
    for value, text in GOLDEN[spell]:
        assert spell(value) == text


def _power(text: str) -> Fraction:
    """A number in scientific notation, of whichever of the four spellings."""
    plain = unicodedata.normalize("NFKC", re.sub(r"\\times", "×", text))
    digits, power = re.split(r" × 10\^?|e", plain)
    return Fraction(digits) * 10 ** int(power.strip("{}"))


def _scaled(text: str) -> Fraction:
    size = 10**6 if text.endswith(("million", "M")) else 1000
    return Fraction(re.match(r"[\d.]+", text)[0]) * size  # type: ignore[index]


@given(st.integers(1000, 999_999_999))
def test_whole_numbers_are_read_back(number: int) -> None:
    value = str(number)
    for spell in (spellings.with_commas, spellings.latex_thousands, spellings.french, spellings.indian):
        assert "".join(re.findall(r"\d", spell(value))) == value
    assert spellings.german(value).replace(".", "").replace(",", ".") == f"{number}.00"
    assert int(spellings.swiss(value).replace("'", "")) == number
    for in_digits in (
        spellings.full_width,
        spellings.arabic_indic,
        spellings.devanagari,
        spellings.bold_digits,
    ):
        assert int(in_digits(value)) == number
    for spell in (
        spellings.scientific,
        spellings.scientific_e,
        spellings.scientific_latex,
        spellings.scientific_superscript,
    ):
        assert _power(spell(value)) == number
    assert _scaled(spellings.scale_word(value)) == _scaled(spellings.scale_letter(value)) == number
    below_a_million = number % 10**6
    assert spelled_number(spellings.in_words(str(below_a_million))) == below_a_million


@given(st.integers(1, 10**6), st.sampled_from([2, 4]))
def test_quarters_are_read_back(top: int, bottom: int) -> None:
    number = Fraction(top, bottom)
    value = str(float(number))
    found = re.fullmatch(r"\\frac\{(\d+)\}\{(\d+)\}", spellings.latex_fraction(value))
    assert found and Fraction(int(found[1]), int(found[2])) == number
    if number.denominator > 1:
        *whole, part = spellings.vulgar(value)
        assert int("".join(whole) or 0) + Fraction(unicodedata.numeric(part)) == number


VALUES = {"number": ("1500", "12"), "choice": ("B", "D"), "bool": ("Yes", "No"), "text": TEXTS[0][1:]}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_said_stands_in_the_text(name: str) -> None:
    form = FORMS[name]
    value, other = {"fraction": ("2.75", "0.5"), "below_zero": ("-35", "-12")}.get(name, VALUES[form.kind])
    assert form.kind != "number" or form.fits(Fraction(value))
    texts = []
    for variant, (spell, template) in enumerate(form.variants):
        text = write(form, variant, Said(value, other, "Work.", "Next?"))
        assert "VALUE" in template and spell(value) in text
        assert ("OTHER" in template) <= (spell(other) in text)
        assert ("WORKING" in template) == ("Work." in text) and ("NEXT" in template) == ("Next?" in text)
        assert not re.search("VALUE|OTHER|WORKING|NEXT", text)
        texts.append(text)
    assert (
        len(set(texts)) == len(form.variants)
        and write(form, len(texts), Said(value, other, "Work.", "Next?")) == (texts[0])
    )


def test_a_value_that_names_a_token_is_not_replaced_again() -> None:
    said = Said("OTHER", "VALUE", "", "")
    assert write(FORMS["negation"], 0, said) == "The answer is not VALUE, it is OTHER."


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.kind == "number"])
def test_made_wrong_values_fit_and_are_wrong(name: str) -> None:
    value = {"fraction": "0.5", "below_zero": "-2"}.get(name, "1000")
    (wrong,) = made_wrong(value, FORMS[name])
    assert Fraction(wrong) != Fraction(value) and FORMS[name].fits(Fraction(wrong))
