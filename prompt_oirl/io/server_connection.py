"""The one HTTP client of all requests that we make: step 1, OPRO, embeddings by API, downloads.

A reply is bounded in bytes (unpacked) and in seconds (from connecting to its last byte), and no redirect is
followed, so that a key goes to no other server. Proxies and certificates are those of the environment.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import zlib
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.json_files import each_key_once

LOCAL_KEY = "none"  # servers of one's own ask for no key, but the client wants one
MAX_REPLY = 16 * 2**20  # bytes; a chat answer is some kilobytes
PACKED = ("gzip", "x-gzip", "deflate")  # some servers pack although they are asked not to
_PROXIES = "correct HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE in the environment"


class NoReply(Exception):
    """A reply that was not read to its end; says why."""


class TooLong(NoReply):
    """It has more bytes than are read."""


class TooSlow(NoReply):
    """It takes longer than is waited."""


def bounded_client(seconds: float, largest: int = MAX_REPLY, **settings: Any) -> Any:
    """An asynchronous httpx client whose replies are whole and bounded; it raises `NoReply` at others.

    Parameters
    ----------
    seconds : that a reply may take, from connecting to its last byte
    largest : bytes of a body, unpacked
    settings : of httpx's client, such as timeout

    Raises: InputError if the environment's proxies or certificates are none.
    """
    from openai import DefaultAsyncHttpxClient  # httpx or its successor, whichever openai brings

    class Bounded(DefaultAsyncHttpxClient):
        async def send(self, request: Any, **options: Any) -> Any:
            try:
                async with asyncio.timeout(seconds):
                    response = await super().send(request, **{**options, "stream": True})
                    try:
                        body = await _body(response, largest)
                    finally:
                        await response.aclose()
            except TimeoutError:
                raise TooSlow(f"no whole reply within {seconds:g} seconds") from None
            coded = ("content-encoding", "content-length", "transfer-encoding")  # it is decoded already
            headers = [(name, value) for name, value in response.headers.multi_items() if name not in coded]
            return type(response)(response.status_code, headers=headers, content=body, request=request)

    headers = {"Accept-Encoding": "identity"}
    try:
        return Bounded(follow_redirects=False, headers=headers, **settings)
    except Exception as error:  # the text may hold a proxy's password
        raise InputError(f"no connection can be set up ({type(error).__name__}); {_PROXIES}") from None


async def _body(response: Any, largest: int) -> bytes:
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", *PACKED):
        raise NoReply(f"a reply packed as {on_one_line(coding)}, which was not asked for")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if coding in PACKED else None
    body = bytearray()
    async for part in response.aiter_raw():
        try:
            body += unpack.decompress(part, largest + 1 - len(body)) if unpack else part
        except zlib.error:
            raise NoReply("a reply whose packing is damaged") from None
        if len(body) > largest:
            size = f"{largest // 2**20} MB" if largest >= 2**20 else f"{largest:,} bytes"
            raise TooLong(f"a reply of more than {size}")
    return bytes(body)


def parse(body: bytes) -> Any:
    """The JSON of a reply, out of a list of one; None if it is none, nested too deeply to read, or has a key
    twice."""
    try:
        try:
            data = json.loads(body, object_pairs_hook=each_key_once)
        except UnicodeDecodeError:
            data = json.loads(body.decode("utf-8", "replace"), object_pairs_hook=each_key_once)
    except (ValueError, RecursionError):
        return None
    wrapped = isinstance(data, list) and len(data) == 1 and isinstance(data[0], dict)
    return data[0] if wrapped else data


def environment_key(base_url: str | None, asker: str = "--backend openai") -> str:
    """The key from OPENAI_API_KEY, without space around it; empty where a server of one's own needs none.

    Parameters
    ----------
    base_url : address of the server, default OPENAI_BASE_URL, then OpenAI's
    asker : the flag that needs a server, which complaints name

    Raises: InputError if the address is none, if OpenAI is asked without a key, if no header takes the key.
    """
    address = base_url or os.environ.get("OPENAI_BASE_URL")
    if address and not _is_address(address):
        raise InputError(f"base_url {shown(address)!a}: give a URL such as http://localhost:8000/v1")
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key and not address:
        raise InputError(
            f"{asker} needs OPENAI_API_KEY in the environment, or a server of your own: --base_url of the "
            "steps, or OPENAI_BASE_URL"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError("OPENAI_API_KEY holds characters that no key has, such as accents; copy it again")
    return key


def client(
    key: str,
    base_url: str | None,
    timeout: float,
    *,
    seconds: float | None = None,
    largest: int = MAX_REPLY,
    retries: int = 0,
) -> Any:
    """The client of the openai package, through `bounded_client`.

    Parameters
    ----------
    key, base_url : of `environment_key`; address, default OPENAI_BASE_URL, then OpenAI's
    timeout : seconds that the server may be silent
    seconds : that a whole reply may take, default `timeout`
    largest : bytes of a reply
    retries : of a request that fails
    """
    from openai import AsyncOpenAI, Timeout

    # Connecting ends first, so that a server that is not there is told from one that does not answer.
    limits = Timeout(timeout, connect=min(timeout / 2, 30))
    return AsyncOpenAI(
        api_key=key or LOCAL_KEY,
        base_url=base_url,
        max_retries=retries,
        timeout=limits,
        http_client=bounded_client(seconds or timeout, largest, timeout=limits),
    )


def shown(url: str) -> str:
    """An address without the secrets that it may hold: password and query."""
    with suppress(ValueError):
        parts = urlsplit(without_password(url))
        return on_one_line(urlunsplit(parts._replace(query="", fragment="")).rstrip("/"), 200)
    return "no address"


def without_password(url: str) -> str:
    """An address without what stands before its host; a wrong one, too, may hold a password."""
    parts = urlsplit(url)
    if parts.netloc:
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return url.rpartition("@")[2]


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
