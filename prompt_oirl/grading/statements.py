"""Where a text states its answer: marked, announced, or concluded; and where the answer is over.

Graders of all kinds read what they look for out of the same statements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from prompt_oirl.grading.plain_text import plain

T = TypeVar("T", bound=Hashable)
UNSETTLED = "unsettled"  # several answers, a denied one, or a refusal: the text settles on nothing

MARKED = re.compile(
    r"<answer>(.{0,2000}?)(?:</answer>|\Z|\n\n)|####\s{0,3}(?=[-+]?[.\d(])([^\n]{1,200})", re.S
)
_ROMANCE = r"(?:respuesta|réponse|risposta|resposta)(?: (?:correct[ae]|corretta|correta|finale?))?"
_NOUN = (
    rf"(?:answers?|solution|correction|antwort|{_ROMANCE}|antwoord|svar|odpowiedź|cevap|jibu|ответ|答案|答え|"
    r"정답|답|الجواب|الإجابة|उत्तर|উত্তর|คำตอบ|సమాధానం)"
)
_COPULA = (
    r"(?:(?:is|are|was|would be|should be|must be|ist|lautet|beträgt|es|est|è|é|ni)(?:(?![a-z])|(?=n't))"
    r"|of(?=\s-?\d)|(?=(?:can|could|will)[n' ]{1,2}[no]?t be\b)|是|为|為|は|은|는|هو|هي|равен|है)"
)
_STATED = re.compile(
    rf"(?<![a-z]){_NOUN}\s{{0,3}}(?:"
    # the answer is; the answer to the question is; the answer is: and the next line
    rf"(?:(?:to|of|for|für|auf)\s[^.\n]{{1,80}}?\s)?{_COPULA}\s{{0,2}}[:=]?(?:\s{{0,3}}\n{{1,3}})?"
    # Answer: 7; Answer: and one last line
    r"|[=:](?!\s{0,3}\n)|:\s{0,3}\n{1,3}(?=[^\n]{1,60}\s{0,3}\Z))"
    r"|final answer\s{0,3}:?\s{0,3}\n{1,3}|(?<![a-z])ans\s{0,2}[.:]\s{0,2}",
    re.I,
)
_CONCLUDED = re.compile(
    r"(?:^|(?<=[.!?:\n*]) {0,3})(?:so|therefore|thus|hence|finally|in total|in conclusion|所以|因此)\b",
    re.I | re.M,
)
# What ends an answer: the next question run on, an explanation of what was said, courtesy.
_NEXT_QUESTION = (
    r"(?:#{1,6} )?(?:(?:next |new )?(?:question|problem|exercise|instruction|input)|q|human|user|frage|"
    r"pregunta|问题|問題|задача)\s?:"
)
_EXPLANATION = (
    r"\(?(?:explanation|reasoning|justification|rationale|notes?|verification|check|why|because|"
    r"here'?s (?:why|how)|step[- ]by[- ]step|erklärung|begründung|解释|解析)\b[^\n:]{0,30}[:\n]"
)
_COURTESY = (
    r"(?:(?:please )?let me know|(?:i )?hope (?:this|that|it)|(?:please )?feel free|is there anything else|"
    r"if you (?:have|need|would like|want|'d like)|do you (?:have|want|need)|would you like|"
    r"have a (?:great|nice)|thank you|thanks for|you're welcome)\b"
)
_ENDS = re.compile(
    rf"\n\s{{0,5}}(?:{_NEXT_QUESTION}|{_EXPLANATION}|{_COURTESY})|(?<=[.!?])\s{{1,3}}{_COURTESY}", re.I
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:st|mr|mrs|ms|dr|prof|jr|sr|vs|no|mt|ft|gen|col|sgt|capt|lt|rev|hon|inc|ltd|co|corp|e\.g|i\.e|"
    r"approx|ca|ave|blvd|rd|fig|vol|nr)|\b[a-z](?:\.[a-z])*)\.$",
    re.I,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_REFUSAL = re.compile(
    r"\b(?:can(?:no|')?t|can not|could(?:n't| not)|unable to|not able to|impossible to|not possible to)"
    r"\s(?:be\s)?(?:\w{4,12}ly\s)?(?:determined?|answer(?:ed)?|solved?|calculated?|computed?|help|assist|say|tell|known?|"
    r"provided?|give|comply|find|found)\b|\b(?:has|have|is|there's) no (?:\w{1,12} )?(?:answer|solution)\b|"
    r"\b(?:not enough|insufficient|(?:more|additional|further)) (?:information|data|context|details)\b|"
    r"\bi(?: do not|'m not sure| don't) ?(?:know)?\b|\bi(?:'m| am) sorry\b",
    re.I,
)
MAX_STATEMENTS, MAX_SENTENCE, MAX_ENDS = 20, 400, 10
SHORT = 12  # words: an answer that is nothing but the answer
OPEN_END = 250  # a text cut off in mid-sentence this far behind its last statement has not settled on it
_GOING_ON = tuple(",-+=(*/^&")


@dataclass(frozen=True)
class Statement:
    """A place where a text states something.

    Attributes
    ----------
    text : the statement, up to the end of its first sentence
    rank : 2 marked as the answer (a box, an element, a field, ####), 1 announced as it, 0 a conclusion
    line : the statement up to the end of its line
    cut_off : the text breaks off in mid-sentence, far behind
    """

    text: str
    rank: int
    line: str
    cut_off: bool = False


def settled(
    answer: str, read: Callable[[Statement], T | str | None], read_whole: Callable[[str], T | str | None]
) -> T | None:
    """What an answer settles on, None if on nothing.

    A part of the text that ends before the next question, an explanation or courtesy counts if it states an
    answer or is short; else the whole text. Of a part the last statement counts that holds a value, one that
    is marked as the answer before all others.

    Parameters
    ----------
    answer : what a model wrote
    read : the value that a statement holds, UNSETTLED if it holds several or denies one, None without any
    read_whole : the same of a text without statements
    """
    text = plain(answer).strip()
    for part in _parts(text):
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


def _parts(text: str) -> Iterator[str]:
    """`text` as far as it may be the answer, the shortest part first."""
    for number, end in enumerate(_ENDS.finditer(text)):
        part = text[: end.start()].strip()
        if number == MAX_ENDS:
            break
        if part and (len(part.split()) <= SHORT or MARKED.search(part) or _STATED.search(part)):
            yield part
    yield text


def statements(text: str) -> Iterator[Statement]:
    """The statements of a plain text: the last one that is marked, alone; else the announced ones and the
    conclusions, last first.

    A conclusion that opens the paragraph behind an announced answer explains it ("So we used 2 steps.").
    """
    marked = list(MARKED.finditer(text)) if "<" in text or "#" in text else []
    if marked:
        inside = (marked[-1][1] if marked[-1][1] is not None else marked[-1][2]).strip()
        yield Statement(inside, 2, inside)
        return
    stated = [(m.start(), m.end(), 1) for m in list(_STATED.finditer(text))[-MAX_STATEMENTS:]]
    concluded = [(m.start(), m.end(), 0) for m in list(_CONCLUDED.finditer(text))[-MAX_STATEMENTS:]]
    explaining: list[tuple[int, int, int]] = []
    if stated and concluded and concluded[-1] > stated[-1]:
        said = stated[-1][1] + len(
            first_sentence(text[stated[-1][1] : stated[-1][1] + MAX_SENTENCE].lstrip("\n "))
        )
        between = text[said : next(place for place, _, _ in concluded if place > stated[-1][0])]
        if "\n\n" in between and not between.strip(" .!*\n"):
            explaining = [place for place in concluded if place > stated[-1]]
    places = sorted({*stated, *concluded} - {*explaining}, reverse=True) + explaining[::-1]
    open_end = text[-1:].isalnum() or text.endswith(_GOING_ON)
    for start, end, rank in places:
        tail = text[end : end + MAX_SENTENCE].lstrip(" :*,\t=")
        far = len(text) - start > OPEN_END
        yield Statement(first_sentence(tail), rank, tail.partition("\n")[0], open_end and far)


def first_sentence(text: str) -> str:
    """`text` up to the end of its first sentence; a full stop behind an abbreviation or initial is none."""
    for end in _SENTENCE_END.finditer(text):
        if end[0] != "." or not _ABBREVIATION.search(text[max(0, end.start() - 12) : end.end()]):
            return text[: end.start()]
    return text


def refuses(text: str) -> bool:
    """Whether a text says that it has no answer."""
    return _REFUSAL.search(text) is not None
