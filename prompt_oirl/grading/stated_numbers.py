"""The number that a text settles on: which sentence says so, and which number of that sentence it is."""

from __future__ import annotations

import re
from fractions import Fraction

from prompt_oirl.grading.numerals import Numeral, decimal_comma, numeral_at_start, numerals, spelled_number
from prompt_oirl.grading.plain_text import MAX_CHARACTERS, plain, without_reasoning
from prompt_oirl.grading.statements import MAX_SENTENCE, SHORT, UNSETTLED, Statement, refuses, settled

# What a number follows that is the outcome of a sentence, and what one follows that is a circumstance.
_IS = re.compile(
    r"(?:\b(?:(?<!who )(?<!that )is|(?<!that )are|was|were|be|equals|(?<!ing a )(?<!out of a )total of|"
    r"for a total(?: \w+){1,2} of|total:)|(?:^|,\s)(?:altogether|in total),?(?: \w+){0,3})"
    r"\s{1,3}(?=[-+]?[\d.])",
    re.I,
)
_VERB = re.compile(
    r"\b(?:(?:will|would|can|could|should|must|(?:need|want|have|has|had)s? to|ha(?:s|ve|d))"
    r"(?: have| be)? \w+"
    r"|has|(?<!to )have|had|gets?|got|makes?|made|needs?|costs?|pays?|paid|spends?|spent|earns?|earned|saves?"
    r"|saved|sells?|sold|buys?|bought|eats?|ate|takes?(?: \w+)?|took|uses?|used|collects?|collected|receives?"
    r"|received|leaves|gains?|weighs?|remain|giving|leaving|making)"
    r"\s{1,2}(?:about |only |exactly |a total of |an (?:additional|extra) |another )?$",
    re.I,
)
_COMPARED = re.compile(r"[-\d.,]+%?(?: \w+)?\s(?:more|less|fewer|times|older|younger|greater|higher|lower)\b")
_OUTCOME = re.compile(r"\b(?:so|still|now|therefore|means|leaving|leaves)\b[^.\d]{0,60}$", re.I)
_BESIDE = re.compile(
    r"(?:\b(?:in|after|by|of|the|her|his|their|its|those|these|each|every|for|(?<!up )with|at|on|from|per"
    r"|than|and|or|\w+ing|step|day|week|month|year|level|grade|question|problem|number|part|expert"
    r"|round|who is)|'s)\s{0,2}$",
    re.I,
)
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b|-[a-z]|%\s(?:of|off|discount|tax|increase|decrease)", re.I)
_DENIED = re.compile(
    r"(?:\b(?:(?:can|could|will|should) ?)?(?:not(?: be)?|never|neither|nor|instead of|rather than)"
    r"|n't(?: be)?)"
    r"\s(?:a |an |equal to |just )?(?=[-+]?[\d.])"
)
_CONDITION = re.compile(r"^(?:if|when|since|as|after|because) [^,]{1,200}, ", re.I)
_CHECKS = re.compile(r"\b(?:check|verif|confirm|double)", re.I)
_RESULT = re.compile(r"=\s{0,3}(?=[-\d.])")
_ASIDE = re.compile(
    r"\(|;|,?\s(?:because|since|as|given|after|out of|which(?! (?:is|equals) -?\d)|if|when|while|where"
    r"|having)\b",
    re.I,
)
_BRACKETS = re.compile(r"\([^()]{0,200}\)")
# What is no single number: alternatives, bounds, formulas, several solutions.
_EITHER = re.compile(r"\b(?:either|between)\s[^\d.]{0,30}$", re.I)
_OR = re.compile(r"\s?(%|[^\W\d]{0,20})\s{0,2}\b(?:or|oder|ou|o)\s(?:maybe |perhaps |possibly )?", re.I)
_UNIT = re.compile(r"\s?(%|[^\W\d]{0,20})")
_BOUND = re.compile(
    r"(?:\b(?:more|less|greater|fewer|higher|lower) than|(?<!=)[<>\u2264\u2265\u00b1])\s{0,2}$", re.I
)
_FORMULA = re.compile(
    r"\d\s?[xyzn]\b|[xyzn]\s?[+^]|[+-]\s?i\b|\d!|[<>\u2264\u2265\u00b1]"
    r"|\\(?:ln|log|sin|cos|tan|pm|pi|sqrt|[gl]eq?|[gl]t)(?![a-z])|\d\s:\s\d|\d_\d"
    r"|^[^=]*\d\s?[a-z]{0,3}\s?\u00d7\s?\d(?!0?\s?\^)[^=]*$"
)
_QUOTIENT = re.compile(r"\\(?:pi|sqrt)(?![a-z])|\)/\(|[a-z\u03c0]\s?/\s?\d", re.I)
_ROUNDED = re.compile(r"\b(?:so|therefore|thus|which means|rounded(?: up| down)? to|or)\b")
_WORKING = re.compile(r"(?:=|\bso\b|\btherefore\b|\bleft\b|\bin total\b)[^\n]*\d|\d[^\n]*\bleft\b", re.I)
_HAS = re.compile(r"\b(?:is|are|has|have|had|makes?|needs?|gets?)\s(?=[a-z])", re.I)
_LABEL = re.compile(r"\W*(?:step|part|method|day|week|question|case|round|year)\s?\d+\W*", re.I)
_SUPPOSED = re.compile(r"\s*(?:if|with|had)\b.*(?:'d|would)\b", re.I)
_SOLUTIONS = re.compile(r"\b([a-z])[\d_]{0,3}\s?=\s?-?\d[^=]{0,30}(?:\bor|\band|,)\s{1,2}\1[\d_]{0,3}\s?=")
_NO_ANSWER = re.compile(
    r"\W{0,3}(?:-?\d{1,9}(?:,\s-?\d{1,9}){1,50}|\d+[xyzn]|(?:step|part|question)\s\d+)\W{0,3}", re.I
)
_NONE = Numeral(None, 0, 0)
_ANSWER_BEHIND = re.compile(r"\bis the (?:correct |right |final )?answer\b", re.I)  # "10 is the answer"
_OPENING = re.compile(r"\W{0,4}([-+]?\d[\d.,]{0,20})(?:[.]\s(?=[^\W\d])|\n)")  # then how it was found
_SECOND_ITEM = re.compile(r"^\W{0,4}2[.)]", re.M)
_AND = re.compile(r"[^.,;\d]{0,30}\band\s(?=\d)")
_SENTENCES = re.compile(r"(?<=[.!?])\s|\n")
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
NEAR = 12  # characters: a number so early in an announced answer is the answer


