"""Step 1 and the back end against a server with the faults of 2026: right rows, right spend, nothing bought
twice, and the server's own words."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import MisbehavingServer, Reply, completion, error, refused_field
from server_step1 import DECODING, KEY, QUESTIONS, QUOTA, Step1, about, answers, asked

from prompt_oirl.io.files import InputError
from prompt_oirl.io.server_connection import seconds_to_wait
from prompt_oirl.llms.budget import Budget, ask
from prompt_oirl.llms.openai_llm import OpenAILLM
from prompt_oirl.llms.options import ModelOptions


@pytest.fixture
def step1(tmp_path: Path, server: MisbehavingServer) -> Step1:
    return Step1(tmp_path, server)


def test_refused_fields_are_learned_once_and_kept_for_the_next_run(step1: Step1) -> None:
    step1.server.respond = refused_field
    done = step1.run("--request", "reasoning_effort=low", "--request", 'reasoning={"max": 5}')
    assert done.returncode == 0, done.stderr
    assert len(step1.rows()) == QUESTIONS and step1.requests() == QUESTIONS + 4, "one refusal of each field"
    assert "refuses max_tokens, which is sent as max_completion_tokens: 'max_tokens' is not" in done.stderr
    fields = {"reasoning_effort": "low", "reasoning": {"max": 5}}
    sent = {k: v for k, v in step1.server.bodies[-1].items() if k not in ("model", "messages")}
    assert sent == {"max_completion_tokens": 50, **fields}
    changes = step1.manifest()["request_changes"]
    assert {name: change["sent_as"] for name, change in changes.items()} == {
        "max_tokens": "max_completion_tokens",
        "temperature": None,
        "seed": None,
        "top_p": None,
    }
    assert "deprecated" in changes["top_p"]["because"] and step1.manifest()["request"] == fields
    again = ("--request", "reasoning_effort=low", "--request", 'reasoning={"max": 5}', "--samples", "2")
    assert step1.run(*again).returncode == 0
    assert step1.requests() == 2 * QUESTIONS + 4, "the second run knows them from the start"
    other = step1.run("--request", "reasoning_effort=high", "--samples", "3")
    assert other.returncode == 1 and "another --llm name" in other.stderr


def test_a_refused_field_of_the_user_stops_the_run(step1: Step1) -> None:
    step1.server.respond = lambda body: (400, error("Unknown parameter: 'reasoning_effort'."))
    done = step1.run("--request", "reasoning_effort=low")
    assert done.returncode == 1 and step1.requests() == 1
    said = "refused: HTTP 400: Unknown parameter: 'reasoning_effort'.; leave --request reasoning_effort out"
    assert said in done.stderr


AZURE = {"innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {}}}}


@pytest.mark.parametrize(
    ("reply", "reason", "said"),
    [
        (
            (403, error("Your input was flagged", code=403)),
            "content_filter",
            "HTTP 403: Your input was flagged",
        ),
        ((400, error("filtered", code="content_filter", **AZURE)), "content_filter", "HTTP 400: filtered"),
        ((400, error("Too long", code="context_length_exceeded")), "context_length", "HTTP 400: Too long"),
        (
            (200, completion(None, "content_filter")),
            "content_filter",
            "finish_reason content_filter, no text",
        ),
        ((200, completion(None, refusal="I can't")), "refused", "I can't"),
        ((200, completion(None, tool_calls=[{"id": "x"}])), "tool_calls", "finish_reason stop, no text"),
        ((200, completion(None)), "empty", "finish_reason stop, no text"),
        ((200, {"promptFeedback": {"blockReason": "SAFETY"}}), "content_filter", "blocked: SAFETY"),
        ((200, {**completion(""), "choices": None}), "empty", "a reply without choices"),
        (
            (200, completion(None, "length", reasoning_content="7")),
            "length",
            "finish_reason length, no text: the limit of tokens went to reasoning",
        ),
        (
            (200, {"choices": None, "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
            "content_filter",
            "HTTP 200: input new_sensitive",
        ),
        ((400, error("No call", code="tool_use_failed")), "tool_calls", "HTTP 400: No call"),
    ],
)
def test_one_question_that_is_refused_is_a_row_and_is_not_bought_again(
    step1: Step1, reply: Reply, reason: str, said: str
) -> None:
    step1.server.respond = about(3, reply)
    runs = [step1.run("--price_in", "1", "--price_out", "1") for _ in range(3)]
    assert [run.returncode for run in runs] == [0, 0, 0], runs[0].stderr
    assert step1.requests() == QUESTIONS and set(step1.server.requests.values()) == {1}
    rows = step1.rows()
    refused = next(row for row in rows if "question3 " in row.question)
    assert (refused.answer, refused.finish_reason, refused.refusal, refused.correct) == ("", reason, said, 0)
    assert all(row.correct == 1 and row.refusal is None for row in rows if row is not refused)
    assert [sum(r.tokens_in or 0 for r in rows), sum(r.tokens_out or 0 for r in rows)] == step1.server.billed
    assert sum(row.cost or 0 for row in rows) == pytest.approx(sum(step1.server.billed) / 1e6)
    assert f"1 answers not given ({reason})" in runs[0].stdout
    assert ("use a larger --max_gen_len" in runs[0].stdout) == (reason == "length")


@pytest.mark.parametrize(
    "reply",
    [
        (401, error(f"Incorrect API key provided: {KEY}")),
        (402, error("Insufficient Balance")),
        (429, QUOTA),
        (403, error("Your key has no permission for this model")),
        (404, error("The model `m` does not exist")),
        (200, error("Insufficient credits", code=402)),
    ],
)
def test_a_refusal_of_everything_takes_one_request(step1: Step1, reply: Reply) -> None:
    step1.server.respond = lambda body: reply
    done = step1.run()
    assert done.returncode == 1 and step1.requests() == 1
    last = done.stderr.strip().splitlines()[-1]
    assert (
        last.startswith("error: http://127.0.0.1") and "check OPENAI_API_KEY, --model and --base_url" in last
    )
    said = reply[1]["error"]["message"].replace(KEY, "[key]")  # type: ignore[index]
    assert said in last


def test_money_that_ends_on_the_way_keeps_what_was_paid(step1: Step1) -> None:
    def respond(body: dict[str, Any]) -> Reply | None:
        if len(step1.server.bodies) < 6:
            return None
        refused = body is step1.server.bodies[5]
        time.sleep(0.2 if refused else 0.5)  # others are still in flight when the refusal comes
        return (429, QUOTA) if refused else None

    step1.server.respond = respond
    done = step1.run("--max_batch_size", "4")
    assert done.returncode == 1 and "You exceeded your current quota" in done.stderr
    billed = sum(step1.server.answered.values())
    assert len(step1.rows()) == billed == 7, "two batches of four without the refused one"
    step1.server.respond = lambda body: None
    assert step1.run().returncode == 0
    assert len(step1.rows()) == QUESTIONS and set(step1.server.answered.values()) == {1}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            (200, "<html><title>Log in &amp; out</title></html>"),
            "HTTP 200 but no chat completion: Log in & out",
        ),
        ((200, "data: {}"), "no chat completion: data: {}; check --base_url"),
        ((200, [1]), "no chat completion: [1]"),
        ((200, {"detail": "no such page"}), "HTTP 200: no such page; check --base_url"),
        ((400, error("roles must\nalternate")), "HTTP 400: roles must alternate"),
        ((500, "<h1>Oh\x1b[31m</h1>"), "HTTP 500: Oh [31m"),
    ],
)
def test_the_servers_own_words_are_shown(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, reply: Reply, said: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.respond = about(1, reply)
    one, other = answers(OpenAILLM("m", server.url), 2)
    assert one and one.finish_reason == "stop"
    assert other and other.finish_reason == "error" and said in other.text and server.url in other.text


def test_retries_count_as_calls_and_stop_at_the_limit(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.respond = about(1, (503, error("down")))
    budget = Budget(max_calls=100)
    answers(OpenAILLM("m", server.url), 3, budget)
    assert budget.calls == sum(server.requests.values()) == 2 + 7
    tight = Budget(max_calls=4)
    server.requests.clear()
    found = answers(OpenAILLM("m", server.url), 3, tight)
    assert tight.calls == sum(server.requests.values()) == 4
    assert [answer and answer.finish_reason for answer in found] == ["stop", "error", "stop"]
    server.requests.clear()
    server.respond = refused_field
    learning = Budget(max_calls=5)
    found = answers(OpenAILLM("m", server.url), 3, learning)
    assert learning.calls == sum(server.requests.values()) == 5
    assert found[0] and found[0].text == "The answer is 7." and found[1:] == [None, None]


def test_a_server_that_is_not_there_costs_no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    budget = Budget()
    (found,) = answers(OpenAILLM("m", "http://127.0.0.1:9/v1"), 1, budget)
    assert found and "check --base_url" in found.text and budget.calls == budget.tokens_in == 0


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "http://[::1", "https://x:99999/v1", "ftp://x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="base_url .*: give a URL such as"):
        OpenAILLM("m", url)


@pytest.mark.parametrize("fault", ["stall", "drip", "drip headers"])
def test_a_reply_that_does_not_end_is_given_up(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("prompt_oirl.llms.budget.RETRIES", 0)
    server.fault_of = lambda text: fault
    budget, started = Budget(), time.monotonic()
    (found,) = answers(OpenAILLM("m", server.url, timeout=0.6), 1, budget)
    assert time.monotonic() - started < 3
    assert found and "no answer within --timeout 0.6 seconds" in found.text
    assert (budget.calls, budget.tokens_out) == (1, 50), "it may have been billed at full length"


@pytest.mark.parametrize("text", ["What is question", "500 What is question"])
def test_a_reply_without_end_is_cut_at_its_limit(server: MisbehavingServer, text: str) -> None:
    server.fault_of = lambda text: "flood"
    llm = OpenAILLM("m", server.url)
    (found,) = ask(llm, asked(1, text), Budget(), decoding=DECODING, seeds=[0])
    assert found and "a reply of more than 16 MB" in found.text


def test_a_reply_nested_too_deeply_is_no_answer(server: MisbehavingServer) -> None:
    server.respond = lambda body: (200, '{"choices": ' + "[" * 100_000)
    (found,) = answers(OpenAILLM("m", server.url), 1)
    assert found and found.finish_reason == "error" and len(found.text) < 500


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": 10**400}, "x"])
def test_usage_that_cannot_be_is_estimated_and_said_once(step1: Step1, usage: Any) -> None:
    step1.server.respond = lambda body: (200, {**completion("The answer is 7."), "usage": usage})
    done = step1.run()
    assert done.returncode == 0, done.stderr
    assert {row.tokens_out for row in step1.rows()} == {4}
    assert all((row.tokens_in or 0) > 5 for row in step1.rows())
    odd = isinstance(usage, dict) and bool(usage)
    assert done.stderr.count("reports token counts that cannot be") == odd
    assert step1.run().returncode == 0, "the log can be read"


def test_cost_is_exceeded_by_the_answers_in_flight_at_most(step1: Step1) -> None:
    prices = ("--price_in", "100", "--price_out", "1000", "--max_cost", "0.02")
    dry = step1.run(*prices, "--dry_run")
    assert "--max_cost 0.02 may be exceeded by at most the 8 answers in flight, about $0.4" in dry.stdout
    # At first an answer is taken at its bound, so nothing is asked that could cost more than the limit.
    refused = step1.run(*prices)
    assert (
        "stopped by --max_cost 0.02: 12 answers" in refused.stdout + refused.stderr and not step1.requests()
    )
    done = step1.run(*prices[:-1], "0.06")
    assert "may be exceeded by at most the 8 answers in flight, about $0.4" in done.stderr
    spent = sum(row.cost or 0 for row in step1.rows())
    assert spent == pytest.approx((step1.server.billed[0] * 100 + step1.server.billed[1] * 1000) / 1e6)
    assert 0.05 < spent <= 0.06


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--request", "temperature=1"], "--request temperature: it has a flag of its own"),
        (["--request", "n=2"], "--request n: one whole answer"),
        (["--request", "max_completion_tokens=2"], "--request max_completion_tokens: use the flag"),
        (["--request", "x"], "--request 'x': give each field once, as key=value"),
        (["--request", "a=1", "--request", "a=2"], "--request 'a=2': give each field once"),
    ],
)
def test_impossible_requests_are_refused(step1: Step1, flags: list[str], said: str) -> None:
    done = step1.run(*flags)
    assert done.returncode == 1 and said in done.stderr and not step1.requests()


def test_values_of_request_are_json_or_text() -> None:
    given = ("a=1", "b=low", 'c={"d": [true]}', "e=", "f=NaN", "g=a=b", 'h="1"')
    assert ModelOptions(request=given).request_fields() == {
        "a": 1,
        "b": "low",
        "c": {"d": [True]},
        "e": "",
        "f": "NaN",
        "g": "a=b",
        "h": "1",
    }
    with pytest.raises(InputError, match="--lm.request is for servers"):
        ModelOptions(ckpt_dir="x", request=("a=1",)).check("lm.")


def test_damaged_request_changes_are_refused(step1: Step1) -> None:
    assert step1.run().returncode == 0
    path = step1.folder / "toy_model.json"
    path.write_text(json.dumps({**step1.manifest(), "request_changes": {"seed": 5}}))
    done = step1.run("--samples", "2")
    assert (
        done.returncode == 1 and "toy_model.json: request_changes 'seed' is damaged; delete it" in done.stderr
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("-3", 0.0), ("nan", None), ("inf", None), ("x", None), ("", None)]
    + [("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), (None, None)],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(header) == seconds
