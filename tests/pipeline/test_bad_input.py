"""Broken input, full disks, wrong flags: one line names file and hint, and nothing written is lost."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import resource
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import STEPS, run_step, step_command, tiny_interactions
from tiny_runs import SMALL, read, tiny_runs, write_log

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.io.files import REPO_ROOT

LABELS, VECTORS, MODELS = "llama_exps/LMtiny", "embeddings/tiny/toy", "llama_exps/tiny_models"
LOG = f"{LABELS}/toy_interactions.jsonl"
FULL_MODEL = f"{MODELS}/toy_xgboost_0_1_2_paper"
Change = Callable[[Path], Any]


def hashes(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file()
    }


def check_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit status not 0 and one line on stderr, which holds all words."""
    assert result.returncode != 0, result.stdout
    assert result.stderr.startswith("error: ") and result.stderr.endswith("\n"), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr, (word, result.stderr)


def refused(number: int, root: Path, *flags: str, words: Sequence[str] = ()) -> None:
    """The step must refuse, and leave every file as it was."""
    before = hashes(root)
    check_refused(run_step(number, root, *flags, check=False), *words)
    assert hashes(root) == before


@pytest.fixture
def finished(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A root of one's own in which all steps ran."""
    return Path(shutil.copytree(tiny_runs(tmp_path_factory) / "finished", tmp_path / "root"))


def change(path: Path, how: Change | bytes) -> None:
    if isinstance(how, bytes):
        path.write_bytes(how)
    else:
        how(path)


def cut(path: Path) -> None:
    """Lose the second half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path: Path) -> None:
    """Change one bit of the last byte."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def replace(old: bytes, new: bytes, count: int = 1) -> Change:
    def how(path: Path) -> None:
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new, count))

    return how


# --- a step that was left out ------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--dataset", "toy")])
@pytest.mark.parametrize(
    ("number", "named"), [(2, "toy_interactions.jsonl"), (3, STEPS[2]), (4, STEPS[3]), (5, STEPS[4])]
)
def test_a_missing_step_is_named(
    number: int, named: str, flags: tuple[str, ...], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    root = tmp_path / "root"
    shutil.copytree(tiny_runs(tmp_path_factory) / str(max(2, number - 1)), root)
    if number == 2:
        (root / LOG).unlink()
        named = (
            "_interactions.jsonl" if not flags else named
        )  # without a dataset there is no full name to give
    refused(number, root, *flags, words=[named])


def test_vectors_of_more_assignments_need_step_3(finished: Path):
    refused(4, finished, "--assignments", "2", "--split", "crossfit", "--subsets", "3", words=[STEPS[3]])


# --- flags -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "flags", "words"),
    [
        (2, ["--dataset", "unknown"], ["unknown", "toy"]),
        (3, ["--dataset", "toy,unknown"], ["unknown", "toy"]),
        (4, ["--subsets", "9"], ["--subsets 9", "1 to 3"]),
        (4, ["--subsets", "abc"], ["--subsets abc"]),
        (4, ["--subsets", "0"], ["--subsets 0"]),
        (4, ["--preset", "paper", "--model", "linear"], ["--preset", "linear"]),
        (5, ["--preset", "paper", "--model", "linear"], ["--preset", "linear"]),
        (4, ["--assignments", "51"], ["50"]),
        (4, ["--assignments", "0"], ["--assignments"]),
        (5, ["--assignments", "-1"], ["--assignments"]),
        (3, ["--assignments", "0"], ["--assignments"]),
        (4, ["--jobs", "0"], ["--jobs 0", "-1 for one per core"]),
        (4, ["--jobs", "-5"], ["--jobs -5", "-1 for one per core"]),
        (4, ["--seed", "-1"], ["--seed"]),
        (3, ["--seed", "-1"], ["--seed"]),
        (5, ["--price", "nan"], ["--price"]),
        (5, ["--price", "-1"], ["--price"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else str(value),
)
def test_flags(number: int, flags: list[str], words: list[str], finished: Path):
    refused(number, finished, *flags, words=words)


# --- the interaction log -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (cut, ["not valid JSON"]),
        (b"", ["no interactions"]),
        (
            lambda path: path.write_bytes(path.read_bytes() + path.read_bytes().split(b"\n")[0] + b"\n"),
            ["stands twice"],
        ),
        (lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()), []),
        (b"[" * 100_000 + b"\n", []),
        (b'{"schema": 1}\n', [":1", "missing fields"]),
        (replace(b'"schema": 1', b'"schema": 2'), [":1", "schema"]),
        (replace(b'"correct": 1.0', b'"correct": NaN'), ["correct"]),
        (replace(b'"correct": 1.0', b'"correct": [1]'), ["correct"]),
        (replace(b'"sample": 0', b'"sample": [0]'), ["sample"]),
        (replace(b'"answer": "The', b'"answer": 7, "finish_reason": "The'), ["answer"]),
        (replace(b'"question_id": "toy-1"', b'"question_id": "toy-0"'), ["toy-0"]),
    ],
    ids=[
        "cut",
        "empty",
        "twice",
        "not_utf8",
        "deep",
        "fields",
        "schema",
        "nan",
        "list",
        "sample",
        "answer",
        "two_questions",
    ],
)
def test_a_broken_log(how: Change | bytes, words: list[str], finished: Path):
    change(finished / LOG, how)
    refused(2, finished, words=["toy_interactions.jsonl", *words])


