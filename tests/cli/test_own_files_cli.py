"""Own files on the command line: several of them, options of reading, notes before verdicts, grading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_logs import made_log
from test_cli import QUICK, done, run

from prompt_oirl import read_log


@pytest.fixture
def parts(tmp_path: Path) -> list[str]:
    """A log in two files with other names of columns and percentages."""
    log = made_log(80).rename(columns={"question": "input", "prompt": "template"})
    log["score"] = 100 * log.pop("correct")
    paths = [str(tmp_path / "a.csv"), str(tmp_path / "b.tsv")]
    log.iloc[:90].to_csv(paths[0], index=False)
    log.iloc[90:].to_csv(paths[1], sep="\t", index=False)
    return paths


NAMED = ("--columns", "question=input,prompt=template,correct=score", "--scale", "100")


@pytest.mark.parametrize("command", ["fit", "diagnose", "evaluate", "report"])
def test_several_files_with_names_and_a_scale_of_their_own(
    command: str, parts: list[str], tmp_path: Path
) -> None:
    made_log(80).to_csv(tmp_path / "whole.csv", index=False)

    def results(*log: str) -> tuple[str, str]:
        out = tmp_path / f"out{len(log)}"
        into = ["--out", str(out)] if command in ("fit", "report") else []
        title = ["--title", "log"] if command == "report" else []
        embedder = QUICK if command != "diagnose" else QUICK[:2]
        said = run(command, *log, *into, *title, *embedder)
        assert said.status == 0, said.stderr
        files = sorted(out.iterdir()) if command == "fit" else [out] if command == "report" else []
        return said.stdout, "".join(str(path.read_bytes()) for path in files)

    assert results(*parts, *NAMED) == results(str(tmp_path / "whole.csv"))


def test_train_and_test_may_be_several_files(parts: list[str]) -> None:
    shown = done("evaluate", "--train", *parts, "--test", *parts, *QUICK, *NAMED, "--format", "jsonl")
    assert {json.loads(line)["policy"] for line in shown.splitlines()} >= {"selector", "best prompt"}
    refused = run("evaluate", "--train", parts[0], "--test", parts[0], parts[0], *QUICK, *NAMED)
    assert refused.status == 1 and "a.csv: named twice" in refused.stderr


def test_notes_stand_before_the_verdict_and_normalise_merges(tmp_path: Path) -> None:
    log = made_log(60).drop(columns="sample")
    log["prompt"] += np.where(log.index % 2, " ", "")
    log.to_csv(tmp_path / "log.csv", index=False)
    said = run("diagnose", str(tmp_path / "log.csv"), "--embedder", "tfidf")
    assert said.stderr.startswith("note: 3 prompts that differ from an earlier one only in white space")
    assert " x 6 prompts," in said.stdout
    merged = run("diagnose", str(tmp_path / "log.csv"), "--embedder", "tfidf", "--normalise")
    assert "are taken as that one.\n" in merged.stderr and " x 3 prompts," in merged.stdout


@pytest.mark.parametrize("command", ["fit", "diagnose", "evaluate", "report", "vote"])
def test_rendered_prompts_are_one_line_in_every_command(command: str, tmp_path: Path) -> None:
    log = made_log(40, missing=0).assign(answer="7")
    log.assign(prompt=log.prompt + " " + log.question).to_csv(tmp_path / "log.csv", index=False)
    out = ["--out", str(tmp_path / "out")] if command in ("fit", "report") else []
    refused = run(command, str(tmp_path / "log.csv"), "--embedder", "tfidf", *out)
    assert refused.status == 1 and refused.stdout == "" and not (tmp_path / "out").exists()
    errors = [line for line in refused.stderr.splitlines() if "learning from the log" not in line]
    assert len(errors) == 1 and errors[0].startswith("error: ") and "contain the one question" in errors[0]


def test_the_report_is_not_written_over_the_log(tmp_path: Path) -> None:
    made_log(30).to_csv(tmp_path / "log.csv", index=False)
    refused = run("report", str(tmp_path / "log.csv"), "--out", str(tmp_path / "log.csv"))
    assert refused.status == 1 and "is one of the files to read" in refused.stderr
    assert (tmp_path / "log.csv").read_text().startswith("question,")


def test_grade_makes_a_log(tmp_path: Path) -> None:
    log = made_log(30).assign(answer=lambda d: ["The answer is " + "57"[c == 0] + "." for c in d.correct])
    answers, golds = str(tmp_path / "answers.csv"), str(tmp_path / "golds.jsonl")
    answers_only = log.drop(columns="correct").rename(columns={"answer": "output"})
    answers_only.assign(big=12345678.5).to_csv(answers, index=False)
    unique = log[["question"]].drop_duplicates()
    unique.assign(gold=5).to_json(golds, orient="records", lines=True)
    flags = ("--kind", "number", "--columns", "answer=output")
    for name in ("log.csv", "log.jsonl", "log.parquet"):
        result = run("grade", answers, "--gold", golds, *flags, "--out", str(tmp_path / name))
        assert result.status == 0 and result.stdout == "", result.stderr
        assert result.stderr.startswith(
            f"{len(log)} answers graded, {log.correct.mean():.1%} right; 0 are blank"
        )
        read = read_log(tmp_path / name)
        np.testing.assert_array_equal(read.labels, read_log(log).labels)
    shown = done("grade", answers, "--gold", golds, *flags)
    assert shown == (tmp_path / "log.csv").read_text() and ',"12345678.5",' in shown
    held = pd.read_csv(answers).assign(gold=5).to_csv(index=False)
    assert done("grade", "-", *flags, stdin=held).count("\n") == len(log) + 1
    for arguments, message in (
        (["--gold", answers], "the column gold is missing"),
        ([], "the column gold is missing"),
        (
            ["--gold", golds, "--out", "log.xlsx"],
            "--out log.xlsx: name a file that ends in .parquet, .csv, .jsonl",
        ),
        (["--gold", str(tmp_path / "no.csv")], "missing "),
        (["--gold", golds, "--out", answers], "answers.csv is one of the files to read"),
        (["--gold", golds, "--out", golds], "golds.jsonl is one of the files to read"),
    ):
        refused = run("grade", answers, *flags, *arguments)
        assert refused.status == 1 and message in refused.stderr and refused.stderr.count("\n") == 1
    assert run("grade", answers, "--gold", golds).status == 2  # no kind
