"""What `prompt-oirl serve` costs: latency, requests per second and memory, on loopback and in one run.

    python scripts/bench_serving.py                                # latency at 1, 8 and 64 connections
    python scripts/bench_serving.py --memory_requests 100000       # then the server's memory, too: 15 minutes

Load generator, servers and upstream share the machine's cores; the upstream answers at once, then in a second
setting after 100 ms, as an LLM may (at most 100 requests a connection there). The ways alternate, so that all
see the same load of the machine: direct, straight to the upstream; relayed, through the server with
conversations that have no user message, which it relays as they are; by an embedder, through the server with
a question that has not been asked before, a prompt out of 16 and a row in the log. Late choices, where the
best prompt served because --budget_ms was over, are counted. The selectors are fitted on the tiny model's
answers to 16 prompts. Writes serving.csv and serving_memory.csv of results/reference and fills the tables of
docs/serving.md.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from benchmarks import fast_upstream
from benchmarks.load import Load, chat_request, run
from tqdm import tqdm

from prompt_oirl.data.prompts import load_prompts
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.reports.readme import fill_tables, markdown

EMBEDDERS = ("minilm", "minilm-int8", "tfidf")
WAYS = {"direct": "direct to the upstream", "relayed": "through the server, without choice"} | {
    embedder: f"choice over 16 prompts, {embedder}" for embedder in EMBEDDERS
}
WARM_UP = 64  # requests per way
START_SECONDS = 120.0  # until the server must listen


@dataclass
class Args:
    requests: int = 2000
    """Requests per way and concurrency."""
    rounds: int = 5
    """Turns of the three ways at each concurrency."""
    concurrency: tuple[int, ...] = (1, 8, 64)
    """Connections, each with one request in flight."""
    upstream_ms: tuple[int, ...] = (0, 100)
    """Milliseconds after which the upstream answers."""
    memory_requests: int = 0
    """Requests of the memory test; 0: none."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


def main(args: Args) -> None:
    """Start upstream and server, load them, write the tables."""
    for flag in ("requests", "rounds"):
        if getattr(args, flag) < 1:
            raise InputError(f"--{flag} {getattr(args, flag)}: give 1 or more")
    reference = args.out / "results" / "reference"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        save_selectors(work)
        rows: list[dict[str, Any]] = []
        for pause in args.upstream_ms:
            with upstream(pause) as upstream_port, ExitStack() as stack:
                started = {e: stack.enter_context(server(work / e, upstream_port)) for e in EMBEDDERS}
                ports = {"direct": upstream_port, "relayed": started["minilm"][0]}
                ports |= {embedder: port for embedder, (port, _) in started.items()}
                rows += asyncio.run(latencies(args, ports, pause, work))
                if args.memory_requests and pause == args.upstream_ms[0]:
                    memory = asyncio.run(memories(args.memory_requests, *started["tfidf"]))
                    write_csv(reference / "serving_memory.csv", memory)
        write_csv(reference / "serving.csv", rows)
    tables = {
        name: render(read_csv(reference / f"{name}.csv", hint="run this script again"))
        for name, render in (("serving", latency_table), ("serving_memory", memory_table))
        if (reference / f"{name}.csv").is_file()
    }
    fill_tables(args.out, tables)
    print(*tables.values(), sep="\n")


def save_selectors(folder: Path) -> None:
    """Fit on the validation answers of the tiny model to the prompts that were not made by OPRO."""
    from prompt_oirl import PromptSelector

    prompts = load_prompts(REPO_ROOT / "data" / "arith" / "prompts.csv")
    names = [prompt.id for prompt in prompts if prompt.role in ("train", "held_out")]
    log = pd.read_parquet(Paths().committed_log("nano", "arith"))
    log = log[(log["split"] == "validation") & log["prompt_id"].isin(names)]
    columns = ["question", "prompt", "prompt_id", "correct", "position", "group"]
    for embedder in EMBEDDERS:
        PromptSelector(embedder).fit(log[columns]).save(folder / embedder)


@contextmanager
def upstream(pause: int) -> Iterator[int]:
    """The upstream in a process of its own; its port."""
    port = free_port()
    with ended(subprocess.Popen([sys.executable, fast_upstream.__file__, str(port), str(pause)])):
        wait_for(port)
        yield port


