"""Strict grading of choices, truth values and texts: what an answer settles on, or nothing.

An answer that names two things settles on none, a gold inside a longer word does not count, and repeating the
question is no answer; so no constant text can do better than naming the most frequent gold (specification of
OPRO, 2.4).
"""

from __future__ import annotations

import re

from prompt_oirl.grading.plain_text import plain
from prompt_oirl.grading.statements import UNSETTLED, first_sentence, refuses, settled
from prompt_oirl.grading.texts import text_readings, words

# --- choices -----------------------------------------------------------------------------------------

_OPTION = re.compile(r"^\s{0,4}(?:\(?([A-Z])\)|([A-Z])[.:])[ \t]{0,8}([^\n]{0,2000})$", re.M)
_BRACKETED = re.compile(r"\(\s?([A-Za-z])\s?\)")
# A letter that stands alone in a short answer, or opens a statement: "B", "B.", "B) banana", "option B".
_BARE = re.compile(
    r"^\W{0,6}(?:(?:option|choice|letter|(?:la )?opción|la|die|o|letra|a letra|opção|вариант|选项|选|選択肢)"
    r"\s{1,2})?([A-Z])"
    r"(?=\s{0,2}(?:[).:,;\]*}=\"(]|'(?!\w)|[^\x00-\x7f]|$)"
    r"|\s{1,2}(?:-|because\b|since\b|as\b|is\b(?! a\b)))",
    re.I,
)
_NAMED = re.compile(
    r"\b(?i:option|choice|letter|answer|it|that|this|only|clearly|final|so|therefore|leaves|leaving|"
    r"elimination|choose|pick|select|go with)"
    r"(?i:,?(?:\s(?:is|be|would be|must be|therefore))?:?\s{1,2}|'s\s)[\"'(]?"
    r"(?:([B-Z])\b(?!['\w])|(A)\b(?!['\w]|\s[a-z]))|\b([B-HJ-Z])\sis\s(?:correct|right|the)\b"
)
# "B. Because option A ..."; "B) text", and then a paragraph that says why.
_OPENING_LETTER = re.compile(
    r"\W{0,4}([B-HJ-Z])(?:[.:]\s(?:Because|Since|As|The|This|It)\b|[.)]\s[^\n]{1,200}\n\n)"
)
_LIST_OF_LETTERS = re.compile(r"\b[A-Z]\b\s{0,2}(?:,|/|;|&|or\b|and\b)\s{0,2}\(?[A-Z]\b", re.I)
_DENIED_LETTER = re.compile(
    r"(?:\b(?:not|never|nor|neither|rather than|instead of)|n't|而不是|不是)\s{0,2}(?:option |choice )?"
    r"(?:\([A-Za-z]\)|[A-Z]\b)"
    r"|(?:\b(?:[Oo]ption|[Cc]hoice) )?(?<![\w'])\(?[A-Z]\)?\s(?:is|are)\s(?:clearly |also )?"
    r"(?:incorrect|wrong|false|not\b|out\b|ruled out|eliminated)"
    r"|\b[Ee]liminating [A-Z](?:(?:,| and| or) [A-Z]){0,5}"
)
_REASON = re.compile(
    r",?\s(?:because|since|as|for|while|although|though|denn|car|porque)\b|[,;:]?\s(?:not|rather than)\s"
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
        kept = _DENIED_LETTER.sub(" ", text)
        letters = _letters(kept)
        if len(letters) > 1:  # the reason may name the others
            first = _letters(_REASON.split(first_sentence(kept), maxsplit=1)[0])
            letters = first if len(first) == 1 else letters
        if listed and len(letters) <= 1:
            letters &= listed.keys()
        if len(letters) > 1 or (kept != text and not letters):
            return UNSETTLED
        return next(iter(letters), None) or _option_named(text, listed)

    def read_whole(part: str) -> str | None:
        opening = _OPENING_LETTER.match(part)
        if opening and not _OPTION.search(part, opening.end()) and not _LIST_OF_LETTERS.search(opening[0]):
            return opening[1].upper() if not listed or opening[1].upper() in listed else None
        return read(part)

    return settled(_without_question(answer, question), lambda statement: read(statement.line), read_whole)


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

_FAMILIES = (("no", "yes"), ("false", "true"), ("invalid", "valid"), ("implausible", "plausible"))
_TRUTH = re.compile(
    r"(?:\b(not|cannot be|never)|(n't))?(?:\s(?:be|necessarily|really|actually|logically|deductively))?"
    r"\s{0,2}\b(no|yes|false|true|invalid|valid|implausible|plausible)\b",
    re.I,
)
_DIGIT = re.compile(r"^\W{0,4}([01])\W{0,4}$")
_YES = (
    *("y", "yeah", "yep", "yup", "certainly", "definitely", "absolutely", "of course", "correct", "right"),
    *("this is correct", "that is correct", "that's correct"),
    *("ja", "oui", "sí", "sim", "да", "是", "是的", "はい", "네", "نعم"),
)
_NO = (
    *("n", "nope", "nah", "absolutely not", "certainly not", "definitely not", "of course not", "incorrect"),
    *("wrong", "this is not correct", "that is not correct", "this is incorrect", "that is incorrect"),
    *("nein", "non", "não", "нет", "否", "不是", "いいえ", "아니요", "لا"),
)
_IN_OTHER_WORDS = dict.fromkeys(_YES, True) | dict.fromkeys(_NO, False)
_AFTERTHOUGHT = re.compile(
    r"\([^()]{0,200}\)|[,.;]?\s(?:because|since|as)\b.{0,400}|\b(?:although|though|even if)\b[^.,;]{0,200}",
    re.I | re.S,
)


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
        r"(?:[.,:;!\n\u2014-]|\s(?:because|since|it|the|this)\b)",
        re.I,
    )

    def read(text: str) -> bool | str | None:
        values = _truths(text, family)
        if len(set(values)) > 1:
            said = first_sentence(_AFTERTHOUGHT.sub(" ", text))  # "It is false. It would be true if ..."
            values = _truths(said, family) or values
        return None if not values else values[0] if len(set(values)) == 1 else UNSETTLED

    def read_whole(part: str) -> bool | str | None:
        opening = opens.match(part)
        result = _truths(part.rpartition("=")[2], family) if "=" in part else []
        if not opening and len(set(result)) == 1:
            return result[0]
        if not opening and refuses(part):
            return UNSETTLED
        return opening[1].lower() == family[1] if opening else read(part)

    found = settled(_without_question(answer, question), lambda statement: read(statement.text), read_whole)
    return found if isinstance(found, bool) else None