def strict_number(text: str, question: str = "") -> Fraction | None:
    """The number an answer settles on, None if it settles on none.

    The last statement that holds a number decides: behind "=" its result, else what "is" is, else the number
    behind a verb, else the first that is no circumstance. Without any statement it is the number that "is the
    answer", else the last bold one of the last line, else that of the last sentence. Number words count where
    there are no digits, where an announced answer opens with them, and behind "is" or "has" in a conclusion.

    Parameters
    ----------
    text : what the LLM wrote
    question : its text, which may tell the decimal sign
    """
    comma = decimal_comma(text, question)
    digits = re.search(r"\d", text) is not None

    def stated(statement: Statement) -> Fraction | str | None:
        return _stated(statement, comma, digits)

    def whole(part: str) -> Fraction | str | None:
        return _of_whole(part, text, comma)

    return settled(text, stated, whole)


def _stated(statement: Statement, comma: bool, digits: bool) -> Fraction | str | None:
    """The number one statement makes."""
    if statement.rank and refuses(statement.text):
        return UNSETTLED
    working = statement.rest.partition("\n\n")[0]
    if statement.label and len(statement.text.split()) > 4 and _WORKING.search(working):
        return None  # "Answer:" and then the working
    sentence = _undenied(statement.text, comma)
    if statement.rank == 1:
        sentence = re.sub(r"^-\s(?=\d)", "-", sentence)
    # A conclusion may be a step on the way to a result at the very end.
    if not statement.rank and len(statement.rest) < MAX_SENTENCE and not _CHECKS.search(statement.rest):
        later = [
            m for m in _RESULT.finditer(statement.rest) if numerals(statement.rest[m.end() :][:40], comma)
        ]
        sentence = (
            statement.rest[later[-1].start() :][:MAX_SENTENCE].partition("\n")[0] if later else sentence
        )
    found = _chosen(sentence, comma, statement.rank)
    if found is None:
        if sentence != statement.text and statement.rank:
            return UNSETTLED
        if not digits:
            return spelled_number(sentence)
        if statement.rank:
            return spelled_number(sentence, at_start=True)
        told = _HAS.search(sentence)
        return spelled_number(sentence[told.end() :], at_start=True) if told else None
    if found.value is None:
        return UNSETTLED if statement.rank else None
    return found.value


def _undenied(sentence: str, comma: bool) -> str:
    """A sentence without the numbers that it denies: "not 42"."""
    for match in reversed(list(_DENIED.finditer(sentence))):
        after = sentence[match.end() :]
        if length := numeral_at_start(after, comma):
            sentence = sentence[: match.start()] + after[length:]
    return sentence