@pytest.mark.parametrize("field", ["llm", "dataset", "grader", "temperature"])
def test_rows_of_another_kind_are_not_pooled(field: str, finished: Path):
    rows = tiny_interactions(**SMALL)
    rows[7] = dataclasses.replace(rows[7], **{field: 1.5 if field == "temperature" else "other"})
    write_log(finished, rows)
    refused(2, finished, words=["toy_interactions.jsonl", field])


def test_prompt_ids_stay_inside_the_folder(tmp_path: Path):
    """Prompt ids become file names; one that climbs out of the folder is refused."""
    root = tmp_path / "a" / "b" / "root"
    name = "../../../../escaped"
    write_log(
        root,
        [dataclasses.replace(r, prompt_id=name) for r in tiny_interactions(**SMALL) if r.prompt_id == "nan"],
    )
    table = tmp_path / "prompts.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [["prompt_id", "role", "position", "text"], [name, "train", "after", "Think."]]
        )
    before = hashes(tmp_path)
    check_refused(run_step(2, root, "--prompts", str(table), check=False), "prompts.csv", name)
    assert hashes(tmp_path) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"id,words\na,b\n", b"prompt_id,role,position,text\nnan,judge,after,x\n", b"\xff\xfet\0e\0"],
)
def test_a_broken_prompt_table(content: bytes, finished: Path, tmp_path: Path):
    table = tmp_path / "prompts.csv"
    table.write_bytes(content)
    refused(2, finished, "--prompts", str(table), words=["prompts.csv"])


# --- logs that are odd, not broken -------------------------------------------------------------------


def run_steps(root: Path, rows: Sequence[LogRow], *flags: str) -> list[subprocess.CompletedProcess[str]]:
    """Steps 2 to 5 until one refuses."""
    write_log(root, list(rows))
    results = []
    for number in STEPS:
        flags_of_step = flags if number > 3 else ()
        results.append(run_step(number, root, *flags_of_step, check=False))
        if results[-1].returncode:
            break
    return results


def question_number(row: LogRow) -> int:
    return int(row.question_id.removeprefix("toy-"))


