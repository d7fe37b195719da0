"""What a server does with a question: choose a prompt, ask the upstream, log the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx
import numpy as np
from starlette.types import Scope, Send

from prompt_oirl.serving.choice import Choice, Fallback, best_choices, draw
from prompt_oirl.serving.exchange import JSON, header, reply, reply_error
from prompt_oirl.serving.metrics import Metrics
from prompt_oirl.serving.policy import Policy
from prompt_oirl.serving.replies import Reply, StreamedReply, read_reply
from prompt_oirl.serving.requests import ChatRequest, position_of, with_prompt
from prompt_oirl.serving.selection_queue import Prediction, SelectionQueue
from prompt_oirl.serving.served_log import Answered, Prices, ServedLog, answer_row, new_id
from prompt_oirl.serving.settings import ServeSettings
from prompt_oirl.serving.upstream import Failure, Headers, Upstream, error_body, failure, kept, whole_body
from prompt_oirl.serving.votes import winner

SEGMENT = b"x-prompt-oirl-segment"
CLIENT_LEFT = 499  # status in the log where the client left before there was any
LONGEST_NAME = 100
_READABLE = "!#$&'()*+,/:;=?@[] "  # in a header, beside letters and digits; the rest is percent-encoded


@dataclass(frozen=True)
class Asked:
    """A question with the prompt chosen for it. `future` brings the prediction, if it comes at all."""

    id: str
    request: ChatRequest
    segment: str | None
    choice: Choice
    policy: Policy
    future: Future[Prediction]
    started: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the client learns about the choice."""
        told = {
            "prompt": quote(self.choice.name[:LONGEST_NAME], safe=_READABLE),
            "probability": "" if self.choice.probability is None else f"{self.choice.probability:.6f}",
            "propensity": f"{self.choice.propensity:.6g}",
            "id": self.id,
            "policy": self.policy.id,
        }
        return [(f"x-prompt-oirl-{name}".encode(), value.encode()) for name, value in told.items() if value]


@dataclass(frozen=True)
class Fetched:
    """A whole reply of the upstream, or our error in its place."""

    status: int
    headers: Headers
    body: bytes
    found: Reply


