"""Requests that no client should send, and some that it should."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np

BODIES: list[dict[str, Any]] = [
    {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "temperature": 1.0},
    {"messages": [{"role": "system", "content": "Hm."}, {"role": "user", "content": "\u00e9?"}], "n": 2},
    {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Hm."}]},
            {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "A"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    },
]  # fmt: skip
ODD = [
    None,
    True,
    0,
    -1,
    1e308,
    10**40,
    "",
    "x" * 3000,
    "\ud800",
    "{question}",
    [],
    {},
    [[]],
    {"role": "user"},
]
PATHS = ["/v1/chat/completions"] * 12 + ["/feedback", "/v1/models", "/v1/", "/v1/../x", "/v1/%00", "/health"]
HEADERS = [b"x-prompt-oirl-segment", b"content-type", b"accept-encoding", b"connection", b"te", b"x-a"]
METHODS = ["POST"] * 12 + ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]


def spoiled(value: Any, rng: np.random.Generator) -> Any:
    """The value with something else somewhere in it."""
    if rng.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return ODD[rng.integers(len(ODD))]
    key = list(value)[rng.integers(len(value))] if isinstance(value, dict) else int(rng.integers(len(value)))
    new = spoiled(value[key], rng)
    if isinstance(value, dict):
        return {**value, key: new}
    return [*value[:key], new, *value[key + 1 :]]


def body_of(rng: np.random.Generator) -> bytes:
    value: Any = BODIES[rng.integers(len(BODIES))]
    for _ in range(rng.integers(3)):
        value = spoiled(value, rng)
    data = bytearray(
        json.dumps(value, ensure_ascii=bool(rng.random() < 0.7)).encode("utf-8", "surrogatepass")
    )
    for _ in range(rng.choice([0, 0, 0, 1, 5])):
        at = int(rng.integers(len(data) + 1))
        data[at : at + int(rng.integers(3))] = rng.bytes(int(rng.integers(3)))
    return bytes(data)


def odd_request(rng: np.random.Generator, url: str) -> httpx.Request:
    """Any method, path, header and body, most of them nearly right."""
    method, path = METHODS[rng.integers(len(METHODS))], PATHS[rng.integers(len(PATHS))]
    headers = [(b"content-type", b"application/json")]
    if rng.random() < 0.2:
        value = rng.bytes(6).hex().encode() if rng.random() < 0.5 else b"\xe9,;"
        headers.append((HEADERS[rng.integers(len(HEADERS))], value))
    return httpx.Request(method, f"{url}{path}", headers=headers, content=body_of(rng))
