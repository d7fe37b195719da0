"""The log of served answers: whole lines, next files, feedback, full disks."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prompt_oirl.data.arms import Arm
from prompt_oirl.io.files import InputError
from prompt_oirl.serving.choice import Choice
from prompt_oirl.serving.served_log import Answered, Prices, ServedLog, answer_row, feedback_row, new_id

CHOICE = Choice(1, "Think.", "p1", "before", 0.5, 0.9, False, None, (0.1, 0.9))


def row(question: str = "Why?", id: str | None = None, **more: Any) -> dict[str, Any]:
    answered = Answered(200, 12.3456, "So.", "stop", 100, 10, "tiny")
    return answer_row(id or new_id(), question, CHOICE, answered, position="before", policy="0" * 16, **more)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def test_a_row_says_everything_that_the_log_promises() -> None:
    found = row(id="a" * 32, prices=Prices(1, 2), llm="asked", segment="s")
    del found["time"]
    assert found == {
        "schema": 1, "id": "a" * 32, "question": "Why?", "prompt": "Think.", "prompt_id": "p1",
        "position": "before", "llm": "asked", "segment": "s", "answer": "So.", "correct": None,
        "finish_reason": "stop", "status": 200, "tokens_in": 100, "tokens_out": 10, "cost": 120e-6,
        "latency_ms": 12.346, "probability": 0.5, "propensity": 0.9, "explored": False, "fallback": None,
        "policy": "0" * 16, "propensities": [0.1, 0.9],
    }  # fmt: skip
    assert row()["llm"] == "tiny" and row()["cost"] is None and row(votes=3)["votes"] == 3


def test_without_texts_a_row_has_hash_and_embedding() -> None:
    found = row("Secret?", texts=False, vector=np.array([0.5, -0.25], np.float32))
    assert found["question_sha256"] == sha256(b"Secret?").hexdigest()
    assert (
        found["question_vector"] == [0.5, -0.25] and found["answer"] is None and found["prompt"] == "Think."
    )
    assert "Secret" not in json.dumps(found) and "question" not in found


def test_any_text_becomes_one_whole_line(tmp_path: Path) -> None:
    log = ServedLog(tmp_path)
    questions = ["a\nb\r\x00\u2028", "\ud800 alone", "é😀", '"id": "x"']
    assert all(log.write(row(q)) for q in questions)
    log.close()
    assert [r["question"] for r in lines(tmp_path)] == [questions[0], "? alone", *questions[2:]]
    assert log.path.read_bytes().count(b"\n") == 4 and log.path.stat().st_mode & 0o777 == 0o600


def test_a_full_file_is_followed_by_the_next_and_threads_share_them(tmp_path: Path) -> None:
    logs = [ServedLog(tmp_path, megabytes=0.01) for _ in range(2)]  # two servers, one folder
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda i: logs[i % 2].write(row(id=f"{i:032x}")), range(300)))
    for log in logs:
        log.close()
    found = lines(tmp_path)
    assert sorted(int(r["id"], 16) for r in found) == list(range(300))
    assert len(list(tmp_path.iterdir())) > 10
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    assert not logs[0].write(row())  # closed


def test_feedback_finds_recent_ids_and_those_of_earlier_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prompt_oirl.serving.served_log.RECENT", 2)
    old = ServedLog(tmp_path)
    ids = [new_id() for _ in range(4)]
    for id in ids:
        old.write(row(f'"id": "{"b" * 32}"', id=id))
    old.write(feedback_row(ids[0], 0.5))
    old.close()
    log = ServedLog(tmp_path)
    assert all(log.knows(id) for id in ids)
    assert not any(log.knows(id) for id in ("b" * 32, "", ids[0][:31], "*" * 32))
    log.expect("c" * 32)
    assert log.knows("c" * 32)
    log.close()


def test_a_full_disk_is_said_once_leaves_no_half_line_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failures: list[OSError] = []
    log, write = ServedLog(tmp_path, on_error=failures.append), os.write
    assert log.write(row("one"))
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:20]))
    assert not log.write(row("two")) and not log.write(row("three"))
    monkeypatch.undo()
    assert log.write(row("four"))
    log.close()
    assert [r["question"] for r in lines(tmp_path)] == ["one", "four"] and len(failures) == 2
    assert capsys.readouterr().err.count("No space left") == 1


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another --log"):
        ServedLog(tmp_path / "file")


def test_an_arm_names_its_own_llm() -> None:
    arm = Choice(0, Arm("Think.", "big"), "p", None, None, 1.0, False, "failed", (1.0,))
    found = answer_row("a" * 32, "q", arm, Answered(502, 1.0), position="system", policy="", llm="small")
    assert (found["llm"], found["prompt"], found["answer"]) == ("big", "Think.", None)
