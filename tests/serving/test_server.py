"""The server as clients see it, and the log that it writes."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from upstream_server import ERROR


def test_an_answer_its_headers_its_row_and_its_feedback(served, upstream) -> None:
    server = served(
        "--explore", "0.3", "--price_in", "1", "--price_out", "2", PROMPT_OIRL_UPSTREAM_KEY="sk-up"
    )
    reply = server.ask("Ann has 3 apples. How many?", temperature=1.0)
    assert reply.json()["choices"][0]["message"]["content"] == "pong"
    body, headers = upstream.seen[-1]
    assert b'"temperature":1.0' in body.replace(b" ", b"") and headers["authorization"] == "Bearer sk-up"
    (row,) = server.rows()
    assert row["id"] == reply.headers["x-prompt-oirl-id"] and row["answer"] == "pong"
    assert json.loads(body)["messages"][0] == {"role": "system", "content": row["prompt"]}
    assert row["propensity"] in row["propensities"] and abs(sum(row["propensities"]) - 1) < 1e-9
    assert row["cost"] == pytest.approx(120e-6)
    assert server.client.post("/feedback", json={"id": row["id"], "correct": True}).status_code == 200
    assert server.client.post("/feedback", json={"id": "0" * 32, "correct": 1}).status_code == 404
    assert server.client.post("/feedback", json={"id": row["id"], "correct": 2}).status_code == 400
    assert server.rows()[-1]["feedback"] == row["id"]
    assert server.stop() == 0


def test_errors_models_and_bodies_without_question_pass_unchanged(served, upstream) -> None:
    server = served()
    reply = server.ask("error please")
    assert (reply.status_code, reply.content) == (404, ERROR)
    assert server.client.get("/v1/models").content == b'{"object": "list",  "data": []}'
    for body in (
        b'{"messages": [',
        b'{"messages": [], "messages": []}',
        b'{"messages": [{"role": "system"}]}',
    ):
        reply = server.client.post("/v1/chat/completions", content=body)
        assert upstream.seen[-1][0] == body and reply.headers["x-prompt-oirl-prompt"] == "none"
    assert len(server.rows()) == 1
    assert server.client.get("/health").json()["upstream"] == "reachable"
    assert "prompt_oirl_requests_total" in server.client.get("/metrics").text


def test_pieces_come_as_they_are_made_and_a_cut_is_a_cut(served) -> None:
    server = served()
    body = {"messages": [{"role": "user", "content": "count"}], "stream": True}
    text = json.dumps(body)
    times = []
    with server.client.stream("POST", "/v1/chat/completions", content=text) as reply:
        for _ in reply.iter_raw():
            times.append(time.monotonic())
    assert times[-1] - times[0] > 0.5
    assert server.rows()[0]["answer"] == "one two three" and server.rows()[0]["finish_reason"] == "stop"
    with pytest.raises(httpx.RemoteProtocolError):
        server.client.post("/v1/chat/completions", content=text.replace("count", "cut please"))
    assert server.rows()[1]["finish_reason"] == "cut"


def test_a_key_guards_all_but_health(served) -> None:
    server = served("--host", "0.0.0.0", PROMPT_OIRL_SERVE_KEY="sk-serve")
    port = server.url.rpartition(":")[2]
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    for path in ("/metrics", "/v1/models", "/feedback", "/v1/chat/completions"):
        assert httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 401


def test_time_outs_clients_that_leave_and_an_orderly_end(served) -> None:
    server = served("--timeout", "1.5", "--max_waiting", "1")
    assert server.ask("stall please").status_code == 504
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "slowly please"}]},
            timeout=0.3,
        )
    time.sleep(0.2)
    assert [row["status"] for row in server.rows()] == [504, 499]
    assert server.ask("ping").status_code == 200
    assert server.stop() == 0


def test_fallbacks_and_votes(served) -> None:
    slow = served("--budget_ms", "0", "--explore", "0.2")
    slow.ask("ping")
    (row,) = slow.rows()
    assert row["fallback"] == "slow" and row["probability"] is None and min(row["propensities"]) > 0
    votes = served("--votes", "3")
    reply = votes.ask("please say 7")
    assert reply.headers["x-prompt-oirl-votes"] == "3/3"
    assert [r["propensity"] for r in votes.rows()] == [1.0] * 3 and votes.rows()[0]["votes"] == 3
