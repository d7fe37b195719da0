"""The routes of the server, and who may use them."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prompt_oirl.serving import policy as policies
from prompt_oirl.serving.exchange import Gone, header, read_body, reply_bytes, reply_error, while_connected
from prompt_oirl.serving.metrics import CONTENT_TYPE
from prompt_oirl.serving.requests import read_request
from prompt_oirl.serving.served_log import feedback_row
from prompt_oirl.serving.serving import Serving
from prompt_oirl.serving.settings import LOOPBACK
from prompt_oirl.serving.upstream import Failure, Headers, kept

RELOAD_SECONDS = 1.0
PROBE_EVERY = 5.0  # seconds for which it is known whether the upstream can be reached
LARGE = 2**18  # bytes of a body that is read in a thread, so that others need not wait
NO_PROMPT = (b"x-prompt-oirl-prompt", b"none")
MAX_FEEDBACK = 2**16

Say = Callable[[str], None]
Handler = Callable[[Serving, Scope, Receive, Send], Awaitable[None]]


def make_app(serving: Serving, folder: Path, key: str | None, say: Say) -> ASGIApp:
    """The server as an ASGI application.

    Parameters
    ----------
    serving : what requests share
    folder : of the selector, which is loaded anew when it changes
    key : that clients must send; None: anyone on this machine may ask
    say : takes remarks for the operator
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(keep_current(serving, folder, say))
        yield
        watch.cancel()
        for _ in range(100):  # requests that were cut off still log what they have
            if not serving.in_flight:
                break
            await asyncio.sleep(0.01)
        await serving.upstream.close()
        serving.queue.close()
        serving.log.close()

    health = Health()
    routes = [
        Route("/health", _Endpoint(serving, health)),
        Route("/metrics", _Endpoint(serving, metrics), methods=["GET"]),
        Route("/feedback", _Endpoint(serving, feedback), methods=["POST"]),
        Route("/v1/chat/completions", _Endpoint(serving, chat), methods=["POST"]),
        Route("/v1/{path:path}", _Endpoint(serving, passed_through)),
    ]
    return Guard(Starlette(routes=routes, lifespan=lifespan), serving, key, say)


class _Endpoint:
    """A handler as an ASGI application, which is how routes take raw bytes."""

    def __init__(self, serving: Serving, handler: Handler):
        self._serving, self._handler = serving, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._handler(self._serving, scope, receive, send)
        except Failure as error:
            await reply_error(send, error.status, error.reason)


