"""Step 1: nothing lost, doubled or paid twice, whatever is killed and however many processes go on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import write_meta_folder
from tqdm import tqdm

from prompt_oirl import generation, interactions
from prompt_oirl.artifacts import REPO_ROOT, InputError
from prompt_oirl.generation import Decoding, LogFiles, all_items
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.scripted import ScriptedLLM
from prompt_oirl.prompts import load_prompts
from prompt_oirl.questions import Question

PROMPTS = load_prompts()[:2] + load_prompts()[6:7]
QUESTIONS = [
    Question(f"q{i}", f"What is {i} + {i}?", str(2 * i), "train" if i < 6 else "test") for i in range(9)
]


def ask(files: LogFiles, llm: ScriptedLLM, samples: int = 2, **limits: int) -> int:
    """One run of one rank over everything still owed."""
    order = all_items(QUESTIONS, PROMPTS, samples)
    done = {(r.question_id, r.prompt_id, r.sample) for r in files.rows()}
    owed = [item for item in order if item.key not in done]
    with tqdm(disable=True) as bar:
        failed = generation.answer_items(
            owed,
            llm,
            "s",
            "toy",
            Decoding(max_new_tokens=20),
            "strict",
            "\n",
            Budget(**limits),
            files.part(0),
            bar,
        )
    generation.merge(files, [item.key for item in order])
    return failed


def right_answers(conversation: list[dict[str, str]], seed: int) -> str:
    number = int(conversation[0]["content"].split()[2])
    return f"The answer is {2 * number}."


def test_items_ask_held_out_prompts_on_test_questions_only() -> None:
    items = all_items(QUESTIONS, PROMPTS, 1)
    assert len(items) == 2 * 9 + 3
    assert {i.question.split for i in items if i.prompt.role == "held_out"} == {"test"}


def test_budget_stops_and_a_rerun_pays_only_for_the_rest(tmp_path: Path) -> None:
    files, llm = LogFiles(tmp_path, "toy"), ScriptedLLM(right_answers, batch_size=4)
    total = len(all_items(QUESTIONS, PROMPTS, 2))
    ask(files, llm, max_calls=11)
    assert len(llm.asked) == 11
    ask(files, llm)
    assert len(llm.asked) == total
    ask(files, llm)
    assert len(llm.asked) == total, "a finished log asks nothing"
    rows = interactions.read(files.merged, remedy="")
    assert len({(r.question_id, r.prompt_id, r.sample) for r in rows}) == len(rows) == total
    assert all(r.correct == r.correct_strict == 1.0 and r.tokens_out for r in rows)
    assert not files.parts()


def test_a_torn_line_is_dropped_with_a_note_and_asked_again(tmp_path: Path, capsys) -> None:
    files, llm = LogFiles(tmp_path, "toy"), ScriptedLLM(right_answers, batch_size=4)
    ask(files, llm)
    text = files.merged.read_text()
    lines = text.splitlines(keepends=True)
    files.merged.unlink()
    files.part(0).parent.mkdir(exist_ok=True)
    files.part(0).write_text("".join(lines[:5]) + lines[5][:40])
    before = len(llm.asked)
    ask(files, llm)
    assert len(llm.asked) - before == len(lines) - 5
    assert "torn" in capsys.readouterr().err

    def untimed(log: str) -> list[dict]:
        return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in log.splitlines()]

    assert untimed(files.merged.read_text()) == untimed(text)


def test_a_doubled_row_counts_once_and_failed_answers_stay_owed(tmp_path: Path) -> None:
    files, llm = LogFiles(tmp_path, "toy"), ScriptedLLM(right_answers, batch_size=4)
    ask(files, llm)
    lines = files.merged.read_text().splitlines(keepends=True)
    files.part(3).parent.mkdir(exist_ok=True)
    files.part(3).write_text("".join(lines[:7]))
    rows = generation.merge(files, [item.key for item in all_items(QUESTIONS, PROMPTS, 2)])
    assert len(rows) == len(lines)


def test_other_decodings_are_refused(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, "toy")
    ask(files, ScriptedLLM(right_answers, batch_size=4))
    with pytest.raises(InputError, match="--llm"):
        generation.check_decoding(
            list(files.rows()), Decoding(temperature=0.0, max_new_tokens=20), files.merged
        )


def command(root: Path, model: Path, questions: Path, processes: int, *flags: str) -> list[str]:
    script = "llama_step1_gen_offline.py"
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(processes),
        "--standalone",
        script,
    ]
    return [
        *(start if processes > 1 else [sys.executable, script]),
        *(
            "--root",
            str(root),
            "--llm",
            "t",
            "--ckpt_dir",
            str(model),
            "--dataset_eval",
            "toy",
            "--questions",
            str(questions),
        ),
        *("--max_gen_len", "8", "--max_batch_size", "4", "--prompt_idx", "0-1", *flags),
    ]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def toy_questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    rows = [
        f"Ann has {i} apples and finds {i * 3} more. How many?,{i * 4},{'train' if i % 3 else 'test'}\n"
        for i in range(30)
    ]
    path.write_text("question,gold,split\n" + "".join(rows))
    return path


def texts(root: Path) -> dict[tuple[str, str, int], str]:
    rows = interactions.read(root / "llama_exps" / "LMt" / "toy_interactions.jsonl", remedy="")
    found = {(r.question_id, r.prompt_id, r.sample): r.answer or "" for r in rows}
    assert len(found) == len(rows), "a row stands twice"
    return found


def kill_everything_with(argument: str) -> None:
    """SIGKILL torchrun and its workers, which are sessions of their own, by what stands on their command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_runs_go_on_with_another_number_of_processes(
    kills: int, tmp_path: Path, toy_questions: Path, meta_state, sentencepiece_model
) -> None:
    """Killed at random moments, seeded, between the first rows of a run and the last; N changes every time."""
    model = tmp_path / "model"
    model.mkdir()
    write_meta_folder(model, meta_state, 1, sentencepiece_model)
    samples = ("--samples", str(kills))

    def start(root: str, processes: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command(tmp_path / root, model, toy_questions, processes, *samples),
            cwd=REPO_ROOT / "llama_exps", env=ENVIRONMENT, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    assert start("whole", 1).wait() == 0
    whole = texts(tmp_path / "whole")
    assert len(whole) == 60 * kills
    draw = random.Random(kills)
    log = tmp_path / "killed" / "llama_exps" / "LMt"
    moments = sorted(draw.sample(range(1, len(whole)), kills))
    for kill, moment in enumerate(moments):
        run = start("killed", 1 + kill % 2)
        while run.poll() is None and rows_in(log) < moment:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.05))
        kill_everything_with(str(tmp_path / "killed"))
        run.wait()
    assert start("killed", 2).wait() == 0
    assert texts(tmp_path / "killed") == whole


