"""Strict grading of choices, truth values and texts: what an answer settles on, or nothing.

An answer that names two things settles on none, a gold inside a longer word does not count, and repeating the
question is no answer; so no constant text can do better than naming the most frequent gold (specification of
OPRO, 2.4).
"""

from __future__ import annotations

import re
import unicodedata

from prompt_oirl.grading.numbers import MAX_CHARACTERS, statements

# --- choices -----------------------------------------------------------------------------------------

_OPTION = re.compile(r"^\s{0,4}\(?([A-Z])\)[ \t]*([^\n]{0,2000})$", re.M)
_BRACKETED = re.compile(r"\(\s?([A-Za-z])\s?\)")
# A letter that stands alone in a short answer, or opens a statement: "B", "B.", "B) banana", "option B".
_BARE = re.compile(r"^\W{0,6}(?:(?:option|choice|letter)\s{1,2})?([A-Z])(?=\s{0,2}(?:[).:,\]*}]|$))", re.I)
_LIST_OF_LETTERS = re.compile(r"\b[A-Z]\b\s{0,2}(?:,|/|;|&|or\b|and\b)\s{0,2}\(?[A-Z]\b", re.I)


def options(question: str) -> dict[str, str]:
    """Letter -> text of the options that a question lists one per line, as "(A) text" or "A) text"."""
    return {letter: text.strip() for letter, text in _OPTION.findall(question)}


def strict_choice(answer: str, question: str = "") -> str | None:
    """The letter an answer settles on: that of its last statement, else the only letter or option named."""
    text = _without_question(answer, question)
    listed = options(question)
    for _, sentence in statements(text):
        letters = _letters(sentence)
        if len(letters) > 1:
            return None
        found = next(iter(letters), None) or _option_named(sentence, listed)
        if found:
            return found
    letters = _letters(text)
    if len(letters) > 1:
        return None
    return next(iter(letters), None) or _option_named(text, listed)


def _letters(text: str) -> set[str]:
    if _LIST_OF_LETTERS.search(text):
        return {"A", "B"}  # a list settles on nothing
    bare = _BARE.match(text)
    return {letter.upper() for letter in _BRACKETED.findall(text)} | ({bare[1].upper()} if bare else set())


def _option_named(text: str, listed: dict[str, str]) -> str | None:
    """The only option whose whole text occurs; one inside another that occurs too does not count."""
    said = f" {_words(text)} "
    named = {
        letter: words
        for letter, option in listed.items()
        if (words := _words(option)) and f" {words} " in said
    }
    kept = [
        letter
        for letter, words in named.items()
        if not any(other != words and f" {words} " in f" {other} " for other in named.values())
    ]
    return kept[0] if len(kept) == 1 else None


# --- truth values ------------------------------------------------------------------------------------

_FAMILIES = (("no", "yes"), ("false", "true"), ("invalid", "valid"))
_TRUTH = re.compile(r"\b(?:(not)\s{1,2})?(no|yes|false|true|invalid|valid)\b", re.I)
_DIGIT = re.compile(r"^\W{0,4}([01])\W{0,4}$")


def strict_bool(answer: str, gold: str = "", question: str = "") -> bool | None:
    """The truth value an answer settles on; words of the gold's own pair (yes/no, true/false, valid/invalid)
    come first.

    Without a statement the value that opens the answer counts, else the only one that occurs.

    Parameters
    ----------
    answer : text of the LLM
    gold : the right answer, which names the pair; default: yes/no
    question : its text; an answer that opens by repeating it says only what follows

    Returns: None if the answer settles on nothing, or on both.
    """
    family = next((pair for pair in _FAMILIES if gold.strip().lower() in pair), _FAMILIES[0])
    text = _without_question(answer, question)
    for _, sentence in statements(text):
        values = _truths(sentence, family)
        if values:
            return values[0] if len(set(values)) == 1 else None
    values = _truths(text, family)
    opening = re.match(
        rf"\W{{0,6}}({'|'.join(family)})\b(?!\s{{1,3}}(?:and|or)\b)\s{{0,2}}[.,:;!\n]", text, re.I
    )
    if opening:
        values = [opening[1].lower() == family[1]]
    return values[0] if values and len(set(values)) == 1 else None


def _truths(text: str, family: tuple[str, str]) -> list[bool]:
    """Every truth value that `text` names, those of `family` if there are any; "not valid" is invalid."""
    digit = _DIGIT.match(text)
    if digit:
        return [digit[1] == "1"]
    found = _TRUTH.findall(text)
    own = [pair for pair in found if pair[1].lower() in family]
    return [(word.lower() in ("yes", "true", "valid")) != bool(negated) for negated, word in own or found]


# --- texts -------------------------------------------------------------------------------------------


def strict_text(answer: str) -> str | None:
    """What an answer states behind "the answer is", else its last line that is not empty."""
    text = answer[-MAX_CHARACTERS:].strip()
    for place, sentence in statements(text):
        if re.match(r"answer|####|\\boxed", text[place:], re.I) and sentence.strip():
            return sentence.strip().rstrip("}") if text[place:].startswith("\\boxed") else sentence.strip()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[-1] if lines else None


def _words(text: str) -> str:
    """Lower-case words with single spaces; list commas, quotes and closing punctuation dropped."""
    text = unicodedata.normalize("NFC", text).casefold()
    if not any(c.isalnum() for c in text):
        return "".join(text.split())
    return " ".join(
        word
        for part in re.split(r"[\s,;]+", text)
        if (word := part.strip(".,:;!?*\"'`\u201c\u201d\u2018\u2019"))
    )


# --- all kinds ---------------------------------------------------------------------------------------


def strict(answer: str, gold: str, kind: str, question: str = "") -> bool:
    """Verdict on an answer of kind choice, bool or text.

    Parameters
    ----------
    answer : text of the LLM, of which the last 20,000 characters are graded
    gold : the option's letter, with or without brackets; a truth value; or a text
    kind : choice, bool or text
    question : its text, which lists the options of a choice one a line; skipped where the answer repeats it

    Source: specification of OPRO, 2.4.
    """
    answer = answer[-MAX_CHARACTERS:]
    if kind == "choice":
        letter = _BRACKETED.fullmatch(gold.strip()) or re.fullmatch(r"([A-Za-z])", gold.strip())
        return letter is not None and strict_choice(answer, question) == letter[1].upper()
    if kind == "bool":
        wanted = strict_bool(gold, gold)
        return wanted is not None and strict_bool(answer, gold, question) == wanted
    said = strict_text(answer)
    return said is not None and _words(said) == _words(gold) != ""


def _without_question(answer: str, question: str) -> str:
    """An answer that opens by repeating the question says only what follows."""
    text, asked = answer[-MAX_CHARACTERS:].strip(), question.strip()
    return text[len(asked) :] if asked and text.startswith(asked) else text
