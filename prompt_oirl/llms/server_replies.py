"""What a chat server's reply means: an answer, a refusal of one question or of everything, or a delay.

Servers agree on little: OpenAI, Azure, vLLM, Mistral, Gemini, Groq, OpenRouter, Qwen and others each word and
nest their errors in their own way, and the same status means different things. So a refusal is read by its
status, its codes and its words together. Nothing here talks to a server.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prompt_oirl.io.files import on_one_line
from prompt_oirl.io.server_connection import parse
from prompt_oirl.llms import refusal_words

SENTENCE = 300  # characters of a server's own words that are shown or stored
MAX_TOKENS_OF_A_REPLY = 10_000_000  # no model reads or writes more; a server that says so counts wrongly
MAX_DEPTH = 20  # of the objects of a refusal that are read
PATIENCE = 300.0  # seconds that a run waits when told to

Kind = Literal["account", "question", "parameter", "later", "doubtful", "other"]


@dataclass(frozen=True)
class Refusal:
    """Why a server gave no answer, and what to do about it.

    Parameters
    ----------
    kind : account (everything is refused: key, money, model, address, a flag), question (this one is),
        parameter (of the request), later (ask again), doubtful (that too, but it speaks of money or a limit
        that does not end soon), other (this request, for whatever reason)
    sentence : the server's own words, one line
    finish_reason : of kind question: that of its row, such as content_filter
    parameters : of kind parameter: the field that is refused, or several that a list names
    replacement : the field to send instead, if the server names one
    advice : what the user can do, if everything is refused
    """

    kind: Kind
    sentence: str
    finish_reason: str = ""
    parameters: tuple[str, ...] = ()
    replacement: str | None = None
    advice: str = ""


def sentence(body: bytes, key: str = "") -> str:
    """A server's own words on one line of at most `SENTENCE` characters, without the key.

    Parameters
    ----------
    body : of the reply: JSON of any shape, HTML or text
    key : what must not be shown
    """
    data = parse(body)
    text = _message(data) if isinstance(data, dict | list) else ""
    if not text:
        text = body[:5000].decode("utf-8", "replace")
        if re.search(r"<\s*(?:!doctype|html|head|body|title|h1)\b", text, re.I):
            title = re.search(r"<title[^>]*>([^<]*)", text, re.I)
            text = title[1] if title and title[1].strip() else re.sub(r"<[^>]*>", " ", text)
            text = html.unescape(text)
    return on_one_line(" ".join(without_key(text, key).split()), SENTENCE) or "an empty reply"


def without_key(text: str, key: str) -> str:
    """A text with [key] in the place of the key, which some servers and proxies echo."""
    return text.replace(key, "[key]") if len(key) > 5 else text  # no provider's is so short, but words are


def _message(data: Any, depth: int = 0) -> str:
    """The sentences of an error object, most telling first."""
    if isinstance(data, str) or depth > 5:
        return data if isinstance(data, str) else ""
    if isinstance(data, list):
        return "; ".join(filter(None, (_message(item, depth + 1) for item in data[:5])))
    if not isinstance(data, dict):
        return ""
    where = ".".join(str(part) for part in data["loc"]) if isinstance(data.get("loc"), list) else ""
    names = (
        "error",
        "errors",
        "message",
        "msg",
        "detail",
        "error_msg",
        "status_msg",
        "error_description",
        "title",
        "raw",
        "reasons",
    )
    said = [_message(data[name], depth + 1) for name in (*names, "metadata") if name in data]
    text = "; ".join(dict.fromkeys(filter(None, said)))
    return f"{where}: {text}" if where and text else text


def _words(data: Any, depth: int = 0) -> Iterator[str]:
    """Keys and values of an error object, without what it echoes of the request."""
    if depth > MAX_DEPTH:
        return
    if isinstance(data, dict):
        for name, value in data.items():
            if not refusal_words.ECHOES.fullmatch(str(name)):
                yield str(name) if "_" in name else ""  # "message" and the like say nothing
                yield from _words(value, depth + 1)
    elif isinstance(data, list):
        for value in data:
            yield from _words(value, depth + 1)
    elif data is not None and not isinstance(data, bool):
        yield str(data)


def read_refusal(
    status: int,
    body: bytes,
    sent: Mapping[str, Any],
    *,
    echoed: tuple[str, ...] = (),
    wait: float | None = None,
    key: str = "",
) -> Refusal:
    """What a reply without an answer means.

    Parameters
    ----------
    status : of the reply; of an error inside a success 200, and its own code then counts
    body : of the reply
    sent : the fields of the request beside model and messages
    echoed : texts of the question, which the reply may repeat
    wait : seconds after which the server says to come back
    key : what must not be shown
    """
    data, said = parse(body), sentence(body, key)
    if status < 300 and isinstance(data, dict):
        status = _status_inside(data)
    text = " ".join(_words(data)) if isinstance(data, dict | list) else said
    for part in echoed:
        text = text.replace(part, " ")
    text = text[:5000]
    if reason := _of_the_question(status, text, sent):
        return Refusal("question", said, reason)
    kind, names = _kind(status, text, data, sent, wait), tuple[str, ...]()
    if kind in ("parameter", "other") and (names := _refused_parameters(text, data, sent)):
        kind = "parameter"
    elif kind in ("parameter", "other"):  # of no field that is sent
        kind = "account" if status < 500 and refusal_words.NO_MODEL.search(text) else "other"
    instead = refusal_words.INSTEAD.search(text)
    advice = _advice(kind, text, wait)
    return Refusal(kind, said, "", names, instead[1] if instead else None, advice)


def _status_inside(data: dict[str, Any]) -> int:
    error = data.get("error")
    inner = error if isinstance(error, dict) else data
    for name in ("code", "status", "status_code"):
        code = str(inner.get(name))
        if re.fullmatch(r"[45]\d\d", code):
            return int(code)
    return 200


def _of_the_question(status: int, text: str, sent: Mapping[str, Any]) -> str:
    """The finish reason of a question that is refused alone; empty if everything is, or something else.

    The order matters: what is said outright (money, a suspended account) comes before content, that before
    the status.
    """
    if status in (401, 402, 404, 407):
        return ""
    if refusal_words.NO_MONEY.search(text) or refusal_words.ACCOUNT_STATE.search(text):
        return ""
    content = refusal_words.CONTENT_CODE if status >= 500 else refusal_words.CONTENT
    if content.search(text) and status != 429:
        return "content_filter"
    too_long = "too large" in text if status == 429 else refusal_words.CONTEXT.search(text)
    if status == 413 or (too_long and status not in (403, 503)):
        window = refusal_words.WINDOW.search(text)
        most = next((v for k, v in sent.items() if "tokens" in k and isinstance(v, int)), 0)
        return "" if window and most >= int(window[1]) else "context_length"
    if status in (400, 422):
        for reason in ("length", "tool_calls", "empty"):
            if refusal_words.UNFINISHED[reason].search(text):
                return reason
    return ""


def _kind(status: int, text: str, data: Any, sent: Mapping[str, Any], wait: float | None) -> Kind:
    """What a refusal means that is not of the question alone."""
    if status in (401, 402, 407):
        return "account"
    if status < 500:
        waits = status == 429 and refusal_words.RATE.search(text) and not refusal_words.LONG_RATE.search(text)
        if refusal_words.NO_MONEY.search(text) or refusal_words.ACCOUNT_STATE.search(text):
            return "account"
        if (refusal_words.MONEY.search(text) and not waits) or (status == 429 and (wait or 0) > PATIENCE):
            return "account"
        if status == 429 and refusal_words.LONG_RATE.search(text) and not 0 < (wait or 0) <= PATIENCE:
            return "account"
    if status in (403, 404, 405, 410, 451) or refusal_words.WINDOW.search(text):
        return "account"
    if status in (408, 409, 425, 429, 498) or (status >= 500 and status not in (501, 505)):
        refused = _explicit(data) & set(sent) or refusal_words.UNEXPECTED.search(text)
        if status >= 500 and refused:
            return "parameter"
        timed = wait or status >= 500 or refusal_words.TIMED.search(text)
        return "doubtful" if refusal_words.ENDED.search(text) and not timed else "later"
    if status == 200 and (refusal_words.BUSY.search(text) or refusal_words.RATE.search(text)):
        return "later"
    if refusal_words.RANGE.search(text):
        if refusal_words.LENGTH_FIELD.search(text) and not _not_taken(text):
            return "account"
        if "temperature" in sent and re.search(r"\btemperature\b", text):
            return "account"
    return "other"


def _explicit(data: Any, depth: int = 0) -> set[str]:
    """Fields that an error object names as such: `param`, or pydantic's `loc`."""
    found: set[str] = set()
    if depth > 6 or not isinstance(data, dict | list):
        return found
    for name, value in data.items() if isinstance(data, dict) else enumerate(data):
        if name in ("param", "parameter", "field", "loc"):
            found |= set(re.findall(r"\w+", " ".join(_words(value))))
        elif not refusal_words.ECHOES.fullmatch(str(name)):
            found |= _explicit(value, depth + 1)
    return found


