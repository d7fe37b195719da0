"""Damaged files of every kind that is read: read as well as can be, or refused in one line; no crash."""

from __future__ import annotations

import gzip
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from conftest import tiny_interactions
from damaged_files import SECONDS, VERDICTS, check_rows, damaged, files_of, no_longer_than
from made_logs import made_log

from prompt_oirl import PromptSelector
from prompt_oirl.importers import IMPORTERS
from prompt_oirl.io.files import InputError, content_key, sha256
from torture.commands import some_name

FILES = 100  # damaged ones of a try
MEMORY = 2**30  # bytes that they may take
Reader = Callable[[Path], object]


def read_user_log(path: Path) -> None:
    from prompt_oirl.data.user_log import read_log

    log = read_log(path)
    assert np.isfinite(log.correct).all() and log.correct.min() >= 0 and log.correct.max() <= 1
    assert all(text.strip() for text in log.questions) and all(note.isprintable() for note in log.notes)


def read_served_log(path: Path) -> None:
    read_user_log(path.parent)


def read_interactions(path: Path) -> None:
    from prompt_oirl.data import interactions

    for row in interactions.read(path, hint="do this"):
        assert 0 <= row.correct <= 1 and isinstance(row.question, str) and isinstance(row.prompt, str)


def read_prompts(path: Path) -> None:
    from prompt_oirl.data.prompts import load_prompts

    load_prompts(path)


def read_instructions(path: Path) -> None:
    from prompt_oirl.data.prompts import load_instructions

    load_instructions(path, None)


def read_questions(path: Path) -> None:
    from prompt_oirl.data.questions import load_own_questions

    for question in load_own_questions(path, "toy"):
        assert question.text.strip() and question.gold


def read_question_texts(path: Path) -> None:
    from prompt_oirl.io.tables import read_text_table, texts

    texts(read_text_table(str(path), "question", lines=True), "question", f"{path}:")


def read_plan(path: Path) -> None:
    from prompt_oirl.data.prompts import Prompt
    from prompt_oirl.data.questions import Question
    from prompt_oirl.llms.planned import planned_items

    planned_items(path, [Question("q", "Why?", "7", "test")], [Prompt("p", "Think.", "train", "after")], "m")


def read_array(path: Path) -> None:
    from prompt_oirl.io.arrays import load_array

    assert np.isfinite(load_array(path, hint="do this", ndim=2)).all()


def read_manifest(path: Path) -> None:
    from prompt_oirl.io.manifest import check_finished

    check_finished(path, path.parent, "do this")


def read_alol_rows(path: Path) -> None:
    from prompt_oirl.alol.rows import read_rows

    read_rows(path, "toy", 1.0)


def read_vectors(path: Path) -> None:
    from prompt_oirl.features.cache import _read_cache

    _read_cache(path)


def read_checkpoint(path: Path) -> None:
    from prompt_oirl.alol.models.checkpoints import read_tensors

    read_tensors(path, "do this")


def read_selector(path: Path) -> None:
    """As somebody changed it who knows how hashes are computed."""
    header = path.parent / "selector.json"
    try:
        held = json.loads(header.read_bytes())
        if path.suffix == ".safetensors":
            held["files"][path.name.partition("-")[0]]["sha256"] = sha256(path)
        held.pop("check", None)
        header.write_text(json.dumps({**held, "check": content_key(held)}))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    probabilities = PromptSelector.load(path.parent).predict_proba(["Ann has 3 apples. How many?"])
    assert np.isfinite(probabilities).all()


def table_as(name: str) -> Callable[[Path], Path]:
    """Writes a log of a user under this name."""

    def make(folder: Path) -> Path:
        log, path = made_log(12).drop(columns="kind").assign(answer="7", llm="m"), folder / name
        if name.endswith(".parquet"):
            log.to_parquet(path)
        elif name.endswith(".xlsx"):
            log.to_excel(path, index=False)
        elif "json" in name:
            data = log.to_json(orient="records", lines=name != "log.json").encode()
            path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        else:
            log.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
        return path

    return make


