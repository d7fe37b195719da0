"""A plan in step 1: exactly its cells, joined by text."""

from __future__ import annotations

from pathlib import Path

import pytest

from prompt_oirl.data.prompts import Prompt
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError
from prompt_oirl.llms.planned import planned_items

QUESTIONS = [
    Question(f"q{i}", f"What is {i} + {i}?", str(2 * i), "train" if i < 3 else "test") for i in range(5)
]
PROMPTS = [Prompt("a", "Think."), Prompt("b", "Think.", "system"), Prompt("h", "Held.", role="held_out")]


def keys(tmp_path: Path, text: str, llm: str = "m") -> list[tuple[str, str, int]]:
    (tmp_path / "plan.csv").write_text(text)
    return [item.key for item in planned_items(tmp_path / "plan.csv", QUESTIONS, PROMPTS, llm)]


def test_rows_are_joined_by_text_and_position_and_kept_in_order(tmp_path: Path) -> None:
    text = (
        "question,prompt,position,sample\nWhat is 4 + 4?,Held.,,2\nWhat is 1 + 1?,Think.,system,0\n"
        "What is 1 + 1?,Think.,,0\nWhat is 1 + 1?,Think.,system,0\n"
    )
    assert keys(tmp_path, text) == [("q4", "h", 2), ("q1", "b", 0), ("q1", "a", 0)]


def test_rows_for_another_llm_are_left_out(tmp_path: Path) -> None:
    text = (
        "question,prompt,llm\nWhat is 1 + 1?,Think.,m\nWhat is 2 + 2?,Think.,other\nWhat is 0 + 0?,Think.,\n"
    )
    assert keys(tmp_path, text) == [("q1", "a", 0), ("q0", "a", 0)]
    with pytest.raises(InputError, match="no row is for the LLM 'x'"):
        keys(tmp_path, "question,prompt,llm\nWhat is 1 + 1?,Think.,m\n", "x")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("What is 9 + 9?,Think.,0", "plan.csv:2: the question 'What is 9 . 9.' has no gold answer"),
        ("What is 1 + 1?,Other,0", "plan.csv:2: the prompt 'Other' is not in the file"),
        ("What is 1 + 1?,Held.,0", "held out, so it is not asked on training questions"),
        ("What is 1 + 1?,Think.,1.5", "sample is not a whole number"),
        ("What is 1 + 1?,Think.,-1", "sample is '-1'"),
    ],
)
def test_refusals_name_the_row(row: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=complaint):
        keys(tmp_path, f"question,prompt,sample\n{row}\n")


def test_a_column_too_few_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the column prompt is missing"):
        keys(tmp_path, "question\nWhat is 1 + 1?\n")
