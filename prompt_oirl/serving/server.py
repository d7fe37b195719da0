"""The server's process: what is loaded at the start, the socket, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvicorn

from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.serving.app import Say, make_app
from prompt_oirl.serving.metrics import Metrics
from prompt_oirl.serving.policy import Policy, load_policy
from prompt_oirl.serving.selection_queue import SelectionQueue
from prompt_oirl.serving.served_log import ServedLog
from prompt_oirl.serving.serving import Serving
from prompt_oirl.serving.settings import ServeSettings, serve_key
from prompt_oirl.serving.upstream import Upstream

KEEP_ALIVE_SECONDS = 65  # longer than clients keep a connection that nobody uses
BACKLOG = 2048


class _Server(uvicorn.Server):
    """A server that leaves signals to `serve`: after a signal it has done its work and ends with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(folder: Path, settings: ServeSettings, say: Say) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way then have `drain_seconds` to end.

    Parameters
    ----------
    folder : of the selector
    settings : see there
    say : takes remarks for the operator

    Raises: InputError if the settings, the selector, the log or the address cannot be used.
    """
    settings.check()
    policy = load_policy(folder, settings.embedder)
    _remark_on_positions(policy, settings, say)
    listening = _listen(settings.host, settings.port)
    metrics, key = Metrics(), serve_key()
    log = ServedLog(
        settings.log or Path(f"{str(folder).rstrip('/')}_log"),
        settings.log_mb,
        settings.log_texts,
        on_error=lambda _: metrics.log_failures.inc(),
    )
    upstream_key = settings.upstream_key()
    serving = Serving(
        settings,
        SelectionQueue(policy),
        log,
        Upstream(settings.upstream_url(), upstream_key, key is None, settings.timeout),
        metrics,
        np.random.default_rng(settings.seed),
    )
    metrics.serves(policy.id)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        make_app(serving, folder, key, say),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    with listening:
        asyncio.run(_run(_Server(config), listening, policy, log.folder, say))


async def _run(server: _Server, listening: socket.socket, policy: Policy, log: Path, say: Say) -> None:
    def stop() -> None:
        server.force_exit = server.should_exit  # the second time at once
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # on Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    n = len(policy.selector.prompts_)
    say(f"serving on http://{shown}:{port}/v1, {n} prompts, policy {policy.id}, log in {log}")
    await server.serve(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # asyncio leaves it off where a socket names no protocol: each answer would then wait 40 ms
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot listen on {host}:{port}: {reason}; choose another --port or --host"
        ) from error
    return found


def _remark_on_positions(policy: Policy, settings: ServeSettings, say: Say) -> None:
    strange = [
        name
        for name, position in zip(policy.selector.names_, policy.selector.positions_)
        if position == "answer_start"
    ]
    if strange:
        say(
            f"note: {on_one_line(', '.join(strange), 200)}: stood at the answer's beginning in the log, "
            f"which servers do not take; put at --position {settings.position}"
        )
