"""The LLM server behind ours: requests go there, and replies come back, byte by byte as they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any
from urllib.parse import unquote

import httpx

from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.serving.settings import LOOPBACK

Headers = Sequence[tuple[bytes, bytes]]
# Matters of one connection (RFC 9110, 7.6.1), which end where it ends.
HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"),
        *(b"upgrade", b"proxy-authenticate", b"proxy-authorization"),
    )
)
OWN_HEADERS = b"x-prompt-oirl-"
CONNECT_SECONDS = 10.0
PROBE_SECONDS = 2.0
LARGEST_WHOLE = 64 * 2**20  # bytes of a reply that is held until its end; streams have no bound
POOLS = 32  # of connections: one pool looks through all of its requests at each of them


class Failure(Exception):
    """There is no reply: the status and the reason that the client gets instead."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Upstream:
    """Requests to one LLM server.

    Parameters
    ----------
    url : of its /v1
    key : that is sent instead of the client's; None: see `pass_authorization`
    pass_authorization : whether the client's own key goes on to the server
    timeout : seconds that it may be silent
    """

    def __init__(self, url: str, key: str | None, pass_authorization: bool, timeout: float):
        self._url, self._key, self._pass = url, key, pass_authorization
        self._timeouts = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)).as_dict()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=256 // POOLS)
        try:
            host = httpx.URL(url).host
        except httpx.InvalidURL as error:
            raise InputError(f"--upstream: {on_one_line(str(error))}; correct the URL") from error
        # A server on this machine is never reached by a proxy, whatever the environment says.
        remote = host not in LOOPBACK
        self._clients = [httpx.AsyncClient(limits=limits, trust_env=remote) for _ in range(POOLS)]
        self._turns = cycle(self._clients)

    def request(self, method: str, path: str, query: bytes, headers: Headers, body: bytes) -> httpx.Request:
        """The request that a client's becomes.

        Parameters
        ----------
        method, path, query : the client's; the path without /v1
        headers, body : the client's, or a new body

        Raises: Failure at a path that leads out of /v1, or is none.
        """
        if ".." in unquote(path).replace("\\", "/").split("/"):
            raise Failure(404, "no such path")
        passed = kept(headers, (b"host", b"content-length", b"expect", b"accept-encoding", b"authorization"))
        passed.append((b"accept-encoding", b"identity"))  # so that what is passed on can be read for the log
        if self._key is not None:
            passed.append((b"authorization", f"Bearer {self._key}".encode()))
        elif self._pass:
            passed += [(name, value) for name, value in headers if name == b"authorization"]
        target = self._url + path + ("?" + query.decode("latin-1") if query else "")
        try:
            return httpx.Request(
                method,
                target,
                headers=passed,
                content=body or None,
                extensions={"timeout": self._timeouts},
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            raise Failure(404, "no such path") from error

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The reply as far as its headers; read `aiter_raw` and close it.

        Raises: Failure if there is none.
        """
        try:
            return await next(self._turns).send(request, stream=True)
        except httpx.HTTPError as error:
            raise failure(error) from None  # a request holds the key

    async def reachable(self) -> bool:
        """Whether the server answers at all."""
        try:
            async with asyncio.timeout(PROBE_SECONDS), self._clients[0].stream("GET", f"{self._url}/models"):
                return True  # its body is not read
        except (httpx.HTTPError, TimeoutError):
            return False

    async def close(self) -> None:
        """End all connections."""
        for client in self._clients:
            await client.aclose()


async def whole_body(response: httpx.Response) -> bytes:
    """The bytes of a reply, at most `LARGEST_WHOLE`.

    Raises: Failure at a longer one, httpx.HTTPError at one that breaks off.
    """
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > LARGEST_WHOLE:
            raise Failure(502, f"the upstream server's reply is longer than {LARGEST_WHOLE // 2**20} MB")
    return bytes(body)


def failure(error: httpx.HTTPError) -> Failure:
    """Why there is no reply, without anything that the request held."""
    name = type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        what = (
            "could not be reached in time"
            if isinstance(error, httpx.ConnectTimeout)
            else "did not answer in time"
        )
        return Failure(504, f"the upstream server {what} ({name})")
    what = "cannot be reached" if isinstance(error, httpx.ConnectError) else "broke off the connection"
    return Failure(502, f"the upstream server {what} ({name})")


def kept(headers: Iterable[tuple[bytes, bytes]], without: Sequence[bytes] = ()) -> list[tuple[bytes, bytes]]:
    """Headers that are passed on: not those of the connection, not ours.

    Parameters
    ----------
    headers : names in any case
    without : names in lower case that are left out, too
    """
    listed = [(name.lower(), value) for name, value in headers]
    named = {
        part.strip().lower() for name, value in listed if name == b"connection" for part in value.split(b",")
    }
    dropped = HOP_BY_HOP | named | set(without)
    return [(n, v) for n, v in listed if n not in dropped and not n.startswith(OWN_HEADERS)]


def error_body(status: int, reason: str, code: str | None = None) -> bytes:
    """An error as OpenAI writes it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error: dict[str, Any] = {"message": f"prompt-oirl: {reason}", "type": kind, "param": None, "code": code}
    return json.dumps({"error": error}).encode()
