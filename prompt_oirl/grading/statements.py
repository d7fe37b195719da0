"""Where a text states its answer: marked, announced, or concluded; and where the answer is over.

Graders of all kinds read what they look for out of the same statements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from prompt_oirl.grading.answer_words import (
    ABBREVIATION,
    CHECK,
    CONCLUDED,
    CORRECTION,
    COURTESY,
    ENDS,
    MARKED,
    NOT_MEANT,
    NUMBERED,
    OPEN,
    REFUSAL,
    SENTENCE_END,
    STATED,
    TAG,
)
from prompt_oirl.grading.plain_text import plain

T = TypeVar("T", bound=Hashable)
UNSETTLED = "unsettled"  # several answers, a denied one, or a refusal: the text settles on nothing

MAX_STATEMENTS, MAX_SENTENCE, MAX_ENDS = 20, 400, 10
SHORT = 12  # words: an answer that is nothing but the answer
OPEN_END = 250  # a text cut off in mid-sentence this far behind its last statement has not settled on it
_UNFINISHED = tuple(",-+=(*/^&")


@dataclass(frozen=True)
class Statement:
    """A place where a text states something.

    Attributes
    ----------
    text : the statement, up to the end of its first sentence
    rank : 2 marked as the answer (a box, an element, a field, ####), 1 announced as it, 0 a conclusion
    line : the statement up to the end of its line
    cut_off : the text breaks off in mid-sentence, far behind
    rest : what follows the sentence
    label : it is announced by a word and a colon, "Answer:"
    """

    text: str
    rank: int
    line: str
    cut_off: bool = False
    rest: str = ""
    label: bool = False


def settled(
    answer: str, read: Callable[[Statement], T | str | None], read_whole: Callable[[str], T | str | None]
) -> T | None:
    """What an answer settles on, None if on nothing.

    What a short text takes back does not count. A part of the text that ends before the next question, an
    explanation or courtesy counts if it states an answer or is short; else the whole text. Of a part the last
    statement counts that holds a value, one that is marked as the answer before all others.

    Parameters
    ----------
    answer : what a model wrote
    read : the value that a statement holds, UNSETTLED if it holds several or denies one, None without any
    read_whole : the same of a text without statements
    """
    text = plain(answer).strip()
    for part in [*_corrected(text), *_parts(text)]:
        for statement in statements(part):
            found = read(statement)
            if found is None and statement.rank == 2:
                return None
            if found is not None:
                return None if found is UNSETTLED or statement.cut_off else found  # type: ignore[return-value]
        found = read_whole(part)
        if found is not None:
            return None if found is UNSETTLED else found  # type: ignore[return-value]
    return None


def _corrected(text: str) -> list[str]:
    """What a short text says behind the last words that take something back."""
    places = list(CORRECTION.finditer(text))
    taken_back = places and (text[: places[-1].start()].strip() or "wait" in places[-1][0].lower())
    behind = text[places[-1].end() :] if taken_back else ""
    return [behind] if behind and len(behind.split()) <= SHORT else []


def _parts(text: str) -> Iterator[str]:
    """`text` as far as it may be the answer, the shortest part first."""
    for number, end in enumerate(ENDS.finditer(text)):
        part = text[: end.start()].strip()
        checks = CHECK.match(text, end.start())
        if checks and (STATED.search(text, end.end()) or CONCLUDED.search(text, end.end())):
            continue  # the answer follows the check
        if part and (checks or COURTESY.match(text, end.start())):
            yield part  # courtesy is never the answer, nor is a check
            continue
        if number == MAX_ENDS:
            break
        if NUMBERED.search(end[0]) and NUMBERED.search(part):
            continue  # the parts of one question
        if part and (len(part.split()) <= SHORT or MARKED.search(part) or STATED.search(part)):
            yield part
    yield text


def statements(text: str) -> Iterator[Statement]:
    """The statements of a plain text: the last one that is marked, alone; else the announced ones and the
    conclusions, last first.

    A conclusion that opens the paragraph behind an announced answer explains it ("So we used 2 steps.").
    """
    marked = list(MARKED.finditer(text)) if "<" in text or "#" in text else []
    if marked:
        inside = " or ".join(
            TAG.sub(" ", m[1] if m[1] is not None else m[2]).strip() for m in _last_marked(marked, text)
        )
        yield Statement(inside, 2, inside)
        return
    announced = [
        m for m in STATED.finditer(text) if not NOT_MEANT.search(text[max(0, m.start() - 14) : m.start()])
    ]
    stated = [(m.start(), m.end(), 1) for m in announced[-MAX_STATEMENTS:]]
    concluded = [(m.start(), m.end(), 0) for m in list(CONCLUDED.finditer(text))[-MAX_STATEMENTS:]]
    explaining = _explaining(text, stated, concluded)
    places = sorted({*stated, *concluded} - {*explaining}, reverse=True) + explaining[::-1]
    open_end = text[-1:].isalnum() or text.endswith(_UNFINISHED)
    for start, end, rank in places:
        tail = text[end : end + MAX_SENTENCE].lstrip(" :*,\t=")
        far = len(text) - start > OPEN_END
        sentence = first_sentence(tail)
        line, behind = sentence, tail[len(sentence) :].lstrip()
        # "So the total is:" and a line that says it
        open_ = sentence.endswith(":") and (not re.search(r"\d", sentence) or OPEN.search(sentence))
        if open_ and behind[:1] not in "*-":
            sentence += " " + first_sentence(behind)
        rest = text[text.index(line, end) + len(line) :]
        label = re.fullmatch(r"\w+\s{0,3}:\s*", text[start:end]) is not None
        yield Statement(sentence, rank, tail.partition("\n")[0], open_end and far, rest, label)


Place = tuple[int, int, int]  # start, end, rank


def _explaining(text: str, stated: list[Place], concluded: list[Place]) -> list[Place]:
    """The conclusions behind an announced answer whose next paragraph one of them opens."""
    behind = [place for place in concluded if stated and place > stated[-1]]
    if not behind:
        return []
    said = stated[-1][1]
    said += len(first_sentence(text[said : said + MAX_SENTENCE].lstrip("\n ")))
    between = text[said : behind[0][0]]
    return behind if "\n\n" in between and not between.strip(" .!*\n") else []


def _last_marked(marked: list[re.Match[str]], text: str) -> list[re.Match[str]]:
    """The last place that is marked, with those that "and" or "or" puts beside it."""
    count = 1
    while count < min(len(marked), MAX_STATEMENTS) and re.fullmatch(
        r"\W*(?:and|or|,)\W*", text[marked[-count - 1].end() : marked[-count].start()]
    ):
        count += 1
    return marked[-count:]


def first_sentence(text: str) -> str:
    """`text` up to the end of its first sentence; a full stop behind an abbreviation or initial is none."""
    for end in SENTENCE_END.finditer(text):
        if end[0] != "." or not ABBREVIATION.search(text[max(0, end.start() - 12) : end.end()]):
            return text[: end.start()]
    return text


def refuses(text: str) -> bool:
    """Whether a text says that it has no answer."""
    return REFUSAL.search(text) is not None
