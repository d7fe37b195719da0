"""The graders by name: `strict` (ours), `original` (Prompt-OIRL's), `opro` (OPRO's, lenient)."""

from __future__ import annotations

from prompt_oirl.grading import kinds, numbers, opro

GRADERS = ("strict", "original", "opro")


def verdict(grader: str, answer: str, gold: str, kind: str = "number", question: str = "") -> bool:
    """Is `answer` right? `kind` is number, choice, bool or text; `question` lists the options of a choice."""
    if grader == "opro":
        return opro.correct(answer, gold, kind, question)
    if grader == "original":
        return numbers.original(answer, gold)
    if grader != "strict":
        raise ValueError(f"no grader {grader!r}")
    if kind == "number":
        return numbers.strict(answer, gold)
    return kinds.strict(answer, gold, kind, question)
