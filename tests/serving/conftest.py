"""A real server process before a real upstream."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_logs import made_log

pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
sys.path.insert(0, str(Path(__file__).parent))

import httpx
import uvicorn
from upstream_server import make_upstream

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import REPO_ROOT


@pytest.fixture(scope="session")
def selector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PromptSelector("tfidf").fit(made_log()).save(tmp_path_factory.mktemp("served") / "selector")


class UpstreamServer:
    def __init__(self) -> None:
        self.seen: list[tuple[bytes, dict[str, str]]] = []
        config = uvicorn.Config(make_upstream(self.seen), port=0, log_level="critical")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            threading.Event().wait(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/v1"

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)


@pytest.fixture(scope="session")
def upstream() -> Iterator[UpstreamServer]:
    server = UpstreamServer()
    yield server
    server.stop()


class Served:
    """`prompt-oirl serve` as a process."""

    def __init__(self, folder: Path, log: Path, url: str, *flags: str, **env: str):
        command = [sys.executable, "-m", "prompt_oirl", "serve", str(folder), "--upstream", url]
        command += ["--port", "0", "--log", str(log), "--budget_ms", "5000", *flags]
        self.log = log
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPO_ROOT,
            env={**os.environ, "PYTHONPATH": str(REPO_ROOT), **env},
        )
        assert self.process.stderr is not None
        self.said = []
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"serving on (http://\S+)/v1", line):
                self.url = found[1]
                break
        else:
            raise RuntimeError("".join(self.said))
        key = env.get("PROMPT_OIRL_SERVE_KEY")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(base_url=self.url, timeout=20, headers=headers)

    def ask(self, content: Any, **fields: Any) -> httpx.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
        return self.client.post("/v1/chat/completions", json=body)

    def rows(self) -> list[dict[str, Any]]:
        lines = [line for path in sorted(self.log.glob("*.jsonl")) for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    def stop(self) -> int:
        self.client.close()
        self.process.terminate()
        return self.process.wait(20)


@pytest.fixture
def served(
    selector_folder: Path, upstream: UpstreamServer, tmp_path: Path
) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*flags: str, **env: str) -> Served:
        log = tmp_path / f"log{len(started)}"
        started.append(Served(selector_folder, log, upstream.url, *flags, **env))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
