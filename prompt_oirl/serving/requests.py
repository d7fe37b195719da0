"""A chat request as bytes: which texts are the question, and where the prompt is put in.

The body is never written anew. It is read to find where texts stand in it, and the prompt is inserted there:
unknown fields, numbers, escapes, white space and the order of keys stay as the client wrote them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from prompt_oirl.data.arms import llm_of, prompt_of
from prompt_oirl.serving.choice import Choice
from prompt_oirl.serving.settings import Position, QuestionFrom

QUESTION = "{question}"  # where a template takes the question
SEPARATOR = "\n"  # between question and prompt, as step 1 has it
BLANK_LINE = "\n\n"  # between the prompt and a system message that is there already

Span: TypeAlias = tuple[int, int]
Edit: TypeAlias = tuple[int, int, str]  # start, end, and what stands there instead


class _NoChat(ValueError):
    """The body is no chat request that can be read, or one that can be read in two ways."""


# Numbers stay text: nothing is lost, and long ones raise nothing.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class Text:
    """A text of a message: its value, and the span of its JSON string, quotes included."""

    value: str
    span: Span


@dataclass(frozen=True)
class Place:
    """Where something can be put into a message: inside a text, or else as a part before other parts."""

    at: int
    in_text: bool
    parts_follow: bool


@dataclass(frozen=True)
class ChatRequest:
    """A chat request. `texts` make the question, in order; `messages` is where the conversation stands and
    `instructions` where something can be put before the instructions it begins with, None without any;
    `fields` are the top level's values and spans."""

    body: str
    texts: tuple[Text, ...]
    messages: Span
    instructions: Place | None
    fields: dict[str, tuple[Any, Span]]

    @property
    def question(self) -> str:
        """The question's text."""
        return "\n".join(text.value for text in self.texts)

    @property
    def model(self) -> str | None:
        """The LLM that the client asks for."""
        model = self.get("model")
        return model if isinstance(model, str) else None

    @property
    def stream(self) -> bool:
        """Whether the answer is wanted in pieces."""
        return self.get("stream") is True

    @property
    def one_text(self) -> bool:
        """Whether one answer in words is wanted, whole: such answers can be voted on."""
        tools = self.get("tools") or self.get("functions")
        return not self.stream and not tools and self.get("n") in (None, "1")

    def get(self, name: str) -> Any:
        """The value of a field of the top level; numbers as text."""
        return self.fields.get(name, (None, (0, 0)))[0]


def read_request(body: bytes, question_from: QuestionFrom = "last") -> ChatRequest | None:
    """The request in a body; None if it has no question: no valid JSON, a doubled key, no text of a user.

    Parameters
    ----------
    body : as the client sent it
    question_from : which messages of the user are the question: the last one, the first one, or all
    """
    try:
        text = body.decode("utf-8")
        fields = dict(_members(text, _skip(text, 0)))
        end = _skip(text, _DECODER.raw_decode(text, _skip(text, 0))[1])
        if end != len(text) or "messages" not in fields:
            return None
        span = fields["messages"][1]
        messages = [dict(_members(text, start)) for start, _ in _items(text, span[0])]
        users = [m for m in messages if m.get("role", ("",))[0] == "user" and "content" in m]
        chosen = {"last": users[-1:], "first": users[:1], "all": users}[question_from]
        texts = [found for message in chosen for found in _texts(text, message["content"])]
        instructions = _instructions(text, messages)
    except (ValueError, RecursionError):
        return None
    if not any(found.value.strip() for found in texts):
        return None
    return ChatRequest(text, tuple(texts), span, instructions, fields)


def position_of(choice: Choice, default: Position) -> str:
    """Where a prompt goes: template if it has a place for the question, else as logged, else `default`."""
    if QUESTION in prompt_of(choice.arm):
        return "template"
    return choice.position if choice.position in ("system", "before", "after") else default


def with_prompt(request: ChatRequest, choice: Choice, default: Position = "system") -> bytes:
    """The body with the prompt in it, and the arm's LLM as its model; an empty prompt inserts nothing.

    Parameters
    ----------
    request, choice : what was asked, and the prompt for it
    default : position of prompts of which the log does not say where they stood
    """
    prompt, position = prompt_of(choice.arm), position_of(choice, default)
    edits: list[Edit] = []
    if prompt:
        if position == "system":
            edits.append(_as_system(request, prompt))
        else:
            edits += _around(request.texts, *_before_and_after(request, prompt, position))
    llm = llm_of(choice.arm)
    if llm is not None and llm != request.model:
        edits.append(_as_model(request, llm))
    return _edited(request.body, edits).encode("utf-8")


