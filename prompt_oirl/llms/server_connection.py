"""The connection to a chat server: its address, the key, and a client that reads no reply without end."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from prompt_oirl.io.files import InputError, on_one_line

LOCAL_KEY = "none"  # servers of one's own ask for no key, but the client wants one
MAX_REPLY = 16 * 2**20  # bytes; a chat answer is some kilobytes


class TooLong(Exception):
    """A reply of more than `MAX_REPLY` bytes."""


def environment_key(base_url: str | None) -> str:
    """The key from OPENAI_API_KEY, without space around it; empty where a server of one's own needs none.

    Parameters
    ----------
    base_url : address of the server, default OPENAI_BASE_URL, then OpenAI's

    Raises: InputError if the address is none, if OpenAI is asked without a key, if no header takes the key.
    """
    address = base_url or os.environ.get("OPENAI_BASE_URL")
    if address and not _is_address(address):
        raise InputError(f"base_url {address!a}: give a URL such as http://localhost:8000/v1")
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key and not address:
        raise InputError(
            "--backend openai needs OPENAI_API_KEY in the environment, or --base_url of a server of your own"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError("OPENAI_API_KEY holds characters that no key has, such as accents; copy it again")
    return key


def client(key: str, base_url: str | None, timeout: float) -> Any:
    """The client of the openai package; it follows no redirect and reads at most `MAX_REPLY` of a reply."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

    class Bounded(DefaultAsyncHttpxClient):
        async def send(self, request: Any, **options: Any) -> Any:
            response = await super().send(request, **{**options, "stream": True})
            body = bytearray()
            try:
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MAX_REPLY:
                        raise TooLong(f"a reply of more than {MAX_REPLY // 2**20} MB")
            finally:
                await response.aclose()
            coded = ("content-encoding", "content-length", "transfer-encoding")  # it is decoded already
            headers = [(name, value) for name, value in response.headers.multi_items() if name not in coded]
            return type(response)(response.status_code, headers=headers, content=bytes(body), request=request)

    # Connecting ends first, so that a server that is not there is told from one that does not answer.
    limits = Timeout(timeout, connect=min(timeout / 2, 30))
    return AsyncOpenAI(
        api_key=key or LOCAL_KEY,
        base_url=base_url,
        max_retries=0,
        timeout=limits,
        default_headers={"Accept-Encoding": "identity"},  # so that a small reply cannot unpack to a large one
        http_client=Bounded(timeout=limits, follow_redirects=False),
    )


def shown(url: str) -> str:
    """An address without the secrets that it may hold: password and query."""
    with suppress(ValueError):
        parts = urlsplit(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
        return on_one_line(urlunsplit(bare).rstrip("/"), 200)
    return "no address"


def seconds_to_wait(header: str | None) -> float | None:
    """A Retry-After header in seconds; it may be a number or a date."""
    if not header:
        return None
    with suppress(ValueError):
        seconds = float(header)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    with suppress(ValueError, TypeError, OverflowError):
        return max(parsedate_to_datetime(header).timestamp() - time(), 0.0)
    return None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
