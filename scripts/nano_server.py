"""The tiny model behind a small OpenAI-compatible server, for trying what stands between clients and an LLM.

    python scripts/nano_server.py --port 8100

Answers POST /v1/chat/completions, one whole answer a request (no streaming), and GET /v1/models. Requests
that wait at the same time are answered in one batch. Needs the extra serve.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms import Conversation, Decoding, Generation, item_seed
from prompt_oirl.llms.transformers_llm import TransformersLLM

LIMIT = 96  # tokens of an answer, as in the committed log


@dataclass
class Args:
    port: int = 8100
    """Port on this machine (127.0.0.1)."""
    ckpt_dir: Path = REPO_ROOT / "data" / "nano_llama"
    """Model folder."""
    seed: int = 0
    """Seed of the sampling noise; with it, equal requests in one order get equal answers."""


def main(args: Args) -> None:
    import uvicorn

    llm = TransformersLLM(str(args.ckpt_dir), max_batch_size=64)
    uvicorn.run(make_app(llm, args.seed), host="127.0.0.1", port=args.port, log_level="warning")


def make_app(llm: TransformersLLM, seed: int) -> Any:
    """The server's routes."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    waiting: asyncio.Queue[tuple[Conversation, Decoding, int, asyncio.Future[Generation]]] = asyncio.Queue()

    async def complete(request: Request) -> JSONResponse:
        body, number = await request.json(), next(numbers)
        if body.get("stream"):
            return JSONResponse({"error": {"message": "this small server does not stream"}}, 400)
        decoding = Decoding(body.get("temperature", 0.6), body.get("top_p", 0.9), LIMIT)
        answered = asyncio.get_running_loop().create_future()
        waiting.put_nowait((body["messages"], decoding, item_seed(seed, number), answered))
        answer = await answered
        return JSONResponse(_reply(answer, number))

    async def answer_batches() -> None:
        while True:
            batch = [await waiting.get()]
            await asyncio.sleep(0.01)  # who asks at the same time comes along
            batch += [waiting.get_nowait() for _ in range(min(waiting.qsize(), llm.batch_size - 1))]
            for decoding in {decoding for _, decoding, _, _ in batch}:
                some = [item for item in batch if item[1] == decoding]
                found = await asyncio.to_thread(
                    llm.generate, [c for c, *_ in some], decoding=decoding, seeds=[s for *_, s, _ in some]
                )
                for (*_, future), answer in zip(some, found):
                    if not future.cancelled():
                        future.set_result(answer)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        task = asyncio.create_task(answer_batches())
        yield
        task.cancel()

    async def models(_: Request) -> JSONResponse:
        return JSONResponse({"object": "list", "data": [{"id": "nano", "object": "model"}]})

    numbers = iter(range(10**12))
    routes = [
        Route("/v1/chat/completions", complete, methods=["POST"]),
        Route("/v1/models", models),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _reply(answer: Generation, number: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text}
    return {
        "id": f"nano-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "nano",
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}],
        "usage": {
            "prompt_tokens": answer.tokens_in,
            "completion_tokens": answer.tokens_out,
            "total_tokens": answer.tokens_in + answer.tokens_out,
        },
    }


if __name__ == "__main__":
    run_step(main, Args)
