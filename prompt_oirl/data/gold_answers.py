"""Verdicts for a log that has answers only: each answer against the gold answer of its question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from prompt_oirl.data.log_guards import spelling
from prompt_oirl.data.log_source import Source
from prompt_oirl.grading import check, verdict
from prompt_oirl.grading.golds import objection
from prompt_oirl.grading.readers import READERS
from prompt_oirl.io.files import InputError
from prompt_oirl.io.tables import cell_text, is_empty, short, texts

KINDS = ("number", "choice", "bool", "text", "math")


@dataclass(frozen=True)
class Graded:
    """A log with the column correct: 1, 0, or empty where its question has no gold answer.

    Attributes
    ----------
    kept : rows that had a verdict, which they keep
    blank, unread : answers with a gold that are blank, or that settle on nothing of their kind: both wrong
    without_gold : questions without a gold
    """

    frame: pd.DataFrame
    kept: int
    right: int
    graded: int
    blank: int
    unread: int
    without_gold: int

    def sentence(self) -> str:
        """What was graded, and what could not be."""
        share = f", {self.right / self.graded:.1%} right" if self.graded else ""
        kept = f"{self.kept:,} rows keep the verdict that they have; " if self.kept else ""
        return (
            f"{kept}{self.graded:,} answers graded{share}; {self.blank:,} are blank and {self.unread:,} "
            f"cannot be read, which count as wrong; {self.without_gold:,} questions have no gold answer, so "
            "no verdict"
        )


def grade_log(log: Source, golds: Source, kind: str) -> Graded:
    """Add the column correct to a log, or fill it where it is empty.

    Parameters
    ----------
    log : rows with question, prompt and answer
    golds : rows with question and gold; questions match whatever their white space and Unicode form
    kind : of the golds, one of `KINDS`; math is a number or formula, compared by math-verify

    Raises: InputError on a log whose rows all have verdicts, on a gold that is none of its kind, on two for
        one question, and where no question has one.
    """
    verdicts = log.frame["correct"].tolist() if "correct" in log.frame else [None] * len(log.frame)
    kept = sum(not is_empty(known) for known in verdicts)
    if kept == len(verdicts):
        raise InputError(f"{log.name}: all rows have a verdict; drop the column correct to grade anew")
    if kind == "math":
        check("math")
    gold_of = _golds(golds, kind)
    questions = texts(log.frame, "question", log.where)
    correct: list[Any] = []
    blank = unread = 0
    missing: set[str] = set()
    right_ones = graded = 0
    for question, cell, known in zip(questions, log.frame["answer"].tolist(), verdicts):
        gold, answer = gold_of.get(spelling(question)), cell_text(cell)
        if not is_empty(known):
            correct.append(known)
            continue
        graded += gold is not None
        if gold is None:
            missing.add(question)
            correct.append(None)
        elif not answer.strip():
            blank += 1
            correct.append(0)
        else:
            right = _right(answer, gold, kind, question)
            unread += not right and READERS["text" if kind == "math" else kind](answer, question) is None
            right_ones += right
            correct.append(int(right))
    if not graded:
        raise InputError(
            f"{golds.name}: no gold answer for any question of {log.name}; give the questions alike"
        )
    frame = log.frame.assign(correct=pd.Series(correct, log.frame.index, dtype=object))
    return Graded(frame, kept, right_ones, graded, blank, unread, len(missing))


def _right(answer: str, gold: str, kind: str, question: str) -> bool:
    if kind == "math":
        return verdict("math", answer, gold, "number", question)
    return verdict("strict", answer, gold, kind, question)


def _golds(source: Source, kind: str) -> dict[str, str]:
    """The gold of each question by its `spelling`."""
    found: dict[str, str] = {}
    questions = texts(source.frame, "question", source.where)
    for row, question, cell in zip(source.frame.index, questions, source.frame["gold"].tolist()):
        if is_empty(cell) or not str(cell).strip():
            continue
        gold = cell_text(cell).strip()
        known = found.setdefault(spelling(question), gold)
        if known != gold:
            raise InputError(
                f"{source.where}{row}: gold is {short(gold)}, but {short(known)} in an earlier row of "
                "the same question; a question has one gold answer"
            )
        against = _against(gold, kind, question) if known is gold else None
        if against is not None:
            raise InputError(f"{source.where}{row}: gold is {short(gold)}: {against}")
    return found


def _against(gold: str, kind: str, question: str) -> str | None:
    if kind != "math":
        return objection(gold, kind, question)
    return None if _right(gold, gold, "math", question) else "give a number or one formula"
