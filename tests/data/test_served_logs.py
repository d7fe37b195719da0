"""The log of a server: answers and later verdicts become rows; what cannot count is left out and said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import InputError


def answer(i: int, **other: Any) -> dict[str, Any]:
    row = {"schema": 1, "id": f"id{i}", "question": f"What is {i} plus apples in garden {i}?", "llm": "m"}
    row |= {"prompt": "ab"[i % 2], "prompt_id": "AB"[i % 2], "position": "before", "segment": None}
    row |= {
        "answer": "x",
        "correct": None,
        "status": 200,
        "cost": None,
        "propensity": 0.5,
        "policy": "f" * 16,
    }
    return row | other


def write(folder: Path, rows: list[dict[str, Any]], end: str = "", number: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows) + end
    (folder / f"served-20261129T221500Z-{number}.jsonl").write_text(text)
    return folder


def test_verdicts_are_joined_by_id_and_the_last_one_counts(tmp_path: Path) -> None:
    write(tmp_path / "log", [answer(0), answer(1), answer(2), {"feedback": "id0", "correct": 0}])
    later = [{"feedback": "id1", "correct": 0.5}, {"feedback": "id0", "correct": 1}]
    log = read_log(write(tmp_path / "log", later, number=1))
    assert log.correct.tolist() == [1, 0.5] and log.propensity is not None and log.policy == ["f" * 16] * 2
    assert log.unrated == [("a", 0.5)] and log.names == ["A", "B"]
    part = log[1:]
    assert part.propensity is not None and part.propensity.tolist() == [0.5] and part.policy == ["f" * 16]


def test_torn_doubled_failed_and_textless_lines_are_left_out(tmp_path: Path) -> None:
    textless = answer(4)
    del textless["question"]
    rows = [answer(0), answer(0), answer(1), answer(3, status=500), textless]
    rows += [{"feedback": f"id{i}", "correct": 1} for i in (0, 1, 3, 4, 9)]
    log = read_log(write(tmp_path / "log", rows, '{"id": "to'))
    assert len(log.correct) == 2
    expected = "1 torn when the server was stopped, 1 with an id that came before, 1 of requests that failed"
    assert expected in log.notes[0] and "1 without texts, 1 with verdicts of unknown" in log.notes[0]


def test_answers_of_votes_and_those_that_broke_off_are_left_out(tmp_path: Path) -> None:
    rows = [answer(0), answer(1), answer(2, votes=3, propensity=1.0), answer(3, finish_reason="cut")]
    rows += [answer(4, finish_reason="disconnected"), answer(5, finish_reason="length")]
    rows += [{"feedback": f"id{i}", "correct": 1} for i in range(6)]
    log = read_log(write(tmp_path / "log", rows))
    assert len(log.correct) == 3 and "2 of answers that broke off, 1 of votes" in log.notes[0]


@pytest.mark.parametrize("bad", [0, "", 1.5, -0.1, "often"])
def test_a_propensity_that_is_none_is_refused_with_its_row(bad: Any) -> None:
    frame = pd.DataFrame({"question": ["one", "two"], "prompt": "a", "correct": 1, "propensity": [0.5, bad]})
    with pytest.raises(InputError, match="row 1: propensity is"):
        read_log(frame)


def test_a_log_from_before_is_joined(tmp_path: Path) -> None:
    folder = write(tmp_path / "log", [answer(0), {"feedback": "id0", "correct": 1}])
    cold = tmp_path / "cold.csv"
    cold.write_text("question,prompt,correct,sample\nhow many?,a,1,0\n")
    log = read_log([cold, folder])
    assert log.propensity is not None and str(log.propensity.tolist()) == "[nan, 0.5]"
    assert "count as those of m" in log.notes[0]


@pytest.mark.parametrize("line", ["not json", "[1]", '{"id": 3}', '{"id": "a", "schema": 2}'])
def test_a_line_that_no_server_wrote_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=r"served-.*-0\.jsonl:2: "):
        read_log(write(tmp_path / "log", [answer(0)], line + "\n"))
