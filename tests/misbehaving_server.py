"""A real HTTP server on loopback that speaks the chat completions protocol and misbehaves on purpose."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ["429", "500", "cut", "empty choices", "null content", "invalid json", "stall"]


def completion(text: str | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16},
    }


class MisbehavingServer(ThreadingHTTPServer):
    """Fails the first request of a conversation as `fault_of(text)` says, then answers `reply(text)`.

    `reply_to(request body)` answers instead where the text alone does not decide. `requests` and `answered`
    count by the text of the last turn; `answered` are the calls that a provider bills.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.requests: dict[str, int] = {}
        self.answered: dict[str, int] = {}
        self.fault_of: Callable[[str], str] = lambda text: ""
        self.reply: Callable[[str], str] = lambda text: "The answer is 7."
        self.reply_to: Callable[[dict[str, Any]], str] = lambda body: self.reply(
            body["messages"][-1]["content"]
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: MisbehavingServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        with self.server.lock:
            count = self.server.requests[text] = self.server.requests.get(text, 0) + 1
        fault = self.server.fault_of(text) if count == 1 else ""
        if fault in ("429", "500"):
            self.send(int(fault), {"error": {"message": "no"}}, {"Retry-After": "0"})
        elif fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b'{"id": ')
            self.close_connection = True
        elif fault == "stall":
            threading.Event().wait(3)
        elif fault == "empty choices":
            self.send(200, {**completion(""), "choices": []})
        elif fault == "null content":
            self.send(200, completion(None))
        elif fault == "invalid json":
            self.send(200, "{not json")
        else:
            with self.server.lock:
                self.server.answered[text] = self.server.answered.get(text, 0) + 1
            self.send(200, completion(self.server.reply_to(body)))

    def send(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
