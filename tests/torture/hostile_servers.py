"""LLM servers that say anything, and clients of `serve` that do: no traceback, no unreadable row."""

from __future__ import annotations

import random
import shutil
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from damaged_files import ODD, damaged
from made_logs import made_log
from misbehaving_server import FAULTS, Reply, completion, error
from odd_requests import odd_request
from serving_process import Served
from upstream_server import Upstream

from prompt_oirl import PromptSelector
from prompt_oirl.data import interactions
from torture.commands import COMMANDS, run, server, some_name
from torture.kill import check_said

CASES = ("server of step 1", "server of opro1", "requests to serve", "bytes to serve")
REQUESTS = 100


def attempt(case: str, rng: random.Random, work: Path) -> int:
    """A run against such a server, or a hundred requests of such a client."""
    if case.startswith("server"):
        _run_against("step1" if "step" in case else "opro1", rng, work)
        return 1
    client = served()
    if case == "bytes to serve":
        for _ in range(REQUESTS):
            _send_bytes(client, rng)
    else:
        draw = np.random.default_rng(rng.getrandbits(32))
        for _ in range(REQUESTS):
            reply = client.client.send(odd_request(draw, client.url))
            assert reply.status_code != 500, reply.text
    assert client.process.poll() is None and client.client.get("/health").status_code in (200, 503)
    return REQUESTS


def _reply(rng: random.Random) -> Reply | None:
    """Mostly an answer; else something that looks like one."""
    kind = rng.randrange(6)
    data: dict[str, Any] = completion("The answer is 7.")
    if kind == 0:
        data["choices"][0]["message"]["content"] = rng.choice(ODD)
    elif kind == 1:
        data["usage"] = {"prompt_tokens": rng.choice(ODD), "completion_tokens": rng.choice(ODD)}
    elif kind == 2:
        data[rng.choice(list(data))] = rng.choice(ODD)
    elif kind == 3:
        whole = b'{"choices": [{"message": {"content": "The answer is 7."}}]}'
        return rng.choice((200, 200, 400, 500)), damaged(rng, whole, "reply.json")
    elif kind == 4:
        return rng.choice((400, 401, 404, 422, 503)), error(str(rng.choice(ODD)))
    return (200, data) if kind < 3 else None


def _run_against(name: str, rng: random.Random, work: Path) -> None:
    place = some_name(rng, work)
    root = place / "root"
    root.mkdir(parents=True)
    prepare = COMMANDS[name].prepare
    assert not isinstance(prepare, str)
    prepare(root)
    spoilt = rng.choice((0.1, 1.0))
    started = server()
    with started.lock:
        started.requests.clear()
    started.respond = lambda body: _reply(rng) if rng.random() < spoilt else None
    started.fault_of = lambda text: rng.choice(FAULTS[:-1]) if rng.random() < 0.1 else ""
    try:
        done = run(name, root, place / "temporary")
    finally:
        started.respond, started.fault_of = lambda body: None, lambda text: ""
    assert done.status in (0, 1), (done.status, done.stderr)
    check_said(done.stderr, "error: ", done.status)
    assert "sk-none" not in done.stderr
    for log in root.rglob("*_interactions.jsonl"):
        interactions.read(log, hint="")
    again = run(name, root, place / "temporary")  # what was written is read, and the server is well again
    assert again.status == 0, again.stderr
    shutil.rmtree(place, ignore_errors=True)


@cache
def served() -> Served:
    """`prompt-oirl serve` before a server that answers."""
    folder = Path(tempfile.mkdtemp(prefix="torture-serve-"))
    PromptSelector("tfidf").fit(made_log()).save(folder / "selector")
    upstream = Upstream()
    upstream.__enter__()
    return Served(folder / "selector", folder / "log", upstream.url, "--explore", "0.5", "--timeout", "10")


def _send_bytes(client: Served, rng: random.Random) -> None:
    """A request cut, doubled or spoiled as bytes; whatever comes back, the server goes on."""
    whole = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 51\r\n\r\n"
    whole += b'{"messages": [{"role": "user", "content": "Why?"}]}'
    host, port = client.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(damaged(rng, whole, "request.txt"))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:  # the server has had enough
            pass
