"""Runs against servers that refuse everything in words unheard of, hang, or do not keep to limits: they stop
early, keep what was paid for, and say what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import MisbehavingServer, Reply, completion, error
from server_step1 import KEY, QUESTIONS, Step1, about, answers

from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.openai_llm import OpenAILLM


@pytest.fixture
def step1(tmp_path: Path, server: MisbehavingServer) -> Step1:
    return Step1(tmp_path, server)


LITELLM = "litellm.RateLimitError: OpenAIException - You exceeded your current quota. Request {} failed"


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        (400, error("Terms of planet {} were not accepted"), "check --model, --base_url and the other flags"),
        (400, "", "HTTP 400: an empty reply; nothing was answered so far"),
        (200, "<html><title>Sign in</title></html>", "HTTP 200: Sign in; check --base_url"),
        (200, "data: {}\n\ndata: [DONE]\n\n", "HTTP 200: data: {} data: [DONE]; check --base_url"),
        (200, {"error": "Unexpected endpoint or method."}, "Unexpected endpoint or method.; nothing was"),
        (429, error(LITELLM, type="throttling_error"), "You exceeded your current quota"),
    ],
)
def test_a_refusal_in_unheard_words_is_of_everything_when_it_comes_four_times(
    step1: Step1, monkeypatch: pytest.MonkeyPatch, status: int, said: Any, advice: str
) -> None:
    monkeypatch.setattr("prompt_oirl.llms.budget.LONGEST_PAUSE", 0.01)

    def respond(body: dict[str, Any]) -> Reply:
        if isinstance(said, dict) and isinstance(said.get("error"), dict):
            message = said["error"]["message"].format(f"a{len(step1.server.bodies)}")
            return status, {"error": {**said["error"], "message": message}}
        return status, said

    step1.server.respond = respond
    done = step1.run()
    assert done.returncode == 1 and step1.requests() == 4 and not step1.rows_if_any()
    assert advice in done.stderr.strip().splitlines()[-1]


def test_a_question_that_fails_alike_stays_one_question_s_once_others_are_answered(step1: Step1) -> None:
    def respond(body: dict[str, Any]) -> Reply | None:
        return (400, error("Conversation roles must alternate")) if len(step1.server.bodies) > 1 else None

    step1.server.respond = respond
    done = step1.run()
    assert done.returncode == 1 and len(step1.rows()) == 1 and step1.requests() == QUESTIONS
    assert f"{QUESTIONS - 1} answers could not be had" in done.stderr


@pytest.mark.parametrize("status", [400, 413])
def test_refusals_of_all_the_first_questions_are_no_rows(step1: Step1, status: int) -> None:
    step1.server.respond = lambda body: (status, error("prompt is too long"))
    done = step1.run()
    assert done.returncode == 1 and step1.requests() == 9 and not step1.rows_if_any()
    said = f"the first 8 questions and the shortest were all refused (context_length): HTTP {status}: prompt"
    assert said in done.stderr and "nothing was written" in done.stderr


def test_refusals_of_the_first_questions_are_rows_once_the_shortest_is_answered(step1: Step1) -> None:
    short = "What is question0 "  # the longest come first, so these are not asked among the first eight

    def respond(body: dict[str, Any]) -> Reply | None:
        text = body["messages"][-1]["content"]
        return None if short in text else (400, error("prompt is too long"))

    step1.server.respond = respond
    assert step1.run("--max_batch_size", "3").returncode == 0
    rows = step1.rows()
    assert len(rows) == step1.requests() == QUESTIONS
    assert sum(row.finish_reason == "context_length" for row in rows) == QUESTIONS - 1
    step1.server.respond = lambda body: (400, error("prompt is too long"))
    (step1.root / "q.csv").write_text("question,gold,split\nOne more question,7,test\nAnd another,7,train\n")
    assert step1.run("--llm", "few").returncode == 0, "fewer than eight are taken at the server's word"


def test_a_shortest_question_that_fails_otherwise_decides_nothing(step1: Step1) -> None:
    def respond(body: dict[str, Any]) -> Reply | None:
        if len(step1.server.bodies) == 9:
            return 400, error("roles must alternate")
        return (400, error("prompt is too long")) if len(step1.server.bodies) < 9 else None

    step1.server.respond = respond
    done = step1.run()
    assert done.returncode == 1 and "1 answers could not be had" in done.stderr
    assert step1.requests() == QUESTIONS and len(step1.rows()) == QUESTIONS - 1


def test_answers_are_written_while_another_request_hangs(step1: Step1) -> None:
    step1.server.fault_of = lambda text: "hang" if "question3 " in text else ""
    command = [sys.executable, "llama_step1_gen_offline.py", *step1.flags()]
    env = {**os.environ, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(REPO_ROOT)}
    with subprocess.Popen(command, cwd=REPO_ROOT / "llama_exps", env=env, stderr=subprocess.DEVNULL) as run:
        part = step1.folder / "parts" / "toy.rank0.jsonl"
        for _ in range(600):
            written = part.read_text().count("\n") if part.is_file() else 0
            if written and written == sum(step1.server.answered.values()) >= 7:
                break
            time.sleep(0.05)
        assert written >= 7, "all of the batch but the one that hangs"
        run.send_signal(signal.SIGTERM)
    step1.server.fault_of = lambda text: ""
    assert step1.run().returncode == 0
    assert len(step1.rows()) == QUESTIONS and set(step1.server.answered.values()) == {1}


PRICES = ("--price_in", "100", "--price_out", "1000")


def test_the_longest_answer_of_the_log_foretells_the_cost(step1: Step1) -> None:
    def long(body: dict[str, Any]) -> Reply:
        usage = {"prompt_tokens": 10, "completion_tokens": 400}
        return 200, {**completion("The answer is 7."), "usage": usage}

    step1.server.respond = long
    done = step1.run(*PRICES, "--max_cost", "0.06")
    assert step1.requests() == 1, "the first goes alone, and costs $0.4"
    assert "if the server keeps to the limit of 50 tokens" in done.stderr
    assert done.stderr.count("an answer counts 400 tokens, more than the 50 asked") == 1
    again = step1.run(*PRICES, "--max_cost", "0.3")
    assert again.returncode == 0 and step1.requests() == 1, "no answer is foreseen for less than $0.4"
    assert "if none is longer than 400 tokens" in again.stderr
    assert step1.run(*PRICES, "--max_cost", "0.9").returncode == 0 and step1.requests() == 3


def test_a_dead_port_takes_seconds(step1: Step1, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("prompt_oirl.llms.budget.time.sleep", pauses.append)
    done = step1.run("--base_url", "http://127.0.0.1:9/v1")
    assert done.returncode == 1 and "check --base_url and that it is running" in done.stderr
    assert len(pauses) == 3 and sum(pauses) < 5


@pytest.mark.parametrize("key", ["sk-sécret-key", "sk-sec\nret", "sk-\x7f"])
def test_a_key_that_no_header_takes_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="OPENAI_API_KEY holds characters that no key has") as refused:
        OpenAILLM("m")
    assert key not in str(refused.value)


def test_space_around_a_key_is_dropped_and_an_echoed_key_is_not_stored(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\r\n")
    server.reply = lambda text: f"Your header was Bearer {KEY}. The answer is 7."
    (found,) = answers(OpenAILLM("m", server.url), 1)
    assert found and found.text == "Your header was Bearer [key]. The answer is 7."


def test_a_redirect_is_named_and_not_followed(step1: Step1, server: MisbehavingServer) -> None:
    other = MisbehavingServer()
    threading.Thread(target=other.serve_forever, daemon=True).start()
    server.fault_of = lambda text: f"redirect {other.url}/chat/completions?key=x"
    done = step1.run()
    other.shutdown()
    other.server_close()
    assert done.returncode == 1 and step1.requests() == 1 and not other.requests
    assert f"HTTP 307: redirected to {other.url}/chat/completions; redirects are not" in done.stderr


def test_a_redirect_among_answers_is_asked_again(step1: Step1, server: MisbehavingServer) -> None:
    server.fault_of = lambda text: "redirect http://127.0.0.1:9/login" if "question3 " in text else ""
    done = step1.run()
    assert done.returncode == 0, done.stderr
    assert len(step1.rows()) == QUESTIONS and step1.requests() == QUESTIONS + 1


def test_secrets_of_an_address_are_not_shown(server: MisbehavingServer) -> None:
    secret = server.url.replace("//", "//user:hunter2@") + "?api-key=hunter3"
    server.respond = lambda body: (401, error("no"))
    (found,) = answers(OpenAILLM("m", secret), 1)
    assert found and found.finish_reason == "fatal" and "hunter" not in found.text


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b'{"choices": [{"message": {"content": "caf\xe9"}}]}', "caf\ufffd"),  # Latin-1
        (b'[{"choices": [{"message": {"content": "tea"}}]}]', "tea"),
    ],
)
def test_replies_in_a_list_or_in_another_encoding_are_read(
    server: MisbehavingServer, reply: bytes, text: str
) -> None:
    server.respond = lambda body: (200, reply)
    (found,) = answers(OpenAILLM("m", server.url), 1)
    assert found and (found.text, found.finish_reason) == (text, "stop")


def test_capacity_that_is_short_is_waited_for(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.respond = lambda body: (498, error("capacity exceeded")) if len(server.bodies) == 1 else None
    budget = Budget()
    found = answers(OpenAILLM("m", server.url), 2, budget)
    assert [answer and answer.finish_reason for answer in found] == ["stop", "stop"] and budget.calls == 3


def test_what_a_server_cuts_short_is_an_answer_bought_once(step1: Step1) -> None:
    step1.server.respond = about(3, (200, completion("Let me thi", "insufficient_system_resource")))
    assert step1.run().returncode == step1.run().returncode == 0
    assert step1.requests() == QUESTIONS
    assert [r.answer for r in step1.rows() if r.finish_reason == "length"] == ["Let me thi"]