@pytest.mark.parametrize(
    "kept",
    [
        lambda r: dataclasses.replace(r, correct=1.0),
        lambda r: dataclasses.replace(r, correct=0.0),
        lambda r: r if r.prompt_id in ("nan", "CoT", "APE") else None,
        lambda r: r if r.prompt_id == "nan" else None,
        lambda r: dataclasses.replace(r, question=str(question_number(r) + 10)),
    ],
    ids=["all_right", "all_wrong", "no_held_out_prompts", "one_prompt", "numbers_for_questions"],
)
def test_odd_logs_that_work(kept: Callable[[LogRow], LogRow | None], tmp_path: Path):
    rows = [row for row in map(kept, tiny_interactions(**SMALL)) if row is not None]
    every_prompt = str(len({r.prompt_id for r in rows if r.split == "train"}))
    results = run_steps(tmp_path, rows, "--split", "crossfit", "--subsets", every_prompt)
    assert [(r.returncode, r.stderr) for r in results] == [(0, "")] * 4
    summary = read(tmp_path / "results" / "tiny" / "toy" / "crossfit" / "summary.csv")
    rates = {r["selector"]: float(r["value"]) for r in summary if r["metric"] == "success_rate"}
    known = [row.correct for row in rows if row.split == "test"]
    if len(set(known)) == 1:
        assert rates["irl_0"] == rates["oracle"] == rates["random"] == known[0]
    assert ("held_out_only" in rates) == any(row.prompt_id.startswith("gpt4") for row in rows)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (lambda r: r.question_id == "toy-0", []),
        (lambda r: r.question_id in ("toy-0", "toy-45"), ["training questions"]),
        (lambda r: r.split == "train", ["test rows"]),
        (lambda r: r.split == "test", ["training rows"]),
    ],
    ids=["one_question", "one_question_each", "no_test_rows", "no_training_rows"],
)
def test_logs_too_small_are_refused(kept: Callable[[LogRow], bool], words: list[str], tmp_path: Path):
    results = run_steps(tmp_path, [row for row in tiny_interactions(**SMALL) if kept(row)])
    assert [(r.returncode, r.stderr) for r in results[:-1]] == [(0, "")] * (len(results) - 1)
    check_refused(results[-1], "toy", *words)


HOSTILE = {
    0: "How many " + "A" * 2_000_000,
    4: "1" * 1_000_000,
    8: "nul \0 and \0",
    12: "line\u2028paragraph\u2029next\x85tab\x0b\x0cend",
    16: "lone \ud800 surrogate \udfff",
    20: '=cmd|"/c calc"!A1',
    24: "+1+1",
    28: "@SUM(A1)",
    32: "\t=1",
    36: "",
    41: "\ud800",
    42: '=HYPERLINK("http://x.example";"click")',
    43: "\r\n\r",
    44: '"quo,ted"\n',
    45: "\u202eright to left\u202c \u00e9 e\u0301",
}


def test_hostile_texts_pass_through_unchanged(tmp_path: Path):
    rows = [
        dataclasses.replace(r, question=text, gold=text[:50], answer=text)
        if (text := HOSTILE.get(question_number(r))) is not None
        else r
        for r in tiny_interactions(**SMALL)
    ]
    results = run_steps(tmp_path, rows, "--subsets", "3", "--split", "paper")
    assert [(r.returncode, r.stderr) for r in results] == [(0, "")] * 4
    with (tmp_path / LABELS / "toy_questions.jsonl").open(encoding="utf-8", newline="\n") as file:
        questions = {row["question_id"]: row["question"] for row in map(json.loads, file)}
    assert questions == {r.question_id: r.question for r in rows}
    for table in tmp_path.rglob("*.csv"):  # tables hold ids and numbers, no text that a spreadsheet would run
        assert not any(cell.startswith(("=", "+", "@", "\t")) for row in read(table) for cell in row.values())


def test_hostile_question_ids(tmp_path: Path):
    names = {40: "\ud800", 41: "a\nb", 42: "=cmd()", 43: "a\0b", 44: "a\u2028b", 45: ""}
    rows = [
        dataclasses.replace(r, question_id=names.get(question_number(r), r.question_id))
        for r in tiny_interactions(**SMALL)
    ]
    results = run_steps(tmp_path, rows, "--subsets", "3", "--split", "paper")
    if results[-1].returncode == 0:
        picks = read(tmp_path / "results" / "tiny" / "toy" / "paper" / "picks.csv")
        assert len({p["question_id"] for p in picks}) == 16
    else:
        check_refused(results[-1], "toy_interactions.jsonl")


