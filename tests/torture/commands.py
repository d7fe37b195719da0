"""Commands that write, at small size: what lies there before each, and its command line."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from conftest import QUICK, STEPS, write_tiny_log
from made_logs import made_log
from misbehaving_server import MisbehavingServer
from opro_toy import reply_to, toy_questions
from tiny_runs import SMALL
from tool_files import ANN, BOX, batch_lines, write

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import REPO_ROOT

CLI = [sys.executable, "-m", "prompt_oirl"]
TFIDF = ["--embedder", "tfidf"]


@dataclass(frozen=True)
class Command:
    """A command, run in the folder that it works on; `{root}` and `{server}` stand for that and a server.

    `prepare` makes what lies there before, or names the command whose end that is. Files whose path holds one
    of `free` may differ after a kill.
    """

    prepare: Callable[[Path], None] | str
    line: tuple[str, ...]
    folder: str = ""  # of the script
    free: tuple[str, ...] = ()

    def argv(self, root: Path) -> list[str]:
        marks = {"{root}": str(root), "{server}": server().url}
        line = [*self.line]
        for mark, value in marks.items():
            line = [part.replace(mark, value) for part in line]
        return line


def _log(root: Path) -> None:
    made_log(24).to_csv(root / "log.csv", index=False)


def _log_and_selector(root: Path) -> None:
    _log(root)
    PromptSelector("tfidf", seed=3).fit(made_log(20, seed=3)).save(root / "selector")


def _served(root: Path) -> None:
    log = made_log(60, missing=0.6, seed=3)
    log.assign(propensity=1 / 3).to_csv(root / "log.csv", index=False)
    PromptSelector("tfidf").fit(made_log(20, seed=3)).save(root / "selector")


def _answers(root: Path) -> None:
    rows = "".join(f"What is {i} + 1?,Think.,It is {i + i % 3}.,{i + 1}\n" for i in range(30))
    (root / "answers.csv").write_text("question,prompt,answer,gold\n" + rows)


def _batch(root: Path) -> None:
    requests, replies = batch_lines([ANN, BOX])
    write(root / "in.jsonl", requests)
    write(root / "out.jsonl", replies)


def _batch_and_log(root: Path) -> None:
    _batch(root)
    (root / "log.csv").write_text(f"question,prompt,correct\n{ANN},Think.,1\n")


def _tiny(root: Path) -> None:
    write_tiny_log(root, **SMALL)


def _questions(root: Path) -> None:
    lines = [f"What is question{i} + 1?,7,{'train' if i % 2 else 'test'}\n" for i in range(12)]
    (root / "q.csv").write_text("question,gold,split\n" + "".join(lines))


def _opro(root: Path) -> None:
    fields = ("id", "text", "gold", "split", "group")
    rows = [{name: getattr(q, name) for name in fields} for q in toy_questions(60)]
    lines = [json.dumps({"question": row.pop("text"), **row}) + "\n" for row in rows]
    (root / "q.jsonl").write_text("".join(lines))


def _nothing(root: Path) -> None:
    pass


def _step(number: int, before: Callable[[Path], None] | str) -> Command:
    flags = ("--split", "crossfit", "--subsets", "2") if number > 3 else ()
    line = (sys.executable, STEPS[number], "--llm", "tiny", "--root", "{root}", *QUICK[number], *flags)
    return Command(before, line, "llama_exps")


def _alol(number: int, script: str, before: Callable[[Path], None] | str, *flags: str) -> Command:
    line = (sys.executable, f"alol_step{number}_{script}.py", "--root", "{root}", *flags)
    return Command(before, line, "alol_exps")


def _opro_step(script: str, before: Callable[[Path], None] | str, *flags: str) -> Command:
    asked = ("--task", "toy", "--questions", "{root}/q.jsonl", "--root", "{root}", "--max_gen_len", "60")
    model = ("--scorer.backend", "openai", "--scorer.model", "m", "--scorer.base_url", "{server}")
    return Command(before, (sys.executable, script, *asked, *model, *flags), "opro_exps")


OPENAI = ("--backend", "openai", "--model", "m", "--base_url", "{server}")
OPTIMIZER = ("--optimizer.backend", "openai", "--optimizer.model", "o", "--optimizer.base_url", "{server}")
SIZES = ("--train_size", "8", "--validation_size", "8", "--test_size", "10")
LOOP = ("--loop.steps", "2", "--loop.samples", "3", "--loop.finalists", "2", "--initial", "Solve it.")
ROWS = ("--train_rows", "60", "--validation_rows", "20", "--test_rows", "20")
STEP_1 = ("--dataset_eval", "toy", "--questions", "{root}/q.csv", "--prompt_idx", "0", "--max_gen_len", "50")
COMMANDS = {
    "fit": Command(_log, (*CLI, "fit", "log.csv", "--out", "selector", *TFIDF)),
    "fit over another": Command(_log_and_selector, (*CLI, "fit", "log.csv", "--out", "selector", *TFIDF)),
    "fit --update": Command(
        _served, (*CLI, "fit", "log.csv", "--update", "selector"), free=("selector/previous",)
    ),
    "grade": Command(_answers, (*CLI, "grade", "answers.csv", "--kind", "number", "--out", "log.parquet")),
    "plan": Command(_log, (*CLI, "plan", "log.csv", "--budget", "9", "--out", "plan.jsonl", *TFIDF)),
    "report": Command(_log, (*CLI, "report", "log.csv", "--out", "page.html", *TFIDF)),
    "import": Command(_batch, (*CLI, "import", "openai-batch", "in.jsonl", "out.jsonl", "--out", "log.csv")),
    "import --append": Command(
        _batch_and_log,
        (*CLI, "import", "openai-batch", "in.jsonl", "out.jsonl", "--out", "log.csv", "--append"),
    ),
    "step1": Command(
        _questions,
        (sys.executable, "llama_step1_gen_offline.py", *OPENAI, "--root", "{root}", *STEP_1),
        "llama_exps",
    ),
    "step2": _step(2, _tiny),
    "step3": _step(3, "step2"),
    "step4": _step(4, "step3"),
    "step5": _step(5, "step4"),
    "opro1": _opro_step("opro_step1_optimize_prompts.py", _opro, *OPTIMIZER, *SIZES, *LOOP),
    "opro3": _opro_step(
        "opro_step3_select_per_query.py",
        "opro1",
        *("--fit_size", "16", "--validation_size", "8", "--test_size", "10"),
        *("--pool", "2", "--model", "linear", *TFIDF),
    ),
    "alol1": _alol(1, "prepare_data", _nothing, *ROWS),
    "alol2": _alol(2, "train_reference", "alol1", "-e", "2", "-bs", "16"),
    "alol3": _alol(3, "estimate_advantage", "alol2", "-a2c_n", "2"),
    "alol4": _alol(4, "train_policy", "alol3", "--steps", "3", "-bs", "8"),
    "alol5": _alol(5, "evaluate", "alol4"),
    "alol6": _alol(6, "aggregate", "alol5", "--baselines", "reference"),
}


@cache
def server() -> MisbehavingServer:
    """An LLM server in a thread, whose answer depends on the request alone."""
    started = MisbehavingServer()
    started.reply_to = reply_to_any
    threading.Thread(target=started.serve_forever, daemon=True).start()
    return started


def reply_to_any(body: dict) -> str:
    """OPRO's toy answers; to anything else the same words."""
    text = body["messages"][-1]["content"]
    return reply_to(body) if "How many?" in text or "<INS>" in text else "The answer is 7."


