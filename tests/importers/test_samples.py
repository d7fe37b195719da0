"""Real files of the tools become logs, with the counts that reading the files by eye gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from tool_files import sample_folder

from prompt_oirl.data.user_log import read_log
from prompt_oirl.importers.log_file import read_answers, write_log
from prompt_oirl.io.files import InputError

POPULARITY = "2025-02-11T15-17-00-05-00_popularity_dPiJifoWeEQBrfWsAopzWr.eval"
DSPY = ("prog.json", "dspy_eval.json")
DSPY_TABLE = ("prog.json", "dspy_eval.csv")
# tool, folder, files, verdict; answers, questions, prompts, right and graded answers, last repeat
SAMPLES = [
    ("lm-eval", "lmeval", (), "exact_match,strict-match", (6, 3, 2, 0, 6, 0)),
    ("lm-eval", "lmeval", (), "flexible-extract", (6, 3, 2, 0, 6, 0)),
    ("promptfoo", "promptfoo", ("results.json",), "contains", (8, 2, 2, 0, 8, 1)),
    ("promptfoo", "promptfoo", ("results.json",), "has12", (8, 2, 2, 4, 4, 1)),
    ("promptfoo", "promptfoo", ("results.jsonl",), "has12", (8, 2, 2, 4, 4, 1)),
    ("promptfoo", "promptfoo", ("results.csv",), "has12", (8, 2, 2, 4, 4, 1)),
    ("inspect", "inspect", (POPULARITY,), None, (10, 10, 1, 0, 0, 0)),
    ("inspect", "inspect", ("2025-05-12T20-28-13-04-00_popularity.json",), None, (3, 3, 1, 2, 3, 0)),
    ("inspect", "inspect", ("2025-05-12T20-28-26-04-00_security-guide.json",), None, (3, 3, 1, 3, 3, 0)),
    ("inspect", "inspect", ("log_formats.eval",), None, (1, 1, 1, 0, 1, 0)),
    ("inspect", "inspect", ("log_formats.eval", "log_formats.json"), None, (1, 1, 1, 0, 1, 0)),
    ("inspect", "inspect", ("mmlu-no-summary-choices.eval",), None, (1, 1, 1, 0, 1, 0)),
    ("openai-batch", "openai_batch", (), None, (1, 1, 1, 0, 0, 0)),
    ("litellm", "litellm", (), None, (1, 1, 1, 0, 0, 0)),
    ("openai-evals", "openai_evals", (), None, (2, 2, 1, 1, 2, 0)),
    ("dspy", "dspy", DSPY, None, (2, 2, 1, 1, 2, 0)),
    ("dspy", "dspy", DSPY_TABLE, None, (2, 2, 1, 1, 2, 0)),
    ("dspy", "dspy", (*DSPY, DSPY_TABLE[1]), None, (2, 2, 1, 1, 2, 0)),  # the same evaluation twice
]


@pytest.mark.parametrize(("tool", "folder", "names", "verdict", "expected"), SAMPLES)
def test_samples(
    tool: str,
    folder: str,
    names: tuple[str, ...],
    verdict: str | None,
    expected: tuple[int, ...],
    tmp_path: Path,
) -> None:
    here = sample_folder(folder)
    out = tmp_path / "log.parquet"
    found = read_answers(tool, [here / name for name in names] or [here], verdict)
    log = write_log(out, found.rows, append=False).log
    correct, repeats = log["correct"].dropna().astype(float), log.get("sample", 0 * log.index.to_series())
    assert (
        len(log),
        log["question"].nunique(),
        log["prompt"].nunique(),
        correct.sum(),
        len(correct),
        repeats.max(),
    ) == expected
    if len(correct):
        assert read_log(out).correct.tolist() == correct.tolist()
    else:
        with pytest.raises(InputError, match="no row with a verdict; prompt-oirl grade"):
            read_log(out)
    assert write_log(out, found.rows, append=True).held == len(log)  # once more: nothing twice
