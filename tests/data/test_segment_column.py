"""The column segment of a log: read, carried to parts, and refused where a question has two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import InputError


def frame(segments: list[Any]) -> pd.DataFrame:
    """Questions a, a, b, b, c, c with two prompts each."""
    return pd.DataFrame(
        {
            "question": list("aabbcc"),
            "prompt": list("xyxyxy"),
            "correct": [1, 0, 1, 1, 0, 1],
            "segment": pd.Series(segments, dtype=object),
        }
    )


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["s", "s", "t", "t", "s", "s"], ["s", "t", "s"]),
        (["s", "", None, "t", " ", float("nan")], ["s", "t", None]),  # one cell of a question is enough
        ([" s", "s ", "t", "t", "s", "s"], ["s", "t", "s"]),
        ([1, 1, 2, 2, 1, 1], ["1", "2", "1"]),
        ([1.0, None, 2.0, None, None, None], ["1", "2", None]),
        ([0.5, 0.5, float("inf"), float("inf"), "", ""], ["0.5", "inf", None]),
        (["", None, " ", "", "", ""], None),
    ],
)
def test_a_question_has_the_segment_that_any_of_its_rows_names(cells: list, expected: list | None) -> None:
    assert read_log(frame(cells)).segments == expected


def test_without_the_column_there_are_none() -> None:
    assert read_log(frame(["s"] * 6).drop(columns="segment")).segments is None


def test_every_format_reads_the_same_numbers(tmp_path: Path) -> None:
    made = frame([3, 3, None, None, 12, 12])
    made.to_csv(tmp_path / "log.csv", index=False)  # writes 3.0
    made.astype({"segment": "Int64"}).to_csv(tmp_path / "whole.csv", index=False)
    made.to_json(tmp_path / "log.jsonl", orient="records", lines=True)
    made.to_parquet(tmp_path / "log.parquet")
    for name in ("whole.csv", "log.jsonl", "log.parquet"):
        assert read_log(tmp_path / name).segments == ["3", None, "12"], name


def test_a_part_keeps_the_segments_of_its_questions() -> None:
    log = read_log(frame(["s", "s", "t", "t", None, None]))
    assert log.select(pd.array([2, 1]).to_numpy(int)).segments == [None, "t"]


def test_two_segments_of_a_question_are_refused_naming_both_rows(tmp_path: Path) -> None:
    made = frame(["s", "s", "t", "u", "s", "s"])
    with pytest.raises(InputError, match=r"^the log, row 3: segment is 'u', but 't' in row 2 of the same"):
        read_log(made)
    made.to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(
        InputError, match=r"log.csv:5: segment is 'u', but 't' in row 4 of .*; a question has one"
    ):
        read_log(tmp_path / "log.csv")


def test_half_a_surrogate_is_refused() -> None:
    with pytest.raises(InputError, match="row 1: the segment holds half of a surrogate pair"):
        read_log(frame(["s", "\ud800", "t", "t", "s", "s"]))