def text_as(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return make


def bytes_as(name: str, data: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data())
        return folder / name

    return make


def manifest_of_one_file(folder: Path) -> Path:
    (folder / "a").write_bytes(b"")
    outputs = {"a": sha256(folder / "a")}
    return text_as("manifest.json", json.dumps({"key": "k", "outputs": outputs, "inputs": {}}))(folder)


def some_interactions(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from prompt_oirl.data import interactions

        interactions.write(folder / name, tiny_interactions(6, 4))
        return folder / name

    return make


def selector_as(model: str, which: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        PromptSelector("tfidf", model=model).fit(made_log(24)).save(folder)
        return next(folder.glob(which))

    return make


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(12.0).reshape(3, 4))
    return file.getvalue()


def tensors(**arrays: Any) -> bytes:
    from safetensors.numpy import save

    return save(arrays, metadata={"key": "x"})


def alol_row(i: int) -> str:
    row: dict[str, Any] = {"id": f"r{i}", "prompt_or_input_text": "Ann?", "references": "7", "meta_data": {}}
    return (
        json.dumps({**row, "reward_components": {"final_reward": 0.5}, "task": "toy", "ended": True}) + "\n"
    )


SERVED = {"schema": 1, "question": "How?", "llm": "m", "prompt": "a", "prompt_id": "A", "position": "before"}
SERVED |= {"answer": "x", "correct": 1, "status": 200, "cost": None, "propensity": 0.5, "policy": "f" * 16}
QUESTIONS = "question,gold,split,kind\nWhat is 2 + 3?,5,test,number\nWhat is 3 + 3?,6,train,number\n"
PROMPTS = 'prompt_id,role,position,text\na,train,after,"Think, then"\nb,held_out,before,Answer:\n'
VECTORS = {"keys": np.zeros((2, 16), np.uint8), "vectors": np.ones((2, 4), np.float32)}
KINDS: dict[str, tuple[Callable[[Path], Path], Reader]] = {
    **{
        name: (table_as(name), read_user_log)
        for name in (
            *("log.csv", "log.tsv", "log.jsonl", "log.ndjson", "log.json", "log.jsonl.gz", "log.parquet"),
            "log.xlsx",
        )
    },
    "served.jsonl": (
        text_as(
            "served-20261129T221500Z-0.jsonl",
            "".join(json.dumps(SERVED | {"id": f"i{i}"}) + "\n" for i in range(4))
            + '{"feedback": "i0", "correct": 0}\n',
        ),
        read_served_log,
    ),
    "interactions.jsonl": (some_interactions("interactions.jsonl"), read_interactions),
    "interactions.parquet": (some_interactions("interactions.parquet"), read_interactions),
    "prompts.csv": (text_as("prompts.csv", PROMPTS), read_prompts),
    "instructions.csv": (text_as("instructions.csv", PROMPTS), read_instructions),
    "questions.csv": (text_as("questions.csv", QUESTIONS), read_questions),
    "questions.jsonl": (
        text_as("questions.jsonl", '{"question": "What is 2 + 3?", "gold": 5, "split": "train"}\n' * 1),
        read_questions,
    ),
    "questions.txt": (text_as("questions.txt", "What is 2 + 3?\nWhy?\n"), read_question_texts),
    "plan.jsonl": (
        text_as("plan.jsonl", '{"question": "Why?", "prompt": "Think.", "sample": 0}\n'),
        read_plan,
    ),
    "array.npy": (bytes_as("array.npy", npy), read_array),
    "manifest.json": (manifest_of_one_file, read_manifest),
    "rows.jsonl": (text_as("rows.jsonl", "".join(map(alol_row, range(4)))), read_alol_rows),
    "vectors.safetensors": (bytes_as("vectors.safetensors", lambda: tensors(**VECTORS)), read_vectors),
    "checkpoint.safetensors": (
        bytes_as("checkpoint.safetensors", lambda: tensors(weight=np.ones((4, 4), np.float32))),
        read_checkpoint,
    ),
    "selector.json": (selector_as("interaction", "selector.json"), read_selector),
    "model.safetensors": (selector_as("interaction", "model-*"), read_selector),
    "embedder.safetensors": (selector_as("interaction", "embedder-*"), read_selector),
    "xgboost.safetensors": (selector_as("xgboost", "model-*"), read_selector),
    "lightgbm.safetensors": (selector_as("lightgbm", "model-*"), read_selector),
}
CASES = (*KINDS, *(f"import-{tool}" for tool in IMPORTERS))


def attempt(case: str, rng: random.Random, work: Path) -> int:
    """A hundred damaged files of one kind, read by a process of their own."""
    place = some_name(rng, work)
    whole(case, work)
    child = multiprocessing.get_context("fork").Process(target=_read_all, args=(case, rng, place, work))
    child.start()
    child.join(FILES * SECONDS)
    if child.is_alive():
        child.kill()
        raise AssertionError(f"{case}: hangs where no signal is heard")
    last = (place / "last").read_text() if (place / "last").exists() else ""
    assert child.exitcode == 0, f"{case}: exit status {child.exitcode} {last}"
    shutil.rmtree(place)
    return FILES


@cache
def whole(case: str, work: Path) -> list[Path]:
    """Whole files that are to be damaged, alone in their folder but for what belongs to them."""
    folder = work / "whole" / case
    folder.mkdir(parents=True)
    if case.startswith("import-"):
        return files_of(case.removeprefix("import-"), folder)
    return [KINDS[case][0](folder)]


def _read_all(case: str, rng: random.Random, place: Path, work: Path) -> None:
    import psutil

    os.environ["TMPDIR"] = str(place)
    before = psutil.Process().memory_info()
    resource.setrlimit(resource.RLIMIT_AS, (before.vms + 3 * MEMORY,) * 2)
    files = whole(case, work)
    shutil.copytree(files[0].parent, place)
    target = [place / file.name for file in files]
    _read(case, target[0], target)  # imports may take longer than a file
    for _ in range(FILES):
        path = rng.choice(target)
        data = path.read_bytes()
        path.write_bytes(damaged(rng, data, path.name))
        kept = place / f"damaged-{path.name}"
        (place / "last").write_text(f"at {kept}")
        others = {p: p.read_bytes() for p in place.iterdir() if p.suffix == ".json"}
        with no_longer_than(SECONDS):
            try:
                _read(case, path, target, rng.choice([None, *VERDICTS.get(case.removeprefix("import-"), [])]))
            except InputError as error:
                assert not case.startswith("import-") or str(error).isprintable(), str(error)
            except BaseException:
                shutil.copy(path, kept)
                (place / "last").write_text(f"{traceback.format_exc()[-1500:]}\nat {kept}")
                os._exit(1)
        for other, held in others.items():
            other.write_bytes(held)
        path.write_bytes(data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before.rss
    assert grown < MEMORY, f"{case} took {grown / 2**20:.0f} MiB"


def _read(case: str, path: Path, all_files: list[Path], verdict: str | None = None) -> None:
    if not case.startswith("import-"):
        KINDS[case][1](path)
        return
    from prompt_oirl.importers.log_file import read_answers

    tool = case.removeprefix("import-")
    check_rows(read_answers(tool, [path] if tool == "promptfoo" else all_files, verdict).rows)
