"""Damaged files of each tool: read as well as can be, or refused in one line."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from damaged_files import damaged
from tool_files import (
    ANN,
    BOX,
    PROGRAM,
    RESULTS,
    STEPS,
    TEMPLATE_STEPS,
    annotation,
    batch_lines,
    evals_events,
    inspect_log,
    inspect_sample,
    llm_span,
    pack_eval,
    payload,
    promptfoo_results,
    write,
    write_lm_eval,
)

from prompt_oirl.importers import IMPORTERS
from prompt_oirl.importers.log_file import read_answers, write_log
from prompt_oirl.io.files import InputError
from prompt_oirl.io.table_output import ENDINGS

SECONDS = 5  # no input takes longer
VERDICTS = {"lm-eval": ["acc", "acc,none"], "promptfoo": ["equals", "latency", "Status", "m"]}


def files_of(tool: str, folder: Path) -> list[Path]:
    """Whole files of a tool; a test damages one of them at a time."""
    if tool == "lm-eval":
        write_lm_eval(folder, {"cot": "Q: {{question}}\nA:", "plain": "{{ doc.question | trim }}"})
        return sorted(folder.iterdir())
    if tool == "promptfoo":
        results = promptfoo_results(["Q: {{question}} Think.", "{{question}}"], "equals", "latency")
        table = f"question,[tiny] Q,Status,Score,Metric: m\n{ANN},7,PASS,1.00,1.00\n{BOX},7,FAIL,0.00,\n"
        (folder / "table.csv").write_text(table, encoding="utf-8")
        rows = [row | {"promptIdx": 0} for row in results["results"]["results"][::2]]
        return [
            write(folder / "all.json", results),
            write(folder / "lines.jsonl", rows),
            folder / "table.csv",
        ]
    if tool == "inspect":
        log = inspect_log([inspect_sample(ANN, "C"), inspect_sample(BOX, "I")], TEMPLATE_STEPS)
        return [pack_eval(folder / "log.eval", log), write(folder / "log.json", log)]
    if tool == "traces":
        spans = {"data": [llm_span("1", ANN), llm_span("2", BOX) | {"parent_id": "s1"}]}
        otlp = {"spanId": "s3", "attributes": [{"key": "input.value", "value": {"stringValue": ANN}}]}
        langfuse = {
            "id": "o",
            "traceId": "t",
            "type": "GENERATION",
            "input": ANN,
            "output": "7",
            "promptName": "p",
        }
        prompt = {"name": "p", "version": 1, "prompt": "x{{y}}"}
        return [
            write(folder / "spans.json", spans),
            write(folder / "more.jsonl", [annotation("s1", 1), otlp, langfuse, prompt]),
        ]
    if tool == "openai-batch":
        requests, replies = batch_lines([ANN, BOX])
        return [write(folder / "in.jsonl", requests), write(folder / "out.jsonl", replies)]
    if tool == "litellm":
        return [write(folder / "calls.jsonl", [payload(ANN), payload(BOX)])]
    if tool == "openai-evals":
        return [write(folder / "log.jsonl", evals_events())]
    if tool == "log":
        sent = [{"prompt": f"{p}{q}", "question": q, "correct": 1} for p in ("", "Q: ") for q in (ANN, BOX)]
        table = "prompt,correct,cost\n" + f"{ANN},1,0.5\n{STEPS} {ANN},PASS,\n{STEPS} {BOX},0,1\n"
        (folder / "sent.csv").write_text(table, encoding="utf-8")
        return [write(folder / "log.jsonl", sent), folder / "sent.csv"]
    assert tool == "dspy"
    table = "question,example_answer,pred_answer,exact\n" + f"{ANN},7,7,True\n{BOX},7,8,False\n"
    (folder / "eval.csv").write_text(table, encoding="utf-8")
    return [
        write(folder / "program.json", PROGRAM),
        write(folder / "eval.json", RESULTS),
        folder / "eval.csv",
    ]


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check_rows(rows: list[Any]) -> None:
    """Each row is one that a log can hold."""
    assert rows
    for row in rows:
        assert row.question.strip() and row.prompt is not None
        assert row.correct is None or 0 <= row.correct <= 1
        for said in (row.question, row.prompt, row.answer, row.llm, row.group, row.prompt_id, row.gold):
            (said or "").encode("utf-8")  # no half of a surrogate pair
        for number in (row.sample, row.tokens_in, row.tokens_out, row.cost):
            assert number is None or 0 <= number < 2**63


# All tools: 11,250 files where the slow tests run.
@pytest.mark.parametrize("times", [100, pytest.param(1250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tool", list(IMPORTERS))
def test_damaged_files_are_read_or_refused_in_one_line(tool: str, times: int, tmp_path: Path) -> None:
    files_here = tmp_path / "files"
    files_here.mkdir()
    files = files_of(tool, files_here)
    whole = {path: path.read_bytes() for path in files}
    rng = random.Random(17)
    refused = 0
    for i in range(times):
        path = rng.choice(files)
        path.write_bytes(damaged(rng, whole[path], path.name))
        named = [path] if tool == "promptfoo" else files
        verdict = rng.choice([None, *VERDICTS.get(tool, [])])
        with no_longer_than(SECONDS):
            try:
                found = read_answers(tool, named, verdict)
                write_log(tmp_path / f"log{ENDINGS[i % 3]}", found.rows, append=False)
            except InputError as error:
                refused += 1
                message = str(error)
                assert message.isprintable() and len(message) < 2_000, message
            else:
                check_rows(found.rows)
                assert all(note.isprintable() for note in found.notes)
        path.write_bytes(whole[path])
    assert times / 30 < refused < times - times / 30  # both happen
