"""What counts as the same answer: each kind read as its strict grader reads it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from prompt_oirl.grading import kinds, numbers
from prompt_oirl.grading.plain_text import MAX_CHARACTERS
from prompt_oirl.grading.texts import text_readings

ANSWERS_LOOKED_AT = 1000  # to tell what they are
MOST = 0.8  # share of the answers that must be of a kind

# Answer and question to what is compared; None where nothing can be read.
READERS: dict[str, Callable[[str, str], Hashable]] = {
    "number": numbers.strict_number,
    "choice": kinds.strict_choice,
    "bool": lambda answer, question: kinds.strict_bool(answer, question=question),
    "text": lambda answer, question: next(iter(text_readings(answer)), None),
    "original": lambda answer, question: numbers.original_number(answer[-MAX_CHARACTERS:]),
}


def guess_kind(answers: Sequence[str], questions: Sequence[str]) -> str:
    """The kind that four fifths of the answers can be read as: choice, bool or number; else text.

    Parameters
    ----------
    answers : as logged; blank ones are not looked at
    questions : the question of each answer
    """
    given = [(answer, question) for answer, question in zip(answers, questions) if answer.strip()]
    given = given[:: max(len(given) // ANSWERS_LOOKED_AT, 1)]
    for kind in ("choice", "bool", "number"):
        found = [value for pair in given if (value := READERS[kind](*pair)) is not None]
        # "A: 3 + 4 = 7" in every answer is no choice.
        if len(found) > MOST * len(given) and (kind != "choice" or len(set(found)) > 1):
            return kind
    return "text"
