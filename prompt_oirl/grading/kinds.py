"""Strict grading of choices, truth values and texts: what an answer settles on, or nothing.

An answer that names two things settles on none, a gold inside a longer word does not count, and repeating the
question is no answer; so no constant text can do better than naming the most frequent gold (specification of
OPRO, 2.4).
"""

from __future__ import annotations

import re
import unicodedata

from prompt_oirl.grading.plain_text import plain
from prompt_oirl.grading.statements import UNSETTLED, Statement, first_sentence, refuses, settled

# --- choices -----------------------------------------------------------------------------------------

_OPTION = re.compile(r"^\s{0,4}(?:\(?([A-Z])\)|([A-Z])[.:])[ \t]{0,8}([^\n]{0,2000})$", re.M)
_BRACKETED = re.compile(r"\(\s?([A-Za-z])\s?\)")
# A letter that stands alone in a short answer, or opens a statement: "B", "B.", "B) banana", "option B".
_BARE = re.compile(
    r"^\W{0,6}(?:(?:option|choice|letter)\s{1,2})?([A-Z])"
    r"(?=\s{0,2}(?:[).:,;\]*}=\"]|'(?!\w)|$)|\s{1,2}(?:-|\u2014|because\b|since\b|as\b|is\b(?! a\b)))",
    re.I,
)
_NAMED = re.compile(
    r"\b(?i:option|choice|letter|answer|it|choose|pick|select|go with)"
    r"(?i:(?:\s(?:is|would be|must be))?\s{1,2}|'s\s)[\"'(]?"
    r"(?:([B-Z])\b(?!['\w])|(A)\b(?!['\w]|\s[a-z]))|\b([B-HJ-Z])\sis\s(?:correct|right|the)\b"
)
_LIST_OF_LETTERS = re.compile(r"\b[A-Z]\b\s{0,2}(?:,|/|;|&|or\b|and\b)\s{0,2}\(?[A-Z]\b", re.I)
_DENIED_LETTER = re.compile(
    r"(?:\b(?:not|never|nor|neither|rather than|instead of)|n't)\s(?:option |choice )?"
    r"(?:\([A-Za-z]\)|[A-Z]\b)"
)


def options(question: str) -> dict[str, str]:
    """Letter -> text of the options that a question lists one a line: "(A) text", "A) text" or "A. text"."""
    return {bracketed or dotted: text.strip() for bracketed, dotted, text in _OPTION.findall(question)}


def strict_choice(answer: str, question: str = "") -> str | None:
    """The letter an answer settles on: that of its last statement, else the only letter or option named.

    Parameters
    ----------
    answer : text of the LLM
    question : its text, which lists the options; an answer that opens by repeating it says only what follows
    """
    listed = options(question)

    def read(text: str) -> str | None:
        kept = _DENIED_LETTER.sub("", text)
        letters = _letters(kept)
        if listed and len(letters) <= 1:
            letters &= listed.keys()
        if len(letters) > 1 or (kept != text and not letters):
            return UNSETTLED
        return next(iter(letters), None) or _option_named(text, listed)

    return settled(_without_question(answer, question), lambda statement: read(statement.line), read)


def _letters(text: str) -> set[str]:
    if _LIST_OF_LETTERS.search(text):
        return {"A", "B"}  # a list settles on nothing
    bare = _BARE.match(text)
    named = {next(filter(None, found)) for found in _NAMED.findall(text)}
    return {
        letter.upper() for letter in {*_BRACKETED.findall(text), *named, *(bare.groups() if bare else ())}
    }


def _option_named(text: str, listed: dict[str, str]) -> str | None:
    """The only option whose whole text occurs; one inside another that occurs too does not count."""
    said = f" {words(text)} "
    named = {
        letter: own for letter, option in listed.items() if (own := words(option)) and f" {own} " in said
    }
    kept = [
        letter
        for letter, own in named.items()
        if not any(other != own and f" {own} " in f" {other} " for other in named.values())
    ]
    return kept[0] if len(kept) == 1 else None


# --- truth values ------------------------------------------------------------------------------------

_FAMILIES = (("no", "yes"), ("false", "true"), ("invalid", "valid"))
_TRUTH = re.compile(
    r"(?:\b(not|cannot be|never)|(n't))?(?:\s(?:be|necessarily|really|actually|logically|deductively))?"
    r"\s{0,2}\b(no|yes|false|true|invalid|valid)\b",
    re.I,
)
_DIGIT = re.compile(r"^\W{0,4}([01])\W{0,4}$")
_FOREIGN = {
    **dict.fromkeys(("ja", "oui", "sí", "sim", "да", "是", "是的", "はい", "네", "نعم"), True),
    **dict.fromkeys(("nein", "non", "não", "нет", "否", "不是", "いいえ", "아니요", "لا"), False),
}


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
    opens = re.compile(
        rf"\W{{0,6}}({'|'.join(family)})\b(?!\s{{1,3}}(?:and|or)\b)\s{{0,2}}"
        r"(?:[.,:;!\n]|\s(?:-|\u2014|because|since|it|the|this)\b)",
        re.I,
    )

    def read(text: str) -> bool | str | None:
        values = _truths(text, family)
        return None if not values else values[0] if len(set(values)) == 1 else UNSETTLED

    def read_whole(part: str) -> bool | str | None:
        opening = opens.match(part)
        return opening[1].lower() == family[1] if opening else read(part)

    found = settled(_without_question(answer, question), lambda statement: read(statement.text), read_whole)
    return found if isinstance(found, bool) else None


def _truths(text: str, family: tuple[str, str]) -> list[bool]:
    """Every truth value that `text` names, those of `family` if there are any; "not valid" is invalid."""
    digit = _DIGIT.match(text)
    if digit:
        return [digit[1] == "1"]
    foreign = _FOREIGN.get(text.strip(" .!\"'").casefold())
    if foreign is not None:
        return [foreign]
    found = [(bool(m[1] or m[2]), m[3].lower()) for m in _TRUTH.finditer(text)]
    own = [pair for pair in found if pair[1] in family]
    return [(word in ("yes", "true", "valid")) != denied for denied, word in own or found]


# --- texts -------------------------------------------------------------------------------------------

_REASON = re.compile(r",?\s(?:because|since)\s")


def strict_text(answer: str) -> str | None:
    """What an answer states as its answer, else its last line that is not empty; None for a refusal."""

    def stated(statement: Statement) -> str | None:
        if not statement.rank:
            return None
        text = (statement.line if statement.rank == 2 else first_sentence(statement.line)).strip()
        return UNSETTLED if refuses(text) else text or None

    def last_line(part: str) -> str | None:
        lines = [line.strip() for line in part.split("\n") if line.strip()]
        return UNSETTLED if lines and refuses(lines[-1]) else lines[-1] if lines else None

    return settled(answer, stated, last_line)


def words(text: str) -> str:
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
    if kind == "choice":
        letter = _BRACKETED.fullmatch(gold.strip()) or re.fullmatch(r"([A-Za-z])", gold.strip())
        return letter is not None and strict_choice(answer, question) == letter[1].upper()
    if kind == "bool":
        wanted = strict_bool(gold, gold)
        return wanted is not None and strict_bool(answer, gold, question) == wanted
    said = strict_text(answer)
    wanted_words = words(plain(gold))
    return (
        said is not None
        and wanted_words != ""
        and wanted_words in (words(said), words(_REASON.split(said)[0]))
    )


def _without_question(answer: str, question: str) -> str:
    """An answer that opens by repeating the question says only what follows."""
    text, asked = answer.strip(), question.strip()
    return text[len(asked) :] if asked and text.startswith(asked) else text
