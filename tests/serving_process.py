"""`prompt-oirl serve` as a process of its own, before a real upstream."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import REPO_ROOT

if TYPE_CHECKING:
    import httpx
    from upstream_server import Upstream

NEEDED = ("uvicorn", "starlette", "httpx", "prometheus_client", "onnxruntime")


@pytest.fixture(scope="session")
def small_selector() -> PromptSelector:
    from made_logs import made_log

    return PromptSelector("tfidf").fit(made_log())


@pytest.fixture(scope="session")
def selector_folder(small_selector: PromptSelector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_selector.save(tmp_path_factory.mktemp("served") / "selector")


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[Upstream]:
    for name in NEEDED:
        pytest.importorskip(name)
    from upstream_server import Upstream

    with Upstream() as server:
        yield server


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Upstream:
    shared_upstream.seen.clear()
    shared_upstream.left = 0
    return shared_upstream


class Served:
    """The process; `said` are its lines on stderr until it listened."""

    def __init__(self, folder: Path, log: Path, url: str, *flags: str, **env: str):
        import httpx

        command = [sys.executable, "-m", "prompt_oirl", "serve", str(folder), "--upstream", url]
        command += ["--port", "0", "--log", str(log), "--budget_ms", "5000", *flags]
        self.log, self.said = log, ""
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=REPO_ROOT, env={**os.environ, **env}
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r"serving on (http://\S+)/v1", line):
                self.url = found[1].replace("0.0.0.0", "127.0.0.1")
                break
        else:
            raise RuntimeError(self.said)
        key = env.get("PROMPT_OIRL_SERVE_KEY")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(base_url=self.url, timeout=20, headers=headers)

    def ask(self, content: Any, **fields: Any) -> httpx.Response:
        """Send a question of the user."""
        body = {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
        return self.client.post("/v1/chat/completions", json=body)

    def rows(self, at_least: int = 0) -> list[dict[str, Any]]:
        """All lines of the log; a stream's line is written after its last byte: wait for that many lines."""
        deadline = time.monotonic() + 20
        while True:
            paths = sorted(self.log.glob("*.jsonl"))
            lines = [line for path in paths for line in path.read_text().splitlines()]
            if len(lines) >= at_least or time.monotonic() > deadline:
                return [json.loads(line) for line in lines]
            time.sleep(0.02)

    def stop(self) -> int:
        """End it in an orderly way; its exit status."""
        self.client.close()
        self.process.terminate()
        return self.process.wait(20)


@pytest.fixture
def served(selector_folder: Path, upstream: Upstream, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers, each with the flags and environment that are given."""
    started: list[Served] = []

    def start(*flags: str, folder: Path = selector_folder, **env: str) -> Served:
        log = tmp_path / f"log{len(started)}"
        started.append(Served(folder, log, upstream.url, *flags, **env))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.communicate()
