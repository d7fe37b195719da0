"""`prompt-oirl serve` under steady load through connections that stay; each answer is logged once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from made_logs import made_log

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import REPO_ROOT
from torture.flaky_server import answer_to, flaky_server
from torture.watch import Soaked, Watch

CONNECTIONS = 12
FEEDBACK_EVERY = 10  # requests


class _Clients:
    """Connections that ask until all questions are asked; `ids` of the answers, `told`: of the feedback."""

    def __init__(self, port: int, items: int):
        self._port, self._items = port, items
        self._numbers = iter(range(items))
        self._lock = threading.Lock()
        self.ids: list[str] = []
        self.told: list[str] = []
        self.wrong: list[int] = []

    def done(self) -> float:
        return len(self.ids) / self._items

    def ask(self) -> None:
        """One connection's questions."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                break
            text = f"Ann has {number % 97} apples (question{number}) and finds {number % 89} more. How many?"
            body = {"model": "m", "messages": [{"role": "user", "content": text}]}
            answer, id = _post(connection, "/v1/chat/completions", body)
            if not id or answer["choices"][0]["message"]["content"] != answer_to(f"question{number}"):
                self.wrong.append(number)
                continue
            self.ids.append(id)
            if number % FEEDBACK_EVERY == 0:
                _post(connection, "/feedback", {"id": id, "correct": number % 2})
                self.told.append(id)
        connection.close()


def soak(items: int, seed: int, work: Path) -> tuple[Soaked, Watch]:
    """Send `items` questions through the server, with a selector for sentences and no embedding model."""
    PromptSelector("tfidf", seed=seed).fit(made_log()).save(work / "selector")
    with flaky_server(seed) as upstream:
        command = [sys.executable, "-m", "prompt_oirl", "serve", str(work / "selector")]
        command += ["--upstream", upstream.url, "--port", "0", "--log", str(work / "log")]
        command += ["--explore", "0.1", "--log_mb", "10"]
        process = subprocess.Popen(command, cwd=REPO_ROOT, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        found = None
        while not found:
            line = process.stderr.readline()
            assert line, "the server ended"
            found = re.search(r"serving on http://127\.0\.0\.1:(\d+)/v1", line)
        clients = _Clients(int(found[1]), items)
        with Watch((process.pid,), clients.done) as watch, ThreadPoolExecutor(CONNECTIONS) as pool:
            for future in [pool.submit(clients.ask) for _ in range(CONNECTIONS)]:
                future.result()
        process.terminate()
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0 and not said, said
        paid = upstream.state()["answered"]
    rows = [json.loads(line) for path in (work / "log").iterdir() for line in path.open()]
    logged = Counter(row["id"] for row in rows if "id" in row)
    told = Counter(row["feedback"] for row in rows if "feedback" in row)
    asked = Counter(row["question"] for row in rows if "id" in row)
    doubles = sum(n - 1 for n in [*logged.values(), *told.values(), *asked.values()])
    losses = len(set(clients.ids) ^ set(logged)) + len(set(clients.told) ^ set(told)) + len(clients.wrong)
    print(f"{Counter(row['fallback'] for row in rows if 'id' in row)}", flush=True)
    return Soaked({}, paid, logged.total(), doubles + paid - items, losses), watch


def _post(connection: HTTPConnection, path: str, body: dict[str, Any]) -> tuple[Any, str | None]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    data = reply.read()
    assert reply.status == 200, (reply.status, data)
    return json.loads(data), reply.headers["x-prompt-oirl-id"]
