"""Imported answers as a log file: what is written is what `read_log` reads, and nothing is there twice."""

from __future__ import annotations

import json
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
        assert write_log(out, rows, append=True).doubled == len(rows)
        assert len(read_log(out).correct) == len(rows)

    check()


@pytest.mark.parametrize("ending", ENDINGS)
def test_appending_adds_what_is_new(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"log{ending}"
    a = ImportedRow("Is it?", "P", 1.0, "yes", sample=0)
    other = ImportedRow("Is it?", "P", 0.0, "no", sample=0, llm=None, tokens_in=7)
    assert write_log(out, [a, a], append=True).doubled == 0
    written = write_log(out, [a, other, a, a], append=True)
    assert written.doubled == 2
    log = read_log(out)
    assert log.answer == ["yes", "yes", "no", "yes"] and log.sample.tolist() == [0, 1, 2, 3]
    assert write_log(out, [other, a], append=True).doubled == 2
    assert read_log(out).answer == log.answer
    assert write_log(out, [other], append=False).doubled == 0 and read_log(out).answer == ["no"]


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
    assert "1 rows without a question are left out." in found.notes
    write_log(tmp_path / "log.parquet", found.rows, append=False)
    assert pd.read_parquet(tmp_path / "log.parquet").question.tolist() == ["a\ufffd"]
