"""Step 1: nothing lost, doubled or paid twice, whatever is killed and however many processes go on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import write_meta_folder
from in_process import run_in_process

from prompt_oirl.data import interactions, log_store
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.prompts import load_prompts
from prompt_oirl.data.questions import Question, load_own_questions
from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.llms import Generation, before_asking, generation
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.generation import Decoding, LogSettings, all_items
from prompt_oirl.llms.options import BudgetOptions
from prompt_oirl.llms.scripted import ScriptedLLM

PROMPTS = load_prompts()[:2] + load_prompts()[6:7]
QUESTIONS = [
    Question(f"q{i}", f"What is {i} + {i}?", str(2 * i), "train" if i < 6 else "test") for i in range(9)
]


SETTINGS = LogSettings("s", "toy", Decoding(max_new_tokens=20), "strict", "\n")


def ask(files: LogFiles, llm: ScriptedLLM, samples: int = 2, **limits: int) -> Counter[str]:
    """One run of one rank over everything still missing."""
    order = all_items(QUESTIONS, PROMPTS, samples)
    done = {(r.question_id, r.prompt_id, r.sample) for r in files.rows()}
    pending = [item for item in order if item.key not in done]
    failed = generation.answer_items(pending, llm, SETTINGS, Budget(**limits), files.part(0), disable=True)
    log_store.merge(files, [item.key for item in order])
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
    rows = interactions.read(files.merged, hint="")
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


def test_a_doubled_row_counts_once_and_failed_answers_stay_missing(tmp_path: Path) -> None:
    files, llm = LogFiles(tmp_path, "toy"), ScriptedLLM(right_answers, batch_size=4)
    ask(files, llm)
    lines = files.merged.read_text().splitlines(keepends=True)
    files.part(3).parent.mkdir(exist_ok=True)
    files.part(3).write_text("".join(lines[:7]))
    rows = log_store.merge(files, [item.key for item in all_items(QUESTIONS, PROMPTS, 2)])
    assert len(rows) == len(lines)


def test_other_decodings_are_refused(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, "toy")
    ask(files, ScriptedLLM(right_answers, batch_size=4))
    with pytest.raises(InputError, match="--llm"):
        before_asking.check_log(files.rows(), replace(SETTINGS, decoding=Decoding(0.0)), [], files.merged)


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
KILLS = 20


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
    rows = interactions.read(root / "llama_exps" / "LMt" / "toy_interactions.jsonl", hint="")
    found = {(r.question_id, r.prompt_id, r.sample): r.answer or "" for r in rows}
    assert len(found) == len(rows), "a row stands twice"
    return found


def kill_everything_with(argument: str) -> None:
    """SIGKILL torchrun and its workers, sessions of their own, by what stands on their command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)


@pytest.mark.slow
def test_killed_runs_go_on_with_another_number_of_processes(
    tmp_path: Path, toy_questions: Path, meta_state, sentencepiece_model
) -> None:
    """Killed at seeded random moments between the first and the last rows of a run; N changes every time."""
    model = tmp_path / "model"
    model.mkdir()
    write_meta_folder(model, meta_state, 1, sentencepiece_model)
    samples = ("--samples", str(KILLS))

    def start(root: str, processes: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command(tmp_path / root, model, toy_questions, processes, *samples),
            cwd=REPO_ROOT / "llama_exps",
            env=ENVIRONMENT,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    assert start("whole", 1).wait() == 0
    whole = texts(tmp_path / "whole")
    assert len(whole) == 60 * KILLS
    draw = random.Random(KILLS)
    log = tmp_path / "killed" / "llama_exps" / "LMt"
    moments = sorted(draw.sample(range(1, len(whole)), KILLS))
    for kill, moment in enumerate(moments):
        run = start("killed", 2 - kill % 2)
        while run.poll() is None and rows_in(log) < moment:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.05))
        kill_everything_with(str(tmp_path / "killed"))
        run.wait()
    assert start("killed", 2).wait() == 0
    assert texts(tmp_path / "killed") == whole


