"""Whatever stands in a file that the project reads: it is read, or refused in one line. Never a traceback."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_interactions
from made_logs import made_log

from prompt_oirl.alol import rows as alol_rows
from prompt_oirl.alol.models.checkpoints import read_tensors, write_tensors
from prompt_oirl.data import interactions
from prompt_oirl.data.prompts import load_instructions, load_prompts
from prompt_oirl.data.questions import load_own_questions
from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.arrays import load_array
from prompt_oirl.io.files import InputError
from prompt_oirl.io.manifest import Manifest, check_finished
from prompt_oirl.llms.budget import Budget
from prompt_oirl.opro import runs
from prompt_oirl.opro.evaluation import best_instructions
from prompt_oirl.opro.proposals import Proposal, Proposer
from prompt_oirl.opro.shared_log import Spending, Stage

JSON_VALUES = [None, True, -1, 2**70, 1e308, float("nan"), float("-inf"), "", "a\nb", "\ud800", [], {}, [[1]]]
BYTES = [
    b'"',
    b"\n",
    b"\x00",
    b"\xff\xfe",
    b"{",
    b"]",
    b",",
    b"1_0",
    "１".encode(),
    b"NaN",
    b"\\ud800",
    b"[" * 3000,
]


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes of a file changed, left out, doubled or put in."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, n = rng.randrange(len(found) + 1), rng.choice([1, 2, 8, 100])
        match rng.randrange(5):
            case 0:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del found[at : at + n]
            case 2:
                found[at:at] = found[at : at + n]
            case 3:
                found[at:at] = rng.choice(BYTES)
            case 4:
                found = found[: rng.randrange(len(found) + 1)]
    return bytes(found)


def mutated_json(text: str, rng: random.Random) -> str:
    """One value somewhere in JSON, or in one of its lines, of another kind, gone, or under a doubled key."""
    lines = text.split("\n") if "\n{" in text else [text]
    i = rng.randrange(len(lines))
    try:
        root = at = {"": json.loads(lines[i])}
    except ValueError:
        return text
    key: Any = ""
    while isinstance(at[key], dict | list) and at[key] and rng.random() < 0.8:
        at = at[key]
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
    match rng.randrange(4):
        case 0 if isinstance(at, dict) and key:
            del at[key]
        case 1 if isinstance(at, dict) and key:
            at[f"{key}x"] = at[key]
        case _:
            at[key] = rng.choice(JSON_VALUES)
    lines[i] = json.dumps(root[""])
    return "\n".join(lines)


LOG = made_log(20)
ROWS = [asdict(row) for row in tiny_interactions(4, 2)]
PROPOSAL = asdict(
    Proposal(
        **{
            name: {"int": 1, "str": "a", "float": 0.5}[kind]
            for name, kind in Proposal.__annotations__.items()
        }
    )
)
RUN = {"position": "after", "parts_seed": 1, "task": "arith", "loop": {"steps": 3}, "hub": None}
TABLE = "prompt_id,kind,instruction,train\na,measured,Think.,0.5\nb,measured,Go.,0.25\n"
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "csv": ("log.csv", read_log),
    "jsonl": ("log.jsonl", read_log),
    "json": ("log.json", read_log),
    "parquet": ("log.parquet", read_log),
    "served": ("served-1.jsonl", lambda path: read_log(path.parent)),
    "interactions": ("a_interactions.jsonl", lambda path: list(interactions.read(path, hint="repair it"))),
    "interactions_parquet": ("a.parquet", lambda path: list(interactions.read(path, hint="repair it"))),
    "npy": ("labels.npy", lambda path: load_array(path, hint="run it again", ndim=2, labels=True)),
    "prompts": ("prompts.csv", load_prompts),
    "instructions": ("instructions.csv", lambda path: load_instructions(path, None)),
    "questions": ("questions.jsonl", lambda path: load_own_questions(path, "own")),
    "proposals": ("proposals.jsonl", lambda path: Proposer(list, "x", path, 0, Budget())),  # type: ignore[arg-type]
    "spent": ("spent.jsonl", lambda path: Spending(path).before()),
    "settings": ("run.json", lambda path: (runs.check_settings(path, RUN), runs.read_settings(path))),
    "trajectory": ("trajectory.csv", lambda path: best_instructions(path, 2)),
    "checkpoint": ("state.safetensors", lambda path: read_tensors(path, "train again")),
    "manifest": ("step.json", lambda path: check_finished(path, path.parent, "run it again")),
    "rows": ("rows.jsonl", lambda path: alol_rows.read_rows(path, "toy", 1.0)),
}


def write(kind: str, path: Path) -> None:
    """A whole file of the kind."""
    if kind in ("csv", "jsonl", "json", "parquet"):
        {
            "csv": lambda: LOG.to_csv(path, index=False),
            "jsonl": lambda: LOG.to_json(path, orient="records", lines=True),
            "json": lambda: LOG.to_json(path, orient="records"),
            "parquet": lambda: LOG.to_parquet(path),
        }[kind]()
    elif kind == "served":
        rows = [
            {"schema": 1, "id": str(i), "status": 200, "question": f"Q{i % 9}?", "prompt": f"P{i % 2}"}
            | {"answer": "1", "correct": i % 3 > 0, "propensity": 0.5, "time": "2026-01-01T00:00:00"}
            for i in range(20)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"feedback": "3", "correct": 1}]))
    elif kind == "interactions":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "interactions_parquet":
        pd.DataFrame(ROWS).to_parquet(path)
    elif kind == "npy":
        np.save(path, np.eye(4, dtype=np.float32))
    elif kind in ("prompts", "instructions"):
        path.write_text(
            'prompt_id,role,position,text\na,train,after,"Think, then answer."\nb,train,after,Go.\n'
        )
    elif kind == "questions":
        path.write_text('{"question": "How many?", "gold": "1", "id": "a"}\n{"question": "2?", "gold": 2}\n')
    elif kind == "proposals":
        path.write_text((json.dumps(PROPOSAL) + "\n") * 2)
    elif kind == "spent":
        path.write_text(json.dumps(asdict(Stage(1, "train", 3, 2))) + "\n")
    elif kind == "settings":
        path.write_text(json.dumps(RUN))
    elif kind == "trajectory":
        path.write_text(TABLE)
        (path.parent / "run.json").write_text(json.dumps(RUN))
    elif kind == "checkpoint":
        import torch

        write_tensors(path, {"a": torch.ones(3)}, {"key": "x", "outcome": "{}"})
    elif kind == "manifest":
        Manifest(path, {"a": 1}, [], path.parent).finish([])
    else:
        row = alol_rows.Row("a", "Why?", "Because.", {"final_reward": 0.5}, group="g")
        alol_rows.write_rows(path, [row, row.__class__(**{**asdict(row), "id": "b"})], "toy")


def check(kind: str, data: bytes, path: Path) -> bool:
    """Whether the file is read; if it is not, the refusal is one line that names the file."""
    path.write_bytes(data)
    try:
        READERS[kind][1](path)
    except InputError as error:
        assert str(error).isprintable() and (path.name in str(error) or str(path.parent) in str(error)), error
        return False
    return True


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", READERS)
def test_a_mutated_file_is_read_or_refused(kind: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / READERS[kind][0]
    write(kind, path)
    whole = path.read_bytes()
    assert check(kind, whole, path), "the file before any change"
    rng, refused = random.Random(kind), 0
    tries = int(os.environ.get("PROMPT_OIRL_FUZZ", "25"))
    for _ in range(tries):
        data = mutated_bytes(whole, rng)
        if path.suffix in (".json", ".jsonl") and rng.random() < 0.6:
            data = mutated_json(whole.decode(), rng).encode("utf-8", "surrogatepass")
        refused += not check(kind, data, path)
    assert refused
