"""What a server can be told: the flags of `prompt-oirl serve`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from prompt_oirl.io.files import InputError
from prompt_oirl.serving.exploration import Exploration, ExploreBy

QuestionFrom = Literal["last", "first", "all"]
Position = Literal["system", "before", "after"]
SERVE_KEY = "PROMPT_OIRL_SERVE_KEY"
UPSTREAM_KEY = "PROMPT_OIRL_UPSTREAM_KEY"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(kw_only=True)
class ServeSettings:
    """How prompts are chosen, answers fetched, and what is logged."""

    upstream: str
    """The LLM server, OpenAI-compatible, such as http://127.0.0.1:8000/v1. Its key comes from the
    environment: PROMPT_OIRL_UPSTREAM_KEY, or OPENAI_API_KEY if it is api.openai.com."""
    embedder: str | None = None
    """The embedder that the selector was fitted with, needed if that is a folder or hub id: such a model may
    bring code, so a selector's folder alone does not choose it."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs PROMPT_OIRL_SERVE_KEY in the environment, which
    clients then send as their API key."""
    port: int = 8765
    """Port to listen on; 0: any free one."""
    log: Path | None = None
    """Folder of the log; default: beside the selector, SELECTOR_log."""
    log_mb: float = 100.0
    """Megabytes after which the next file of the log begins."""
    log_texts: Literal["on", "off"] = "on"
    """off: the log has the questions' hashes and embeddings instead of questions and answers."""
    explore: float = 0.0
    """Share of questions that get a prompt at random, so that the log can tell what other prompts bring."""
    explore_by: ExploreBy = "uniform"
    """How that prompt is drawn: uniform, or uncertainty for prompts that may well be best more often."""
    abstain_below: float | None = None
    """Probability of the pick below which the best prompt serves (0 to 1)."""
    budget_ms: float = 50.0
    """Milliseconds for the choice; when they are over, the best prompt serves."""
    question_from: QuestionFrom = "last"
    """Which messages of the user are the question: the last one, the first one, or all."""
    position: Position = "system"
    """Where prompts are put of which the selector's log did not say where they stood (column position)."""
    votes: int = 1
    """Ask so many prompts at once, the best ones, and return the answer that most of them give. Requests with
    stream, tools or n get one."""
    parser: Literal["auto", "number", "choice", "bool", "text", "original"] = "auto"
    """What counts as the same answer in a vote, as in `prompt-oirl vote`."""
    price_in: float = 0.0
    """Dollars per million tokens read, for the log's column cost."""
    price_out: float = 0.0
    """Dollars per million tokens written."""
    timeout: float = 600.0
    """Seconds that the upstream may be silent."""
    max_waiting: int = 256
    """Requests at a time; more are turned away with status 503."""
    max_body_mb: float = 32.0
    """Megabytes of a request."""
    drain_seconds: float = 30.0
    """Seconds that requests have to end when the server is stopped."""
    seed: int | None = None
    """Seed of exploration; default: another one at every start."""

    def check(self) -> None:
        """Refuse settings that cannot work, before anything is loaded.

        Raises: InputError, one line.
        """
        for flag, low, high in (
            ("log_mb", 1e-3, 1e6),
            ("budget_ms", 0, 1e6),
            ("price_in", 0, 1e9),
            ("price_out", 0, 1e9),
            ("timeout", 1e-3, 1e6),
            ("max_waiting", 1, 1e6),
            ("max_body_mb", 1e-3, 1e4),
            ("drain_seconds", 0, 1e6),
            ("port", 0, 65535),
            ("votes", 1, 64),
        ):
            value = getattr(self, flag)
            if not (math.isfinite(value) and low <= value <= high):
                raise InputError(f"--{flag} {value}: give a number from {low:g} to {high:g}")
        if self.abstain_below is not None and not 0 <= self.abstain_below <= 1:
            raise InputError(f"--abstain_below {self.abstain_below}: give a probability, 0 to 1")
        if self.votes > 1 and self.explore:
            raise InputError(
                "--explore draws one prompt, and --votes asks several for certain: leave one out"
            )
        if self.seed is not None and self.seed < 0:
            raise InputError(f"--seed {self.seed}: give a whole number, 0 or more")
        self.exploration()
        self.upstream_url()
        if self.host not in LOOPBACK and serve_key() is None:
            raise InputError(
                f"--host {self.host} can be reached by others: set {SERVE_KEY} in the environment, which "
                "clients then send as their API key; or leave --host out"
            )

    def exploration(self) -> Exploration:
        """How often and how a prompt is drawn at random."""
        return Exploration(self.explore, self.explore_by)

    def upstream_url(self) -> str:
        """Where /v1/... of this server leads, without a slash at the end; of a URL without a path its /v1.

        Raises: InputError if it is no URL, or this server's own.
        """
        try:
            url = urlsplit(self.upstream)
            host, port = url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]
        except (ValueError, KeyError):
            host, port = None, 0
        if not host or url.query or url.fragment or url.username or url.password:
            raise InputError(
                "--upstream: give the LLM server's URL without a key in it, such as http://127.0.0.1:8000/v1"
            )
        if port == self.port and host in (*LOOPBACK, "0.0.0.0", self.host):
            raise InputError(f"--upstream {self.upstream}: that is this server itself; choose another --port")
        return self.upstream.rstrip("/") + ("" if url.path.strip("/") else "/v1")

    def upstream_key(self) -> str | None:
        """The key that is sent upstream, from the environment; None: the client's own."""
        known = urlsplit(self.upstream).hostname == "api.openai.com"  # no other server gets OpenAI's key
        return _key(UPSTREAM_KEY) or (_key("OPENAI_API_KEY") if known else None)


def serve_key() -> str | None:
    """The key that clients must send, from the environment; None: there is none."""
    return _key(SERVE_KEY)


def _key(name: str) -> str | None:
    key = os.environ.get(name, "").strip()
    if not all(33 <= ord(c) <= 126 for c in key):
        raise InputError(f"{name} holds a character that no header can carry: set it anew")
    return key or None
