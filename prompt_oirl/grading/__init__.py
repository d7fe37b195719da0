"""The graders by name: `strict` (ours), `original` (Prompt-OIRL's), `opro` (OPRO's, lenient)."""

from __future__ import annotations

from prompt_oirl.grading import kinds, numbers, opro

GRADERS = ("strict", "original", "opro")


def verdict(grader: str, answer: str, gold: str, kind: str = "number", question: str = "") -> bool:
    """Is `answer` right?

    Parameters
    ----------
    grader : strict, original or opro
    answer : text of the LLM
    gold : the right answer
    kind : what the gold is: number, choice, bool or text; `original` takes everything as a number
    question : its text, which lists the options of a choice; default: not known

    Raises: ValueError for a grader of another name.
    """
    if grader == "opro":
        return opro.correct(answer, gold, kind, question)
    if grader == "original":
        return numbers.original(answer, gold)
    if grader != "strict":
        raise ValueError(f"no grader {grader!r}")
    if kind == "number":
        return numbers.strict(answer, gold)
    return kinds.strict(answer, gold, kind, question)
