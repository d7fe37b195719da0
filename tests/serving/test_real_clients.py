"""Clients that people use, unchanged: straight to the LLM server and through ours they see the same."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from shutil import which
from typing import Any

import openai
import pytest
import requests
from serving_process import Served
from upstream_server import ERROR, Upstream

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # litellm would fetch prices when imported

Client = Callable[[str, str], Any]  # address and question -> what the client made of the answer
TOOLS: Any = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def asked(question: str) -> Any:
    """The arguments of a chat request."""
    return {"model": "tiny", "messages": [{"role": "user", "content": question}]}


def openai_sync(url: str, question: str) -> Any:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        return client.chat.completions.create(**asked(question)).model_dump()


def openai_async(url: str, question: str) -> Any:
    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            return (await client.chat.completions.create(**asked(question))).model_dump()

    return asyncio.run(ask())


def openai_stream(url: str, question: str) -> Any:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        return [
            chunk.model_dump() for chunk in client.chat.completions.create(**asked(question), stream=True)
        ]


def openai_tools(url: str, question: str) -> Any:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(**asked(question), tools=TOOLS, tool_choice="auto")
        return answer.choices[0].message.tool_calls[0].model_dump()  # type: ignore[index]


def openai_models(url: str, question: str) -> Any:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        return [model.model_dump() for model in client.models.list()]


def curl(url: str, question: str, *flags: str, **fields: Any) -> bytes:
    if which("curl") is None:
        pytest.skip("curl is not installed")
    command = [
        "curl",
        "-sN",
        "--noproxy",
        "*",
        f"{url}/chat/completions",
        "-H",
        "content-type: application/json",
    ]
    return subprocess.check_output([*command, "-d", json.dumps(asked(question) | fields), *flags], timeout=30)


def requests_client(url: str, question: str) -> Any:
    reply = requests.post(f"{url}/chat/completions", json=asked(question), timeout=30)
    return reply.status_code, reply.content


def litellm_client(url: str, question: str) -> Any:
    litellm = pytest.importorskip("litellm", reason="needs pip install litellm")
    answer = litellm.completion(**asked(question) | {"model": "openai/tiny"}, api_base=url, api_key="none")
    return answer.choices[0].message.content, answer.usage.total_tokens


def litellm_stream(url: str, question: str) -> Any:
    litellm = pytest.importorskip("litellm", reason="needs pip install litellm")
    request = asked(question) | {"model": "openai/tiny", "stream": True}
    answer = litellm.completion(**request, api_base=url, api_key="none")
    return [chunk.choices[0].delta.content for chunk in answer]


CLIENTS = (openai_sync, openai_async, openai_stream, openai_tools, openai_models)
CLIENTS += (curl, requests_client, litellm_client, litellm_stream)


@pytest.fixture(scope="module")
def through(selector_folder: Any, shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server for all clients."""
    server = Served(selector_folder, tmp_path_factory.mktemp("clients") / "log", shared_upstream.url)
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_the_answer_is_the_same_and_the_prompt_was_in_the_request(
    client: Client, through: Served, upstream: Upstream
) -> None:
    question = f"{client.__name__}: say 7"
    direct = client(upstream.url, question)
    before, known = upstream.seen.pop(), len(through.rows())
    assert client(f"{through.url}/v1", question) == direct
    (after,) = upstream.seen
    if client is openai_models:
        return
    (row,) = through.rows(known + 1)[known:]
    assert row["question"] == question
    assert row["prompt"] and row["status"] == 200
    prompt = {"role": "system", "content": row["prompt"]}
    assert after.json == before.json | {"messages": [prompt, *before.json["messages"]]}


@pytest.mark.parametrize("client", (openai_sync, openai_async, openai_stream), ids=lambda c: c.__name__)
def test_openai_raises_the_upstreams_error_with_its_bytes(
    client: Client, through: Served, upstream: Upstream
) -> None:
    raised = []
    for url in (upstream.url, f"{through.url}/v1"):
        with pytest.raises(openai.NotFoundError) as error:
            client(url, "error please")
        assert error.value.response.content == ERROR
        raised.append((str(error.value), error.value.body))
    assert raised[0] == raised[1]


def test_error_bodies_reach_curl_and_requests_byte_by_byte(through: Served, upstream: Upstream) -> None:
    for url in (upstream.url, f"{through.url}/v1"):
        assert requests_client(url, "error please") == (404, ERROR)
        assert curl(url, "error please", "-w", " %{http_code}") == ERROR + b" 404"


def test_litellm_raises_the_same_error(through: Served, upstream: Upstream) -> None:
    litellm = pytest.importorskip("litellm", reason="needs pip install litellm")
    raised = []
    for url in (upstream.url, f"{through.url}/v1"):
        with pytest.raises(litellm.NotFoundError) as error:
            litellm_client(url, "error please")
        raised.append(str(error.value))
    assert raised[0] == raised[1]


def test_curl_reads_a_stream_byte_by_byte(through: Served, upstream: Upstream) -> None:
    direct, relayed = (curl(url, "count", stream=True) for url in (upstream.url, f"{through.url}/v1"))
    assert relayed == direct and direct.endswith(b"data: [DONE]\n\n")
