"""`prompt-oirl import` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from make_example_log import Args, main
from test_cli import done, run
from tool_files import batch_lines, completion, write

from prompt_oirl.selection.diagnosis import diagnose


def write_results(path: Path, log: pd.DataFrame) -> None:
    """What promptfoo writes of a log."""
    prompts = list(log.prompt.unique())
    rows = [
        {
            "promptIdx": prompts.index(row.prompt),
            "vars": {"question": row.question},
            "provider": {"id": "tiny"},
            "response": {"output": row.answer},
            "gradingResult": {"componentResults": [{"score": row.correct, "assertion": {"type": "equals"}}]},
        }
        for row in log.itertuples()
    ]
    path.write_text(
        json.dumps(
            {"results": {"prompts": [{"raw": f"{p}\n{{{{question}}}}"} for p in prompts], "results": rows}}
        )
    )


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """log.csv, and the same as results.json."""
    folder = tmp_path_factory.mktemp("example")
    main(Args(out=folder / "log.csv"))
    write_results(folder / "results.json", pd.read_csv(folder / "log.csv", keep_default_na=False))
    return folder


def test_from_a_tools_file_to_the_same_verdict(example: Path, tmp_path: Path) -> None:
    out = tmp_path / "my log.parquet"
    result = run("import", "promptfoo", str(example / "results.json"), "--out", str(out))
    assert result.status == 0 and result.stdout == "", result.stderr
    lines = result.stderr.splitlines()
    assert lines[0] == "note: correct is the verdict equals."
    assert lines[1] == f"{out}: 846 answers, 300 questions, 4 prompts, 1 LLM"
    assert lines[2].startswith("prompt of 220 answers: Let’s work this out") and len(lines) == 7
    assert lines[-1] == f"next: prompt-oirl diagnose '{out}'"
    ours, theirs = diagnose(str(out), "tfidf", 0), diagnose(str(example / "log.csv"), "tfidf", 0)
    assert ours.verdict == theirs.verdict == "worth it"
    again = run("import", "promptfoo", str(example / "results.json"), "--out", str(out), "--append")
    assert "note: the log held 846 answers of these before." in again.stderr
    assert len(pd.read_parquet(out)) == 846


def test_refusals_are_one_line(example: Path, tmp_path: Path) -> None:
    results, out = str(example / "results.json"), str(tmp_path / "log.csv")
    for arguments, message in (
        (("helm", results, "--out", out), "no tool helm is known: choose lm-eval, promptfoo, "),
        (("promptfoo", "--out", out), "name the files or folders that promptfoo wrote"),
        (("promptfoo", results, "--out", results), "name a file that ends in .parquet, .csv, .jsonl"),
        (
            ("promptfoo", results, "--out", out, "--verdict", "a\nb"),
            "there is no verdict a b (there are: equals)",
        ),
    ):
        result = run("import", *arguments)
        assert result.status == 1 and result.stderr.count("\n") == 1 and message in result.stderr, (
            result.stderr
        )
        assert not Path(out).exists()


def test_answers_without_a_verdict_and_of_two_llms(example: Path, tmp_path: Path) -> None:
    out, path = str(tmp_path / "log.jsonl"), tmp_path / "results.json"
    data = json.loads((example / "results.json").read_text())
    for row in data["results"]["results"][:100]:
        row["gradingResult"] = None
        row["provider"] = {"id": "other"}
    path.write_text(json.dumps(data))
    stderr = run("import", "promptfoo", str(path), "--out", out).stderr
    assert "100 answers without a verdict" in stderr and "2 LLMs" in stderr
    assert stderr.endswith(f"next: prompt-oirl diagnose {out} --arms prompt,llm\n")
    for row in data["results"]["results"]:
        row["gradingResult"] = None
    path.write_text(json.dumps(data))
    stderr = run("import", "promptfoo", str(path), "--out", out).stderr
    assert "846 answers without a verdict" in stderr
    assert stderr.endswith(f"next: prompt-oirl grade {out} --gold GOLDS.csv --kind number --out NEW_LOG\n")


def test_a_batch_is_imported_graded_and_diagnosed(tmp_path: Path) -> None:
    """As docs/import.md has it, up to a log that holds text no terminal should run."""
    questions = [f"What is {i} + {i}? \x1b[2J" for i in range(60)]
    requests, replies = batch_lines(questions)
    for i, reply in enumerate(replies):
        said = str(2 * i + i % 2)
        reply["response"]["body"] = completion(f"The answer is {said}.", id=f"reply {i}")
    files = [write(tmp_path / "in.jsonl", requests), write(tmp_path / "out.jsonl", replies)]
    golds = pd.DataFrame({"question": questions, "gold": [2 * i for i in range(60)]})
    golds.to_csv(tmp_path / "golds.csv", index=False)
    answers, log = str(tmp_path / "answers.parquet"), str(tmp_path / "log.parquet")
    assert run("import", "openai-batch", *map(str, files), "--out", answers).status == 0
    graded = run("grade", answers, "--gold", str(tmp_path / "golds.csv"), "--kind", "number", "--out", log)
    assert graded.stderr.startswith("60 answers graded, 50.0% right; 0 are blank"), graded.stderr
    verdict = run("diagnose", log, "--embedder", "tfidf")
    assert verdict.status == 0 and "60 questions x 1 prompts" in verdict.stdout
    assert "\x1b" not in graded.stderr + verdict.stderr + verdict.stdout


def test_help_has_an_example() -> None:
    text = " ".join(done("import", "--help").replace("│", " ").split())
    assert "prompt-oirl import lm-eval results --verdict exact_match,strict-match --out log.parquet" in text


def test_as_a_process_of_its_own(example: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "prompt_oirl", "import", "promptfoo", str(example / "results.json")]
    result = subprocess.run([*command, "--out", str(tmp_path / "a.csv")], capture_output=True, text=True)
    assert result.returncode == 0 and pd.read_csv(tmp_path / "a.csv").question.nunique() == 300, result.stderr