@contextmanager
def server(selector: Path, upstream_port: int) -> Iterator[tuple[int, psutil.Process]]:
    """`prompt-oirl serve` with exploration and a log, in a process of its own; its port."""
    port = free_port()
    command = [sys.executable, "-m", "prompt_oirl", "serve", str(selector)]
    command += ["--upstream", f"http://127.0.0.1:{upstream_port}/v1", "--port", str(port)]
    command += ["--explore", "0.05"]
    with ended(subprocess.Popen(command)) as process:
        wait_for(port)
        yield port, psutil.Process(process.pid)


@contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """The process, which is ended afterwards."""
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Return when something listens there."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise InputError(f"nothing listens on port {port} after {START_SECONDS:.0f} seconds: see its messages")


def questions(start: int = 0) -> Iterator[bytes]:
    """Requests with questions, each another one."""
    number = start
    while True:
        number += 1
        a, b, c = 3 + number % 97, 2 + number // 97 % 89, 2 + number // 8633
        yield chat_request(
            f"Lea has {a} notebooks, and Karl has {b} times as many. They buy {c} more. "
            "How many notebooks do they have together?",
            "user",
        )


def untouched() -> Iterator[bytes]:
    """Requests without a question."""
    request = chat_request("Lea has 2 times the notebooks of Karl, who has 7. How many are there?", "system")
    while True:
        yield request


def late(work: Path, way: str) -> int:
    """Rows of a server's log whose choice took too long."""
    files = (work / f"{way}_log").glob("*.jsonl")
    return sum(path.read_bytes().count(b'"fallback": "slow"') for path in files)


async def latencies(args: Args, ports: dict[str, int], pause: int, work: Path) -> list[dict[str, Any]]:
    """A row per concurrency and way, measured in turns."""
    sources = {"direct": questions(), "relayed": untouched()}
    sources |= {embedder: questions(10**6) for embedder in EMBEDDERS}
    for way in WAYS:
        await run(ports[way], sources[way], WARM_UP, 4)
    rows = []
    for concurrency in args.concurrency:
        loads, before = {way: Load() for way in WAYS}, {way: late(work, way) for way in WAYS}
        total = min(args.requests, 100 * concurrency) if pause else args.requests
        for _ in range(args.rounds):
            for way, load in loads.items():
                n = max(1, total // args.rounds)
                load.add(await run(ports[way], sources[way], n, concurrency))
        for way, load in loads.items():
            row = {"upstream_ms": pause, "way": way, "concurrency": concurrency} | load.row()
            rows.append(row | {"late": late(work, way) - before[way]})
    return [row | {"cores": os.cpu_count()} for row in rows]


async def memories(n: int, port: int, process: psutil.Process) -> list[dict[str, Any]]:
    """The server's resident memory in MiB after each tenth of n requests, eight at a time."""
    source, rows = questions(10**8), []
    for part in tqdm(range(10), file=sys.stderr):
        load = await run(port, source, n // 10, 8)
        row = {"requests": (part + 1) * (n // 10), "rss_mib": round(process.memory_info().rss / 2**20, 1)}
        rows.append(row | {"per_second": load.row()["per_second"], "errors": load.errors})
    return rows


def latency_table(rows: list[dict[str, str]]) -> str:
    """serving.csv as markdown."""
    header = [
        "upstream ms",
        "connections",
        "way",
        "median ms",
        "p95 ms",
        "requests a second",
        "errors",
        "late choices",
    ]
    numbers = ("median_ms", "p95_ms", "per_second")
    return markdown(
        header,
        [
            [row["upstream_ms"], row["concurrency"], WAYS[row["way"]]]
            + [f"{float(row[column]):,.1f}" for column in numbers]
            + [row["errors"], row["late"]]
            for row in rows
        ],
    )


def memory_table(rows: list[dict[str, str]]) -> str:
    """serving_memory.csv as markdown."""
    header = ["requests", "resident memory, MiB", "requests a second", "errors"]
    lines = [[f"{int(row['requests']):,}", row["rss_mib"], row["per_second"], row["errors"]] for row in rows]
    return markdown(header, lines)


if __name__ == "__main__":
    run_step(main, Args)
