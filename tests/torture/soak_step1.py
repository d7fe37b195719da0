"""Step 1 against a flaky server until every answer is there: each row once, each answer paid once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from prompt_oirl.data import interactions
from prompt_oirl.io.files import REPO_ROOT
from torture.flaky_server import answer_to, flaky_server, name_of
from torture.watch import Soaked, Watch

SHARE = 0.05  # of the requests, all kinds of fault together
TIMEOUT = 10  # seconds; one request that hangs holds up its batch so long
AT_A_TIME = 128
MOST_RUNS = 8  # what may have been billed is left to the next run, and 1 % of these again


def soak(items: int, seed: int, work: Path) -> tuple[Soaked, Watch]:
    """Ask `items` questions with one prompt; the first run is watched."""
    lines = (f"What is question{i} + 1?,7,{'train' if i % 2 else 'test'}\n" for i in range(items))
    (work / "q.csv").write_text("question,gold,split\n" + "".join(lines))
    command = [sys.executable, "llama_step1_gen_offline.py", "--backend", "openai", "--model", "m"]
    command += ["--root", str(work), "--dataset_eval", "toy", "--questions", str(work / "q.csv")]
    command += ["--prompt_idx", "0", "--max_gen_len", "50"]
    command += ["--timeout", str(TIMEOUT), "--max_batch_size", str(AT_A_TIME)]
    watch = None
    with flaky_server(seed, SHARE) as server:
        command += ["--base_url", server.url]
        for run in range(1, MOST_RUNS + 1):
            with (work / "said.txt").open("w") as said:
                started = subprocess.Popen(
                    command,
                    cwd=REPO_ROOT / "llama_exps",
                    env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
                    stdout=said,
                    stderr=said,
                )
                if watch is None:
                    with Watch((started.pid,), lambda: server.state()["items"] / items) as watch:
                        started.wait()
                else:
                    started.wait()
            ended = (work / "said.txt").read_text()
            print(f"run {run}, status {started.returncode}: {ended.strip()[-300:]}", flush=True)
            if started.returncode == 0:
                break
            assert "Traceback" not in ended and "still missing" in ended, ended
        faults, paid, left = server.state()["faults"], server.paid(), server.left()
    rows = interactions.read(work / "llama_exps" / "LMm" / "toy_interactions.jsonl", hint="")
    logged = Counter(name_of(row.question) for row in rows)
    right = {name_of(row.question) for row in rows if row.answer == answer_to(name_of(row.question))}
    # Asked for again because the client was too busy to read in time: a fault of the machine.
    faults["unread in time"] = unread = sum(min(n - 1, left.get(name, 0)) for name, n in paid.items())
    doubles = sum(n - 1 for n in [*logged.values(), *paid.values()]) - unread
    return Soaked(faults, sum(paid.values()), len(rows), doubles, items - len(right), run), watch
