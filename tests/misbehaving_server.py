"""A real HTTP server on loopback that speaks the chat completions protocol and misbehaves on purpose."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@cache
def bomb(times: int) -> bytes:
    """64 MB of zeros, packed once, or packed again."""
    return gzip.compress(bytes(2**26) if times == 1 else bomb(1), 1)


PACKED: dict[str, Callable[[], tuple[str, bytes]]] = {
    "gzip bomb": lambda: ("gzip", bomb(1)),
    "gzip bomb in gzip": lambda: ("gzip, gzip", bomb(2)),
    "damaged gzip": lambda: ("gzip", b"{}"),
    "unknown packing": lambda: ("br", b"{}"),
    "packed answer": lambda: ("gzip", gzip.compress(json.dumps(completion("The answer is 7.")).encode())),
}
FAULTS = ["429", "500", "cut", "empty choices", "null content", "invalid json", "stall"]
Reply = tuple[int, object]  # status, and JSON or a page


def completion(text: str | None, finish_reason: str = "stop", **message: object) -> dict[str, Any]:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16},
    }


def error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


def refused_field(body: dict[str, Any]) -> Reply | None:
    """GPT-5, in the order in which it checks; then a server that forbids what it does not know."""
    if "max_tokens" in body:
        said = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        return 400, error(said, param="max_tokens", code="unsupported_parameter")
    if "temperature" in body:
        said = "Unsupported value: 'temperature' does not support 0.6 with this model. Only the default (1)"
        return 400, error(f"{said} value is supported.", param="temperature", code="unsupported_value")
    if "seed" in body:
        detail = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
        return 422, {"detail": [{**detail, "input": body["seed"]}]}
    if "top_p" in body:
        return 400, error("`top_p` is deprecated for this model.")
    return None


class MisbehavingServer(ThreadingHTTPServer):
    """Fails the first request of a conversation as `fault_of(text)` says, then answers `reply(text)`.

    `reply_to(request body)` answers instead where the text alone does not decide, and `respond(request body)`
    gives a whole reply (None: as above). `requests` counts by the text of the last turn, `answered` the calls
    that a provider bills, `billed` their tokens.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.requests: dict[str, int] = {}
        self.answered: dict[str, int] = {}
        self.billed = [0, 0]
        self.bodies: list[dict[str, Any]] = []
        self.fault_of: Callable[[str], str] = lambda text: ""
        self.reply: Callable[[str], str] = lambda text: "The answer is 7."
        self.reply_to: Callable[[dict[str, Any]], str] = lambda body: self.reply(
            body["messages"][-1]["content"]
        )
        self.respond: Callable[[dict[str, Any]], Reply | None] = lambda body: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: MisbehavingServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"] if "messages" in body else body["input"][0]  # of embeddings
        with self.server.lock:
            count = self.server.requests[text] = self.server.requests.get(text, 0) + 1
            self.server.bodies.append(body)
        fault = self.server.fault_of(text) if count == 1 else ""
        if fault in ("429", "500"):
            self.send(int(fault), {"error": {"message": "no"}}, {"Retry-After": "0"})
        elif fault == "cut":
            self.start(200, 5000)
            self.wfile.write(b'{"id": ')
            self.close_connection = True
        elif fault == "stall":
            threading.Event().wait(3)
        elif fault == "hang":
            threading.Event().wait(60)
        elif fault.startswith("redirect "):
            self.send(307, "", {"Location": fault.removeprefix("redirect ")})
        elif fault == "drip":
            self.start(200, 5000)
            self.write_on(b" ", 0.1, 100)
        elif fault == "drip headers":
            self.write_on(b"H", 0.1, 100)
        elif fault == "flood":
            self.start(int(text.partition(" ")[0]) if text[:3].isdigit() else 200, 2**30)
            self.write_on(b"x" * 2**20, 0, 1024)
        elif fault == "endless":
            self.send_response(200)
            self.end_headers()
            self.write_on(b" " * 2**20, 0, 1024)
        elif fault in PACKED:
            coding, data = PACKED[fault]()
            self.send(200, data, {"Content-Encoding": coding})
        elif fault == "deep":
            self.send(200, '{"choices": ' + "[" * 200_000)
        elif fault == "deep error":
            self.send(200, '{"error": ' + '{"error": ' * 900 + "1" + "}" * 901)
        elif fault == "double key":
            self.send(200, json.dumps(completion("The answer is 7.")).replace("{", '{"usage": {}, ', 1))
        elif fault == "empty choices":
            self.bill(text, {**completion(""), "choices": []})
        elif fault == "null content":
            self.bill(text, completion(None))
        elif fault == "invalid json":
            self.send(200, "{not json")
        elif reply := self.server.respond(body):
            status, data = reply
            if status == 200 and isinstance(data, dict) and "choices" in data:
                self.bill(text, data)
            else:
                self.send(status, data)
        else:
            self.bill(text, completion(self.server.reply_to(body)))

    def bill(self, text: str, data: dict[str, Any]) -> None:
        usage = data["usage"] if isinstance(data.get("usage"), dict) else {}
        with self.server.lock:
            self.server.answered[text] = self.server.answered.get(text, 0) + 1
            for i, name in enumerate(("prompt_tokens", "completion_tokens")):
                tokens = usage.get(name)
                self.server.billed[i] += tokens if isinstance(tokens, int) else 0
        self.send(200, data)

    def start(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def write_on(self, data: bytes, pause: float, times: int) -> None:
        try:
            for _ in range(times):
                self.wfile.write(data)
                self.wfile.flush()
                threading.Event().wait(pause)
        except OSError:  # the client has had enough
            self.close_connection = True

    def send(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        data = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
