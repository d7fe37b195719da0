"""Grader of formulas: `math-verify` compares what an answer states with the gold as expressions.

Plain numbers, choices and truth values are graded by `strict`.
"""

from __future__ import annotations

import re

from prompt_oirl.grading import kinds, numbers
from prompt_oirl.grading.answer_words import MARKED
from prompt_oirl.grading.plain_text import MAX_CHARACTERS, plain, without_reasoning
from prompt_oirl.grading.texts import strict_text
from prompt_oirl.io.extras import need

MAX_FORMULA = 300  # characters; sympy may take for ever over longer ones
_FORMULA = re.compile(r"(?s)\$\$?([^$]{1,300})\$|\\\((.{1,300}?)\\\)|\\\[(.{1,300}?)\\\]")
_LOOKS_LIKE_ONE = re.compile(r"\\|[-+*/^=()\[\]{}\u03c0\u221a]|\b(?:pi|sqrt)\b")
_NOT_PLAIN = re.compile(r"\\[a-zA-Z]|[\u03c0\u221a]|\bsqrt\b")
_HUGE = re.compile(r"\^\s?\{?\s?\d{4}|(?:\^[^^]{0,20}){4}|\d{4}\s?!|!\s?!")
_EXPONENT = re.compile(r"\^(-?\w{2,20})")


def check() -> None:
    """Raise InputError, which names the package, if math-verify is not installed."""
    need("--grader math", "math")


def math(answer: str, gold: str, kind: str, question: str = "") -> bool:
    """Verdict on one answer.

    Parameters
    ----------
    answer : text of the LLM
    gold : the right answer: a number, or a formula in LaTeX or as typed
    kind : number, choice, bool or text; a formula is a text
    question : its text

    Raises: ImportError if math-verify is not installed, see `check`.
    """
    if kind in ("choice", "bool"):
        return kinds.strict(answer, gold, kind, question)
    said, wanted = _stated(answer), plain(gold).strip()
    if kind == "number" and not _NOT_PLAIN.search(said):
        return numbers.strict(answer, gold, question)
    same_text = kind == "text" and kinds.strict(answer, gold, "text")
    return same_text or (_LOOKS_LIKE_ONE.search(said + wanted) is not None and _equal(said, wanted))


def _stated(answer: str) -> str:
    """The formula an answer marks or states, or its last one."""
    marked = list(MARKED.finditer(plain(answer)))
    if marked:
        return (marked[-1][1] or marked[-1][2] or "").strip()
    formulas = list(_FORMULA.finditer(without_reasoning(answer)[-MAX_CHARACTERS:]))
    if formulas:
        return plain(next(filter(None, formulas[-1].groups()))).strip()
    return (strict_text(answer) or "").strip(" .")


def _equal(said: str, wanted: str) -> bool:
    from math_verify import parse, verify

    formulas = [_EXPONENT.sub(r"^{\1}", text) for text in (wanted, said)]
    if any(not text or len(text) > MAX_FORMULA or _HUGE.search(text) for text in formulas):
        return False
    gold, answer = (parse(f"${text}$") for text in formulas)
    return bool(gold) and bool(answer) and bool(verify(gold, answer))