def test_a_plan_is_asked_exactly_and_once(
    tmp_path: Path, toy_questions: Path, meta_state, sentencepiece_model
) -> None:
    model, plan = tmp_path / "model", tmp_path / "plan.jsonl"
    model.mkdir()
    write_meta_folder(model, meta_state, 1, sentencepiece_model)
    asked = load_own_questions(toy_questions, "toy")
    cells = [(asked[i], PROMPTS[i % 2], i % 3) for i in (3, 7, 8)]
    rows = [{"question": q.text, "prompt": p.text, "sample": n, "llm": "t"} for q, p, n in cells]
    plan.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = command(tmp_path, model, toy_questions, 1, "--plan", str(plan))
    for _ in range(2):
        subprocess.run(run, cwd=REPO_ROOT / "llama_exps", env=ENVIRONMENT, check=True, capture_output=True)
        assert set(texts(tmp_path)) == {(q.id, p.id, n) for q, p, n in cells}
    log = read_log(tmp_path / "llama_exps" / "LMt" / "toy_interactions.jsonl")
    assert len(log.correct) == 3


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
        (["--prompt_idx", "0-"], "--prompt_idx"),
        (["--prompt_idx", "3-1"], "--prompt_idx"),
        (["--prompt_idx", "1,99"], "--prompt_idx"),
        (["--dataset_eval", "nosuch"], "--dataset_eval"),
        ([], "there is no folder"),
        (["--ckpt_dir", ""], "--ckpt_dir"),
        (["--backend", "openai"], "--model"),
        (["--llm", "../evil"], "--llm"),
        (["--samples", "0"], "--samples"),
        (["--max_cost", "1"], "--price_in"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], said: str, tmp_path: Path, toy_questions: Path) -> None:
    base = ["--root", str(tmp_path), "--llm", "t", "--ckpt_dir", "/no/such/folder"]
    if "--dataset_eval" not in flags:
        base += ["--dataset_eval", "toy", "--questions", str(toy_questions)]
    environment = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("OPENAI")} | {
        "HF_HUB_OFFLINE": "1"
    }
    command = [sys.executable, "llama_step1_gen_offline.py", *base, *flags]
    done = run_in_process(command, REPO_ROOT / "llama_exps", environment)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error:") and said in last and "Traceback" not in done.stderr


def test_a_log_is_not_mixed(tmp_path: Path) -> None:
    """Another grader, or other texts under known ids, are refused before anything is asked."""
    files = LogFiles(tmp_path, "toy")
    ask(files, ScriptedLLM(right_answers, batch_size=4))
    rows = list(files.rows())
    items = all_items(QUESTIONS, PROMPTS, 1)
    before_asking.check_log(rows, SETTINGS, items, files.merged)
    with pytest.raises(InputError, match="graded by strict"):
        before_asking.check_log(rows, replace(SETTINGS, grader="original"), items, files.merged)
    for changed in (replace(QUESTIONS[0], text="Other?"), replace(QUESTIONS[0], gold="9")):
        with pytest.raises(InputError, match="question q0 has another"):
            before_asking.check_log(rows, SETTINGS, all_items([changed], PROMPTS, 1), files.merged)
    other = all_items(QUESTIONS, [replace(PROMPTS[0], text="Guess:")], 1)
    with pytest.raises(InputError, match="prompt nan has another"):
        before_asking.check_log(rows, SETTINGS, other, files.merged)
    files.check_model({"model": "a", "max_seq_len": 512})
    files.check_model({"model": "a", "max_seq_len": 512})
    with pytest.raises(InputError, match="--llm"):
        files.check_model({"model": "b", "max_seq_len": 512})


def test_one_run_at_a_time(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, "toy")
    with files.lock(), pytest.raises(InputError, match="another run"), files.lock():
        pass
    with files.lock():
        pass


@pytest.mark.parametrize(
    "line", [b"[1]", b'{"schema": 1}', b"\xff\xfe", b"[" * 100_000, b'{"correct": 5}', b"null"]
)
def test_damaged_part_rows_name_their_line(line: bytes, tmp_path: Path) -> None:
    files = LogFiles(tmp_path, "toy")
    ask(files, ScriptedLLM(right_answers))
    files.part(0).write_bytes(line + b"\n")
    with pytest.raises(InputError, match=r"toy\.rank0\.jsonl:1: "):
        list(files.rows())


