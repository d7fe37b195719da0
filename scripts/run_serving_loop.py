"""The whole loop on the tiny model: cold log, fit, serve with exploration and feedback, value, refit, gain.

    make serving-loop                     # or: python scripts/run_serving_loop.py; some minutes on two cores

A cold log (80 questions, six prompts, most cells missing) makes the first selector. `prompt-oirl serve` puts
it before the tiny model (scripts/nano_server.py); a client asks 2,000 training problems, grades each answer
and sends the verdict back. `prompt-oirl value` estimates from that log what other policies would have scored,
and `prompt-oirl fit --update` learns from it. What that gains is then measured on 1,000 test problems that
nobody asked before, whose answers to all prompts are known (data/nano_log). Writes serving_loop.csv and
serving_loop_values.csv of results/reference and the tables of docs/serving.md; the rest lies in --work.
"""

from __future__ import annotations

import asyncio
import io
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from prompt_oirl import PromptSelector, grading
from prompt_oirl.arith.benchmark import read_rows
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, require, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.stats.metrics import ClusterBootstrap, format_interval

COLD_QUESTIONS, MISSING = 80, 0.6
START_SECONDS = 180.0  # until a server must listen
COLUMNS = ["question", "prompt", "prompt_id", "position", "correct"]


@dataclass
class Args:
    work: Path = REPO_ROOT / "build" / "serving_loop"
    """Folder for logs and selectors; one of an earlier run is refused."""
    requests: int = 2000
    """Questions that the client asks."""
    explore: float = 0.2
    """Share of requests that get a prompt at random."""
    at_once: int = 16
    """Requests in flight."""
    seed: int = 0
    """Seed of the cold log, of exploration and of the model's sampling."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


def main(args: Args) -> None:
    """Run the loop and write what came of it."""
    log = pd.read_parquet(require(Paths().committed_log("nano", "arith"), "run make nano-log"))
    log = log[log["sample"] == 0]
    train = log[log.split == "train"]
    test = log[(log.split == "test") & log.prompt.isin(train.prompt.unique())]
    selector, served, cold_file = (args.work / name for name in ("selector", "served", "cold.csv"))
    if args.work.exists():
        raise InputError(f"{args.work} is there from an earlier run: delete it, or choose another --work")
    args.work.mkdir(parents=True)
    started = time.monotonic()

    cold = cold_log(train, args.seed)
    cold.to_csv(cold_file, index=False, columns=COLUMNS)
    run("fit", cold_file, "--out", selector)
    first = PromptSelector.load(selector)
    questions = [q for q in read_rows("train") if q["question"] not in set(cold.question)][: args.requests]
    with upstream(args.seed) as port, server(selector, served, port, args) as url:
        right = asyncio.run(ask(questions, url, args.at_once))
    policies: dict[str, str | Path] = {"first selector": selector, "best": "best", "random": "random"}
    policies |= {f"prompt {name}": f"prompt:{name}" for name in dict.fromkeys(cold.prompt_id)}
    flags: list[str | Path] = [flag for policy in policies.values() for flag in ("--policy", policy)]
    values = pd.read_csv(io.StringIO(run("value", served, *flags, "--format", "csv")))
    print(run("fit", cold_file, served, "--update", selector), flush=True)
    second = PromptSelector.load(selector)

    asked = train[train.question.isin({q["question"] for q in questions})]
    estimates = estimate_rows(values, policies, first, asked)
    gains = [
        {"learned from": "cold log", "answers": len(cold), **success(first, test)},
        {"learned from": "cold and served log", "answers": len(cold) + len(right), **success(second, test)},
    ]
    gained = difference(first, second, test)
    reference = args.out / "results" / "reference"
    write_csv(reference / "serving_loop.csv", [*gains, {"learned from": "gain", **gained}])
    write_csv(reference / "serving_loop_values.csv", estimates)
    fill_tables(
        args.out, {"serving_loop": render_gains(gains, gained), "serving_loop_values": render(estimates)}
    )
    shown = format_interval(gained["success"], gained["low"], gained["high"], points=True)
    print(
        f"{len(right):,} requests served and graded, {100 * np.mean(right):.1f} % right; the refit gains "
        f"{shown} points on {test.question.nunique():,} test questions; {time.monotonic() - started:.0f} s"
    )


def cold_log(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Some questions of the training log, with most of the cells missing."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(train.question_id.unique(), COLD_QUESTIONS, replace=False)
    rows = train[train.question_id.isin(chosen)]
    return rows[rng.random(len(rows)) >= MISSING]


def run(*arguments: str | Path) -> str:
    """Run a command of prompt-oirl, and return what it wrote to stdout, or to stderr if that is nothing."""
    print("$ prompt-oirl", *map(str, arguments), flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "prompt_oirl", *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(f"it ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout or done.stderr


@contextmanager
def upstream(seed: int) -> Iterator[int]:
    """The tiny model behind its server; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = [sys.executable, str(REPO_ROOT / "scripts" / "nano_server.py")]
    with subprocess.Popen([*script, "--port", str(port), "--seed", str(seed)]) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.2)
            else:
                raise InputError("scripts/nano_server.py does not listen; see what it said above")
            yield port
        finally:
            process.terminate()