# --- what the steps before wrote ---------------------------------------------------------------------


def alter_rows(**changed: Any) -> Change:
    """Change fields of the first line of a JSONL file; None takes the field away."""

    def how(path: Path) -> None:
        first, rest = path.read_text(encoding="utf-8").split("\n", 1)
        row = {k: v for k, v in {**json.loads(first), **changed}.items() if v is not None}
        path.write_text(json.dumps(row) + "\n" + rest, encoding="utf-8")

    return how


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("names.json", cut),
        ("names.json", b"[]"),
        ("names.json", b"{}"),
        ("questions.jsonl", cut),
        ("questions.jsonl", alter_rows(question_index=None)),
        ("questions.jsonl", alter_rows(question="Another question?")),
        ("clusters.csv", cut),
        ("clusters.csv", b"\xff\xfe"),
        ("clusters.csv", replace(b"\n0,0,", b"\n0,x,")),
        ("folds.csv", cut),
        ("folds.csv", b""),
        ("train_labels.npy", cut),
        ("train_labels.npy", b""),
        ("train_labels.npy", lambda path: np.save(path, np.load(path)[:-1])),
        ("train_labels.npy", lambda path: np.save(path, 1 - np.load(path))),
        ("train_labels.npy", lambda path: np.save(path, np.load(path) + 7)),
    ],
)
def test_step_3_checks_what_step_2_wrote(name: str, how: Change | bytes, finished: Path):
    change(finished / LABELS / f"toy_{name}", how)
    refused(3, finished, words=[f"toy_{name}", STEPS[2]])


def spoil(row: int) -> Change:
    def how(path: Path) -> None:
        array = np.load(path)
        array[row, 0] = np.nan
        np.save(path, array)

    return how


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (f"{VECTORS}/questions_paper.npy", spoil(0)),
        (f"{VECTORS}/questions_paper.npy", flip),
        (f"{VECTORS}/questions_paper.npy", lambda path: np.save(path, np.load(path)[:-1])),
        (f"{VECTORS}/questions_paper.npy", lambda path: np.save(path, np.load(path)[:, :-1])),
        (f"{VECTORS}/questions_paper.npy", lambda path: np.save(path, np.load(path).astype(np.float64))),
        (f"{VECTORS}/prompts_paper.npy", Path.unlink),
        (f"{VECTORS}/surface.npy", spoil(3)),
        (f"{VECTORS}/embedder.json", b"{}"),
        (f"{VECTORS}/embedder.json", cut),
    ],
)
def test_step_4_checks_what_step_3_wrote(name: str, how: Change | bytes, finished: Path):
    change(finished / name, how)
    refused(4, finished, words=[Path(name).name, STEPS[3]])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("toy_train_labels.npy", cut),
        ("toy_train_labels.npy", lambda path: np.save(path, 1 - np.load(path))),
        ("toy_test_labels.npy", lambda path: np.save(path, np.load(path)[:, :-1])),
        ("toy_test_labels.npy", Path.unlink),
    ],
)
def test_step_4_checks_the_labels_that_step_2_wrote(name: str, how: Change | bytes, finished: Path):
    change(finished / LABELS / name, how)
    refused(4, finished, words=[name, STEPS[2]])


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_vectors_that_only_a_worker_reads(jobs: str, finished: Path):
    path = finished / VECTORS / "questions_folds5_seed0_fold3.npy"
    spoil(1)(path)
    before = hashes(finished)
    flags = ("--jobs", jobs, "--split", "crossfit", "--subsets", "3", "--seed", "1")
    check_refused(run_step(4, finished, *flags, check=False, own_process=jobs == "2"), path.name, STEPS[3])
    after = hashes(finished)  # fits of the other folds may have been added
    assert {p: after[p] for p in before} == before


