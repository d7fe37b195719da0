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
from typing import Any

import httpx
import numpy as np
import pytest
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


BODIES: list[dict[str, Any]] = [
    {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "temperature": 1.0},
    {"messages": [{"role": "system", "content": "Hm."}, {"role": "user", "content": "\u00e9?"}], "n": 2},
    {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Hm."}]},
            {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "A"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    },
]  # fmt: skip
ODD = [
    None,
    True,
    0,
    -1,
    1e308,
    10**40,
    "",
    "x" * 3000,
    "\ud800",
    "{question}",
    [],
    {},
    [[]],
    {"role": "user"},
]
PATHS = ["/v1/chat/completions"] * 12 + ["/feedback", "/v1/models", "/v1/", "/v1/../x", "/v1/%00", "/health"]
HEADERS = [b"x-prompt-oirl-segment", b"content-type", b"accept-encoding", b"connection", b"te", b"x-a"]
METHODS = ["POST"] * 12 + ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]


def spoiled(value: Any, rng: np.random.Generator) -> Any:
    """The value with something else somewhere in it."""
    if rng.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return ODD[rng.integers(len(ODD))]
    key = list(value)[rng.integers(len(value))] if isinstance(value, dict) else int(rng.integers(len(value)))
    new = spoiled(value[key], rng)
    if isinstance(value, dict):
        return {**value, key: new}
    return [*value[:key], new, *value[key + 1 :]]


def body_of(rng: np.random.Generator) -> bytes:
    value: Any = BODIES[rng.integers(len(BODIES))]
    for _ in range(rng.integers(3)):
        value = spoiled(value, rng)
    data = bytearray(
        json.dumps(value, ensure_ascii=bool(rng.random() < 0.7)).encode("utf-8", "surrogatepass")
    )
    for _ in range(rng.choice([0, 0, 0, 1, 5])):
        at = int(rng.integers(len(data) + 1))
        data[at : at + int(rng.integers(3))] = rng.bytes(int(rng.integers(3)))
    return bytes(data)


@pytest.mark.parametrize("requests", [300, pytest.param(REQUESTS, marks=pytest.mark.slow)])
def test_requests_of_any_form_are_answered(
    requests: int, served: Callable[..., Served], upstream: Upstream
) -> None:
    server = served("--explore", "0.5", "--timeout", "10")
    statuses: Counter[int] = Counter()
    slowest = 0.0
    for seed in range(requests):
        rng = np.random.default_rng(seed)
        method, path = METHODS[rng.integers(len(METHODS))], PATHS[rng.integers(len(PATHS))]
        headers = [(b"content-type", b"application/json")]
        if rng.random() < 0.2:
            value = [rng.bytes(6).hex().encode(), b"\xe9,;"][seed % 2]
            headers.append((HEADERS[rng.integers(len(HEADERS))], value))
        content = body_of(rng)
        request = httpx.Request(method, f"{server.url}{path}", headers=headers, content=content)
        about = (seed, method, path, headers, content[:300])
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
