"""Logs of the user: what is read, what is put right, what is refused in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_oirl.data.user_log import join_groups, read_log
from prompt_oirl.io import table_formats
from prompt_oirl.io.files import InputError
from prompt_oirl.io.tables import read_texts
from prompt_oirl.selection.evaluate import evaluate
from prompt_oirl.selection.log_facts import data_facts
from prompt_oirl.selection.selector import PromptSelector

ROWS: dict[str, list[Any]] = {
    "question": [
        "How many apples?",
        "How many pears has Ann?",
        "How many apples?",
        "How many pears has Ann?",
        "Why?",
    ],
    "prompt": ["A:", "A:", "B:", "B:", "A:"],
    "correct": [1, 0, 0.5, 1, 1],
}


def frame(**changed: Any) -> pd.DataFrame:
    return pd.DataFrame({**ROWS, **changed}, dtype=object)


def test_matrices() -> None:
    log = read_log(frame(cost=[1, 3, 10, None, 2]))
    assert log.questions == ["How many apples?", "How many pears has Ann?", "Why?"] and log.prompts == [
        "A:",
        "B:",
    ]
    np.testing.assert_array_equal(log.labels, np.array([[1, 0.5], [0, 1], [1, np.nan]], dtype=np.float32))
    np.testing.assert_array_equal(log.counts, [[1, 1], [1, 1], [1, 0]])
    np.testing.assert_allclose(log.prompt_success, [2 / 3, 0.75])
    np.testing.assert_allclose(log.prompt_cost, [2, 10])
    assert log.names == ["prompt 1", "prompt 2"] and not log.has_answers


def test_every_format_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")  # an extra
    made = frame(answer=['a,\n"b"', "", "=1", " ", "é"])
    made.to_csv(tmp_path / "log.csv", index=False, encoding="utf-8-sig")
    made.to_json(tmp_path / "log.jsonl", orient="records", lines=True)
    made.to_parquet(tmp_path / "log.parquet")
    for kind in ("csv", "jsonl"):
        (tmp_path / f"log.{kind}.gz").write_bytes(gzip.compress((tmp_path / f"log.{kind}").read_bytes()))
    kinds = ("csv", "jsonl", "parquet", "csv.gz", "jsonl.gz")
    logs = [read_log(made), *(read_log(str(tmp_path / f"log.{kind}")) for kind in kinds)]
    for kind in ("csv", "jsonl", "csv.gz", "jsonl.gz"):
        data = (tmp_path / f"log.{kind}").read_bytes()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        logs.append(read_log("-"))
    for log in logs:
        assert (log.questions, log.prompts, log.answer) == (
            logs[0].questions,
            logs[0].prompts,
            ['a,\n"b"', None, "=1", " ", "é"],
        )
        np.testing.assert_array_equal(log.labels, logs[0].labels)


def test_a_part_of_a_log_is_taken_by_its_questions() -> None:
    log = read_log(frame(cost=[1, 3, 10, None, 2]))
    assert (len(log), log.shape) == (3, (3, 2))
    for rows in ([2, 0], np.array([2, 0]), (np.array([2, 0]), ...)):
        part = log[rows]
        assert part.questions == ["Why?", "How many apples?"] and part.prompts == log.prompts
        np.testing.assert_array_equal(part.labels, log.labels[[2, 0]])
        np.testing.assert_array_equal(part.groups, log.groups[[2, 0]])
    assert log[np.array([True, False, True])].questions == log[::2].questions == log[[0, -1]].questions
    assert log[1].questions == ["How many pears has Ann?"] and log[[]].shape == (0, 2)
    assert [part.questions[0] for part in log] == log.questions
    with pytest.raises(InputError, match="each question once"):
        log[[0, 1, 0]]
    with pytest.raises(IndexError):
        log[3]
    for wrong in ((slice(None), 0), (0, 1), [[0, 1]], None):
        with pytest.raises(InputError, match="part of a log is of|takes a slice, a mask or numbers"):
            log[wrong]
    with pytest.raises(InputError, match="the log has no question"):
        read_log(log[[]])


def test_a_log_is_shown_by_its_size() -> None:
    log = read_log(frame(correct=[1, None, 0, 1, 1]))
    assert repr(log) == (
        "PromptLog of 3 questions x 2 prompts, 4 answers\n"
        "1 rows without a verdict (correct is empty) are left out."
    )


@pytest.mark.parametrize("written", [["True", "no", "0.5", " 1 ", "RIGHT"], [True, False, 0.5, 1, "yes"]])
def test_verdicts_may_be_words(written: list) -> None:
    np.testing.assert_array_equal(
        read_log(frame(correct=written)).correct, np.array([1, 0, 0.5, 1, 1], np.float32)
    )


def test_repeats_are_samples_unless_numbered() -> None:
    twice = pd.concat([frame(), frame(correct=[0, 0, 0.5, 1, 1])])
    log = read_log(twice)
    assert (
        log.labels[0, 0] == 0.5 and log.counts[0, 0] == 2 and sorted(log.sample.tolist()) == [0] * 5 + [1] * 5
    )
    same = read_log(pd.concat([frame(sample=0), frame(sample=0)]))
    assert same.counts.max() == 1 and "5 rows repeat" in same.notes[0]
    with pytest.raises(
        InputError, match="row 5: the same question, prompt and sample as row 0 with another verdict"
    ):
        read_log(pd.concat([frame(sample=0), frame(sample=0, correct=[0, 0, 0.5, 1, 1])]))


def test_empty_verdicts_and_empty_prompts_are_said() -> None:
    log = read_log(frame(correct=["1", "", "0", "1", "1"], prompt=["A:", "A:", "", None, float("nan")]))
    assert log.prompts == ["A:", ""] and len(log.correct) == 4
    assert log.notes == [
        "1 rows without a verdict (correct is empty) are left out.",
        "3 rows have an empty prompt: taken as asking without one.",
    ]


def test_groups_join_near_duplicates_and_what_the_log_says() -> None:
    texts = [
        "Ann has 3 red apples and 4 pears",
        "Ann has 8 red apples and 9 pears",
        "Why is it so?",
        "Where do birds sleep?",
    ]
    log = read_log(pd.DataFrame({"question": texts, "prompt": "A", "correct": 1}))
    assert log.groups.tolist() == [0, 0, 1, 2]
    log = read_log(
        pd.DataFrame({"question": texts, "prompt": "A", "correct": 1, "group": ["x", "", "y", "x"]})
    )
    assert log.groups.tolist() == [0, 0, 1, 0]
    other = read_log(pd.DataFrame({"question": ["Why is it so?", "New"], "prompt": "A", "correct": 1}))
    assert join_groups(log, other).tolist() == [0, 0, 1, 0, 1, 2]
    complete = pd.DataFrame({"question": texts, "prompt": "A", "correct": 1, "group": ["x", "z", "y", "x"]})
    assert read_log(complete).groups.tolist() == [0, 0, 1, 0]


def test_where_texts_tell_nothing_apart_the_groups_of_the_log_do() -> None:
    texts = [SUM.format(i, 3) for i in range(40)]
    log = pd.DataFrame({"question": texts, "prompt": "A", "correct": 1, "group": [i // 2 for i in range(40)]})
    assert read_log(log).groups.tolist() == [i // 2 for i in range(40)]
    assert "column group" not in read_log(log).counted_once
    assert set(read_log(log.drop(columns="group")).groups) == {0}
    words = [a + b + c for a in "bdfgklmnpr" for b in "aeiou" for c in "lmns"]
    many = [f"{word} {word[::-1]} x{word}" for word in words]
    mixed = pd.DataFrame({"question": [*texts, *many], "prompt": "A", "correct": 1, "group": range(240)})
    assert len(set(read_log(mixed).groups[:40])) == 1, "elsewhere near-duplicates stay together"


SUM = "Ann has {} apples and finds {} more. How many has she?"


@pytest.mark.parametrize(
    ("texts", "cause"),
    [
        (
            [SUM.format(i, j) for i in range(5) for j in range(3)],
            "questions that differ only in their numbers",
        ),
        ([f"w{chr(97 + i)} " + 2 * SUM.format(i, 3) for i in range(15)], "in numbers or a few words"),
        ([f"Make {a} of {a} 5 {b} 6" for a in range(5) for b in range(3)], "near-duplicates count once"),
        (
            ["Why?", "How?", SUM.format(1, 2), SUM.format(3, 4), SUM.format(3, 5)],
            "near-duplicates count once",
        ),
    ],
)
def test_a_log_that_shrinks_to_few_questions_says_why(texts: list[str], cause: str) -> None:
    rows = [(t, p, i % 2) for i, t in enumerate(texts) for p in "AB"]
    log = read_log(pd.DataFrame(rows, columns=["question", "prompt", "correct"]))
    assert cause in log.counted_once
    said = [line for line in data_facts(log).lines() if "add a column group" in line]
    assert len(said) == ("differ" in log.counted_once)
    with pytest.warns(UserWarning, match=re.escape(log.counted_once)):
        PromptSelector("tfidf").fit(log)
    if said:
        assert said[0].startswith("15 questions make 1 groups: questions that differ only in")
        with pytest.raises(InputError, match=re.escape(log.counted_once)):
            evaluate(PromptSelector("tfidf"), log)


def test_a_part_keeps_its_rows_and_groups() -> None:
    log = read_log(frame())
    part = log.select(np.array([2, 0]))
    assert part.questions == ["Why?", "How many apples?"]
    np.testing.assert_array_equal(part.labels, log.labels[[2, 0]])
    np.testing.assert_array_equal(part.groups, log.groups[[2, 0]])


def test_names_are_the_logs_own_where_they_are_unique() -> None:
    assert read_log(frame(prompt_id=["a", "a", "b", "b", "a"])).names == ["a", "b"]
    assert read_log(frame(prompt_id=["a", "a", "a", "a", "a"])).names == ["prompt 1", "prompt 2"]
    assert read_log(frame(prompt_id=["a", "a", "b", "", "a"])).names == ["prompt 1", "prompt 2"]


def test_one_llm_is_chosen() -> None:
    made = frame(llm=["x", "x", "y", "y", "x"])
    assert len(read_log(made, llm="x").correct) == 3
    with pytest.raises(InputError, match="2 LLMs .x, y. are never pooled"):
        read_log(made)
    with pytest.raises(InputError, match="no row of llm 'z'"):
        read_log(made, llm="z")
    with pytest.raises(InputError, match="no column llm"):
        read_log(frame(), llm="z")


BAD: dict[str, tuple[pd.DataFrame, str]] = {
    "no column": (frame().drop(columns="correct"), "column correct is missing"),
    "no rows": (frame().iloc[:0], "no row with a verdict"),
    "no verdict": (frame(correct=""), "no row with a verdict"),
    "two columns": (
        pd.DataFrame([[1, 2, 3, 4]], columns=["question", "prompt", "correct", "correct "]),
        "two columns are called correct",
    ),
    "verdict is text": (
        frame(correct=[1, 0, "maybe", 1, 1]),
        "row 2: correct is 'maybe', expected a number from 0 to 1",
    ),
    "verdict above 1": (frame(correct=[1, 0, 1, 1, 100]), "row 4: correct is 100"),
    "verdict below 0": (frame(correct=[1, 0, 1, 1, -1]), "row 4: correct is -1"),
    "verdict infinite": (frame(correct=[1, 0, 1, 1, float("inf")]), "row 4: correct is inf"),
    "empty question": (frame(question=["a", " ", "b", "c", "d"]), "row 1: the question is empty"),
    "question is a number": (
        frame(question=["a", "b", "c", "d", 5]),
        "row 4: question is 5, expected text; write it as text",
    ),
    "prompt is a list": (
        frame(prompt=["a", "b", "c", "d", ["e"]]),
        r"row 4: prompt is \['e'\], expected text",
    ),
    "half a surrogate": (
        frame(question=["a", "b", "\ud800", "d", "e"]),
        "row 2: the question holds half of a surrogate pair",
    ),
    "negative cost": (frame(cost=[1, 1, 1, 1, -2]), "row 4: cost is -2"),
    "cost is text": (frame(cost=["1", "1", "1", "cheap", ""]), "row 3: cost is 'cheap'"),
    "sample is half": (frame(sample=[0, 0, 0.5, 0, 0]), "row 2: sample is not a whole number"),
    "sample is missing": (frame(sample=["0", "", "0", "0", "0"]), "row 1: sample is not a whole number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused_in_one_sentence(name: str) -> None:
    made, message = BAD[name]
    with pytest.raises(InputError, match=message) as refused:
        read_log(made)
    assert "\n" not in str(refused.value)


GZIPPED = gzip.compress(b"question,prompt,correct\nHow many apples fall?,A,1\nb,A,no idea\n")
BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "suffix": (
        "log.xls",
        b"",
        "must end in .csv, .tsv, .jsonl, .ndjson, .json, one of these with .gz, .parquet or",
    ),
    "empty": ("log.csv", b"", "log.csv: the file is empty; give one row per answer"),
    "latin-1": ("log.csv", "question,prompt,correct\né,A,1\n".encode("latin-1"), "log.csv:2: not UTF-8 ("),
    "torn quote": (
        "log.csv",
        b'question,prompt,correct\n"a,A,1\n',
        "log.csv:2: not a readable CSV (a quote is opened",
    ),
    "too many cells": (
        "log.csv",
        b"question,prompt,correct\na,A,1\nb,c,A,1\n",
        "log.csv:3: 4 cells where the header has 3",
    ),
    "one cell more in every row": (
        "log.csv",
        b"question,prompt,correct\nb,c,A,1\n",
        "log.csv:2: 4 cells where the header has 3",
    ),
    "a column twice": (
        "log.csv",
        b"question,prompt,correct,correct\na,A,1,0\n",
        "two columns are called correct",
    ),
    "semicolons": (
        "log.csv",
        b"question;prompt;correct\na;A;1\n",
        "log.csv: cells are separated by ';'; save the table with commas",
    ),
    "row after a blank line and a text of two lines": (
        "log.csv",
        b'question,prompt,correct\n\n"a\nb",A,1\nb,A,2\n',
        "log.csv:5: correct is '2'",
    ),
    "a huge sample": (
        "log.csv",
        b"question,prompt,correct,sample\na,A,1,1e300\n",
        "log.csv:2: sample is '1e300'",
    ),
    "a cost of 400 digits": (
        "log.jsonl",
        b'{"question": "a", "prompt": "A", "correct": 1, "cost": ' + b"9" * 400 + b"}\n",
        "log.jsonl:1: cost is inf",
    ),
    "an llm and none": (
        "log.jsonl",
        b'{"question": "a", "prompt": "A", "correct": 1, "llm": null}\n'
        b'{"question": "a", "prompt": "A", "correct": 1, "llm": "x"}\n',
        "answers of 2 LLMs (no name, x)",
    ),
    "row of a csv": ("log.csv", b"question,prompt,correct\na,A,1\nb,A,2\n", "log.csv:3: correct is '2'"),
    "torn json": ("log.jsonl", b'{"question": "a"\n', "log.jsonl:1: not valid JSON"),
    "list": ("log.jsonl", b"[1]\n", "log.jsonl:1: expected one JSON object"),
    "a parquet in gzip": ("log.parquet.gz", b"", "one of these with .gz, .parquet or .xlsx"),
    "gzip without gzip": ("log.csv.gz", b"question,prompt,correct\n", "log.csv.gz: not a whole gzip file"),
    "torn gzip": ("log.csv.gz", GZIPPED[:-20], "log.csv.gz: not a whole gzip file (Compressed file ended"),
    "altered gzip": (
        "log.jsonl.gz",
        GZIPPED[:30] + b"\0\0" + GZIPPED[32:],
        "not a whole gzip file (CRC",
    ),
    "no deflate": ("log.csv.gz", GZIPPED[:10] + b"\xff" * 40, "not a whole gzip file (Error -3"),
    "empty gzip": ("log.csv.gz", gzip.compress(b""), "log.csv.gz: the file is empty"),
    "row of a gzip": ("log.csv.gz", GZIPPED, "log.csv.gz:3: correct is 'no idea'"),
    "no parquet": ("log.parquet", b"PAR1 no", "not a readable Parquet file"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    if name == "no parquet":
        pytest.importorskip("pyarrow")  # an extra
    file, content, message = BAD_FILES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_log(tmp_path / file)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(InputError, match="missing .*correct the path"):
        read_log(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="a log is a DataFrame, a path or several, not int"):
        read_log(3)  # type: ignore[arg-type]


def test_a_gzip_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 10_000
    monkeypatch.setattr(table_formats, "LARGEST_UNPACKED", limit)
    head = b"question,prompt,correct\na,A,1\n"
    whole = head + b"b,A,1\n" * ((limit - len(head)) // 6)
    fits, bomb = tmp_path / "fits.csv.gz", tmp_path / "bomb.csv.gz"
    fits.write_bytes(gzip.compress(whole + b"\n" * (limit - len(whole))))
    bomb.write_bytes(gzip.compress(whole + b"\n" * (limit + 1 - len(whole))))
    assert read_log(fits).questions == ["a", "b"]
    for read in (lambda: read_log(bomb), lambda: read_texts(str(bomb), "question", True)):
        with pytest.raises(InputError, match="bomb.csv.gz: unpacks to more than 10,000 bytes, the limit"):
            read()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bomb.read_bytes())))
    with pytest.raises(InputError, match="stdin: unpacks to more than 10,000 bytes"):
        read_log("-")


def test_gzipped_texts_are_read_as_tables_or_lines(tmp_path: Path) -> None:
    (tmp_path / "asked.txt.gz").write_bytes(gzip.compress("Why?\n\nWo ist é?\n".encode()))
    (tmp_path / "asked.jsonl.gz").write_bytes(gzip.compress(b'{"question": "Why?"}\n'))
    assert read_texts(str(tmp_path / "asked.txt.gz"), "question", True) == ["Why?", "Wo ist é?"]
    assert read_texts(str(tmp_path / "asked.jsonl.gz"), "question", True) == ["Why?"]
    (tmp_path / "torn.txt.gz").write_bytes(GZIPPED[:-9])
    with pytest.raises(InputError, match="torn.txt.gz: not a whole gzip file"):
        read_texts(str(tmp_path / "torn.txt.gz"), "question", True)


def test_commas_at_the_end_of_rows_and_long_texts_are_read(tmp_path: Path) -> None:
    long = "a" * 200_000
    (tmp_path / "log.csv").write_text(f"question,prompt,correct,cost\n{long},A,1,2,\nb,A,0\n")
    log = read_log(tmp_path / "log.csv")
    assert log.questions == [long, "b"] and log.correct.tolist() == [1, 0] and np.isnan(log.cost[1])


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            st.text(st.characters(exclude_categories=["Cs"])),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_text_survives_jsonl(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, float]]
) -> None:
    rows = [(q if q.strip() else "q" + q, p, c) for q, p, c in rows]
    path = tmp_path_factory.mktemp("text") / "log.jsonl"
    path.write_text(
        "".join(json.dumps({"question": q, "prompt": p, "correct": c}) + "\n" for q, p, c in rows)
    )
    log = read_log(path)
    assert log.questions == list(dict.fromkeys(q for q, _, _ in rows))
    assert log.prompts == list(dict.fromkeys(p for _, p, _ in rows))
    known = log.counts > 0
    assert (
        log.counts.sum() == len(rows)
        and np.isnan(log.labels[~known]).all()
        and (log.labels[known] <= 1).all()
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'question\na\n"b,\nc"\n', ["a", "b,\nc"]),
        (b"id,question\n1,a\n", ["a"]),
        (b'{"question": "a"}\n{"question": "b"}\n', ["a", "b"]),
        (b"\xef\xbb\xbfWhat is 2 + 3?\r\n\nAnd 4, say?\n", ["What is 2 + 3?", "And 4, say?"]),
        (b"", []),
    ],
)
def test_questions_from_stdin(data: bytes, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read_texts("-", "question", lines=True) == expected
