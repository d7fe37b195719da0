"""Imported answers as a log file: what is written is what `read_log` reads, and nothing is there twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.data.user_log import read_log
from prompt_oirl.importers import IMPORTERS, ImportedRow
from prompt_oirl.importers.log_file import read_answers, write_log
from prompt_oirl.io.files import InputError
from prompt_oirl.io.table_output import ENDINGS, check_table_output

TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
ROWS = st.builds(
    ImportedRow,
    question=TEXTS.filter(str.strip),
    prompt=TEXTS,
    correct=st.sampled_from([0.0, 0.5, 1.0]),
    answer=st.none() | TEXTS,
    cost=st.none() | st.floats(0, 10),
    tokens_in=st.none() | st.integers(0, 10**9),
)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, ending: str) -> None:
    out = tmp_path_factory.mktemp("log") / f"log{ending}"

    @settings(max_examples=30, deadline=None)
    @given(st.lists(ROWS, min_size=1, max_size=6))
    def check(rows: list[ImportedRow]) -> None:
        write_log(out, rows, append=False)
        log = read_log(out)
        assert [log.questions[i] for i in log.question] == [row.question for row in rows]
        assert [log.prompts[j] for j in log.prompt] == [row.prompt for row in rows]
        assert log.correct.tolist() == [row.correct for row in rows]
        assert log.answer == [row.answer or None for row in rows]
        assert write_log(out, rows, append=True).held == len(rows)
        assert len(read_log(out).correct) == len(rows)

    check()


@pytest.mark.parametrize("ending", ENDINGS)
def test_appending_adds_what_is_new(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"log{ending}"
    a = ImportedRow("Is it?", "P", 1.0, "yes", sample=0)
    other = ImportedRow("Is it?", "P", 0.0, "no", sample=0, llm=None, tokens_in=7)
    assert write_log(out, [a, a], append=True).held == 0
    written = write_log(out, [a, other, a, a], append=True)
    assert written.held == 2
    before = out.read_bytes()
    write_log(out, [other], append=True)
    assert out.read_bytes() == before  # of a CSV, 7 would come back as the text "7"
    log = read_log(out)
    assert log.answer == ["yes", "yes", "no", "yes"] and log.sample.tolist() == [0, 1, 2, 3]
    assert write_log(out, [other, a], append=True).held == 2
    assert read_log(out).answer == log.answer
    assert write_log(out, [other], append=False).held == 0 and read_log(out).answer == ["no"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_ids_tell_the_same_answer_from_an_equal_one(tmp_path: Path, ending: str) -> None:
    """A second run gives many equal answers: dropping these would leave only the repeats that differ."""
    out = tmp_path / f"log{ending}"
    monday = [ImportedRow(q, "P", None, "yes", answer_id=f"mon-{q}") for q in "abc"]
    tuesday = [replace(row, answer_id=f"tue-{row.question}") for row in monday]
    write_log(out, monday, append=True)
    assert write_log(out, tuesday, append=True).held == 0
    graded = [replace(row, correct=1.0, verdict="match") for row in monday]
    written = write_log(out, [*graded, *graded[:1]], append=True)
    assert (written.held, written.filled, written.verdicts) == (4, 3, ["match"])
    other = [replace(row, correct=0.0, verdict="other") for row in tuesday]
    assert write_log(out, other, append=True).verdicts == ["match", "other"]
    log = read_log(out)
    assert log.correct.tolist() == [1, 1, 1, 0, 0, 0] and log.sample.tolist() == [0, 0, 0, 1, 1, 1]
    again = [replace(row, correct=1.0) for row in tuesday]  # a verdict that is there stays
    assert write_log(out, again, append=True).filled == 0


def test_a_log_that_pandas_wrote_anew_holds_the_same_answers(tmp_path: Path) -> None:
    out = tmp_path / "log.csv"
    rows = [ImportedRow(q, "P", 1.0, answer) for q, answer in zip("abc", ("", "2", "4"))]
    write_log(out, rows, append=False)
    pd.read_csv(out).assign(note="x").to_csv(out, index=False)
    assert "2.0" in out.read_text() and write_log(out, rows, append=True).held == 3


def test_columns_of_ones_own_keep_their_kind(tmp_path: Path) -> None:
    out = tmp_path / "log.parquet"
    own = {"vector": [[1.0, 2.0]], "note": [{"a": 1}], "when": pd.to_datetime(["2026-01-02"]), "flag": [True]}
    pd.DataFrame({"question": ["a"], "prompt": ["P"], "correct": [1.0], **own}).to_parquet(out)
    write_log(out, [ImportedRow("b", "P", 1.0)], append=True)
    found = pd.read_parquet(out)
    assert found.vector[0].tolist() == [1.0, 2.0] and found.note[0] == {"a": 1} and found.flag[0] is True
    assert found.when[0] == pd.Timestamp("2026-01-02") and found.vector[1] is None


def test_a_log_of_ones_own_keeps_its_columns_and_verdicts(tmp_path: Path) -> None:
    out = tmp_path / "log.csv"
    out.write_text("question,prompt,correct,source,sample\nIs it?,P,true,web,\nIs it?,P,no,,3\n")
    write_log(out, [ImportedRow("Is it?", "P", 1.0, "yes", sample=3)], append=True)
    table = pd.read_csv(out)
    assert table.source.tolist()[0] == "web" and table["sample"].tolist() == [0, 3, 1]
    assert read_log(out).correct.tolist() == [1.0, 0.0, 1.0]


def test_what_is_no_log_is_not_appended_to(tmp_path: Path) -> None:
    out = tmp_path / "log.csv"
    out.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="the column question is missing"):
        write_log(out, [ImportedRow("Is it?", "P", 1.0)], append=True)
    assert out.read_text() == "a,b\n1,2\n"


def test_the_log_lies_over_no_input(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text("{}\n")
    for files in ([file], [tmp_path], [tmp_path / ".." / tmp_path.name / "results.jsonl"]):
        with pytest.raises(InputError, match="(is|may be) one of the files to read: choose another --out"):
            check_table_output(file, files)
    check_table_output(tmp_path / "log.parquet", [file, tmp_path])
    for name in ("log.xlsx", "log"):
        with pytest.raises(InputError, match=r"name a file that ends in .parquet, .csv, .jsonl"):
            check_table_output(tmp_path / name, [file])


def test_an_unknown_tool_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no tool helm is known: choose {', '.join(IMPORTERS)}"):
        read_answers("helm", [tmp_path], None)
    with pytest.raises(InputError, match="missing .*nowhere"):
        read_answers("promptfoo", [tmp_path / "nowhere"], None)


def test_half_a_surrogate_pair_and_missing_questions(tmp_path: Path) -> None:
    results = {
        "prompts": [{"raw": "{{question}}"}],
        "results": [
            {"promptIdx": 0, "vars": {"question": q}, "response": {"output": "\ud800"}}
            for q in ("a\udc00", " ")
        ],
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": results}))
    found = read_answers("promptfoo", [path], None)
    assert [(r.question, r.answer) for r in found.rows] == [("a\ufffd", "\ufffd")]
    assert "Left out: 1 row without a question." in found.notes
    write_log(tmp_path / "log.parquet", found.rows, append=False)
    assert pd.read_parquet(tmp_path / "log.parquet").question.tolist() == ["a\ufffd"]