@contextmanager
def server(selector: Path, log: Path, upstream_port: int, args: Args) -> Iterator[str]:
    """`prompt-oirl serve` before the tiny model; its URL."""
    flags = ["--upstream", f"http://127.0.0.1:{upstream_port}/v1", "--port", "0", "--log", str(log)]
    flags += ["--explore", str(args.explore), "--seed", str(args.seed), "--budget_ms", "1000"]
    command = [sys.executable, "-m", "prompt_oirl", "serve", str(selector), *flags]
    print("$ prompt-oirl", *command[3:], flush=True)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for said in process.stderr:
            if found := re.search(r"serving on (http://\S+?),? ", said):
                break
        else:
            raise InputError(f"prompt-oirl serve does not listen: {said.strip()}")
        try:
            yield found[1]
        finally:
            process.terminate()


async def ask(questions: Sequence[dict[str, Any]], url: str, at_once: int) -> list[bool]:
    """Ask every question once, grade the answer, and send the verdict back; the verdicts."""
    import httpx

    limit, right = asyncio.Semaphore(at_once), []
    progress = tqdm(total=len(questions), desc="requests", disable=None)

    async def one(client: Any, question: dict[str, Any]) -> None:
        async with limit:
            message = {"role": "user", "content": question["question"]}
            reply = await client.post("/chat/completions", json={"model": "nano", "messages": [message]})
            reply.raise_for_status()
            answer = reply.json()["choices"][0]["message"]["content"]
            verdict = grading.verdict("strict", answer, question["gold"], "number", question["question"])
            feedback = {"id": reply.headers["x-prompt-oirl-id"], "correct": int(verdict)}
            (await client.post(url.removesuffix("/v1") + "/feedback", json=feedback)).raise_for_status()
            right.append(verdict)
            progress.update()

    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        await asyncio.gather(*(one(client, question) for question in questions))
    return right


def picked(selector: PromptSelector, log: pd.DataFrame) -> pd.Series:
    """Verdict of the prompt that the selector picks, by question; the log holds all cells."""
    labels = log.pivot_table(index="question", columns="prompt", values="correct")
    picks = selector.select(list(labels.index))
    return pd.Series([labels.at[q, p] for q, p in zip(labels.index, picks)], labels.index)


def success(selector: PromptSelector, log: pd.DataFrame) -> dict[str, float]:
    """Success of the picks with a 95 % interval over near-duplicates."""
    return interval(picked(selector, log), log)


def difference(first: PromptSelector, second: PromptSelector, log: pd.DataFrame) -> dict[str, float]:
    """What the second one gains, question by question."""
    return interval(picked(second, log) - picked(first, log), log)


def interval(values: pd.Series, log: pd.DataFrame) -> dict[str, float]:
    """Mean of what each question has, with its interval."""
    groups = log.drop_duplicates("question").set_index("question").group[values.index]
    [found] = ClusterBootstrap(groups.to_numpy()).mean(values.to_numpy()[:, None])
    return dict(zip(("success", "low", "high"), map(float, found)))


def estimate_rows(
    values: pd.DataFrame, policies: dict[str, Any], first: PromptSelector, asked: pd.DataFrame
) -> list[dict[str, Any]]:
    """Doubly robust value of each policy beside what the questions' known answers say."""
    rows = []
    for name, policy in policies.items():
        found = values[(values.policy == str(policy)) & (values.estimator == "dr")].iloc[0]
        rows.append({"policy": name, "value": found.value, "low": found.low, "high": found.high})
        if name == "random":
            rows[-1]["truth"] = asked.correct.mean()
        elif name == "first selector":
            rows[-1]["truth"] = picked(first, asked).mean()
        elif name.startswith("prompt "):
            rows[-1]["truth"] = asked[asked.prompt_id == name.removeprefix("prompt ")].correct.mean()
        else:
            rows[-1]["truth"] = asked.groupby("prompt_id").correct.mean().max()
    return rows


def render(rows: Sequence[dict[str, Any]]) -> str:
    """The table of estimates."""
    cells = []
    for r in rows:
        known = not np.isnan(r["low"])
        interval = format_interval(r["value"], r["low"], r["high"], signed=False)
        cells.append(
            [r["policy"], interval if known else f"{r['value']:.3f}, no interval", f"{r['truth']:.3f}"]
        )
    return markdown(
        ["policy", "estimate from the served log", "success of its answers in the known log"], cells
    )


def render_gains(gains: Sequence[dict[str, Any]], gained: dict[str, float]) -> str:
    """The table of selectors."""
    cells = [
        [
            r["learned from"],
            f"{r['answers']:,}",
            format_interval(r["success"], r["low"], r["high"], signed=False),
        ]
        for r in gains
    ]
    shown = format_interval(gained["success"], gained["low"], gained["high"], points=True)
    return markdown(
        ["learned from", "answers", "success on 1,000 test questions"], [*cells, ["gain, points", "", shown]]
    )


if __name__ == "__main__":
    run_step(main, Args)
