"""Chat messages as prompt and question.

The rule: the last user message is the question. What stands before it is the prompt: the system (or
developer) messages as they are, and earlier turns, such as few-shot examples, as lines "User: ..." and
"Assistant: ...", all joined by blank lines. What follows it (answers, tool calls) belongs to neither. Without
anything before it the prompt is None: the message may hold a template, rendered. Parts of a message that are
no text (pictures, sound) cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from prompt_oirl.importers import ImportedRow
from prompt_oirl.importers.json_values import at, items, shown, text

_SYSTEM = ("system", "developer")
_RESULTS = ("tool_result", "tool_call_response", "function_response", "functionResponse")
_SPEAKERS = {"user": "User", "assistant": "Assistant", "tool": "Tool", "function": "Tool"}


def content_text(content: Any) -> str | None:
    """The text of a message's content: a text, or a list of parts; None if it has none.

    Parts of reasoning are left out; a part of another kind than text makes the whole unreadable (None).
    """
    if not isinstance(content, list):
        return text(content)
    found = []
    for part in content:
        kind = at(part, "type")
        if kind in ("reasoning", "thinking"):
            continue
        piece = text(part) if isinstance(part, str) else text(at(part, "text")) or text(at(part, "content"))
        if piece is None or kind not in (None, "text", "input_text", "output_text"):
            return None
        found.append(piece)
    return "\n".join(found) if found else None


def message_text(message: Any) -> str | None:
    """The text of a message; OpenTelemetry calls its content parts."""
    content = at(message, "content")
    return content_text(at(message, "parts") if content is None else content)


def question_and_prompt(messages: Any) -> tuple[str, str | None] | None:
    """Question and prompt of chat messages by the rule above; None if no question can be read.

    Parameters
    ----------
    messages : a list of messages; a text counts as one of the user
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    turns = [(_role(message), message_text(message)) for message in items(messages)]
    asked = [i for i, (role, _) in enumerate(turns) if role == "user"]
    if not asked:
        return None
    question, before = turns[asked[-1]][1], turns[: asked[-1]]
    if (
        question is None
        or not question.strip()
        or any(said is None for role, said in before if role == "user" or role in _SYSTEM)
    ):
        return None
    blocks: list[list[str]] = []
    for role, said in before:
        if role in _SYSTEM:
            blocks.append([said or ""])
        elif said is not None:  # who only calls a tool says nothing
            if role == "user" or not blocks:
                blocks.append([])
            blocks[-1].append(f"{_SPEAKERS.get(role, 'Other')}: {said}")
    prompt = "\n\n".join("\n".join(block) for block in blocks)
    return question, prompt if blocks else None


def _role(message: Any) -> str:
    """Who speaks; OpenAI's evals write examples as system messages with a name.

    Anthropic and Gemini write the results of tools as messages of the user, LangChain the role as `type`.
    """
    role, name = str(at(message, "role") or at(message, "type")).lower(), at(message, "name")
    if role in _SYSTEM and name in ("example_user", "example_assistant"):
        return name.removeprefix("example_")
    parts = items(at(message, "content")) or items(at(message, "parts"))
    if role == "user" and parts and all(map(_is_result, parts)):
        return "tool"
    return {"human": "user", "ai": "assistant", "model": "assistant"}.get(role, role)


def _is_result(part: Any) -> bool:
    return at(part, "type") in _RESULTS or any(at(part, name) for name in _RESULTS)


def has_earlier_turns(messages: Any) -> bool:
    """Whether a prompt made of these messages holds more than system messages."""
    return sum(_role(message) == "user" for message in items(messages)) > 1


def one_question(variables: Mapping[str, Any]) -> str:
    """A template's variables as one text: a single value as it is, several as lines "name: value"."""
    values = {text(name): shown(value) or "" for name, value in variables.items()}
    if len(values) == 1:
        return next(iter(values.values()))
    return "\n".join(f"{name}: {value}" for name, value in values.items())


EARLIER_TURNS = "{n} with earlier turns, which belong to the prompt: each conversation makes its own."


def bare_where_known(rows: list[ImportedRow]) -> list[ImportedRow]:
    """Rows without a prompt whose question other rows ask with one were asked bare: their prompt is empty."""
    known = {row.question for row in rows if row.prompt is not None}
    return [replace(row, prompt="") if row.prompt is None and row.question in known else row for row in rows]
