"""A real LLM server on loopback that echoes, streams, calls tools, errs, stalls and cuts, as its text says.

    with Upstream() as upstream:      # upstream.url, upstream.seen

A request's text decides: "say 7" is answered with that number, "error please" with `ERROR`, "stall please"
after 30 s, "slowly please" after 1 s, "cut please" ends in the middle. Streams come in pieces 0.1 s apart.
Paths beside chat/completions return the body that they got.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

ERROR = b'{"error":{"message":"no such model \\u00e9","code":null},  "x":1.0}'
MODELS = b'{"object": "list",  "data": [{"id": "tiny", "object": "model"}]}'
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
PIECES = ("one ", "two ", "three")


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Upstream:
    """The server in a thread; `seen` are the requests so far, `left` counts clients that did not wait."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.left = 0
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/v1/{path:path}", self._echo, methods=["GET", "POST", "PUT", "DELETE"]),
            ]
        )
        config = uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Upstream:
        self._thread.start()
        while not self._server.started:
            threading.Event().wait(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    async def _keep(self, request: Request) -> bytes:
        body = await request.body()
        query = f"?{request.url.query}" if request.url.query else ""
        self.seen.append(Seen(request.method, request.url.path + query, dict(request.headers), body))
        return body

    async def _chat(self, request: Request) -> Response:
        data = await self._keep(request)
        try:
            body = json.loads(data)
            text = json.dumps(body["messages"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return Response(ERROR, 400, media_type="application/json")
        if "error please" in text:
            return Response(ERROR, 404, {"x-error": "yes"}, media_type="application/json")
        pause = 30 if "stall please" in text else 1 if "slowly please" in text else 0
        try:
            await asyncio.wait_for(_gone(request), pause or 1e-3)
            self.left += 1
        except TimeoutError:
            pass
        cut = "cut please" in text
        if body.get("stream") is True:
            return StreamingResponse(self._pieces(cut), media_type="text/event-stream")
        whole = json.dumps(_completion(body, text)).encode()
        if cut:
            return StreamingResponse(_half(whole), headers={"content-length": str(len(whole))})
        return Response(whole, media_type="application/json")

    async def _pieces(self, cut: bool) -> AsyncIterator[bytes]:
        ended = False
        try:
            for word in PIECES:
                yield _event({"index": 0, "delta": {"content": word}, "finish_reason": None})
                await asyncio.sleep(0.1)
                if cut:
                    raise ConnectionError("cut, as asked for")
            yield _event({"index": 0, "delta": {}, "finish_reason": "stop"}) + b"data: [DONE]\n\n"
            ended = True
        finally:
            self.left += not (ended or cut)

    async def _models(self, request: Request) -> Response:
        await self._keep(request)
        return Response(MODELS, media_type="application/json")

    async def _echo(self, request: Request) -> Response:
        return Response(await self._keep(request), 202, media_type="application/octet-stream")


def _completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    said = re.search(r"say (\d+)", text)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": f"The answer is {said[1]}." if said else "pong",
    }
    reason = "stop"
    if body.get("tools"):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": "{}"}
        calls = [{"id": "call_1", "type": "function", "function": function}]
        message, reason = {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    about = {"id": "c1", "object": "chat.completion", "created": 0, "model": "tiny"}
    return {**about, "choices": [choice], "usage": USAGE}


def _event(choice: dict[str, Any]) -> bytes:
    about = {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": "tiny"}
    return f"data: {json.dumps({**about, 'choices': [choice]})}\n\n".encode()


async def _half(whole: bytes) -> AsyncIterator[bytes]:
    yield whole[: len(whole) // 2]
    await asyncio.sleep(0.1)
    raise ConnectionError("cut, as asked for")


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
