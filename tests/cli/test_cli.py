"""The command line as a user meets it: stdin, formats, exit statuses."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_logs import ODD, PROMPTS, log_of_two_llms, made_log
from made_segments import RIGHT, segmented_log

from prompt_oirl.cli import main
from prompt_oirl.cli.output import write_rows
from prompt_oirl.io.files import REPO_ROOT

QUICK = ("--embedder", "tfidf", "--model", "linear")


@dataclass
class Result:
    status: int
    stdout: str
    stderr: str


def run(*arguments: str, stdin: str = "") -> Result:
    """The command in this process, which saves importing everything again."""
    out, err, status = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO(), 0
    stdin_before, sys.stdin = (
        sys.stdin,
        io.TextIOWrapper(io.BytesIO(stdin.encode("utf-8", "surrogateescape")), encoding="utf-8"),
    )
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main.main(arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        sys.stdin = stdin_before
    out.flush()
    return Result(status, out.buffer.getvalue().decode(), err.getvalue())  # type: ignore[attr-defined]


def done(*arguments: str, stdin: str = "") -> str:
    result = run(*arguments, stdin=stdin)
    assert result.status == 0, result.stderr
    assert "\r" not in result.stderr and "it/s" not in result.stderr  # no progress bar outside a terminal
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """log.csv with answers and selector/ learned from it."""
    folder = tmp_path_factory.mktemp("cli")
    log = made_log(80)
    log["answer"] = ["The answer is " + str(5 if c else 7) for c in log.correct]
    log.to_csv(folder / "log.csv", index=False)
    result = run("fit", str(folder / "log.csv"), "--out", str(folder / "selector"), *QUICK)
    assert result.status == 0 and result.stdout == "" and "79 questions, 3 prompts" in result.stderr, (
        result.stderr
    )
    return folder


def test_select_reads_stdin_and_writes_csv_or_jsonl(folder: Path) -> None:
    selector = str(folder / "selector")
    rows = list(
        csv.DictReader(io.StringIO(done("select", selector, stdin="What is 2 + 3?\n=1+1, \u202ereally\n")))
    )
    assert [r["question"] for r in rows] == ["What is 2 + 3?", "=1+1, \u202ereally"] and {
        r["prompt"] for r in rows
    } <= set(PROMPTS)
    lines = done(
        "select", selector, "--k", "3", "--format", "jsonl", stdin='{"question": "a\\nb"}\n'
    ).splitlines()
    found = [json.loads(line) for line in lines]
    assert [r["rank"] for r in found] == [1, 2, 3] and {r["prompt"] for r in found} == set(PROMPTS)
    assert sorted((r["probability"] for r in found), reverse=True) == [r["probability"] for r in found]
    safe = done("select", selector, "--excel_safe", stdin="=1+1\n")
    assert list(csv.DictReader(io.StringIO(safe)))[0]["question"] == "'=1+1"
    known = pd.read_csv(folder / "log.csv").question[0] + "\n"
    nothing = done("select", selector, "--abstain_below", "1", "--format", "jsonl", stdin=known)
    assert json.loads(nothing)["prompt"] is None
    assert done("select", selector, stdin="") == "question,rank,prompt,probability\n"


def test_select_answers_each_line_when_it_has_come(folder: Path) -> None:
    """The pipe stays open: what is written of a line has to come before the next one is sent."""
    command = [sys.executable, "-m", "prompt_oirl", "select", str(folder / "selector"), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        rows = csv.reader(line.decode() for line in iter(process.stdout.readline, b""))
        process.stdin.write(b"\n What is 2 + 3? \r\n")
        process.stdin.flush()
        assert next(rows) == ["question", "rank", "prompt", "probability"]
        first = next(rows)
        assert first[:2] == ["What is 2 + 3?", "1"]
        process.stdin.write("W\u00e4s?\nWhat is 2 ".encode())
        process.stdin.flush()
        assert next(rows)[0] == "W\u00e4s?"
        process.stdin.write(b"+ 3?")
        process.stdin.close()
        assert list(rows) == [first]


def test_select_names_the_line_that_is_no_utf8(folder: Path) -> None:
    sent = "What?\n\nb\udcff\n"
    result = run("select", str(folder / "selector"), stdin=sent)
    assert result.status == 1 and "stdin:3: not UTF-8" in result.stderr


@pytest.mark.parametrize("form", ["csv", "jsonl", "table"])
def test_select_of_lines_is_select_of_a_table(folder: Path, form: str) -> None:
    flags = ("select", str(folder / "selector"), "-", "--format", form, "--k", "2")
    plain = done(*flags, stdin="a?\nWhat is 2 + 3?\nb?")
    assert plain == done(*flags, stdin="question\na?\nWhat is 2 + 3?\nb?\n") and plain.count("\n") >= 6


def test_select_among_other_prompts(folder: Path) -> None:
    (folder / "prompts.csv").write_text("prompt\nNew one\nNew one\nAnswer:\n")
    out = done(
        "select", str(folder / "selector"), "--prompts", str(folder / "prompts.csv"), "--k", "2", stdin="a\n"
    )
    assert {r["prompt"] for r in csv.DictReader(io.StringIO(out))} == {"New one", "Answer:"}


def test_prompt_and_llm_are_chosen_together(folder: Path, tmp_path: Path) -> None:
    log, selector, arms = str(tmp_path / "log.csv"), str(tmp_path / "selector"), ("--arms", "prompt,llm")
    log_of_two_llms(80).to_csv(log, index=False)
    fit = run("fit", log, "--out", selector, "--embedder", "tfidf", *arms)
    assert fit.status == 0 and "4 prompts" in fit.stderr and ": Think on big" in fit.stderr, fit.stderr
    assert "note: 2 prompts on 2 LLMs: the 4 pairs that were asked count as prompts." in fit.stderr
    new = log_of_two_llms(80, seed=1).drop_duplicates("question")[["question"]]
    out = done("select", selector, "-", "--k", "4", stdin=new.to_csv(index=False))
    rows = list(csv.DictReader(io.StringIO(out)))
    assert out.startswith("question,rank,prompt,llm,probability\n")
    assert {(r["prompt"], r["llm"]) for r in rows} == {
        (p, m) for p in ("Think", "Answer") for m in ("big", "small")
    }
    assert {r["llm"] for r in rows if r["rank"] == "1"} == {"big", "small"}
    (tmp_path / "prompts.csv").write_text("prompt\nNew one\n")
    lines = done(
        "select",
        selector,
        "--prompts",
        str(tmp_path / "prompts.csv"),
        "--k",
        "2",
        "--format",
        "jsonl",
        stdin="a\n",
    )
    found = [json.loads(line) for line in lines.splitlines()]
    assert {(r["prompt"], r["llm"]) for r in found} == {("New one", "big"), ("New one", "small")}
    nothing = done("select", selector, "--abstain_below", "1", "--format", "jsonl", stdin="a\n")
    assert json.loads(nothing)["prompt"] is None and json.loads(nothing)["llm"] is None
    table = run("evaluate", log, *QUICK, *arms, "--cost_weight", "1", "--format", "csv")
    policies = {r["policy"]: r for r in csv.DictReader(io.StringIO(table.stdout))}
    assert policies["selector"]["cost"] == "1" and "always prompt 1 on small" in policies
    assert "prompt 1 on big: Think\n" in table.stderr
    assert "A selector chooses per question" in done("diagnose", log, "--embedder", "tfidf", *arms)
    assert done("vote", log, *QUICK, *arms, "--format", "csv").startswith("way,budget")
    page = run("report", log, "--out", str(tmp_path / "page.html"), *QUICK, *arms)
    assert page.status == 0 and "prompt 1 on big" in (tmp_path / "page.html").read_text(), page.stderr
    both = run("evaluate", log, *QUICK, *arms, "--llm", "big")
    assert both.status == 1 and "leave one out" in both.stderr
    for bad, message in (
        ("llm", "--arms llm: choose prompt"),
        ("prompt", "choose one with --llm, or among all"),
    ):
        refused = run("diagnose", log, "--arms", bad)
        assert refused.status == 1 and message in refused.stderr
    plain = run("diagnose", str(folder / "log.csv"), *arms)
    assert plain.status == 1 and "there is no column llm" in plain.stderr


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """log.csv in which the segment tells which prompt is right, and selector/ learned from it."""
    folder = tmp_path_factory.mktemp("segmented")
    segmented_log().to_csv(folder / "log.csv", index=False)
    done("fit", str(folder / "log.csv"), "--out", str(folder / "selector"), "--embedder", "tfidf")
    return folder


def test_select_by_segment(segmented: Path) -> None:
    selector, asked = str(segmented / "selector"), [{"question": "What?", "segment": s} for s in RIGHT]
    table = "question,segment\n" + "".join(f"What?,{s}\n" for s in RIGHT)
    lines = "".join(json.dumps(row) + "\n" for row in asked)
    for stdin in (table, lines):
        result = run("select", selector, stdin=stdin)
        rows = list(csv.DictReader(io.StringIO(result.stdout)))
        assert [row["prompt"] for row in rows] == list(RIGHT.values()) and not result.stderr


def test_unknown_segments_are_average_and_said(segmented: Path) -> None:
    selector = str(segmented / "selector")
    without = done("select", selector, stdin="question\nWhat?\n")
    result = run("select", selector, stdin="question,segment\nWhat?,essays\nWhat?,\n")
    assert (
        "note: questions of a segment that the selector does not know, taken as average: 1\n" in result.stderr
    )
    assert result.stdout == without + without.splitlines()[1] + "\n"


@pytest.mark.parametrize("command", ["diagnose", "evaluate", "vote", "report"])
def test_every_command_chooses_by_segment(segmented: Path, command: str, tmp_path: Path) -> None:
    page = ["--out", str(tmp_path / "page.html")] if command == "report" else []
    result = run(command, str(segmented / "log.csv"), "--embedder", "tfidf", *page)
    assert result.status == 0, result.stderr
    said = {
        "diagnose": (result.stdout, "WORTH IT: "),
        "evaluate": (result.stderr, r"choosing per question brings \+[456]\d"),
        "vote": (
            result.stderr,
            r"Best buy: choose the prompt for each question: \+[345]\d",
        ),
        "report": (result.stderr, "Worth it: "),
    }
    text, expected = said[command]
    assert re.search(expected, text), text


def test_evaluate_a_log_and_from_one_log_to_another(folder: Path) -> None:
    log = str(folder / "log.csv")
    out = done("evaluate", log, *QUICK, "--format", "csv")
    rows = {r["policy"]: r for r in csv.DictReader(io.StringIO(out))}
    assert float(rows["best prompt"]["gain"]) == 0 and rows["selector"]["n"] == "79"
    assert done("evaluate", "-", *QUICK, "--format", "csv", stdin=Path(log).read_text()) == out
    lines = done("evaluate", "--train", log, "--test", log, *QUICK, "--format", "jsonl").splitlines()
    assert {json.loads(line)["policy"] for line in lines} == set(rows)
    shown = run("evaluate", log, *QUICK)
    assert shown.stdout.splitlines()[0].split()[:2] == ["policy", "success"]
    assert f"\nprompt 1: {PROMPTS[0]}\n" in "\n" + shown.stderr  # whose success "always prompt 1" is


def test_diagnose(folder: Path) -> None:
    log = str(folder / "log.csv")
    said = done("diagnose", log, "--embedder", "tfidf").splitlines()
    assert said[0].split(":")[0] in ("WORTH IT", "NOT SHOWN", "NOT ENOUGH DATA")
    assert "79 questions" in "\n".join(said[1:3])
    found = json.loads(
        done("diagnose", "-", "--embedder", "tfidf", "--format", "jsonl", stdin=Path(log).read_text())
    )
    assert found["verdict"].upper() == said[0].split(":")[0] and found["facts"]["questions"] == 79
    few = pd.read_csv(log).iloc[:9].to_csv(index=False)
    assert done("diagnose", "-", "--embedder", "tfidf", stdin=few).startswith("NOT ENOUGH DATA: ")


def test_vote(folder: Path) -> None:
    result = run("vote", str(folder / "log.csv"), *QUICK, "--format", "csv")
    assert result.status == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {r["budget"] for r in rows} == {"1", "2", "3"} and all(0 <= float(r["success"]) <= 1 for r in rows)
    assert all(float(r["calls"]) <= float(r["budget"]) for r in rows)
    single = next(r for r in rows if r["way"] == "best prompts, majority" and r["budget"] == "1")
    table = csv.DictReader(io.StringIO(done("evaluate", str(folder / "log.csv"), *QUICK, "--format", "csv")))
    assert single["success"] == next(table)["success"]
    assert "note: some answers are not in the log" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(("Best buy: ", "No vote is shown to beat one call"))
    blank = pd.read_csv(folder / "log.csv")
    blank.loc[:9, "answer"] = ""
    said = run("vote", "-", *QUICK, stdin=blank.to_csv(index=False)).stderr
    assert f"note: 10 of {len(blank):,} answers are blank; each is a call that was paid for" in said


def test_report_from_stdin(folder: Path, tmp_path: Path) -> None:
    log = pd.read_csv(folder / "log.csv").to_json(orient="records", lines=True)
    result = run("report", "-", "--out", str(tmp_path / "page.html"), *QUICK, stdin=log)
    assert result.status == 0 and result.stdout == "", result.stderr
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>") and "log from stdin" in page
    assert re.search("Best buy: |No vote is shown to beat one call", page)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name",
    ["one prompt", "all right", "few questions", "each question with one prompt", "a prompt never right"],
)
def test_report_of_an_odd_log(name: str, tmp_path: Path) -> None:
    result = run(
        "report", "-", "--out", str(tmp_path / "page.html"), *QUICK, stdin=ODD[name].to_csv(index=False)
    )
    assert result.status == 0 and (tmp_path / "page.html").stat().st_size > 10_000, result.stderr
    if name in ("one prompt", "all right", "few questions"):
        text = (tmp_path / "page.html").read_text()
        assert "Not enough data" in text and "nan%" not in text and "invalid value" not in result.stderr


def test_same_bytes_whatever_the_hash_seed(folder: Path, tmp_path: Path) -> None:
    for seed in ("0", "1"):
        command = [
            sys.executable,
            "-m",
            "prompt_oirl",
            "fit",
            str(folder / "log.csv"),
            "--out",
            str(tmp_path / seed),
            "--embedder",
            "tfidf",
        ]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=REPO_ROOT,
        )
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / seed).iterdir()} for seed in "01")
    assert first == second and len(first) == 5  # with the card, and the lock's file, which is empty


BAD = {
    "no file": (["fit", "nowhere.csv", "--out", "x"], "missing nowhere.csv: correct the path"),
    "no selector": (["select", "nowhere"], "save a fitted PromptSelector there first"),
    "two logs and one": (["evaluate", "a.csv", "--train", "b.csv"], "give one log to cross-fit on, or both"),
    "half a pair": (["evaluate", "--train", "b.csv"], "give one log to cross-fit on, or both"),
    "no log": (["evaluate"], "give one log to cross-fit on, or both"),
    "model": (
        ["evaluate", "{log}", "--model", "magic", "--embedder", "tfidf"],
        "--model magic: choose one of",
    ),
    "embedder": (
        ["evaluate", "{log}", "--embedder", "magic"],
        "--embedder magic: choose minilm, minilm-bf16, tfidf",
    ),
    "questions": (["select", "{selector}", "{log}x.csv"], "missing"),
    "k": (["select", "{selector}", "--k", "9"], "k=9: choose 1 to 3"),
    "output is a folder": (["report", "{log}", "--out", "{selector}"], "is a folder: name the page"),
    "selector is a file": (["fit", "{log}", "--out", "{log}"], "is a file: choose a folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_status_1(folder: Path, name: str) -> None:
    arguments, message = BAD[name]
    filled = [a.format(log=folder / "log.csv", selector=folder / "selector") for a in arguments]
    result = run(*filled, stdin="a\n")
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.status == 1 and result.stdout == "", result.stderr
    assert len(errors) == 1 and message in errors[0] and "Traceback" not in result.stderr, result.stderr


HEAD = "question,prompt,correct\n"
BAD_LOGS = {
    "no column": (
        "question,prompt\na,A\n",
        [],
        "stdin: the column correct is missing (there are: question, prompt)",
    ),
    "above 1": (
        HEAD + "a,A,1\nb,A,7\n",
        [],
        "stdin:3: correct is '7', expected a number from 0 to 1, true or false",
    ),
    "NaN": (HEAD + "a,A,NaN\n", [], "stdin:2: correct is 'NaN', expected a number from 0 to 1"),
    "empty": ("", [], "stdin: the file is empty"),
    "no rows": (HEAD, [], "stdin: no row with a verdict"),
    "llm": (
        "question,prompt,correct,llm\na,A,1,x\n",
        ["--llm", "y"],
        "stdin: no row of llm 'y'; there are x",
    ),
    "samples": (
        "question,prompt,correct,sample\na,A,1,0\na,A,0,0\n",
        [],
        "stdin:3: the same question, prompt and sample as row 2 with",
    ),
}


@pytest.mark.parametrize("name", BAD_LOGS)
@pytest.mark.parametrize("command", ["fit", "evaluate", "diagnose", "vote", "report"])
def test_a_bad_log_is_one_line_in_every_command(command: str, name: str, tmp_path: Path) -> None:
    text, flags, message = BAD_LOGS[name]
    out = ["--out", str(tmp_path / "out")] if command in ("fit", "report") else []
    result = run(command, "-", *flags, *out, "--embedder", "tfidf", stdin=text)
    lines = result.stderr.splitlines()
    assert result.status == 1 and result.stdout == "" and not (tmp_path / "out").exists()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], result.stderr


def test_little_is_refused_or_said(tmp_path: Path) -> None:
    one, right = (ODD[name].assign(answer="7").to_csv(index=False) for name in ("one prompt", "all right"))
    assert "voting needs at least two prompts" in run("vote", "-", *QUICK, stdin=one).stderr
    assert (
        "voting needs the answers" in run("vote", "-", *QUICK, stdin=made_log(20).to_csv(index=False)).stderr
    )
    bandit = ODD["each question with one prompt"].assign(answer="7").to_csv(index=False)
    assert "ask some questions with several prompts" in run("vote", "-", *QUICK, stdin=bandit).stderr
    for text, reason in (
        (one, "the log has one prompt only"),
        (right, "every answer of the log has correct = 1"),
    ):
        made = run("fit", "-", "--out", str(tmp_path / "s"), *QUICK, stdin=text)
        assert (
            made.status == 0
            and f"{reason}: every question gets the prompt that is best overall" in made.stderr
        )
        assert "best prompt" in done("evaluate", "-", *QUICK, stdin=text)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-"])
def test_a_closed_stream_is_one_line(folder: Path, closed: str) -> None:
    command = f'"{sys.executable}" -m prompt_oirl select "{folder / "selector"}" {closed}'
    result = subprocess.run(["sh", "-c", command], input="a\n", capture_output=True, text=True, cwd=REPO_ROOT)
    stream = "stdin" if closed.startswith("0") else "stdout"
    assert result.returncode == 1 and result.stderr.startswith(f"error: {stream} is closed: "), result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["select", "{selector}"]])
def test_a_reader_that_has_seen_enough_is_no_error(folder: Path, arguments: list[str]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [
        sys.executable,
        "-m",
        "prompt_oirl",
        *(a.format(selector=folder / "selector") for a in arguments),
    ]
    result = subprocess.run(command, input=b"a\n", stdout=theirs, stderr=subprocess.PIPE, cwd=REPO_ROOT)
    os.close(theirs)
    assert result.returncode == 141 and result.stderr == b""


def test_a_damaged_or_wrong_selector_is_one_line(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "selector"
    shutil.copytree(folder / "selector", copy)
    model = next(copy.glob("model-*"))
    model.write_bytes(model.read_bytes()[:-1])
    for where, message in (
        (copy, "is missing or not the file selector.json names"),
        (tmp_path, "save a fitted PromptSelector there first (prompt-oirl fit LOG --out DIR)"),
        (folder / "log.csv", "save a fitted PromptSelector there first"),
    ):
        result = run("select", str(where), stdin="a\n")
        assert result.status == 1 and result.stderr.count("\n") == 1 and message in result.stderr, (
            result.stderr
        )


def test_tables_of_abstaining_and_calibration(folder: Path) -> None:
    log = str(folder / "log.csv")
    rows = list(
        csv.DictReader(io.StringIO(done("evaluate", log, *QUICK, "--table", "coverage", "--format", "csv")))
    )
    assert [float(r["coverage"]) for r in rows] == [round(0.05 * i, 2) for i in range(1, 21)]
    assert [float(r["threshold"]) for r in rows] == sorted(
        (float(r["threshold"]) for r in rows), reverse=True
    )
    bins = done("evaluate", log, *QUICK, "--table", "calibration", "--format", "jsonl").splitlines()
    answers = sum(json.loads(line)["answers"] for line in bins)
    assert answers == len(pd.read_csv(log).drop_duplicates(["question", "prompt", "sample"]))


def test_wrong_flags_are_status_2_and_help_shows_examples() -> None:
    assert (
        run("fit", "a.csv", "--k").status == 2
        and run("nonsense").status == 2
        and run("fit", "a.csv", "--out", "b", "--k", "1").status == 2
    )
    for command in ("fit", "select", "evaluate", "diagnose", "vote", "report"):
        text = done(command, "--help")
        assert f"prompt-oirl {command} " in text and "example" in text
    own = subprocess.run(
        [sys.executable, "-m", "prompt_oirl", "--help"], capture_output=True, text=True, cwd=REPO_ROOT
    )
    assert own.returncode == 0 and "examples:" in own.stdout


def test_no_command_pays_for_what_another_one_needs() -> None:
    heavy = ("pandas", "scipy", "sklearn", "torch", "starlette", "httpx", "onnxruntime")
    code = f"import sys, prompt_oirl.cli.main; sys.exit(', '.join(sys.modules.keys() & {set(heavy)!r}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO_ROOT)
    assert found.stderr.strip() == ""


def test_a_reader_that_stops_early_is_no_error(folder: Path) -> None:
    questions = "".join(f"question {i}\n" for i in range(20_000))
    select = f'"{sys.executable}" -m prompt_oirl select "{folder / "selector"}"'
    shell = select + ' | head -1; exit "${PIPESTATUS[0]}"'
    result = subprocess.run(
        ["bash", "-c", shell], input=questions, capture_output=True, text=True, cwd=REPO_ROOT
    )
    assert result.stdout == "question,rank,prompt,probability\n" and "Traceback" not in result.stderr
    assert result.returncode in (0, 141), result.stderr


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_rounding_errors_are_written_as_nothing(form: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_rows([{"a": -0.0, "b": -0.25, "c": np.float64(-0.0), "n": 123456.0}], form)
    written = capfdbinary.readouterr().out.decode()
    assert "-0," not in written and "-0 " not in written and "-0.0" not in written and "-0.25" in written
    assert "123456" in written
    write_rows([{"a": 1.11e-16, "b": -2e-17}], "table")
    assert capfdbinary.readouterr().out.decode().split() == ["a", "b", "0", "0"]


def test_folders_with_spaces_and_letters_beyond_ascii(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Bücher und Läden"
    folder.mkdir()
    monkeypatch.chdir(folder)
    made_log().to_csv("Löhne.csv", index=False, encoding="utf-8")
    done("fit", "Löhne.csv", "--out", "wähle das", *QUICK)
    assert "What" in done("select", "wähle das", stdin="What is 2 + 3?\n")
    done("report", "Löhne.csv", "--out", "Bericht für alle.html", *QUICK)
    assert "Löhne.csv" in (folder / "Bericht für alle.html").read_text(encoding="utf-8")
