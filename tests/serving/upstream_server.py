"""A small LLM server to serve in front of: echoes, streams, errors, stalls and cuts, as the question says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

ERROR = b'{"error":{"message":"no such model \\u00e9","code":null},  "x":1.0}'


def make_upstream(seen: list[tuple[bytes, dict[str, str]]]) -> Starlette:
    """Keeps each body and its headers in `seen`."""

    async def chat(request: Request) -> Response:
        body = await request.body()
        seen.append((body, dict(request.headers)))
        text = body.decode("utf-8", "replace")
        if "error please" in text:
            return Response(ERROR, 404, media_type="application/json")
        if "stall please" in text:
            await asyncio.sleep(30)
        if "slowly please" in text:
            await asyncio.sleep(1)
        answer = next((f"The answer is {n}." for n in ("7", "9") if f"say {n}" in text), "pong")
        if '"stream": true' in text:
            cut = "cut please" in text
            return StreamingResponse(pieces(cut), media_type="text/event-stream")
        choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        return JSONResponse({"model": "tiny", "choices": [choice], "usage": usage})

    async def models(request: Request) -> Response:
        seen.append((await request.body(), dict(request.headers)))
        return Response(b'{"object": "list",  "data": []}', media_type="application/json")

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models, methods=["GET", "POST"]),
        ]
    )


async def pieces(cut: bool) -> AsyncIterator[bytes]:
    for word in ("one ", "two ", "three"):
        delta = {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
        yield f"data: {json.dumps(delta)}\n\n".encode()
        await asyncio.sleep(0.3)
        if cut:
            raise ConnectionError("cut, as asked for")
    yield b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
