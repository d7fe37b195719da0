"""`prompt-oirl plan` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from made_logs import log_of_two_llms, made_log
from test_cli import run

QUICK = ("--embedder", "tfidf")


def planned(out: Path, *arguments: str) -> pd.DataFrame:
    said = run("plan", *arguments, "--out", str(out), *QUICK)
    assert said.status == 0, said.stderr
    return pd.DataFrame([json.loads(line) for line in out.read_text().splitlines()])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    made_log(60).to_csv(tmp_path / "log.csv", index=False)
    return tmp_path / "log.csv"


@pytest.mark.parametrize("policy", ["interaction", "best", "uniform"])
def test_plans_ask_nothing_that_is_known(policy: str, log: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path / "plan.jsonl", str(log), "--budget", "12", "--policy", policy)
    assert len(plan) == 12 and not plan.duplicated(["question", "prompt", "sample"]).any()
    known = pd.read_csv(log)[["question", "prompt"]].drop_duplicates()
    assert plan.merge(known, on=["question", "prompt"]).empty and plan["sample"].eq(0).all()
    assert set(plan.columns) == {"question", "prompt", "prompt_id", "sample", "reason"}


def test_a_budget_beyond_what_is_left_says_so(log: Path, tmp_path: Path) -> None:
    said = run("plan", str(log), "--budget", "9999", "--out", str(tmp_path / "p.csv"), *QUICK)
    whole = pd.read_csv(log)
    left = whole.question.nunique() * whole.prompt.nunique() - len(
        whole.drop_duplicates(["question", "prompt"])
    )
    assert said.status == 0 and f"only {left} cells" in said.stderr
    assert len(pd.read_csv(tmp_path / "p.csv")) == left


def test_repeats_take_the_next_sample(log: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path / "plan.jsonl", str(log), "--budget", "300", "--policy", "repeats")
    assert set(plan["sample"]) >= {1, 2} and not plan.duplicated(["question", "prompt", "sample"]).any()


def test_without_a_log_questions_and_prompts_are_enough(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("What is 1 + 1?\nWhat is 2 + 2?\n")
    (tmp_path / "p.csv").write_text(
        "prompt_id,role,position,text\nA,train,before,Think.\nB,held_out,after,No\n"
    )
    files = ("--questions", str(tmp_path / "q.txt"), "--prompts", str(tmp_path / "p.csv"))
    plan = planned(tmp_path / "plan.jsonl", *files, "--budget", "2")
    assert plan.prompt.tolist() == ["Think."] * 2 and plan.prompt_id.tolist() == ["A", "A"]
    assert plan.position.tolist() == ["before"] * 2


def test_each_pair_of_prompt_and_llm_is_asked(tmp_path: Path) -> None:
    frame = log_of_two_llms(60)
    frame.sample(frac=0.5, random_state=0).to_csv(tmp_path / "log.csv", index=False)
    more = tmp_path / "p.csv"
    more.write_text("prompt_id,text\nnew,Brand new\n")
    arguments = (str(tmp_path / "log.csv"), "--arms", "prompt,llm", "--prompts", str(more))
    plan = planned(tmp_path / "plan.jsonl", *arguments, "--budget", "2000")
    new = plan[plan.prompt == "Brand new"]
    assert set(new.llm) == {"big", "small"} and set(new.prompt_id) == {"new"}
    assert set(plan.llm) == {"big", "small"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--budget", "5"], "there are no questions to ask"),
        (["LOG", "--budget", "0"], "--budget 0: give the number"),
        (["LOG", "--budget", "5", "--questions", "missing.csv"], "missing.csv"),
    ],
)
def test_refusals_are_one_line(arguments: list[str], complaint: str, log: Path, tmp_path: Path) -> None:
    given = [str(log) if a == "LOG" else a for a in arguments]
    said = run("plan", *given, "--out", str(tmp_path / "p.csv"), *QUICK)
    assert said.status == 1 and complaint in said.stderr and len(said.stderr.strip().splitlines()) <= 3
    assert not (tmp_path / "p.csv").exists()


def test_the_log_is_never_written_over(log: Path) -> None:
    before = log.read_bytes()
    said = run("plan", str(log), "--budget", "5", "--out", str(log))
    assert said.status == 1 and "choose another --out" in said.stderr and log.read_bytes() == before


def test_a_complete_log_leaves_nothing_to_plan(tmp_path: Path) -> None:
    made_log(40, missing=0).to_csv(tmp_path / "log.csv", index=False)
    said = run("plan", str(tmp_path / "log.csv"), "--budget", "5", "--out", str(tmp_path / "p.csv"), *QUICK)
    assert said.status == 1 and "every cell is known" in said.stderr
