"""An LLM server in a process of its own: it answers at once, or makes one of twelve faults.

    with flaky_server(seed=0, share=0.05) as server:      # server.url, server.state(), server.paid()

A question names itself ("question17"), and that decides its answer. Whether an attempt at it fails, and how,
comes from the seed, the name and the attempt's number alone.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from zlib import crc32

TESTS = Path(__file__).resolve().parents[1]
FAULTS = (
    *("429", "500", "503", "reset", "cut", "hang", "trickle"),
    *("empty body", "wrong JSON", "HTML page", "redirect", "two choices"),
)
PAGE = b"<html><head><title>Please wait</title></head><body><h1>Please wait</h1></body></html>"
WRONG = (b'{"choices": [{"mess', b'{"object": "chat.completion", "choices": []}', b"null")


@dataclass(frozen=True)
class Running:
    """The server as who started it sees it."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def state(self) -> dict[str, Any]:
        """{"faults": {kind: times}, "answered": whole answers, "items": questions that have one}."""
        return self._get("state")

    def paid(self) -> dict[str, int]:
        """Whole answers by question."""
        return self._get("paid")

    def left(self) -> dict[str, int]:
        """Answers by question after which the client closed the connection, as after a time-out."""
        return self._get("left")

    def _get(self, path: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=60) as reply:
            return json.load(reply)


@contextmanager
def flaky_server(seed: int = 0, share: float = 0.0) -> Iterator[Running]:
    """Start it, and end it afterwards.

    Parameters
    ----------
    seed : of the faults
    share : of the requests that meet one, 0 to 1
    """
    command = [sys.executable, "-m", "torture.flaky_server", str(seed), str(share)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TESTS) as process:
        assert process.stdout is not None
        try:
            yield Running(int(process.stdout.readline()))
        finally:
            process.kill()


def name_of(text: str) -> str:
    """The name of the question in a text, such as question17."""
    found = re.search(r"question\d+", text)
    return found[0] if found else "none"


def answer_to(name: str) -> str:
    """The answer to a question, by its name."""
    return f"The answer is {crc32(name.encode()) % 1000}."


class _Server:
    def __init__(self, seed: int, share: float):
        self._seed, self._share = seed, share
        self._faults, self._attempts = Counter[str](), Counter[str]()
        self._paid, self._left = Counter[str](), Counter[str]()

    async def talk(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection to its end."""
        stays, last = True, ""
        with suppress(OSError, asyncio.IncompleteReadError):
            while stays:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    self._left[last] += 1
                    break
                if head.startswith(b"GET"):
                    self._tell(head, writer)
                else:
                    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                    body = await reader.readexactly(int(length[1]) if length else 0)
                    last = name_of(json.loads(body)["messages"][-1]["content"])
                    stays = await self._answer(last, reader, writer)
                await writer.drain()
        writer.close()

    def _tell(self, head: bytes, writer: StreamWriter) -> None:
        state = {"faults": self._faults, "answered": self._paid.total(), "items": len(self._paid)}
        told = {b"/paid": self._paid, b"/left": self._left}.get(head.split()[1], state)
        write_reply(writer, 200, json.dumps(told).encode())

    async def _answer(self, name: str, reader: StreamReader, writer: StreamWriter) -> bool:
        """Answer or fail; whether the connection stays."""
        self._attempts[name] += 1
        rng = random.Random(f"{self._seed}/{name}/{self._attempts[name]}")
        fault = rng.choice(FAULTS) if rng.random() < self._share else ""
        if fault:
            self._faults[fault] += 1
        if fault in ("", "two choices"):
            self._paid[name] += 1
            write_reply(writer, 200, completion(answer_to(name), odd=bool(fault)))
            return True
        if fault in ("reset", "cut", "hang", "trickle"):
            await _break_off(fault, completion(answer_to(name)), reader, writer)
            return False
        error = json.dumps({"error": {"message": "Rate limit reached for requests", "type": "requests"}})
        status, body, header = {
            "429": (429, error.encode(), "Retry-After: 0.2\r\n"),
            "500": (500, b'{"error": {"message": "The server had an error"}}', ""),
            "503": (503, PAGE, ""),
            "empty body": (200, b"", ""),
            "wrong JSON": (200, rng.choice(WRONG), ""),
            "HTML page": (200, PAGE, ""),
            "redirect": (302, b"", "Location: http://127.0.0.1:9/login\r\n"),
        }[fault]
        write_reply(writer, status, body, header)
        return True


async def _break_off(fault: str, whole: bytes, reader: StreamReader, writer: StreamWriter) -> None:
    """Never end the reply: close in its middle, or wait until the client has had enough."""
    if fault == "reset":
        lingering: socket.socket = writer.get_extra_info("socket")
        lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return
    gone = asyncio.ensure_future(reader.read())
    if fault == "cut":
        write_reply(writer, 200, whole, half=True)
        await writer.drain()
    elif fault == "trickle":
        write_reply(writer, 200, whole, half=True)
        while not (await asyncio.wait([gone], timeout=0.1))[0]:
            writer.write(b" ")
    else:
        await gone
    gone.cancel()


def write_reply(writer: StreamWriter, status: int, body: bytes, header: str = "", half: bool = False) -> None:
    """A reply, or the first half of one that said it would be longer by far."""
    length = 2**16 if half else len(body)
    kind = "text/html" if body.startswith(b"<") else "application/json"
    head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\n{header}Content-Length: {length}\r\n\r\n"
    writer.write(head.encode() + (body[: len(body) // 2] if half else body))


def completion(text: str, odd: bool = False) -> bytes:
    """A chat completion; an odd one has a second choice and fields that nobody asked for."""
    choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]
    more: dict[str, Any] = {}
    if odd:
        other = {"index": 1, "finish_reason": "length", "message": {"role": "assistant", "content": "No: 1."}}
        choices.append(other)
        more = {"system_fingerprint": None, "x_notes": [{"deep": {"er": [1, 2]}}], "service_tier": 7}
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    about = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
    return json.dumps({**about, "choices": choices, "usage": usage, **more}).encode()


async def _serve(seed: int, share: float) -> None:
    server = await asyncio.start_server(partial(_Server.talk, _Server(seed, share)), "127.0.0.1", backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
