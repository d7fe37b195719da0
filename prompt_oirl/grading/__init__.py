"""The graders by name: `strict` and `math` (ours, the latter for formulas too), `original` (Prompt-OIRL's),
`opro` (OPRO's, lenient)."""

from __future__ import annotations

from prompt_oirl.grading import kinds, numbers, opro, symbolic
from prompt_oirl.grading.stated_numbers import strict_number

GRADERS = ("strict", "original", "opro", "math")


def check(grader: str) -> None:
    """Refuse a grader that cannot work here, before answers are paid for.

    Raises: ValueError for a grader of another name, InputError if `math` lacks its package.
    """
    if grader not in GRADERS:
        raise ValueError(f"no grader {grader!r}")
    if grader == "math":
        symbolic.check()


def verdict(grader: str, answer: str, gold: str, kind: str = "number", question: str = "") -> bool:
    """Is `answer` right?

    Parameters
    ----------
    grader : strict, math, original or opro
    answer : text of the LLM
    gold : the right answer
    kind : what the gold is: number, choice, bool or text; a "number" that is none, such as "7 or 8", is
        compared as a text, and `original` takes everything as a number
    question : its text, which lists the options of a choice; default: not known

    Raises: ValueError for a grader of another name.
    """
    if grader == "opro":
        return opro.correct(answer, gold, kind, question)
    if grader == "original":
        return numbers.original(answer, gold)
    if grader not in ("strict", "math"):
        raise ValueError(f"no grader {grader!r}")
    if kind == "number" and numbers.gold_number(gold) is None:
        kind = "text"
    if grader == "math":
        return symbolic.math(answer, gold, kind, question)
    if kind == "number":
        return numbers.strict(answer, gold, question)
    return kinds.strict(answer, gold, kind, question)


def settles(answer: str, gold: str, kind: str, question: str = "") -> bool:
    """Does `answer` settle on any value of its kind, right or wrong, that `strict` can read?

    Parameters
    ----------
    answer, gold, kind, question : as in `verdict`; a text of kind text always does unless it is blank
    """
    if kind == "number":
        return strict_number(answer, question) is not None
    if kind == "choice":
        return kinds.strict_choice(answer, question) is not None
    if kind == "bool":
        return kinds.strict_bool(answer, gold, question) is not None
    return bool(answer.strip())