@pytest.mark.parametrize("how", [flip, Path.unlink])
def test_an_altered_model_is_not_loaded_but_trained_again(how: Change, finished: Path):
    before = hashes(finished)
    how(finished / f"{FULL_MODEL}.safetensors")
    refused(5, finished, words=["toy_xgboost_0_1_2_paper", STEPS[4]])
    run_step(4, finished)
    assert {p: h for p, h in hashes(finished).items() if p.endswith(".safetensors")} == {
        p: h for p, h in before.items() if p.endswith(".safetensors")
    }


CORRUPT = [b"", b"{", b"[]", b"null", b'{"key": 1}', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("content", CORRUPT[2::2])
def test_a_corrupt_record_means_not_done(content: bytes, finished: Path):
    before = hashes(finished)
    (finished / f"{FULL_MODEL}.json").write_bytes(content)
    refused(5, finished, words=["toy_xgboost_0_1_2_paper", STEPS[4]])
    run_step(4, finished)
    assert {p: h for p, h in hashes(finished).items() if p.endswith((".csv", ".safetensors"))} == {
        p: h for p, h in before.items() if p.endswith((".csv", ".safetensors"))
    }


@pytest.mark.parametrize("field", ["settings", "validation", "digest"])
def test_an_edited_record_means_not_done(field: str, finished: Path):
    path = finished / f"{FULL_MODEL}.json"
    record = json.loads(path.read_text())
    del record[field]
    path.write_text(json.dumps(record))
    refused(5, finished, words=["toy_xgboost_0_1_2_paper", STEPS[4]])
    run_step(4, finished)
    assert json.loads(path.read_text()).keys() == {*record, field}


@pytest.mark.parametrize("content", CORRUPT)
def test_a_corrupt_manifest_means_not_done(content: bytes, finished: Path):
    before = hashes(finished)
    manifest = f"{LABELS}/toy_step2.json"
    (finished / manifest).write_bytes(content)
    assert "up to date" not in run_step(2, finished).stdout
    assert {p: h for p, h in hashes(finished).items() if p != manifest} == {
        p: h for p, h in before.items() if p != manifest
    }


def test_a_manifest_with_other_fields_means_not_done(finished: Path):
    path = finished / LABELS / "toy_step2.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "outputs": ["toy_names.json"]}))
    assert "up to date" not in run_step(2, finished).stdout


@pytest.mark.parametrize("table", ["summary.csv", "TOY_tiny_acc_comparison.png"])
def test_an_altered_result_is_made_again(table: str, finished: Path):
    before = hashes(finished)
    cut(finished / "results" / "tiny" / "toy" / "paper" / table)
    run_step(5, finished)
    assert {p: h for p, h in hashes(finished).items() if not p.endswith(".json")} == {
        p: h for p, h in before.items() if not p.endswith(".json")
    }


# --- pickles -----------------------------------------------------------------------------------------


class Payload:
    """Unpickled anywhere, it would create the marker file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (3, f"{LABELS}/toy_train_labels.npy"),
        (4, f"{LABELS}/toy_test_labels.npy"),
        (4, f"{VECTORS}/questions_paper.npy"),
        (4, f"{VECTORS}/surface.npy"),
        (5, f"{LABELS}/toy_train_labels.npy"),
    ],
)
def test_pickles_are_never_loaded(number: int, name: str, finished: Path, tmp_path: Path):
    marker = tmp_path / "marker"
    objects = np.empty(40, dtype=object)
    objects[:] = [Payload(marker)] * 40
    np.save(finished / name, objects, allow_pickle=True)
    np.load(finished / name, allow_pickle=True)  # the payload works
    assert marker.exists()
    marker.unlink()
    flags = ["--force"] if number == 5 else []
    refused(number, finished, *flags, words=[] if number == 5 else [Path(name).name])
    assert not marker.exists()


# --- places that cannot be written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "folder", "flags"),
    [(3, "embeddings", ["--force"]), (4, MODELS, []), (4, MODELS, ["--jobs", "2"]), (5, "results", [])],
)
def test_a_file_in_place_of_a_folder(number: int, folder: str, flags: list[str], finished: Path):
    shutil.rmtree(finished / folder)
    (finished / folder).write_text("I am a file.")
    before = hashes(finished)
    result = run_step(number, finished, *flags, check=False, own_process="--jobs" in flags)
    check_refused(result, str(finished / folder), "--root")
    after = hashes(finished)
    assert {p: after[p] for p in before if "_labels" not in p} == {
        p: before[p] for p in before if "_labels" not in p
    }


def test_a_folder_in_place_of_a_file(finished: Path):
    path = finished / LABELS / "toy_folds.csv"
    path.unlink()
    path.mkdir()
    check_refused(run_step(2, finished, check=False), "toy_folds.csv")
    assert not list((finished / LABELS).glob(".*.tmp"))


REDO = {2: ["--force"], 3: ["--force", "--seed", "1"], 4: ["--seed", "1"], 5: ["--price", "2"]}


def check_files_are_whole(number: int, root: Path, before: dict[str, str], *, complete: bool = True) -> None:
    """After a failed write no temporary is left and every file is whole; with room again the step ends."""
    after = hashes(root)
    assert before.keys() <= after.keys()
    assert not [p for p in after if p.endswith(".tmp")]
    for path in root.rglob("*.npy"):
        np.load(path, allow_pickle=False)
    for path in root.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    if complete:
        run_step(number, root, *REDO[number])


@pytest.mark.parametrize("number", STEPS)
def test_files_that_may_not_grow(number: int, finished: Path):
    """A file-size limit stands in for a full disk; 1,500 bytes let some files pass and not others."""
    before = hashes(finished)
    result = subprocess.run(
        step_command(number, finished, *REDO[number]),
        cwd=REPO_ROOT / "llama_exps",
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)),
    )
    check_refused(result, "cannot write", str(finished), "free some space")
    check_files_are_whole(number, finished, before)


@pytest.mark.parametrize("number", STEPS)
def test_a_full_disk(number: int, finished: Path, tmp_path: Path):
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode
    ):
        pytest.skip("unshare -rm is not allowed here")
    # A small file system of its own, full but for 8 kB; what the step leaves there is copied out.
    disk, left = tmp_path / "disk", tmp_path / "left"
    disk.mkdir()
    before = hashes(finished)
    step = step_command(number, disk, *REDO[number])
    script = (
        f"mount -t tmpfs -o size=32m tmpfs '{disk}' && cp -a '{finished}/.' '{disk}' || exit 99\n"
        f"free=$(df --output=avail -k '{disk}' | tail -1)\n"
        f"head -c $(( (free - 8) * 1024 )) /dev/zero > '{disk}/filler'\n"
        f"\"$@\"; status=$?; rm '{disk}/filler'; cp -a '{disk}' '{left}'; exit $status\n"
    )
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", *step],
        cwd=REPO_ROOT / "llama_exps",
        capture_output=True,
        text=True,
    )
    assert result.returncode != 99, result.stderr
    check_refused(result, "cannot write", str(disk), "free some space")
    check_files_are_whole(number, left, before, complete=False)


# --- the released logs -------------------------------------------------------------------------------

CHAT = "Prompt-OIRL/llama_exps/llama2_chat_logs/mawps/llama_mawps_"
CRITIC = "Prompt-OIRL/critics/Processed_llama_mawps_prompt_0_confidence.npy"
FOLDS = "SVAMP/data/cv_mawps/fold"


@pytest.fixture
def released(mirror: Path, tmp_path: Path) -> Path:
    """data/fetched/ with every mawps file as a link, so that single ones can be replaced."""
    fetched = tmp_path / "released" / "data" / "fetched"
    wanted = [
        *(mirror / CHAT).parent.glob("*.txt"),
        *(mirror / CRITIC).parent.glob("Processed_llama_mawps_*.npy"),
    ]
    wanted += (mirror / "SVAMP" / "data" / "cv_mawps").glob("*/*.csv")
    for path in wanted:
        link = fetched / path.relative_to(mirror)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    return fetched


def own_copy(path: Path) -> Path:
    """Turn a link into a file that may be changed."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    return path


def swap(first: Path, second: Path) -> None:
    a, b = first.read_bytes(), second.read_bytes()
    for path, data in ((first, b), (second, a)):
        path.unlink()
        path.write_bytes(data)


def drop_last_line(path: Path) -> None:
    path.write_bytes(path.read_bytes().rstrip(b"\n").rpartition(b"\n")[0] + b"\n")


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        (f"{CHAT}corr_CoT.txt", cut, ["corr_CoT.txt", "fetch_data.py"]),
        (f"{CHAT}corr_gpt4_3.txt", drop_last_line, ["corr_gpt4_3.txt", "1684 rows, expected 1685"]),
        (f"{CHAT}corr_CoT.txt", replace(b"(1, ", b"(0, "), ["corr_CoT.txt:2", "twice"]),
        (f"{CHAT}corr_CoT.txt", replace(b"True", b"Maybe"), ["corr_CoT.txt", "Maybe"]),
        (f"{CHAT}corr_CoT.txt", lambda path: path.write_bytes(b"\xff" + path.read_bytes()), ["corr_CoT.txt"]),
        (f"{CHAT}answers_list_CoT.txt", cut, ["answers_list_CoT.txt", "fetch_data.py"]),
        (
            f"{CHAT}answers_list_CoT.txt",
            lambda path: path.write_bytes(b"\xff" + path.read_bytes()),
            ["answers_list_CoT.txt"],
        ),
        (f"{CHAT}corr_CoT.txt", Path.unlink, ["corr_CoT.txt", "fetch_data.py"]),
        (f"{FOLDS}0/train.csv", cut, ["fetch_data.py"]),
        (CRITIC, lambda path: np.save(path, np.load(path)[:-1]), ["prompt_0_confidence.npy", "1684 rows"]),
        (CRITIC, lambda path: np.save(path, np.full(1685, np.nan)), ["prompt_0_confidence.npy", "NaN"]),
    ],
)
def test_a_broken_released_file(name: str, how: Change, words: list[str], released: Path):
    how(own_copy(released / name))
    refused(2, released.parents[1], "--llm", "llama2", "--dataset", "mawps", words=words)


