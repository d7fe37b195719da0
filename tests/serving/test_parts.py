"""Replies as the log reads them, votes, headers, and the queue before the selector."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_logs import made_log

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import InputError
from prompt_oirl.serving import selection_queue
from prompt_oirl.serving.policy import Policy
from prompt_oirl.serving.replies import Reply, StreamedReply, read_reply
from prompt_oirl.serving.selection_queue import LONGEST_QUESTION, Prediction, SelectionQueue
from prompt_oirl.serving.upstream import Failure, Upstream, failure, kept, whole_body
from prompt_oirl.serving.votes import winner

STREAM = (
    ": comment\r\n\r\n"
    'data: {"model": "m", "choices": [{"index": 0, "delta": {"content": "é1 "}}]}\r\n\r\n'
    'data: {"choices": [{"index": 1, "delta": {"content": "other"}}]}\n\n'
    'data:{"choices": [{"index": 0, "delta": {"content": "2"}, "finish_reason": "length"}]}\n\n'
    "data: not JSON\n\n"
    'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n\ndata: [DONE]\n\n'
).encode()


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_is_read_however_it_is_cut(cuts: list[int]) -> None:
    seen, places = StreamedReply(), [0, *sorted(cuts), len(STREAM)]
    for start, end in zip(places, places[1:]):
        seen.feed(STREAM[start:end])
    assert seen.reply == Reply("é1 2", "length", 3, 2, "m") and seen.ended


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\xff", b"null", b"[]", b'{"choices": 1}', b'{"choices": [1]}', b'{"choices": [{}]}'),
        b'{"choices": [{"message": {"content": [1]}}], "usage": {"prompt_tokens": -1}}',
        b'{"usage": {"prompt_tokens": true, "completion_tokens": 1.5}, "model": 3}',
        b'{"usage": {"prompt_tokens": 1%s, "completion_tokens": 20000000}}' % (b"0" * 30),
        b'{"model": "a", "model": "b"}',
        b"[" * 100_000,
    ],
)
def test_what_a_server_does_not_say_stays_unknown(body: bytes) -> None:
    assert read_reply(body) == Reply()


def test_names_that_an_upstream_sends_are_cut() -> None:
    found = read_reply(
        b'{"model": "\\ud800%s", "choices": [{"finish_reason": "%s"}]}' % (b"m" * 999, b"f" * 999)
    )
    assert found == Reply(finish_reason="f" * 200, model="?" + "m" * 199)


def test_a_whole_reply_is_held_up_to_a_bound() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield bytes(2**20)
        raise AssertionError("200 MB were read")

    with pytest.raises(Failure, match="longer than 64 MB"):
        asyncio.run(whole_body(httpx.Response(200, content=endless())))


def test_an_upstream_that_is_no_address_is_one_line() -> None:
    with pytest.raises(InputError, match="--upstream: .*correct the URL") as caught:
        Upstream("http://127.0.0.1:8000/\x1b[31m", None, False, 1.0)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "answers, expected",
    [
        (["The answer is 7.", "It is 9", "So 9"], (1, 2)),
        (["The answer is 7.", "It is 9"], (0, 1)),
        ([None, "So 9", None], (1, 1)),
        (["who knows", None], (0, 0)),
        ([None, ""], (-1, 0)),
    ],
)
def test_the_answer_of_most_wins_and_the_first_in_a_tie(
    answers: list[str | None], expected: tuple[int, int]
) -> None:
    assert winner(answers, "How many?", "number") == expected


def test_headers_of_one_connection_end_here() -> None:
    headers = [(b"Connection", b"X-Hop, close"), (b"x-hop", b"1"), (b"X-Prompt-OIRL-id", b"x"), (b"A", b"1")]
    headers += [(b"a", b"2"), (b"Transfer-Encoding", b"chunked")]
    assert kept(headers) == [(b"a", b"1"), (b"a", b"2")]


def test_why_there_is_no_reply() -> None:
    request = httpx.Request("POST", "http://h", headers={"authorization": "Bearer sk-secret"})
    for error, status in (
        (httpx.ConnectTimeout("", request=request), 504),
        (httpx.ReadTimeout("", request=request), 504),
        (httpx.ConnectError("sk-secret", request=request), 502),
        (httpx.RemoteProtocolError("", request=request), 502),
    ):
        found = failure(error)
        assert found.status == status and "secret" not in found.reason


class CountingEmbedder:
    """Counts texts that are embedded, waits for `free`, and fails at one."""

    def __init__(self, embedder: Any):
        self.info, self._embedder, self.free, self.calls = embedder.info, embedder, threading.Event(), []

    def fit(self, texts: Sequence[str]) -> None:
        """Nothing to fit."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        assert self.free.wait(10)
        self.calls.append(list(texts))
        if "broken" in texts:
            raise RuntimeError("broken")
        return self._embedder.encode(texts)  # type: ignore[no-any-return]


def test_waiting_questions_are_asked_about_at_once_and_embedded_once(
    small_selector: PromptSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection_queue, "MOST_THREADS", 1)  # a second thread would share what waits
    selector = copy.copy(small_selector)
    embedder = CountingEmbedder(small_selector.embedder_)
    selector.embedder_ = embedder
    queue = SelectionQueue(Policy(selector, "a" * 16))
    questions = made_log().question.unique()[:6].tolist()
    first = queue.submit(questions[0])
    while not first.running():
        threading.Event().wait(0.01)
    later: list[Future[Prediction]] = [queue.submit(q) for q in [*questions[1:], "broken"]]
    given_up = queue.submit("nobody waits for this one")
    assert given_up.cancel()
    embedder.free.set()
    found = [f.result(10) for f in [first, *later[:-1]]]
    with pytest.raises(RuntimeError):
        later[-1].result(10)
    expected, size = small_selector.question_features(questions, None)
    assert np.allclose([f.probabilities for f in found], small_selector.predict_proba(questions), atol=1e-6)
    assert np.allclose([f.vector for f in found], expected[:, :size], atol=1e-6)
    batch = [*questions[1:], "broken"]  # once together, and as that fails, once each
    assert embedder.calls == [[questions[0]], batch, *([q] for q in batch)]
    with pytest.raises(ValueError, match="characters"):
        queue.submit("x" * (LONGEST_QUESTION + 1)).result()
    queue.close()
