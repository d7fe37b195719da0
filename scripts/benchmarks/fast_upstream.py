"""`python fast_upstream.py PORT [MS]`: an LLM server that gives every request the same chat completion, after
MS milliseconds (0).

Nothing is parsed but where a request ends, so that on a machine of two cores the server under test has most
of them.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.I)
_BODY = json.dumps(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": "fixed",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The answer is 42."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 40, "completion_tokens": 6, "total_tokens": 46},
    }
).encode()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY
)


PAUSE = float(sys.argv[2]) / 1e3 if len(sys.argv) > 2 else 0.0  # seconds


class FixedAnswer(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self.received, 0, end + 2)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.received) < whole:
                return
            self.received = self.received[whole:]
            if PAUSE:
                asyncio.get_running_loop().call_later(PAUSE, self.transport.write, _ANSWER)  # type: ignore[attr-defined]
            else:
                self.transport.write(_ANSWER)  # type: ignore[attr-defined]


async def serve(port: int) -> None:
    """Answer on 127.0.0.1 until the process ends."""
    server = await asyncio.get_running_loop().create_server(FixedAnswer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