def _truths(text: str, family: tuple[str, str]) -> list[bool]:
    """Every truth value that `text` names, those of `family` if there are any; "not valid" is invalid."""
    digit = _DIGIT.match(text)
    if digit:
        return [digit[1] == "1"]
    first = re.split(r"[,.!;:\n\u3001]", text.strip(" \"'").casefold(), maxsplit=1)[0].strip()
    if first in _IN_OTHER_WORDS:
        return [_IN_OTHER_WORDS[first]]
    found = [(bool(m[1] or m[2]), m[3].lower()) for m in _TRUTH.finditer(text)]
    own = [pair for pair in found if pair[1] in family]
    return [(word in ("yes", "true", "valid", "plausible")) != denied for denied, word in own or found]


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
        letter = strict_choice(gold, question)
        return letter is not None and strict_choice(answer, question) == letter
    if kind == "bool":
        wanted = strict_bool(gold, gold)
        return wanted is not None and strict_bool(answer, gold, question) == wanted
    wanted_words = words(plain(gold))
    if refuses(gold):  # "cannot be determined" may be the answer
        return bool(wanted_words) and words(first_sentence(plain(answer).strip())) == wanted_words
    return wanted_words != "" and wanted_words in text_readings(answer)


def _without_question(answer: str, question: str) -> str:
    """An answer that opens by repeating the question says only what follows."""
    text, asked = answer.strip(), question.strip()
    return text[len(asked) :] if asked and text.startswith(asked) else text
