"""Verdicts for logs that have answers only."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from prompt_oirl.data.gold_answers import Graded, grade_log
from prompt_oirl.data.log_source import Source
from prompt_oirl.io.files import InputError

OPTIONS = "Which is a fruit?\n(A) stone\n(B) apple\n(C) car"


def source(name: str, **columns: Any) -> Source:
    return Source(pd.DataFrame(columns, dtype=object), f"{name}:", name)


def graded(answers: list[Any], gold: Any, kind: str, question: str = "How many?") -> Graded:
    log = source("log.csv", question=[question] * len(answers), prompt="A", answer=answers)
    return grade_log(log, source("golds.csv", question=[question], gold=[gold]), kind)


@pytest.mark.parametrize(
    ("kind", "gold", "answers", "verdicts", "unread"),
    [
        (
            "number",
            "1234",
            ["The answer is 1,234.", "1233", "$\\boxed{1234}$", "I don't know"],
            [1, 0, 1, 0],
            1,
        ),
        ("number", 7, ["7", "8", "x"], [1, 0, 0], 1),
        ("choice", "B", ["(B)", "The answer is C.", "none"], [1, 0, 0], 1),
        ("bool", "True", ["Yes.", "No", "who knows"], [1, 0, 0], 1),
        ("text", "Rome", ["Rome", "The capital is Rome.", "Paris"], [1, 1, 0], 0),
        ("math", "\\frac{1}{2}", ["$\\boxed{0.5}$", "The answer is $\\frac{2}{4}$.", "2"], [1, 1, 0], 0),
        ("math", "12", ["The answer is 12.", "13"], [1, 0], 0),
    ],
)
def test_answers_are_compared_by_the_kind_of_the_gold(
    kind: str, gold: Any, answers: list[str], verdicts: list[int], unread: int
) -> None:
    if kind == "math":
        pytest.importorskip("math_verify")
    found = graded([*answers, "", None, " "], gold, kind, OPTIONS if kind == "choice" else "How many?")
    assert found.frame.correct.tolist() == [*verdicts, 0, 0, 0]
    assert (found.graded, found.right, found.blank, found.unread) == (
        len(answers) + 3,
        sum(verdicts),
        3,
        unread,
    )


def test_questions_match_in_any_spelling_and_those_without_gold_get_no_verdict() -> None:
    log = source("log", question=["Wo ist das Café?", "b", "c", "c"], prompt="A", answer=["1", "2", "3", "4"])
    golds = source("golds", question=["Wo ist  das Cafe\u0301?\r\n", "b", "c"], gold=["1", "3", ""])
    found = grade_log(log, golds, "number")
    assert found.frame.correct.tolist() == [1, 0, None, None]
    assert found.sentence() == (
        "2 answers graded, 50.0% right; 0 are blank and 0 cannot be read, which count as wrong; 1 questions "
        "have no gold answer, so no verdict"
    )


def test_the_log_may_hold_its_golds() -> None:
    log = source("log", question=["a", "a", "b"], prompt="A", answer=["1", "2", "3"], gold=[1, None, 3])
    assert grade_log(log, log, "number").frame.correct.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("kind", "gold", "message"),
    [
        ("number", "7 or 8", "golds.csv:0: gold is '7 or 8': give one finite number in digits"),
        ("number", "3,14", "golds.csv:0: gold is '3,14': "),
        ("number", "2024-05-17", "text for anything else"),
        ("bool", "maybe", "give true or false, yes or no"),
        ("choice", "D", "the question lists the options A, B, C"),
        ("number", "", "golds.csv: no gold answer for any question of log.csv"),
    ],
)
def test_golds_that_are_none_of_their_kind_are_refused(kind: str, gold: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        graded(["7"], gold, kind, OPTIONS)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_two_golds_and_two_verdicts_are_refused() -> None:
    log = source("log.csv", question=["a"], prompt="A", answer=["1"])
    with pytest.raises(InputError, match="golds.csv:1: gold is '2', but '1' in an earlier row of the same"):
        grade_log(log, source("golds.csv", question=["a", "a "], gold=["1", "2"]), "number")
    with pytest.raises(InputError, match="log.csv: all rows have a verdict; drop the column"):
        grade_log(
            Source(log.frame.assign(correct=1), "log.csv:", "log.csv"),
            source("golds.csv", question=["a"], gold=["1"]),
            "number",
        )


def test_empty_verdicts_are_filled_and_others_stay() -> None:
    log = source("log", question=["a", "b", "c"], prompt="A", answer=["1", "1", "1"], correct=[None, 1, ""])
    found = grade_log(log, source("golds", question=["a", "b", "c"], gold=["1", "2", "2"]), "number")
    assert found.frame.correct.tolist() == [1, 1, 0]
    assert found.sentence().startswith(
        "1 rows keep the verdict that they have; 2 answers graded, 50.0% right"
    )


def test_numbers_of_a_column_with_a_gap_are_their_texts() -> None:
    log = source("log", question=["a", "b", "c"], prompt="A", answer=["42", 7.0, "x"], gold=[42.0, 7.0, None])
    assert grade_log(log, log, "text").frame.correct.tolist() == [1, 1, None]