@dataclass
class Serving:
    """Everything that requests share."""

    settings: ServeSettings
    queue: SelectionQueue
    log: ServedLog
    upstream: Upstream
    metrics: Metrics
    rng: np.random.Generator
    started: float = field(default_factory=time.monotonic)
    in_flight: int = 0
    looking_up: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def answer(self, scope: Scope, request: ChatRequest, send: Send) -> None:
        """Answer a chat request with the prompt that is chosen for its question."""
        began = time.perf_counter()
        segment = header(scope, SEGMENT)
        future = self.queue.submit(request.question, segment)
        policy, probabilities, fallback = await self._predicted(future)
        if self.settings.votes > 1 and request.one_text and len(policy.selector.prompts_) > 1:
            choices = best_choices(policy.selector, probabilities, self.settings.votes, fallback)
        else:
            explore, sure = self.settings.exploration(), self.settings.abstain_below
            choices = [draw(policy.selector, probabilities, self.rng, explore, sure, fallback)]
        for choice in choices:
            self.metrics.chose(choice, time.perf_counter() - began)
        asked = [Asked(new_id(), request, segment, c, policy, future, began) for c in choices]
        for each in asked:
            self.log.expect(each.id)
        if len(asked) > 1:
            await self._vote(scope, asked, send)
        else:
            await self._relay(scope, asked[0], send)

    async def _predicted(
        self, future: Future[Prediction]
    ) -> tuple[Policy, np.ndarray | None, Fallback | None]:
        try:
            prediction = await asyncio.wait_for(asyncio.wrap_future(future), self.settings.budget_ms / 1000)
        except TimeoutError:
            return self.queue.policy, None, "slow"
        except Exception:  # whatever the selector raised: questions are answered all the same
            return self.queue.policy, None, "failed"
        return prediction.policy, prediction.probabilities, None

    # --- one prompt -------------------------------------------------------------------------------------

    async def _relay(self, scope: Scope, asked: Asked, send: Send) -> None:
        """Pass the reply on as it comes; log it before its last byte is sent."""
        try:
            response = await self._send(scope, asked)
            events = response.headers.get("content-type", "").startswith("text/event-stream")
            if events or (asked.request.stream and response.status_code == 200):
                await self._stream(asked, response, send)
                return
            fetched = await self._whole(asked, response)
        except Failure as error:
            await reply_error(send, error.status, error.reason, asked.headers())
            return
        await reply(send, fetched.status, [*fetched.headers, *asked.headers()], fetched.body)

    async def _send(self, scope: Scope, asked: Asked) -> httpx.Response:
        body = with_prompt(asked.request, asked.choice, self.settings.position)
        with self._failures_logged(asked):
            path, query = "/chat/completions", scope["query_string"]
            request = self.upstream.request("POST", path, query, scope["headers"], body)
            return await self.upstream.send(request)

    async def _stream(self, asked: Asked, response: httpx.Response, send: Send) -> None:
        seen, ending = StreamedReply(), "disconnected"
        headers = [*kept(response.headers.raw), *asked.headers()]
        try:
            async with aclosing(response):
                await send(
                    {"type": "http.response.start", "status": response.status_code, "headers": headers}
                )
                async for piece in response.aiter_raw():
                    seen.feed(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            ending = ""
        except httpx.HTTPError:
            ending = "cut"  # the client sees it as we do: a reply that ends too early
            return
        finally:
            if ending and not seen.complete:
                seen.reply.finish_reason = ending
            self._log(asked, response.status_code, seen.reply)
        await send({"type": "http.response.body", "body": b""})

    async def _whole(self, asked: Asked, response: httpx.Response) -> Fetched:
        with self._failures_logged(asked):
            try:
                async with aclosing(response):
                    body = await whole_body(response)
            except httpx.HTTPError as error:
                raise failure(error) from None
        found = read_reply(body) if response.status_code == 200 else Reply()
        self._log(asked, response.status_code, found)
        return Fetched(response.status_code, kept(response.headers.raw), body, found)

    # --- several prompts --------------------------------------------------------------------------------

    async def _vote(self, scope: Scope, asked: Sequence[Asked], send: Send) -> None:
        fetched = await asyncio.gather(*(self._fetch(scope, each) for each in asked))
        answers = [f.found.answer if f.status == 200 else None for f in fetched]
        question = asked[0].request.question
        parser = self.settings.parser
        first, n = await asyncio.to_thread(winner, answers, question, parser)
        if first < 0:  # no answer has a text: the first that is no failure, else the first failure
            first = next((i for i, f in enumerate(fetched) if f.status == 200), 0)
        chosen = fetched[first]
        votes = (b"x-prompt-oirl-votes", f"{n}/{len(asked)}".encode())
        await reply(send, chosen.status, [*chosen.headers, *asked[first].headers(), votes], chosen.body)

    async def _fetch(self, scope: Scope, asked: Asked) -> Fetched:
        try:
            return await self._whole(asked, await self._send(scope, asked))
        except Failure as error:
            body = error_body(error.status, error.reason)
            headers = [JSON, (b"content-length", str(len(body)).encode())]
            return Fetched(error.status, headers, body, Reply())

    # --- the log ----------------------------------------------------------------------------------------

    @contextmanager
    def _failures_logged(self, asked: Asked) -> Iterator[None]:
        try:
            yield
        except Failure as error:
            self._log(asked, error.status, Reply())
            raise
        except asyncio.CancelledError:
            self._log(asked, CLIENT_LEFT, Reply(finish_reason="disconnected"))
            raise

    def _log(self, asked: Asked, status: int, found: Reply) -> None:
        answered = Answered(status, 1000 * (time.perf_counter() - asked.started), **vars(found))
        self.metrics.answered(answered)
        vector, future = None, asked.future
        if not self.log.texts and future.done() and not future.cancelled() and not future.exception():
            vector = future.result().vector
        n_asked = round(sum(asked.choice.propensities))
        self.log.write(
            answer_row(
                asked.id,
                asked.request.question,
                asked.choice,
                answered,
                position=position_of(asked.choice, self.settings.position),
                policy=asked.policy.id,
                llm=asked.request.model,
                segment=asked.segment,
                prices=Prices(self.settings.price_in, self.settings.price_out),
                texts=self.log.texts,
                vector=vector,
                votes=n_asked if n_asked > 1 else None,
            )
        )
