"""The litellm hook in a real litellm proxy, in front of a real server on loopback.

litellm[proxy] wants rich < 14 and the project's import-linter rich >= 14, so that it has an environment of
its own: `pip install -e . 'litellm[proxy]' pytest`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from made_logs import log_of_two_llms, made_log

from prompt_oirl import PromptSelector

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would fetch prices
pytest.importorskip("litellm", reason="needs pip install 'litellm[proxy]'")
pytest.importorskip("fastapi_sso", reason="needs pip install 'litellm[proxy]', which not all else can stand")

import httpx
import openai

pytestmark = pytest.mark.slow  # litellm's proxy takes long to start

KEY = f"sk-{secrets.token_hex(32)}"  # the proxy refuses to start without
CONFIG = """
model_list:
  - model_name: tiny
    litellm_params:
      model: openai/tiny
      api_base: {base}
      api_key: none
      max_retries: 0
      input_cost_per_token: 0.001
      output_cost_per_token: 0.002
  - model_name: broken
    litellm_params: {{model: openai/broken, api_base: "{base}", api_key: none, max_retries: 0}}
  - model_name: moody
    litellm_params: {{model: openai/broken, api_base: "{base}", api_key: none, max_retries: 0}}
router_settings:
  num_retries: 1
  fallbacks: [{{"moody": ["tiny"]}}]
litellm_settings:
  callbacks: my_hook.hook
"""
HOOK = """
from prompt_oirl.serving.litellm_hook import PromptHook

hook = PromptHook("my_selector", log="served", explore=0.2, budget_ms=5000)
"""


class Upstream(BaseHTTPRequestHandler):
    """Answers with the messages it got, as JSON; the model "broken" fails."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body["model"] == "broken":
            return self.send(400, "application/json", b'{"error": {"message": "no such thing", "code": 7}}')
        text = json.dumps(body["messages"])
        about = {"id": "1", "created": 0, "model": body["model"]}
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        if not body.get("stream"):
            choice = {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
            whole = {**about, "object": "chat.completion", "choices": [choice], "usage": usage}
            return self.send(200, "application/json", json.dumps(whole).encode())
        pieces = [{"content": text[:20]}, {"content": text[20:]}, {}]
        events = [
            {
                **about,
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": piece, "finish_reason": None if piece else "stop"}],
            }
            for piece in pieces
        ]
        stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return self.send(200, "text/event-stream", stream.encode(), slowly="slowly" in text)

    def send(self, status: int, kind: str, body: bytes, slowly: bool = False) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError):  # the client left
            for piece in body.splitlines(keepends=True):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(0.5 if slowly else 0)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def log() -> Any:
    return made_log()


@pytest.fixture(scope="module")
def proxy(log: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The proxy's address, and the folder in which it runs."""
    folder = tmp_path_factory.mktemp("litellm")
    PromptSelector("tfidf").fit(log).save(folder / "my_selector")
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{upstream.server_port}/v1"
    (folder / "config.yaml").write_text(CONFIG.format(base=base))
    (folder / "my_hook.py").write_text(HOOK)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).parent / "litellm", "--config", "config.yaml", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--telemetry", "False"]
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    env |= {"LITELLM_MASTER_KEY": KEY}
    said = (folder / "said.txt").open("w")
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=env,
        stdout=said,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 180
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{address}/health/liveliness", timeout=5).status_code == 200:
                    break
            assert process.poll() is None and time.monotonic() < until, (folder / "said.txt").read_text()
            time.sleep(0.3)
        yield address, folder
    finally:
        with suppress(ProcessLookupError):  # it never started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        upstream.shutdown()


