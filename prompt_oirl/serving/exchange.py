"""One request and its reply on the wire: bodies with a limit, errors, clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from prompt_oirl.serving.upstream import Failure, Headers, error_body

JSON = (b"content-type", b"application/json")


class Gone(Exception):
    """The client has left."""


async def read_body(scope: Scope, receive: Receive, limit: int, seconds: float) -> bytes:
    """The whole body of a request.

    Parameters
    ----------
    scope, receive : of ASGI
    limit : bytes
    seconds : that the client has for it

    Raises: Failure at a longer or later one, Gone if the client leaves.
    """
    too_long = Failure(413, f"the request is longer than {limit / 2**20:g} MB (--max_body_mb)")
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit:
        raise too_long
    pieces, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > limit:
                    raise too_long
                if not message.get("more_body", False):
                    return b"".join(pieces)
    except TimeoutError:
        raise Failure(408, "the request did not arrive in time") from None


def header(scope: Scope, name: bytes) -> str | None:
    """A header of the request, None without it."""
    return next((value.decode("latin-1") for n, value in scope["headers"] if n == name), None)


async def reply(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a whole reply."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def reply_error(
    send: Send, status: int, reason: str, headers: Headers = (), code: str | None = None
) -> None:
    """Send an error as OpenAI writes it."""
    body = error_body(status, reason, code)
    await reply(send, status, [JSON, _length(body), *headers], body)


async def reply_bytes(send: Send, status: int, content_type: str, body: bytes) -> None:
    """Send a whole reply of our own."""
    await reply(send, status, [(b"content-type", content_type.encode()), _length(body)], body)


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, and cancel it if the client leaves."""
    tasks: Sequence[asyncio.Task[None]] = [asyncio.create_task(work), asyncio.create_task(_left(receive))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
    if not tasks[0].cancelled():
        tasks[0].result()


async def _left(receive: Receive) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
