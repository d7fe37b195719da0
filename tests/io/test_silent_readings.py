"""What could be read in two ways is refused or said; every refusal is one line, its traceback on demand."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_logs import made_log

from prompt_oirl.cli.main import main
from prompt_oirl.data.prompts import load_prompts
from prompt_oirl.data.user_log import read_log
from prompt_oirl.importers.eval_files import members
from prompt_oirl.io.files import InputError
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.manifest import run_step


def refused(frame: pd.DataFrame, match: str) -> None:
    with pytest.raises(InputError, match=match):
        read_log(frame)


@pytest.mark.parametrize("text", ["1_0", "１", "١", "²", "inf", "1e999", "nan"])
def test_numbers_of_other_scripts_and_infinite_ones_are_refused(text: str) -> None:
    log = made_log(20).astype({"correct": object})
    log["cost"] = text
    refused(log, "row 0: cost is .*expected a number")
    log = log.drop(columns="cost")
    log.loc[3, "correct"] = text
    refused(log, "row 3: correct is .*expected a number from 0 to 1")


@pytest.mark.parametrize("column", ["correct", "question", "prompt", "cost"])
def test_a_list_in_a_parquet_column_is_refused_with_its_row(column: str, tmp_path: Path) -> None:
    log = made_log(20)
    log[column] = [[1]] * len(log)
    log.to_parquet(tmp_path / "log.parquet")
    with pytest.raises(InputError, match=rf"log.parquet:1: (the )?{column}"):
        read_log(tmp_path / "log.parquet")


def test_parquet_texts_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    n = 40
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    )
    columns = {"question": pa.array([f"Q{i}?" for i in range(n - 1)]), "correct": pa.array([1.0] * n)}
    columns["question"] = pa.concat_arrays([columns["question"], bad])
    pq.write_table(pa.table(columns | {"prompt": pa.array(["P"] * n)}), tmp_path / "log.parquet")
    with pytest.raises(InputError, match="log.parquet: not a readable Parquet file") as error:
        read_log(tmp_path / "log.parquet")
    assert str(error.value).isprintable()


def test_a_key_that_stands_twice_is_refused_in_every_json(tmp_path: Path) -> None:
    import zipfile

    twice = '{"a": 1, "b": {"c": 1, "c": 2}}'
    (tmp_path / "a.json").write_text(twice)
    with pytest.raises(InputError, match="a.json: .*key 'c' stands twice"):
        read_json(tmp_path / "a.json", hint="repair it")
    with zipfile.ZipFile(tmp_path / "a.eval", "w") as archive:
        archive.writestr("header.json", twice)
    with pytest.raises(InputError, match="a.eval: .*key 'c' stands twice"):
        list(members(tmp_path / "a.eval"))
    served = tmp_path / "served-1.jsonl"
    served.write_text('{"schema": 1, "id": "a", "question": "Why?", "question": "How?"}\n')
    with pytest.raises(InputError, match="served-1.jsonl:1: .*key 'question' stands twice"):
        read_log(tmp_path)


def test_an_open_quote_in_the_prompts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text('prompt_id,text\na,"Think.\nb,Go.\nc,Stop.\n')
    with pytest.raises(InputError, match=r"prompts.csv:\d: cannot be read \(unexpected end of data\)"):
        load_prompts(path)


def test_twins_in_two_unicode_forms_are_refused_or_said(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("prompt_id,text\na,Pens\u00e9e\nb,Pense\u0301e\n")
    with pytest.raises(InputError, match="stands twice, perhaps in two Unicode forms"):
        load_prompts(path)
    log = made_log(20)
    refused(log.assign(**{"\u00e9": 1, "e\u0301": 2}), "two columns are called \u00e9")
    log.loc[0, "prompt"] += " \u00e9"
    log.loc[1, "prompt"] = log.loc[0, "prompt"].replace("\u00e9", "e\u0301")
    assert any("Unicode form" in note for note in read_log(log).notes)


def test_times_in_the_future_are_said(tmp_path: Path) -> None:
    lines = [
        {"schema": 1, "id": str(i), "status": 200, "question": f"Q{i}?", "prompt": f"P{i % 2}", "answer": "1"}
        | {
            "correct": i % 3 > 0,
            "propensity": 0.5,
            "time": "2999-01-01T00:00:00.000+00:00" if i == 7 else "2024-01-01",
        }
        for i in range(40)
    ]
    (tmp_path / "served-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert any(note.startswith("1 lines have a time in the future") for note in read_log(tmp_path).notes)


@pytest.mark.parametrize("given", ["a\nb.csv", "a\x1b[31mb.csv", "a\u202eb.csv"])
def test_a_path_with_control_characters_is_refused_in_one_line(
    given: str, capsys: pytest.CaptureFixture
) -> None:
    for arguments in (["diagnose", given], ["fit", "x.csv", "--out", "x", "--embedder", given]):
        with pytest.raises(SystemExit, match="1"):
            main(arguments)
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said[:-1].isprintable() and said.endswith("\n")
    with pytest.raises(InputError) as error:
        read_log(given)
    assert str(error.value).isprintable()


@dataclass
class Flags:
    """Of a step."""

    path: str = "no.csv"


@pytest.mark.parametrize("way", ["", "--debug", "PROMPT_OIRL_DEBUG"])
@pytest.mark.parametrize("what", ["command", "step"])
def test_a_traceback_is_shown_on_demand_only(
    what: str, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMPT_OIRL_DEBUG", "1" if way.isupper() else "")
    flags = [way] * (way == "--debug")
    monkeypatch.setattr(
        sys, "argv", ["prompt-oirl", *(["diagnose", "no.csv"] if what == "command" else []), *flags]
    )
    with pytest.raises(SystemExit, match="1"):
        main() if what == "command" else run_step(lambda args: print(read_log(args.path)), Flags)
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("error: missing no.csv")
    assert ("Traceback" in said) == bool(way)


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("a,,,correct\n1,2,3,1\n")
    with pytest.raises(InputError, match="the column question is missing .there are: a, correct"):
        read_log(tmp_path / "log.csv")


def test_a_whole_number_that_no_float_holds_counts_as_infinite(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f'{{"a": -1{"0" * 400}, "b": 1{"0" * 299}}}')
    assert read_json(tmp_path / "a.json", hint="do this") == {"a": -math.inf, "b": 10**299}