def _chosen(sentence: str, comma: bool, rank: int) -> Numeral | None:
    """The numeral that a sentence is about."""
    if (rank == 2 and _FORMULA.search(sentence)) or _SOLUTIONS.search(sentence):
        return _NONE
    if rank and _QUOTIENT.search(sentence):
        return _NONE
    if rank:  # what follows the answer explains it
        outside = _BRACKETS.sub(" ", sentence)
        if numerals(outside, comma):
            sentence = outside
        aside = _ASIDE.search(sentence)
        if aside and numerals(sentence[: aside.start()], comma):
            sentence = sentence[: aside.start()]
    condition = _CONDITION.match(sentence)
    if condition and numerals(sentence[condition.end() :], comma):
        sentence = sentence[condition.end() :]
    _, equals, result = sentence.rpartition("=")
    if equals and (found := numerals(result, comma)):
        rounded = _ROUNDED.search(result, found[0].end)
        if rounded and (after := numerals(result[rounded.end() :], comma)):
            return _main(result[rounded.end() :], after)
        listed = len(found) > 1 and result[found[0].end : found[1].start].strip() == ","
        return _NONE if rank and listed else found[0]
    said = [m for m in _IS.finditer(sentence) if not _COMPARED.match(sentence, m.end())]
    found = [n for n in numerals(sentence, comma) if not said or n.start >= said[-1].end()]
    if not found:
        return None
    if len(found) > 1 and found[0].value != found[1].value:
        either = _EITHER.search(sentence[: found[0].start])
        listed = rank == 2 and sentence[found[0].end : found[1].start].strip() in (",", ";")
        if either or listed or _are_alternatives(sentence, *found[:2]):
            return _NONE
    near = rank and found[0].start <= NEAR and not _beside(sentence, found[0])
    chosen = found[0] if said or near else _main(sentence, found)
    return _NONE if rank and _BOUND.search(sentence[: chosen.start]) else chosen


def _main(sentence: str, found: list[Numeral]) -> Numeral:
    """The number that a sentence is about: that of its outcome, else the first behind a verb, else the first
    that is no circumstance."""
    told = [n for n in found if not _beside(sentence, n)]
    behind_verb = [n for n in found if _VERB.search(sentence[max(0, n.start - 60) : n.start])]
    outcome = [n for n in behind_verb if _OUTCOME.search(sentence[max(0, n.start - 60) : n.start])]
    return outcome[-1] if outcome else next(iter(behind_verb or told or found))


def _beside(sentence: str, number: Numeral) -> bool:
    """Whether a number tells a circumstance: "in 7 weeks", "the 20 apples", "her 10th"."""
    before = number.start > 0 and _BESIDE.search(sentence[max(0, number.start - 30) : number.start])
    return bool(before or _ORDINAL.match(sentence, number.end))


def _are_alternatives(text: str, first: Numeral, second: Numeral) -> bool:
    """Whether two numbers in a row are two answers: "10 or 12 apples", not "150 cents or 1.50 dollars"."""
    between = _OR.fullmatch(text[first.end : second.start])
    if not between:
        return False
    units = between[1], _UNIT.match(text, second.end)[1]  # type: ignore[index]
    if first.value is not None and second.value is not None and units[0] != units[1]:
        alike = {first.value, second.value, first.value * 100, second.value * 100}
        return (not units[0] or not units[1]) and len(alike) == 4  # 150 cents or $1.50; 0.5 or 50%
    return units[0] in ("", units[1])


def _of_whole(part: str, answer: str, comma: bool) -> Fraction | str | None:
    """The number of a text that states none."""
    if refuses(part):
        return UNSETTLED
    opening = _OPENING.match(part)
    if opening and not _SECOND_ITEM.search(part):
        part = opening[1]
    short = len(part.split()) <= SHORT
    if _NO_ANSWER.fullmatch(part):
        return UNSETTLED
    outside = _BRACKETS.sub(" ", part)
    part = outside if re.search(r"\d", outside) else part
    behind = list(_ANSWER_BEHIND.finditer(part))
    sentence = re.split(r"[.!?](?:\s|$)|\n", part[: behind[-1].start()][-MAX_SENTENCE:])[-1] if behind else ""
    found = numerals(sentence, comma) or _bold(part, answer, comma)
    if not found:
        last = _undenied(_last_sentence(part), comma)
        chosen = _chosen(last, comma, 0)
        if chosen and _AND.match(last, chosen.end):  # "12 apples and 3 pears"
            chosen = numerals(last, comma)[-1]
        if chosen and short and chosen.value is not None and _BOUND.search(last[: chosen.start]):
            return UNSETTLED
        found = [chosen] if chosen else []
    if found:
        return UNSETTLED if found[-1].value is None else found[-1].value
    return spelled_number(part) if short else None


def _last_sentence(text: str) -> str:
    """The last sentence with a digit."""
    sentences = [s for s in _SENTENCES.split(text) if re.search(r"\d", s)]
    return next(
        (s for s in reversed(sentences) if not _SUPPOSED.match(s)), sentences[-1] if sentences else ""
    )


def _bold(part: str, answer: str, comma: bool) -> list[Numeral]:
    """The numbers in the last bold words of an answer, if they stand in its last line."""
    bold = list(_BOLD.finditer(without_reasoning(answer)[-MAX_CHARACTERS:]))
    if not bold or _LABEL.fullmatch(bold[-1][1]):
        return []
    words = plain(bold[-1][1])
    return numerals(words, comma) if words in part.rpartition("\n")[2] else []
