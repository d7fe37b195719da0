"""What an LLM server replied, as far as the log wants to know it: text, why it ended, tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prompt_oirl.io.server_connection import parse
from prompt_oirl.llms.answers_in_replies import token_count
from prompt_oirl.serving.served_log import valid_text

LONGEST_REPLY = (
    16 * 2**20
)  # bytes that are read for the log; what is longer is passed on, and logged without text
LONGEST_NAME = 200  # characters of a finish reason, and of a model's name


@dataclass
class Reply:
    """The first choice of a reply. What a server does not say, or says in another form, stays None."""

    answer: str | None = None
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    model: str | None = None

    def read(self, data: Any, part: str = "message") -> None:
        """Take what a reply says; with `part` "delta" one piece of it, whose text is added."""
        if not isinstance(data, dict):
            return
        for choice in _list(data.get("choices")):
            if not isinstance(choice, dict) or choice.get("index") not in (0, None):
                continue
            message = choice.get(part)
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, str):
                self.answer = (self.answer or "") + content
            self.finish_reason = _name(choice.get("finish_reason")) or self.finish_reason
            break
        usage = data.get("usage")
        if isinstance(usage, dict):
            self.tokens_in = token_count(usage.get("prompt_tokens"))
            self.tokens_out = token_count(usage.get("completion_tokens"))
        self.model = _name(data.get("model")) or self.model


def read_reply(body: bytes) -> Reply:
    """A reply that came as a whole."""
    found = Reply()
    if len(body) <= LONGEST_REPLY:
        found.read(parse(body))
    return found


@dataclass
class StreamedReply:
    """A reply that comes as server-sent events, in pieces cut anywhere; `ended` once "[DONE]" has come."""

    reply: Reply = field(default_factory=Reply)
    ended: bool = False
    _rest: bytes = b""
    _size: int = 0

    def feed(self, piece: bytes) -> None:
        """Read the next bytes."""
        self._size += len(piece)
        if self._size > LONGEST_REPLY:
            self._rest = b""
            return
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.strip().partition(b":")
            if name != b"data":
                continue
            if value.strip() == b"[DONE]":
                self.ended = True
            else:
                self.reply.read(parse(value), "delta")

    @property
    def complete(self) -> bool:
        """Whether the answer's end has been seen."""
        return self.ended or self.reply.finish_reason is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(value: Any) -> str | None:
    return valid_text(value[:LONGEST_NAME]) if isinstance(value, str) and value else None
