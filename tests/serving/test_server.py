"""The server as clients see it, and the log that it writes."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from made_logs import made_log
from serving_process import Served
from upstream_server import ERROR, MODELS, Upstream

from prompt_oirl import PromptSelector

Start = Callable[..., Served]


def test_an_answer_its_headers_its_row_and_its_feedback(served: Start, upstream: Upstream) -> None:
    server = served("--explore", "0.3", "--price_in", "1", "--price_out", "2")
    reply = server.ask("Ann has 3 apples. How many?", temperature=1.0)
    assert reply.json()["choices"][0]["message"]["content"] == "pong"
    (row,) = server.rows()
    told = {name: reply.headers[f"x-prompt-oirl-{name}"] for name in ("id", "prompt", "propensity", "policy")}
    assert told["id"] == row["id"] and told["policy"] == row["policy"] and row["answer"] == "pong"
    assert float(told["propensity"]) == pytest.approx(row["propensity"], abs=1e-5)
    assert upstream.seen[-1].json["messages"][0] == {"role": "system", "content": row["prompt"]}
    assert row["propensity"] in row["propensities"] and sum(row["propensities"]) == pytest.approx(1)
    assert (row["cost"], row["llm"], row["status"]) == (pytest.approx(120e-6), "m", 200)
    for body, status in (
        ({"id": row["id"], "correct": True}, 200),
        ({"id": row["id"], "score": 0.25}, 200),
        ({"id": "0" * 32, "correct": 1}, 404),
        ({"id": row["id"], "correct": 2}, 400),
        ({"id": row["id"], "correct": "1"}, 400),
        ({"id": 1, "correct": 1}, 400),
        ([], 400),
    ):
        assert server.client.post("/feedback", json=body).status_code == status
    assert [(r["feedback"], r["correct"]) for r in server.rows()[1:]] == [(row["id"], 1.0), (row["id"], 0.25)]
    assert server.stop() == 0


def test_what_is_no_question_passes_byte_by_byte(served: Start, upstream: Upstream) -> None:
    server = served()
    reply = server.ask("error please")
    assert (reply.status_code, reply.content, reply.headers["x-error"]) == (404, ERROR, "yes")
    assert server.client.get("/v1/models").content == MODELS
    for body in (
        b'{"messages": [',
        b'{"messages": [], "messages": []}',
        b'{"messages": [{"role": "system"}]}',
    ):
        reply = server.client.post("/v1/chat/completions", content=body)
        assert upstream.seen[-1].body == body and reply.headers["x-prompt-oirl-prompt"] == "none"
    odd = b"\x00\xff not JSON"
    reply = server.client.put(
        "/v1/a%2Fb/c?x=%20&y=1", content=odd, headers={"x-own": "1", "expect": "100-continue"}
    )
    seen = upstream.seen[-1]
    assert (reply.status_code, reply.content, seen.method, seen.body) == (202, odd, "PUT", odd)
    assert seen.path.endswith("?x=%20&y=1") and seen.headers["x-own"] == "1" and "expect" not in seen.headers
    assert server.client.get("/v1/%2e%2e/secret").status_code == 404 == server.client.get("/x").status_code
    assert len(server.rows()) == 1
    health = server.client.get("/health").json()
    assert (health["status"], health["upstream"], health["prompts"]) == ("ok", "reachable", 3)
    figures = server.client.get("/metrics").text
    assert 'prompt_oirl_requests_total{route="/v1/chat/completions",status="404"} 1.0' in figures


def test_tools_and_unknown_fields_reach_the_upstream(served: Start, upstream: Upstream) -> None:
    server = served("--position", "after")
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    reply = server.ask("Why?", tools=tools, n=2, odd={"a": 2**70})
    assert reply.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "add"
    sent, (row,) = upstream.seen[-1].json, server.rows()
    assert (sent["tools"], sent["n"], sent["odd"]) == (tools, 2, {"a": 2**70})
    assert sent["messages"] == [{"role": "user", "content": f"Why?\n{row['prompt']}"}]
    assert (row["answer"], row["finish_reason"], row["position"]) == (None, "tool_calls", "after")


def test_pieces_come_as_they_are_made_and_a_cut_is_a_cut(served: Start) -> None:
    server = served()
    body = {"messages": [{"role": "user", "content": "count"}], "stream": True}
    times, pieces = [], []
    with server.client.stream("POST", "/v1/chat/completions", json=body) as reply:
        for piece in reply.iter_raw():
            times.append(time.monotonic())
            pieces.append(piece)
    assert times[-1] - times[0] > 0.2 and len(pieces) >= 4 and pieces[-1].endswith(b"data: [DONE]\n\n")
    for stream in (True, False):
        body = {"messages": [{"role": "user", "content": "cut please"}], "stream": stream}
        try:
            assert server.client.post("/v1/chat/completions", json=body).status_code == 502 and not stream
        except httpx.RemoteProtocolError:
            assert stream
    whole, cut, failed = server.rows(3)
    assert (whole["answer"], whole["finish_reason"]) == ("one two three", "stop")
    assert (cut["answer"], cut["finish_reason"]) == ("one ", "cut")
    assert (failed["status"], failed["answer"]) == (502, None)


def test_keys(served: Start, upstream: Upstream) -> None:
    guarded = served("--host", "0.0.0.0", PROMPT_OIRL_SERVE_KEY="sk-serve", PROMPT_OIRL_UPSTREAM_KEY="sk-up")
    assert httpx.get(f"{guarded.url}/health").status_code == 200
    for path in ("/metrics", "/v1/models", "/feedback", "/v1/chat/completions", "/nothing"):
        for headers in ({}, {"authorization": "Bearer sk-serv"}):
            reply = httpx.get(guarded.url + path, headers=headers)
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert guarded.ask("ping").status_code == 200
    assert upstream.seen[-1].headers["authorization"] == "Bearer sk-up"
    half = served(PROMPT_OIRL_SERVE_KEY="sk-serve")
    half.ask("ping")
    assert "authorization" not in upstream.seen[-1].headers  # our own key stays here
    free = served()
    free.client.headers["authorization"] = "Bearer sk-client"
    free.ask("ping")
    assert upstream.seen[-1].headers["authorization"] == "Bearer sk-client"
    for server in (guarded, half, free):
        assert "sk-" not in json.dumps(server.rows()) + server.said
    for header in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert free.client.get("/v1/models", headers=header).status_code == 403
    assert free.client.get("/v1/models", headers={"host": "localhost:1"}).status_code == 200


def test_too_much_too_long_and_clients_that_leave(served: Start, upstream: Upstream) -> None:
    server = served("--timeout", "1.5", "--max_waiting", "2", "--max_body_mb", "0.01")
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: server.ask("stall please"), range(4)))
    assert sorted(r.status_code for r in replies) == [503, 503, 504, 504]
    assert {r.headers.get("retry-after") for r in replies if r.status_code == 503} == {"1"}
    assert server.ask("x" * 20_000).status_code == 413
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "slowly please"}]},
            timeout=0.3,
        )
    body = {"messages": [{"role": "user", "content": "count"}], "stream": True}
    with server.client.stream("POST", "/v1/chat/completions", json=body) as reply:
        next(reply.iter_raw())
    deadline = time.monotonic() + 20
    while (len(server.rows()) < 4 or upstream.left < 4) and time.monotonic() < deadline:
        time.sleep(0.05)
    ends = {(row["status"], row["finish_reason"]) for row in server.rows()}
    assert ends == {(504, None), (499, "disconnected"), (200, "disconnected")}
    assert upstream.left >= 4  # nobody waits there for whom nobody waits here
    assert server.ask("ping").status_code == 200


def test_an_upstream_that_is_away(served: Start, selector_folder: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody answers
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        server = Served(selector_folder, tmp_path / "log", url)
        reply = server.ask("ping")
        assert (reply.status_code, reply.json()["error"]["type"]) == (502, "server_error")
        assert server.client.get("/v1/models").status_code == 502
        health = server.client.get("/health")
        assert (health.status_code, health.json()["upstream"]) == (200, "unreachable")
        assert server.stop() == 0


def test_sigterm_lets_requests_end(served: Start) -> None:
    server = served("--drain_seconds", "10")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.ask, "slowly please")
        time.sleep(0.4)
        server.process.terminate()
        assert running.result().status_code == 200
    assert server.process.wait(10) == 0 and server.rows()[0]["status"] == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/health")


def test_a_drain_ends(served: Start) -> None:
    server = served("--drain_seconds", "1")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.ask, "stall please")
        time.sleep(0.4)
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert isinstance(running.exception(), httpx.HTTPError) or running.result().status_code >= 500
    assert server.rows(1)[0]["finish_reason"] == "disconnected"


def test_fallbacks(served: Start) -> None:
    slow = served("--budget_ms", "0", "--explore", "0.3")
    slow.ask("ping")
    unsure = served("--abstain_below", "1", "--explore", "0.3")
    unsure.ask("ping")
    long = served()
    long.ask("ping " * 30_000)
    for server, fallback, best in ((slow, "slow", 0.8), (unsure, "abstained", 0.8), (long, "failed", 1.0)):
        (row,) = server.rows()
        assert row["fallback"] == fallback and max(row["propensities"]) == pytest.approx(best)
        assert (row["probability"] is None) == (fallback != "abstained")


def test_votes(served: Start, upstream: Upstream) -> None:
    server = served("--votes", "3")
    reply = server.ask("please say 7")
    assert reply.headers["x-prompt-oirl-votes"] == "3/3" and "The answer is 7." in reply.text
    rows = server.rows()
    assert [(r["propensity"], r["votes"]) for r in rows] == [(1.0, 3)] * 3
    assert len({r["prompt"] for r in rows}) == 3 and reply.headers["x-prompt-oirl-id"] in {
        r["id"] for r in rows
    }
    assert "x-prompt-oirl-votes" not in server.ask("please say 7", n=2).headers
    failed = server.ask("error please")
    assert (failed.status_code, failed.content) == (404, ERROR)
    assert [r.get("votes") for r in server.rows()[3:]] == [None, 3, 3, 3]


def test_without_texts_the_log_has_no_question(served: Start, small_selector: PromptSelector) -> None:
    server = served("--log_texts", "off")
    question = made_log().question[0]
    server.ask(question)
    (row,) = server.rows()
    expected, size = small_selector.question_features([question], None)
    assert row["question_vector"] == pytest.approx(expected[0, :size].tolist(), abs=1e-6)
    assert "Ann" not in json.dumps(row) and row["answer"] is None and "question" not in row


def test_a_new_selector_takes_over_and_a_broken_one_does_not(
    served: Start, selector_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(selector_folder, tmp_path / "selector")
    server = served(folder=folder)

    def policy() -> str:
        return str(server.ask("ping").headers["x-prompt-oirl-policy"])

    def until(text: str) -> None:
        deadline = time.monotonic() + 20
        while text not in server.client.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    first = policy()
    (folder / "selector.json").write_text("{}")
    until('reloads_total{result="failed"} 1.0')
    assert policy() == first
    PromptSelector("tfidf", seed=1).fit(made_log(seed=3)).save(folder)
    until('reloads_total{result="ok"} 1.0')
    second = policy()
    assert second != first and server.client.get("/health").json()["policy"] == second
    assert [row["policy"] for row in server.rows()] == [first, first, second]


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--host", "0.0.0.0"], "PROMPT_OIRL_SERVE_KEY"),
        (["--upstream", "127.0.0.1:80"], "--upstream"),
        (["--upstream", "http://user:secret@h/v1"], "without a key"),
        (["--upstream", "http://localhost:8765/v1"], "this server itself"),
        (["--explore", "2"], "--explore"),
        (["--explore", "0.1", "--votes", "3"], "leave one out"),
        (["--timeout", "nan"], "--timeout"),
        (["--abstain_below", "7"], "--abstain_below"),
        (["--port", "70000"], "--port"),
        (["--host", "203.0.113.1", "KEY"], "cannot listen"),
        (["nowhere"], "selector.json"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    flags: list[str], said: str, selector_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "KEY" in flags:
        monkeypatch.setenv("PROMPT_OIRL_SERVE_KEY", "k")
        flags = [flag for flag in flags if flag != "KEY"]
    folder = str(selector_folder) if flags[0].startswith("--") else flags.pop()
    command = [sys.executable, "-m", "prompt_oirl", "serve", folder, "--log", str(tmp_path / "log")]
    given = flags if "--upstream" in flags else ["--upstream", "http://127.0.0.1:9/v1", *flags]
    done = subprocess.run([*command, *given], capture_output=True, text=True, timeout=60)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode != 0 and said in line and not re.search("Traceback|secret@", line)