def _refused_parameters(text: str, data: Any, sent: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of the request that a reply refuses: all that it names as such, else the first in words."""
    # Of a length, only that the field is not taken at all: else answers would have none from then on.
    sent = {name: value for name, value in sent.items() if "tokens" not in name or _not_taken(text)}
    if named := [name for name in sent if name in _explicit(data)]:
        return tuple(named)
    if not refusal_words.REFUSED.search(text):
        return ()
    spelt = {name: rf"(?<![\w-]){name.replace('_', '[_ -]?')}(?![\w-])" for name in sent}
    places = {name: found.start() for name, like in spelt.items() if (found := re.search(like, text, re.I))}
    if not places:
        return ()
    if {"temperature", "top_p"} <= set(places) and refusal_words.NOT_TOGETHER.search(text):
        return ("top_p",)
    return (min(places, key=lambda name: places[name]),)


def _advice(kind: Kind, text: str, wait: float | None) -> str:
    """What a user can do who is refused everything."""
    if refusal_words.LONG_RATE.search(text) or (wait or 0) > PATIENCE:
        return "wait until the limit is renewed, raise it or add credit"
    if refusal_words.RANGE.search(text) or refusal_words.WINDOW.search(text):
        if refusal_words.LENGTH_FIELD.search(text) or refusal_words.WINDOW.search(text):
            return "check --max_gen_len and --model"
        if re.search(r"\btemperature\b", text):
            return "give another --temperature"
    if kind == "other":
        return "nothing was answered so far: check --model, --base_url and the other flags"
    return "check OPENAI_API_KEY, --model and --base_url, or add credit"


def _not_taken(text: str) -> bool:
    """Whether a field is refused whatever its value."""
    return bool(refusal_words.UNSUPPORTED.search(text) or refusal_words.INSTEAD.search(text))