@pytest.mark.parametrize(
    "field", [{"temperature": "0.6"}, {"question_id": ["x"]}, {"correct": "x"}, {"sample": None}]
)
def test_part_rows_of_odd_types_are_refused(field: dict, tmp_path: Path) -> None:
    files = LogFiles(tmp_path, "toy")
    ask(files, ScriptedLLM(right_answers))
    row = json.loads(files.merged.read_text().splitlines()[0]) | field
    files.part(0).write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"toy\.rank0\.jsonl:1: "):
        list(files.rows())


def test_a_run_that_only_fails_gives_up_and_says_why(tmp_path: Path) -> None:
    class Failing(ScriptedLLM):
        def generate(self, conversations, **_):  # type: ignore[no-untyped-def]
            self.asked += conversations
            return [Generation("HTTP 500", "error", 0, 0) for _ in conversations]

    llm = Failing(right_answers, batch_size=4)
    failures = ask(LogFiles(tmp_path, "toy"), llm, samples=20)
    assert failures == {"HTTP 500": generation.MAX_FAILURES} and len(llm.asked) == generation.MAX_FAILURES
    with pytest.raises(InputError, match=r"24 answers .* missing: HTTP 500 \(24\)"):
        generation.check_complete(failures)
    limited = Failing(right_answers, batch_size=4)
    ask(LogFiles(tmp_path, "toy"), limited, max_calls=6)
    assert len(limited.asked) == 6  # calls that brought nothing count


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("question;gold\na;1\n", "columns"),
        ("question,gold\n   ,1\n", ":2: the question"),
        ("question,gold\na?,\n", ":2: the gold"),
        ("question,gold,split\na?,1,dev\n", ":2: split is 'dev'"),
        ("question,gold\na?,1\na?,2\n", "not unique"),
        ("question,gold\n", "no questions"),
        ('{"question": "a\\ud800?", "gold": "1"}\n', ":1: the question"),
        ('{"question": "a?", "gold": false}\n', ":1: the gold"),
        (
            '{"question": "a?", "gold": NaN}\n',
            ":1: no answer of kind number can match the gold 'nan'; give one finite number",
        ),
        (
            '{"question": "a?", "gold": "1"}\n{"question": "b?", "gold": 1e999}\n',
            ":2: no answer of kind number",
        ),
        ('{"question": "a?", "gold": "1e5"}\n', "without an exponent"),
        ('{"question": "a?", "gold": "B or C", "kind": "choice"}\n', "the option's letter"),
        ('{"question": "a?", "gold": "perhaps", "kind": "bool"}\n', "give true or false"),
        ('{"question": "a?", "gold": "1", "id": "x\\ny"}\n', ":1: id"),
    ],
)
def test_question_files_are_checked(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / ("q.CSV" if text.startswith("question") else "q.jsonl")
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(said)):
        load_own_questions(path, "toy")


def test_questions_without_ids_keep_their_names_when_the_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("question,gold\na?,1\nb?,2\n")
    before = {q.text: q.id for q in load_own_questions(path, "toy")}
    path.write_text("question,gold\nnew?,3\nb?,2\na?,1\n")
    after = {q.text: q.id for q in load_own_questions(path, "toy")}
    assert before == {text: after[text] for text in before} and len(set(after.values())) == 3


@pytest.mark.parametrize(
    "limits", [{"max_cost": 1.0}, {"max_calls": -1}, {"max_minutes": float("nan")}, {"price_in": -1.0}]
)
def test_impossible_budgets_are_refused(limits: dict) -> None:
    with pytest.raises(InputError, match="--"):
        BudgetOptions(**limits).budget()


def test_processes_share_a_budget() -> None:
    options = BudgetOptions(max_calls=7, max_cost=9.0, price_in=1.0)
    shares = [options.budget(rank, 3) for rank in range(3)]
    assert [share.max_calls for share in shares] == [3, 2, 2]
    assert sum(share.max_cost or 0 for share in shares) == 9.0
