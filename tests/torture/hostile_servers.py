"""LLM servers that say anything, and clients of `serve` that do: no traceback, no unreadable row."""

from __future__ import annotations

import random
import shutil
import socket
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
    place = some_name(rng, work)
    PromptSelector("tfidf").fit(made_log(24)).save(place / "selector")
    with Upstream() as upstream:
        client = Served(
            place / "selector", place / "log", upstream.url, "--explore", "0.5", "--timeout", "10"
        )
        try:
            (_send_bytes if case == "bytes to serve" else _send_requests)(client, rng)
            assert client.process.poll() is None
            assert client.client.get("/health").status_code in (200, 503)
            client.rows()  # every line is JSON
            assert client.stop() == 0
        finally:
            client.process.kill()
            client.process.communicate()
    shutil.rmtree(place, ignore_errors=True)
    return REQUESTS


def _send_requests(client: Served, rng: random.Random) -> None:
    draw = np.random.default_rng(rng.getrandbits(32))
    for _ in range(REQUESTS):
        request = odd_request(draw, client.url)
        reply = client.client.send(request)
        assert reply.status_code != 500, (request.method, request.url, request.content[:500], reply.text)


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


def _send_bytes(client: Served, rng: random.Random) -> None:
    """Requests cut, doubled or spoiled as bytes; whatever comes back, the server stays up."""
    whole = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 51\r\n\r\n"
    whole += b'{"messages": [{"role": "user", "content": "Why?"}]}'
    host, port = client.url.removeprefix("http://").split(":")
    for _ in range(REQUESTS):
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            try:
                connection.sendall(damaged(rng, whole, "request.txt"))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:  # the server has had enough, or waits for the rest
                pass