def _before_and_after(request: ChatRequest, prompt: str, position: str) -> tuple[str, str]:
    if position == "before":
        return prompt + SEPARATOR, ""
    if position == "after":
        return "", SEPARATOR + prompt
    before, *rest = prompt.split(QUESTION)
    return before, request.question.join(rest)


def _around(texts: Sequence[Text], before: str, after: str) -> list[Edit]:
    first, last = texts[0].span[0] + 1, texts[-1].span[1] - 1
    return [(first, first, _escaped(before)), (last, last, _escaped(after))]


def _as_system(request: ChatRequest, prompt: str) -> Edit:
    """Before the conversation's own instructions if it begins with some, else as a message of its own."""
    place = request.instructions
    if place is None:
        at = request.messages[0] + 1
        return at, at, f'{{"role": "system", "content": "{_escaped(prompt)}"}}, '
    if place.in_text:
        return place.at, place.at, _escaped(prompt + BLANK_LINE)
    comma = ", " if place.parts_follow else ""
    return place.at, place.at, f'{{"type": "text", "text": "{_escaped(prompt)}"}}{comma}'


def _as_model(request: ChatRequest, llm: str) -> Edit:
    if "model" in request.fields:
        return *request.fields["model"][1], f'"{_escaped(llm)}"'
    at = request.body.index("{") + 1
    return at, at, f'"model": "{_escaped(llm)}", '


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def _edited(text: str, edits: Sequence[Edit]) -> str:
    pieces, done = [], 0
    for start, end, new in sorted(edits):
        pieces += [text[done:start], new]
        done = end
    return "".join([*pieces, text[done:]])


# --- where values stand in a JSON text -----------------------------------------------------------------


def _texts(text: str, content: tuple[Any, Span]) -> Iterator[Text]:
    """The texts of a message's content: itself, or those of its parts."""
    value, span = content
    if isinstance(value, str) and text[span[0]] == '"':
        yield Text(value, span)
    elif isinstance(value, list):
        for (start, _), part in zip(_items(text, span[0]), value):
            if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
                found, where = dict(_members(text, start))["text"]
                if text[where[0]] == '"':
                    yield Text(found, where)


def _instructions(text: str, messages: Sequence[dict[str, tuple[Any, Span]]]) -> Place | None:
    """Where the text of a leading system message begins; None if there is no such message."""
    role, content = (messages[0].get(key) for key in ("role", "content")) if messages else (None, None)
    if role is None or content is None or role[0] not in ("system", "developer"):
        return None
    value, (start, _) = content
    for found in _texts(text, content):
        return Place(found.span[0] + 1, True, False)
    return Place(start + 1, False, bool(value)) if isinstance(value, list) else None


def _skip(text: str, at: int) -> int:
    return at + len(_SPACE.match(text, at)[0])  # type: ignore[index]  # it matches anywhere


def _value(text: str, at: int) -> tuple[Any, int]:
    value, end = _DECODER.raw_decode(text, at)
    return value, end


def _members(text: str, at: int) -> Iterator[tuple[str, tuple[Any, Span]]]:
    """Keys of the object at a place, and the value and span of each.

    Raises: ValueError if there is no object, or a key comes twice.
    """
    if text[at : at + 1] != "{":
        raise _NoChat("no object")
    at, seen = _skip(text, at + 1), set()
    while text[at : at + 1] != "}":
        key, at = _value(text, at)
        at = _skip(text, at)
        if not isinstance(key, str) or text[at : at + 1] != ":" or key in seen:
            raise _NoChat("no key, or one that comes twice")
        seen.add(key)
        start = _skip(text, at + 1)
        value, at = _value(text, start)
        yield key, (value, (start, at))
        at = _after_comma(text, at, "}")


def _items(text: str, at: int) -> Iterator[Span]:
    """The spans of an array's items. Raises: ValueError if there is no array."""
    if text[at : at + 1] != "[":
        raise _NoChat("no array")
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        _, end = _value(text, at)
        yield at, end
        at = _after_comma(text, end, "]")


def _after_comma(text: str, at: int, close: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == close:
        return at
    if text[at : at + 1] != ",":
        raise _NoChat("no comma")
    return _skip(text, at + 1)