def test_swapped_datasets_are_found_by_regrading(released: Path):
    """Same numbers of rows, other order of questions: only grading the answers again can tell."""
    swap(released / f"{FOLDS}0" / "train.csv", released / f"{FOLDS}1" / "train.csv")
    refused(
        2, released.parents[1], "--llm", "llama2", "--dataset", "mawps", words=["regrading", "fetch_data.py"]
    )


def test_swapped_labels_are_found_by_regrading(released: Path):
    swap(released / f"{CHAT}corr_nan.txt", released / f"{CHAT}corr_ToT.txt")
    refused(
        2, released.parents[1], "--llm", "llama2", "--dataset", "mawps", words=["regrading", "corr_nan.txt"]
    )


def test_another_datasets_labels_are_refused(released: Path, mirror: Path):
    path = released / f"{CHAT}corr_CoT.txt"
    path.unlink()
    shutil.copy(
        mirror / CHAT.replace("mawps", "svamp").replace("llama_svamp_", "llama_svamp_corr_CoT.txt"), path
    )
    refused(
        2,
        released.parents[1],
        "--llm",
        "llama2",
        "--dataset",
        "mawps",
        words=["corr_CoT.txt", "expected 7685"],
    )


def test_a_pickle_among_the_released_files_is_not_loaded(released: Path, tmp_path: Path):
    marker = tmp_path / "marker"
    objects = np.empty(1685, dtype=object)
    objects[:] = [Payload(marker)] * 1685
    np.save(own_copy(released / CRITIC), objects, allow_pickle=True)
    refused(
        2, released.parents[1], "--llm", "llama2", "--dataset", "mawps", words=["prompt_0_confidence.npy"]
    )
    assert not marker.exists()
