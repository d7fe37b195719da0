"""Strict reading of text answers: what an answer states, else its last line, as words."""

from __future__ import annotations

import re
import unicodedata

from prompt_oirl.grading.plain_text import plain, without_reasoning
from prompt_oirl.grading.statements import UNSETTLED, Statement, first_sentence, refuses, settled

# What follows the answer: a reason, what it is not, an apposition, brackets.
_BEHIND = re.compile(
    r",?\s(?:because|since)\s|,\s(?:not|rather than|which|who|where|the|a|an|followed by)\s|\s\("
)
# What stands in front of it.
_CALLED = re.compile(
    r".{1,120}?\s(?:is|are|was|were)\s(?:called|named|known as|located in|actually|"
    r"\w+(?:ed|en|wn) by):?\s+(.{1,200})",
    re.I,
)
_SAYS = re.compile(
    r"(?:so )?(?:it|this|that|(?:the|a|my|his|her|die|der|das)\s[^.,;:]{1,80}?|.{0,80}answer)"
    r"(?:\s(?:is|are|was|were|ist)|'s):?\s+(?!not\b)(.{1,200})|.{1,60}(?:是| \u2014 )(.{1,100})",
    re.I,
)
_BUT = re.compile(r"not\s.{1,100}?\sbut\s(.{1,200})", re.I)
_BULLET = re.compile(r"^(?:[-*\u2022]|\d{1,2}[.)]|A:)\s+(?=\S)")
_POLITE = re.compile(r"\s?(?:です|でした|입니다|이다)\.?\s?$")
_BOLD = re.compile(r"\*\*([^*\n]{1,100})\*\*")


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


def text_readings(answer: str) -> list[str]:
    """The words of a text answer: what it names ("It is", or its only bold words), without what follows
    behind, and as they stand."""
    said = strict_text(answer)
    if said is None:
        return []
    short = _POLITE.sub("", _BEHIND.split(_BULLET.sub("", said), maxsplit=1)[0]).strip(" .")
    inner = _BUT.match(short) or _CALLED.fullmatch(short) or _SAYS.fullmatch(short)
    named = next(filter(None, inner.groups())) if inner else short
    bold = [text for text in _BOLD.findall(without_reasoning(answer)) if not text.endswith(":")]
    if len(bold) == 1 and words(plain(bold[0])) in words(said):
        named = plain(bold[0])
    return list(dict.fromkeys(words(text) for text in (named, short, said) if words(text)))


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