@dataclass(frozen=True)
class Done:
    status: int
    stderr: str


def start(
    name: str, root: Path, temporary: Path, before: tuple[str, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    """Start a command, behind the words of `before`, as leader of a session.

    It and all that it starts carry its TORTURE_ROOT.
    """
    temporary.mkdir(exist_ok=True)
    command = COMMANDS[name]
    own = {"TMPDIR": str(temporary), "TORTURE_ROOT": str(root), "OPENAI_API_KEY": "sk-none"}
    path = os.pathsep.join(filter(None, (environment.pop("PYTHONPATH", ""), str(REPO_ROOT))))
    return subprocess.Popen(
        [*before, *command.argv(root)],
        cwd=REPO_ROOT / command.folder if command.folder else root,
        env={**os.environ, **own, "PYTHONPATH": path, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(name: str, root: Path, temporary: Path, before: tuple[str, ...] = (), **environment: str) -> Done:
    """Run a command to its end."""
    process = start(name, root, temporary, before, **environment)
    _, stderr = process.communicate(timeout=300)
    return Done(process.returncode, stderr)


@dataclass(frozen=True)
class Undisturbed:
    """A command's folder before and after, its seconds, and paths whose bytes no two runs have in common."""

    before: Path
    after: Path
    seconds: float
    unstable: frozenset[str]


@cache
def undisturbed(name: str, work: Path) -> Undisturbed:
    """Run a command twice as nobody disturbs it."""
    folder = work / "undisturbed" / name.replace(" ", "_")
    folder.mkdir(parents=True)
    before, after, prepare = folder / "before", folder / "root", COMMANDS[name].prepare
    if isinstance(prepare, str):
        shutil.copytree(undisturbed(prepare, work).after, before)
    else:
        before.mkdir()
        prepare(before)
    found = []
    for end in ("first", "second"):  # in one place: some files hold paths
        shutil.copytree(before, after)
        started = time.monotonic()
        done = run(name, after, folder / "temporary")
        seconds = time.monotonic() - started
        assert done.status == 0, done.stderr
        found.append(contents(after))
        after.rename(folder / end)
    assert found[0].keys() == found[1].keys()
    unstable = frozenset(path for path in found[0] if found[0][path] != found[1][path])
    return Undisturbed(before, folder / "second", seconds, unstable)


def contents(root: Path) -> dict[str, bytes]:
    """Bytes of all files by relative path; of JSON without the seconds that a step took, and their digest.
    Locks stay out."""
    return {p.relative_to(root).as_posix(): _bytes(p) for p in sorted(root.rglob("*")) if _counts(p)}


def _counts(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".lock", ".claims") and path.name != ".lock"


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".json":
        return data
    held = json.loads(data)
    if isinstance(held, dict):
        held = {key: value for key, value in held.items() if "seconds" not in key and key != "digest"}
    return json.dumps(held).encode()


def some_name(rng: random.Random, work: Path) -> Path:
    """A folder of a try's own that does not exist yet."""
    return work / f"try-{rng.getrandbits(64):016x}"
