"""What a server sends is bounded in bytes, depth and time, whoever asks it; secrets stay where they are."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from typing import Any

import pytest
from misbehaving_server import MisbehavingServer, bomb
from server_step1 import KEY, answers

from prompt_oirl.features.embedders import OpenAIEmbedder
from prompt_oirl.io import server_connection as connection
from prompt_oirl.io.files import InputError
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.openai_llm import OpenAILLM

BAD = {
    "endless": "a reply of more than",
    "flood": "a reply of more than",
    "gzip bomb": "a reply of more than",
    "gzip bomb in gzip": "a reply packed as gzip, gzip, which was not asked for",
    "damaged gzip": "a reply whose packing is damaged",
    "unknown packing": "a reply packed as br, which was not asked for",
    "deep": "",
    "deep error": "",
    "double key": "",
}


@pytest.fixture
def embedder(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> OpenAIEmbedder:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return OpenAIEmbedder("ada")


def bounded(monkeypatch: pytest.MonkeyPatch, **bounds: float) -> None:
    """Embeddings with smaller bounds."""

    def made(*given: Any, **named: Any) -> Any:
        return connection.client(*given, **named | bounds)

    monkeypatch.setattr("prompt_oirl.features.embedders.client", made)


def megabytes(call: Any) -> tuple[Any, float]:
    """What a call returns, and the most memory that it took, without the server's packing."""
    bomb(2)
    tracemalloc.start()
    try:
        found = call()
        return found, tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("fault", BAD)
def test_a_hostile_reply_is_one_line_and_little_memory(server: MisbehavingServer, fault: str) -> None:
    server.fault_of = lambda text: fault
    budget = Budget(max_calls=3)
    (found,), used = megabytes(lambda: answers(OpenAILLM("m", server.url), 1, budget))
    assert found.finish_reason == "error" and BAD[fault] in found.text
    assert len(found.text) < 500 and "\n" not in found.text
    assert used < 100 and budget.calls == sum(server.requests.values()) <= 3


@pytest.mark.parametrize("fault", BAD)
def test_a_hostile_reply_of_embeddings_is_one_line_too(
    server: MisbehavingServer, embedder: OpenAIEmbedder, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    bounded(monkeypatch, largest=2**20, retries=0)
    server.fault_of = lambda text: fault

    def refused() -> str:
        with pytest.raises(InputError) as caught:
            embedder.encode(["a"])
        return str(caught.value)

    said, used = megabytes(refused)
    assert BAD[fault] in said and "check" in said and len(said) < 300 and "\n" not in said and used < 100


@pytest.mark.parametrize("fault", ["drip", "drip headers"])
def test_embeddings_that_drip_are_given_up(
    server: MisbehavingServer, embedder: OpenAIEmbedder, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    bounded(monkeypatch, seconds=0.6)
    server.fault_of = lambda text: fault
    started = time.monotonic()
    with pytest.raises(InputError, match="no whole reply within 0.6 seconds"):
        embedder.encode(["a"])
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "data",
    [
        [{"index": 0, "embedding": ["1", "2"]}, {"index": 1, "embedding": [1, 2]}],
        [{"index": 0, "embedding": [10**400, 2]}, {"index": 1, "embedding": [1, 2]}],
        [{"index": 0, "embedding": [[1], [2]]}, {"index": 1, "embedding": [1, 2]}],
        [{"index": 0, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}],
        [{"index": 0}, {"index": 1}],
        "x",
    ],
)
def test_what_are_no_embeddings_is_said(
    server: MisbehavingServer, embedder: OpenAIEmbedder, data: Any
) -> None:
    server.respond = lambda body: (200, json.dumps({"data": data}))
    with pytest.raises(InputError, match="returned something else than embeddings"):
        embedder.encode(["a", "b"])


def test_a_packed_reply_is_unpacked(server: MisbehavingServer) -> None:
    server.fault_of = lambda text: "packed answer"
    (found,) = answers(OpenAILLM("m", server.url), 1)
    assert found and found.text == "The answer is 7."


def test_a_key_is_not_sent_on_by_a_redirect(server: MisbehavingServer, embedder: OpenAIEmbedder) -> None:
    other = MisbehavingServer()
    threading.Thread(target=other.serve_forever, daemon=True).start()
    server.fault_of = lambda text: f"redirect {other.url}/embeddings"
    with pytest.raises(InputError, match="did not embed the texts"):
        embedder.encode(["a"])
    other.shutdown()
    other.server_close()
    assert not other.requests and sum(server.requests.values()) == 1


def test_a_password_in_an_address_is_in_no_line_and_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:hunter2@127.0.0.1:9/v1")
    assert OpenAIEmbedder("ada").info.revision == "http://127.0.0.1:9/v1/"
    for wrong in (
        "htps://user:hunter2@host/v1",
        "user:hunter2@host:8000",
        "http://user:hunter2@h:99999/\x1b",
    ):
        with pytest.raises(InputError, match="give a URL such as") as caught:
            OpenAILLM("m", wrong)
        assert "hunter2" not in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("key", ["sk-sécret-key", "sk-sec\nret"])
def test_a_key_that_no_header_takes_is_refused_by_embeddings(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="OPENAI_API_KEY holds characters that no key has") as caught:
        OpenAIEmbedder("ada")
    assert key not in str(caught.value)


def test_a_proxy_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://user:hunter2@proxy")
    with pytest.raises(InputError, match="correct HTTP_PROXY, HTTPS_PROXY") as caught:
        OpenAILLM("m")
    assert "hunter2" not in str(caught.value)