async def chat(serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
    """POST /v1/chat/completions: with a prompt for its question, or as it is where it asks none."""
    body = await _body(serving, scope, receive)
    choose_from = serving.settings.question_from
    if len(body) > LARGE:
        request = await asyncio.to_thread(read_request, body, choose_from)
    else:
        request = read_request(body, choose_from)
    if request is None:
        await while_connected(receive, _pass(serving, scope, body, send, NO_PROMPT))
    else:
        await while_connected(receive, serving.answer(scope, request, send))


async def passed_through(serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
    """Every other path below /v1, as it is."""
    body = await _body(serving, scope, receive)
    await while_connected(receive, _pass(serving, scope, body, send))


async def _body(serving: Serving, scope: Scope, receive: Receive) -> bytes:
    limit = int(serving.settings.max_body_mb * 2**20)
    return await read_body(scope, receive, limit, serving.settings.timeout)


async def _pass(serving: Serving, scope: Scope, body: bytes, send: Send, *own: tuple[bytes, bytes]) -> None:
    path = scope["raw_path"].decode("latin-1").removeprefix("/v1")
    upstream = serving.upstream
    request = upstream.request(scope["method"], path, scope["query_string"], scope["headers"], body)
    response = await upstream.send(request)
    async with aclosing(response):
        headers = [*kept(response.headers.raw), *own]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        try:
            async for piece in response.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except httpx.HTTPError:
            return  # the client sees it as we do: a reply that ends too early
    await send({"type": "http.response.body", "body": b""})


async def feedback(serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
    """POST /feedback {id, correct}: whether a logged answer was right, 0 to 1; null takes a verdict back."""
    body = await read_body(scope, receive, MAX_FEEDBACK, serving.settings.timeout)
    wanted = 'send {"id": "...", "correct": 0 to 1}, with the id of the header x-prompt-oirl-id'
    try:
        data = json.loads(body)
        id, correct = data["id"], data["correct"] if "correct" in data else data["score"]
        known = correct is None or (isinstance(correct, bool | int | float) and 0 <= correct <= 1)
        if not isinstance(id, str) or not known:
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Failure(400, wanted) from None
    async with serving.looking_up:  # old ids are looked for in files, one at a time
        if not await asyncio.to_thread(serving.log.knows, id):
            raise Failure(404, "no answer in the log has this id")
    if not serving.log.write(feedback_row(id, None if correct is None else float(correct))):
        raise Failure(503, "the log cannot be written")
    serving.metrics.feedback.inc()
    await reply_bytes(send, 200, "application/json", b'{"status": "ok"}')


async def metrics(serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /metrics, as Prometheus reads it."""
    serving.metrics.in_flight.set(serving.in_flight - 1)  # without this one
    await reply_bytes(send, 200, CONTENT_TYPE, serving.metrics.text())


class Health:
    """GET /health: that we serve, which policy, and whether the upstream can be reached."""

    def __init__(self) -> None:
        self._asked, self._reachable, self._lock = -PROBE_EVERY, False, asyncio.Lock()

    async def __call__(self, serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._lock:
            if time.monotonic() - self._asked >= PROBE_EVERY:
                self._reachable = await serving.upstream.reachable()
                self._asked = time.monotonic()
        current = serving.queue.policy
        about: dict[str, Any] = {
            "status": "ok",
            "policy": current.id,
            "prompts": len(current.selector.prompts_),
            "uptime_seconds": round(time.monotonic() - serving.started, 1),
            "upstream": "reachable" if self._reachable else "unreachable",
        }
        await reply_bytes(send, 200, "application/json", json.dumps(about).encode())


async def keep_current(serving: Serving, folder: Path, say: Say) -> None:
    """Load the selector anew whenever its file changes; a broken one leaves the old one in place."""
    seen = refused = None
    while True:
        await asyncio.sleep(RELOAD_SECONDS)
        found = policies.version_of(folder)
        if found is None or found == seen:
            continue
        try:
            if policies.version_id(folder) == serving.queue.policy.id:
                seen = found
                continue
            policy = await asyncio.to_thread(policies.load_policy, folder, serving.settings.embedder)
        except Exception as error:  # whatever is wrong: the old one serves, the new one is tried again
            if refused != found:
                serving.metrics.reloads.labels("failed").inc()
                say(f"warning: the new selector in {folder} cannot be used, the old one serves: {error}")
            refused = found
            continue
        seen = found
        serving.queue.policy = policy
        serving.metrics.serves(policy.id)
        serving.metrics.reloads.labels("ok").inc()
        say(f"the selector in {folder} was loaded anew: policy {policy.id}")


class Guard:
    """Turns away who may not ask, and what is too much; counts requests; no error leaves without a body."""

    def __init__(self, app: ASGIApp, serving: Serving, key: str | None, say: Say):
        self._app, self._serving, self._say = app, serving, say
        self._key = None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._admit(scope, receive, counting)
        except Gone:
            pass
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            self._say(f"error: unexpected {type(error).__name__} at {where}; please report it")
            if not status:
                await reply_error(counting, 500, "unexpected error in the server")
        finally:
            self._serving.metrics.requests.labels(_route(scope["path"]), str(status)).inc()

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            await reply_error(send, *refusal)
            return
        self._serving.in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._serving.in_flight -= 1

    def _refusal(self, scope: Scope) -> tuple[int, str, Headers, str] | None:
        if self._key is None:
            # A page of another site must not ask through a browser on this machine, by whatever name.
            host, origin = (header(scope, name) for name in (b"host", b"origin"))
            named = [None if host is None else f"//{host}", origin]
            if any(url is not None and _host(url) not in LOOPBACK for url in named):
                return 403, "only this machine may ask: use 127.0.0.1 or localhost", (), "forbidden"
        elif scope["path"] != "/health":
            scheme, _, rest = (header(scope, b"authorization") or "").partition(" ")
            given = f"{scheme.capitalize()} {rest}".encode("latin-1", "replace")
            if not hmac.compare_digest(given, self._key):
                return 401, "wrong or missing API key", (), "invalid_api_key"
        if scope["path"].startswith("/v1/") and self._serving.in_flight >= self._serving.settings.max_waiting:
            return 503, "too many requests at a time", [(b"retry-after", b"1")], "overloaded"
        return None


def _host(url: str) -> str | None:
    with suppress(ValueError):
        return urlsplit(url).hostname
    return None


def _route(path: str) -> str:
    known = ("/health", "/metrics", "/feedback", "/v1/chat/completions")
    return path if path in known else "/v1/" if path.startswith("/v1/") else "other"
