"""A light load generator: keep-alive connections to one server, each with one request in flight."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

MAX_SECONDS = 60.0  # for one answer


@dataclass
class Load:
    """What requests took: `latencies` in seconds of those answered with 200, the count of others, seconds."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    seconds: float = 0.0

    def add(self, other: Load) -> None:
        """Put another stretch of the same load behind this one."""
        self.latencies += other.latencies
        self.errors += other.errors
        self.seconds += other.seconds

    def row(self) -> dict[str, float]:
        """Requests, median and 95th percentile in milliseconds, requests per second, errors."""
        median, p95 = np.percentile(self.latencies, [50, 95]) * 1e3 if self.latencies else (np.nan, np.nan)
        return {
            "requests": len(self.latencies) + self.errors,
            "median_ms": round(float(median), 2),
            "p95_ms": round(float(p95), 2),
            "per_second": round(len(self.latencies) / self.seconds, 1),
            "errors": self.errors,
        }


def chat_request(question: str, role: str) -> bytes:
    """A POST to /v1/chat/completions with one message, as its bytes."""
    body = json.dumps({"model": "fixed", "messages": [{"role": role, "content": question}]}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(port: int, requests: Iterator[bytes], n: int, concurrency: int) -> Load:
    """Send n requests over so many connections and time each from its first byte out to its last byte in.

    Parameters
    ----------
    port : of the server on 127.0.0.1
    requests : whole HTTP requests, at least n
    n : how many of them are sent
    concurrency : connections
    """
    load = Load()
    left = iter(range(n))
    started = time.perf_counter()
    await asyncio.gather(
        *(_connection(port, lambda: next(left, None), requests, load) for _ in range(concurrency))
    )
    load.seconds = time.perf_counter() - started
    return load


async def _connection(
    port: int, more: Callable[[], int | None], requests: Iterator[bytes], load: Load
) -> None:
    streams = None
    while more() is not None:
        request = next(requests)
        started = time.perf_counter()
        try:
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = streams
            writer.write(request)
            status, closes = await asyncio.wait_for(_answer(reader), MAX_SECONDS)
        except (OSError, EOFError, TimeoutError, ValueError):
            status, closes = 0, True
        if status == 200:
            load.latencies.append(time.perf_counter() - started)
        else:
            load.errors += 1
        if closes and streams is not None:
            streams[1].close()
            streams = None
    if streams is not None:
        streams[1].close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one answer; its status and whether the server closes the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    fields = dict(line.split(b":", 1) for line in head.split(b"\r\n")[1:-2])
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        await reader.readexactly(int(fields[b"content-length"]))
    return int(head[9:12]), b"close" in fields.get(b"connection", b"")