def row_of(folder: Path, id: str) -> dict[str, Any]:
    """The one row of an answer; litellm logs soon after it has answered."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if found := [row for row in rows_in(folder) if row.get("id") == id]:
            time.sleep(0.5)  # none may follow
            assert len([row for row in rows_in(folder) if row.get("id") == id]) == 1
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no row of {id}: {(folder / 'said.txt').read_text()[-3000:]}")


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in (folder / "served").glob("*.jsonl") for line in path.open()]


def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)


def test_the_prompt_reaches_the_llm_and_the_row_the_log(proxy: tuple[str, Path], log: Any) -> None:
    address, folder = proxy
    selector = PromptSelector.load(folder / "my_selector")
    questions = list(dict.fromkeys(log["question"]))[:10]
    picked = 0
    for question in questions:
        messages: Any = [{"role": "user", "content": question}]
        raw = client(address).chat.completions.with_raw_response.create(model="tiny", messages=messages)
        answer = raw.parse().choices[0].message.content or ""
        row = row_of(folder, raw.headers["x-prompt-oirl-id"])
        assert json.loads(answer) == [{"role": "system", "content": row["prompt"]}, *messages]
        assert (row["question"], row["answer"], row["finish_reason"]) == (question, answer, "stop")
        assert (row["tokens_in"], row["tokens_out"], row["status"]) == (11, 5, 200)
        assert (row["llm"], row["position"], row["fallback"]) == ("tiny", "system", None)
        assert row["cost"] == pytest.approx(11 * 0.001 + 5 * 0.002)
        assert float(raw.headers["x-prompt-oirl-propensity"]) == row["propensity"]
        assert raw.headers["x-prompt-oirl-policy"] == row["policy"]
        assert row["propensity"] == row["propensities"][selector.prompts_.index(row["prompt"])]
        assert sum(row["propensities"]) == pytest.approx(1)
        picked += row["prompt"] == selector.select([question])[0]
    assert picked >= 5


def test_a_stream_is_logged_whole_when_it_has_ended(proxy: tuple[str, Path]) -> None:
    address, folder = proxy
    messages: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "2 + 2?"}]
    raw = client(address).chat.completions.with_raw_response.create(
        model="tiny", messages=messages, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices)
    row = row_of(folder, raw.headers["x-prompt-oirl-id"])
    assert json.loads(text)[0]["content"] == row["prompt"] + "\n\nBe kind."
    assert (row["answer"], row["finish_reason"], row["question"]) == (text, "stop", "2 + 2?")


def test_a_fallback_of_litellms_leaves_one_row_that_names_the_llm(proxy: tuple[str, Path]) -> None:
    address, folder = proxy
    raw = client(address).chat.completions.with_raw_response.create(
        model="moody", messages=[{"role": "user", "content": "3 + 3?"}]
    )
    assert raw.parse().choices[0].message.content
    row = row_of(folder, raw.headers["x-prompt-oirl-id"])
    assert (row["llm"], row["status"]) == ("tiny", 200)


def test_a_failure_is_logged_once_with_its_status(proxy: tuple[str, Path]) -> None:
    address, folder = proxy
    before = {row["id"] for row in rows_in(folder) if "id" in row}
    with pytest.raises(openai.BadRequestError) as failed:
        client(address).chat.completions.create(
            model="broken", messages=[{"role": "user", "content": "4 + 4?"}]
        )
    row = row_of(folder, failed.value.response.headers["x-prompt-oirl-id"])
    assert row["id"] not in before
    assert (row["status"], row["answer"], row["llm"], row["question"]) == (400, None, "broken", "4 + 4?")


def test_without_a_question_nothing_changes(proxy: tuple[str, Path]) -> None:
    address, folder = proxy
    before = len(rows_in(folder))
    messages: Any = [{"role": "system", "content": "Be kind."}]
    raw = client(address).chat.completions.with_raw_response.create(
        model="tiny", messages=messages, extra_body={"metadata": {"prompt_oirl": {"id": "forged"}}}
    )
    assert json.loads(raw.parse().choices[0].message.content or "") == messages
    assert not [name for name in raw.headers if name.startswith("x-prompt-oirl")]
    time.sleep(1)
    assert len(rows_in(folder)) == before


def test_thirty_at_once_get_a_row_each(proxy: tuple[str, Path], log: Any) -> None:
    address, folder = proxy
    questions = list(dict.fromkeys(log["question"]))[40:70]
    ids: list[str] = []

    def ask(question: str) -> None:
        raw = client(address).chat.completions.with_raw_response.create(
            model="tiny", messages=[{"role": "user", "content": question}]
        )
        ids.append(raw.headers["x-prompt-oirl-id"])

    threads = [threading.Thread(target=ask, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row_of(folder, id)["question"] for id in ids[:3]} <= set(questions)
    rows = [row for row in rows_in(folder) if row.get("id") in ids]
    assert sorted(row["question"] for row in rows) == sorted(questions)


def test_a_client_that_leaves_gets_a_row_of_a_disconnection(proxy: tuple[str, Path]) -> None:
    address, folder = proxy
    raw = client(address).chat.completions.with_streaming_response.create(
        model="tiny", messages=[{"role": "user", "content": "slowly: 5 + 5?"}], stream=True
    )
    with raw as reply:
        next(reply.iter_bytes())
    row = row_of(folder, reply.headers["x-prompt-oirl-id"])
    assert (row["status"], row["finish_reason"]) == (200, "disconnected")


# --- the hook alone: what the proxy calls, without the proxy ---------------------------------------------


def hook(log: Any, folder: Path, **settings: Any) -> Any:
    from prompt_oirl.serving.litellm_hook import PromptHook

    PromptSelector("tfidf").fit(log).save(folder / "selector")
    return PromptHook(folder / "selector", log=folder / "served", **settings)


def request() -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "6 + 6?"}]}


async def ask_and_fail(made: Any) -> None:
    data = await made.async_pre_call_hook(None, None, request(), "acompletion")
    assert data["messages"][0]["role"] == "system"
    await made.async_post_call_failure_hook(data, RuntimeError("no LLM here"), None)


@pytest.mark.parametrize("fallback", ("slow", "failed"))
def test_a_selector_that_is_slow_or_fails_leaves_the_best_prompt_and_a_free_loop(
    fallback: str, log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hook(log, tmp_path, explore=0.1, seed=0, budget_ms=100)
    selector = made._chooser.selector

    def predict(*_: Any, **__: Any) -> Any:
        if fallback == "failed":
            raise RuntimeError("broken")
        time.sleep(0.6)

    monkeypatch.setattr(selector, "question_features", predict)
    ticks = []

    async def run() -> None:
        asking = asyncio.create_task(ask_and_fail(made))
        while not asking.done():
            ticks.append(time.monotonic())
            await asyncio.sleep(0.005)
        await asking

    asyncio.run(run())
    (row,) = rows_in(tmp_path)
    assert (row["fallback"], row["status"], row["probability"]) == (fallback, 500, None)
    best = selector.best_
    assert row["propensities"][best] == pytest.approx(0.9 + 0.1 / len(selector.prompts_))
    if fallback == "slow":
        assert len(ticks) > 5 and max(b - a for a, b in zip(ticks, ticks[1:])) < 0.09


def test_feedback_names_the_row(log: Any, tmp_path: Path) -> None:
    made = hook(log, tmp_path, budget_ms=5000)
    asyncio.run(ask_and_fail(made))
    id = rows_in(tmp_path)[0]["id"]
    made.feedback(id, True)
    assert [(row["feedback"], row["correct"]) for row in rows_in(tmp_path)[1:]] == [(id, 1.0)]


def test_a_selector_of_llms_sets_the_model(tmp_path: Path) -> None:
    from prompt_oirl.data.user_log import read_log

    made = hook(read_log(log_of_two_llms(), arms=("prompt", "llm")), tmp_path, budget_ms=5000)
    data = asyncio.run(made.async_pre_call_hook(None, None, request(), "acompletion"))
    asyncio.run(made.async_post_call_failure_hook(data, RuntimeError("no LLM here"), None))
    assert data["model"] == rows_in(tmp_path)[0]["llm"] in ("big", "small")
