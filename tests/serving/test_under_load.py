"""Kills under load tear no log, and requests of any form are answered."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from odd_requests import odd_request
from serving_process import Served
from upstream_server import Upstream

from prompt_oirl.serving.server import serve
from prompt_oirl.serving.settings import ServeSettings

CLIENTS = 4
# The slow tests in full: PROMPT_OIRL_KILLS=200 PROMPT_OIRL_REQUESTS=10000 (ten minutes).
KILLS = int(os.environ.get("PROMPT_OIRL_KILLS", 30))
REQUESTS = int(os.environ.get("PROMPT_OIRL_REQUESTS", 2000))


def ask_until_it_dies(url: str, seed: int, answered: list[str], confirmed: list[str]) -> None:
    """Ask and send feedback until the server is gone; notes the ids of whole answers and feedback."""
    rng, deadline = np.random.default_rng(seed), time.monotonic() + 60
    with httpx.Client(timeout=30, verify=False) as client:
        while time.monotonic() < deadline:
            message = {"role": "user", "content": "word " * int(rng.integers(1, 2000))}
            try:
                reply = client.post(f"{url}/v1/chat/completions", json={"messages": [message]})
                answered.append(reply.headers["x-prompt-oirl-id"])
                verdict = {"id": reply.headers["x-prompt-oirl-id"], "correct": 1}
                assert client.post(f"{url}/feedback", json=verdict).status_code == 200
                confirmed.append(reply.headers["x-prompt-oirl-id"])
            except httpx.TransportError:
                return
    raise AssertionError("the server was not killed")


@pytest.mark.parametrize("kills", [5, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_kills_under_load(kills: int, selector_folder: Path, upstream: Upstream, tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")  # imports once: kills matter here, not starts
    processes.set_forkserver_preload(["prompt_oirl.serving.server"])
    rng, log = np.random.default_rng(0), tmp_path / "log"
    answered: list[str] = []
    confirmed: list[str] = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        for kill in range(kills):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            flags = ServeSettings(upstream=upstream.url, port=port, log=log, log_mb=0.1, explore=0.5)
            process = processes.Process(target=serve, args=(selector_folder, flags, str), daemon=True)
            process.start()
            wait_for(port)
            url, before = f"http://127.0.0.1:{port}", len(answered)
            running = [
                pool.submit(ask_until_it_dies, url, CLIENTS * kill + i, answered, confirmed)
                for i in range(CLIENTS)
            ]
            while len(answered) < before + CLIENTS and not any(future.done() for future in running):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
            process.join()
            for future in running:
                future.result()
    rows, torn = [], 0
    for path in sorted(log.iterdir()):
        *lines, last = path.read_bytes().split(b"\n")
        torn += bool(last)
        rows += [json.loads(line) for line in lines]
    logged = Counter(row["id"] for row in rows if "id" in row)
    verdicts = Counter(row["feedback"] for row in rows if "feedback" in row)
    print(f"{kills} kills, {len(answered)} answers received, {len(rows)} rows, {torn} files with a torn line")
    assert len(answered) > kills and set(logged.values()) == {1}
    assert set(answered) <= set(logged) and set(confirmed) <= set(verdicts) <= set(logged)
    assert len(logged) <= len(answered) + CLIENTS * kills and torn <= kills


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/metrics", verify=False).raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError("no server")


@pytest.mark.parametrize("requests", [300, pytest.param(REQUESTS, marks=pytest.mark.slow)])
def test_requests_of_any_form_are_answered(
    requests: int, served: Callable[..., Served], upstream: Upstream
) -> None:
    server = served("--explore", "0.5", "--timeout", "10")
    statuses: Counter[int] = Counter()
    slowest = 0.0
    for seed in range(requests):
        rng = np.random.default_rng(seed)
        request = odd_request(rng, server.url)
        about = (seed, request, request.headers, request.content[:300])
        started = time.monotonic()
        try:
            reply = server.client.send(request)
        except httpx.TransportError as error:
            raise AssertionError(about) from error
        slowest = max(slowest, time.monotonic() - started)
        statuses[reply.status_code] += 1
        assert reply.status_code != 500, (about, reply.text)
    print(
        f"{requests} requests, statuses {dict(statuses)}, slowest {slowest:.2f} s, {len(server.rows())} rows"
    )
    assert slowest < 10 and server.process.poll() is None
    assert len(server.rows()) > requests / 10 and statuses[200] > requests / 10
    assert server.stop() == 0
    assert server.process.stderr is not None and "unexpected" not in server.process.stderr.read()
