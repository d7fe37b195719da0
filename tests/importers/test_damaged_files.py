"""Damaged files of each tool: read as well as can be, or refused in one line."""

import random
from importlib import import_module

import pytest
from damaged_files import damaged
from made_tool_files import (
    ANN,
    BOX,
    PROGRAM,
    RESULTS,
    TEMPLATE_STEPS,
    annotation,
    batch_lines,
    evals_events,
    inspect_log,
    inspect_sample,
    llm_span,
    pack_eval,
    payload,
    write,
)

from prompt_oirl.importers import IMPORTERS
from prompt_oirl.io.files import InputError

TIMES = 300


def files_of(tool, folder):
    """Whole files of a tool; a test damages one of them at a time."""
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
    assert tool == "dspy"
    table = "question,example_answer,pred_answer,exact\n" + f"{ANN},7,7,True\n{BOX},7,8,False\n"
    (folder / "eval.csv").write_text(table, encoding="utf-8")
    return [
        write(folder / "program.json", PROGRAM),
        write(folder / "eval.json", RESULTS),
        folder / "eval.csv",
    ]


@pytest.mark.parametrize("tool", ["inspect", "traces", "openai-batch", "litellm", "openai-evals", "dspy"])
def test_damaged_files_are_read_or_refused_in_one_line(tool, tmp_path):
    read = import_module(f"prompt_oirl.importers.{IMPORTERS[tool]}").read
    files = files_of(tool, tmp_path)
    whole = {path: path.read_bytes() for path in files}
    rng = random.Random(17)
    refused = 0
    for _ in range(TIMES):
        path = rng.choice(files)
        path.write_bytes(damaged(rng, whole[path], path.name))
        try:
            found = read(files, None)
        except InputError as error:
            refused += 1
            message = str(error)
            assert message.isprintable() and len(message) < 2_000, message
        else:
            assert found.rows
            for row in found.rows:
                assert row.question.strip()
                assert row.correct is None or 0 <= row.correct <= 1
                for said in (
                    row.question,
                    row.prompt,
                    row.answer,
                    row.llm,
                    row.group,
                    row.prompt_id,
                    row.gold,
                ):
                    (said or "").encode("utf-8")  # no half of a surrogate pair
                for number in (row.sample, row.tokens_in, row.tokens_out, row.cost):
                    assert number is None or 0 <= number < 2**63
            assert all(note.isprintable() for note in found.notes)
        path.write_bytes(whole[path])
    assert 10 < refused < TIMES - 10  # both happen