def rows_in(folder: Path) -> int:
    """Rows written so far, whole or torn, merged or not."""
    count = 0
    for path in folder.rglob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            count += path.read_bytes().count(b"\n")
    return count


def test_published_command_runs_on_metas_layout(
    tmp_path: Path,
    toy_questions: Path,
    meta_state,
    sentencepiece_model,
) -> None:
    model = tmp_path / "llama-2-7b-chat"
    model.mkdir()
    write_meta_folder(model, meta_state, 2, sentencepiece_model)
    (model / "tokenizer.model").rename(tmp_path / "tokenizer.model")
    published = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "1",
        "--standalone",
        "llama_step1_gen_offline.py",
    ]
    published += [
        "--ckpt_dir",
        f"{model}/",
        "--tokenizer_path",
        str(tmp_path / "tokenizer.model"),
        "--prompt_idx",
        "0",
    ]
    small = [
        "--root",
        str(tmp_path),
        "--dataset_eval",
        "toy",
        "--questions",
        str(toy_questions),
        "--limit",
        "3",
        "--max_gen_len",
        "8",
    ]
    done = subprocess.run(
        [*published, *small], cwd=REPO_ROOT / "llama_exps", env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "cut by the token limit" in done.stdout
    log = tmp_path / "llama_exps" / "LMllama-2-7b-chat" / "toy_interactions.jsonl"
    assert len(log.read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--prompt_idx", "99"], "--prompt_idx"),
        (["--prompt_idx", "x"], "--prompt_idx"),
        (["--dataset_eval", "nosuch"], "--dataset_eval"),
        (["--ckpt_dir", "/no/such/folder"], "cannot be loaded"),
        (["--backend", "openai"], "--model"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], said: str, tmp_path: Path, toy_questions: Path) -> None:
    base = ["--root", str(tmp_path), "--llm", "t"]
    if "--dataset_eval" not in flags:
        base += ["--dataset_eval", "toy", "--questions", str(toy_questions)]
    environment = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("OPENAI")} | {
        "HF_HUB_OFFLINE": "1"
    }
    done = subprocess.run(
        [sys.executable, "llama_step1_gen_offline.py", *base, *flags],
        cwd=REPO_ROOT / "llama_exps", env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error:") and said in last and "Traceback" not in done.stderr
