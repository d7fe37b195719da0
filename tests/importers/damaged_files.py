"""Damaged copies of a file: bytes changed, values replaced by others; and whole files of each tool."""

from __future__ import annotations

import io
import json
import random
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

SECONDS = 5  # no input takes longer
VERDICTS = {"lm-eval": ["acc", "acc,none"], "promptfoo": ["equals", "latency", "Status", "m"]}
ODD = [
    None,
    True,
    -1,
    0,
    2.5,
    float("nan"),
    10**400,
    "",
    "x",
    "\ud800",
    "a\nb\x1b[2J",
    [],
    {},
    [[]],
    {"": {}},
]


ODD_CELLS = [
    *(
        b"",
        b'"',
        b'""',
        b"'",
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"nan",
        b"inf",
        b"-1",
        b"1e999",
        b"1_0",
    ),
    *("\uff11".encode(), "\u2028".encode(), "\u202e".encode(), b"\x1b[2J", b"=1+1", b",,,,", b"x" * 200_000),
    *(b"9" * 5_000, b"[" * 10_000, b'"\n\n', b"1\n2", b"0x10", b"TRUE"),
]


def damaged(rng: random.Random, data: bytes, name: str) -> bytes:
    """A copy of a file with one to three changes. Parameters: what it holds, and its name."""
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.3:
            data = _bytes_changed(rng, data)
        elif name.endswith(".eval"):
            data = _member_changed(rng, data)
        elif name.endswith((".csv", ".tsv", ".txt")):
            data = _cell_changed(rng, data)
        else:
            data = _values_changed(rng, data, lines=name.endswith(".jsonl"))
    return data


def _bytes_changed(rng: random.Random, data: bytes) -> bytes:
    at, size = rng.randrange(len(data) + 1), rng.randint(1, 200)
    kind = rng.randrange(4)
    if kind == 0:
        return data[:at] + data[at + size :]
    if kind == 1:
        return data[:at] + data[at : at + size] * 2 + data[at + size :]
    if kind == 2:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    return data[:at] + b"[" * 100_000 + data[at:]


def _cell_changed(rng: random.Random, data: bytes) -> bytes:
    """A cell replaced by an odd one, or a separator too many."""
    marks = [i for i, byte in enumerate(data) if byte in b",\t\n"]
    if len(marks) < 2:
        return _bytes_changed(rng, data)
    i = rng.randrange(len(marks) - 1)
    return data[: marks[i] + 1] + rng.choice(ODD_CELLS) + data[marks[i + 1] :]


def _member_changed(rng: random.Random, data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # damaged before
        return _bytes_changed(rng, data)
    changed = rng.choice(list(members))
    members[changed] = _values_changed(rng, members[changed], lines=False)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, held in members.items():
            if rng.random() > 0.02:
                archive.writestr(name, held)
    return out.getvalue()


def _values_changed(rng: random.Random, data: bytes, lines: bool) -> bytes:
    try:
        rows = [json.loads(line) for line in data.splitlines()] if lines else [json.loads(data)]
    except (ValueError, RecursionError):
        return _bytes_changed(rng, data)
    if not rows:
        return data
    i = rng.randrange(len(rows))
    rows[i] = _value_changed(rng, rows[i])
    if lines and rng.random() < 0.1:
        rows = rng.sample(rows, k=rng.randint(0, len(rows))) + rows[:1]
    return b"\n".join(json.dumps(row).encode() for row in rows) + b"\n" * lines


def _value_changed(rng: random.Random, value: Any) -> Any:
    """A value with a random part of it replaced, taken away, or put in twice."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        parts = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, part in parts:
            places.append((one, key))
            waiting.append(part)
    if not places:
        return rng.choice(ODD)
    holder, key = rng.choice(places)
    if rng.random() < 0.3:
        del holder[key]
    elif isinstance(holder, list) and rng.random() < 0.3:
        holder.append(holder[key])
    else:
        holder[key] = rng.choice(ODD)
    return value


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
    """Raise TimeoutError in what takes more of the processor, whatever else runs on the machine."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


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
