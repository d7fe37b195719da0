"""Messages and answers in the attributes of spans, by the conventions that instruments follow.

OpenInference (`llm.input_messages.0.message.content`), OpenTelemetry (`gen_ai.input.messages`, earlier
`gen_ai.prompt` and events of the span), OpenLLMetry (`gen_ai.prompt.0.content`) and Vercel's AI SDK
(`ai.prompt`).
"""

from __future__ import annotations

import re
from typing import Any

from prompt_oirl.importers.conversations import messages_in
from prompt_oirl.importers.json_values import at, filled, items, parsed

_EVENT = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message")
_OPERATIONS = ("chat", "text_completion", "generate_content")
_AI_SDK = ("ai.generateText", "ai.streamText", "ai.generateObject", "ai.streamObject")
_AI_SDK_CALLS = ("ai.response.toolCalls", "ai.result.toolCalls")
_ANSWERS = (
    *("gen_ai.output.messages", "gen_ai.completion", "ai.response.text", "ai.response.object"),
    *("ai.result.text", "ai.result.object", "output.value"),
)


def is_call(attributes: dict[str, Any], kind: str) -> bool:
    """Whether a span is a call of an LLM.

    Parameters
    ----------
    attributes : values by dotted names
    kind : of the span, as OpenInference names them
    """
    return (
        kind.upper() == "LLM"
        or attributes.get("gen_ai.operation.name") in _OPERATIONS
        or attributes.get("llm.request.type") in ("chat", "completion")
        or (filled(attributes.get("ai.operationId")) or "").startswith(_AI_SDK)
    )


def with_events(attributes: dict[str, Any], events: Any) -> dict[str, Any]:
    """Attributes, and what the span's events say of messages and answer.

    Parameters
    ----------
    events : of the span, or as JSON in the attribute `events`
    """
    found, messages = dict(attributes), []
    for event in items(parsed(events)) or items(parsed(attributes.get("events"))):
        values = at(event, "attributes", default=event)
        name = at(event, "name", default=at(event, "event.name"))
        role = _EVENT.fullmatch(name) if isinstance(name, str) else None
        values = at(values, "event_body", default=values)
        if role:
            messages.append({"role": role[1]} | values if isinstance(values, dict) else {})
        elif name == "gen_ai.choice":
            found.setdefault("gen_ai.completion", values)
        elif isinstance(values, dict):
            for key, value in values.items():
                if key.startswith("gen_ai."):
                    found.setdefault(key, value)
    if messages:
        found.setdefault("gen_ai.prompt", messages)
    return found


def messages_of(attributes: dict[str, Any]) -> list[Any]:
    """Messages that were sent, empty if the attributes name none."""
    given = messages_in(attributes.get("gen_ai.input.messages"))
    if given:
        system = parsed(attributes.get("gen_ai.system_instructions"))
        return messages_in({"system": system, "messages": given})
    for prefix in ("llm.input_messages", "gen_ai.prompt", "llm.prompts"):
        if numbered := _numbered(attributes, prefix):
            return numbered
    for name in ("gen_ai.prompt", "ai.prompt.messages", "ai.prompt"):
        if given := messages_in(attributes.get(name)):
            return given
    bare = filled(attributes.get("gen_ai.prompt"))
    return [{"role": "user", "content": bare}] if bare else []


def said_in(attributes: dict[str, Any]) -> Any:
    """What was answered, as it is written; None if nothing."""
    for prefix in ("llm.output_messages", "gen_ai.completion", "llm.completions"):
        answers = _numbered(attributes, prefix)
        if answers and (answers[0]["content"] is not None or answers[0].get("calls")):
            return {"role": "assistant"} | answers[0]
    found = [attributes[name] for name in _ANSWERS if attributes.get(name) is not None]
    if not any(map(filled, found)) and any(attributes.get(name) for name in _AI_SDK_CALLS):
        return {"role": "assistant", "calls": True}  # beside an empty text
    return next(iter(found), None)


def _numbered(attributes: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Messages whose fields lie in attributes PREFIX.0.message.content or PREFIX.0.content.

    OpenInference's may also be one list as JSON, which data frames turn into.
    """
    found: dict[int, dict[str, Any]] = {}
    listed = [m if isinstance(m, dict) else {} for m in items(parsed(attributes.get(prefix)))]
    listed = listed if prefix.startswith("llm.") else []
    fields = {f"{prefix}.{i}.{key}": value for i, m in enumerate(listed) for key, value in m.items()}
    for name, value in (fields or attributes).items():
        index, _, rest = name.removeprefix(f"{prefix}.").partition(".")
        if not name.startswith(f"{prefix}.") or not index.isdecimal() or len(index) > 6:
            continue
        rest = rest.removeprefix("message.")
        message = found.setdefault(int(index), {"content": None})
        part = re.fullmatch(r"contents\.(\d{1,6})\.message_content\.(type|text)", rest)
        if part:
            parts = message.setdefault("parts", {})
            parts.setdefault(int(part[1]), {})[part[2]] = value
        elif rest in ("role", "content", "name"):
            parts = items(parsed(value))  # OpenLLMetry writes lists of parts as JSON
            message[rest] = parts if parts and all(at(part, "type") for part in parts) else value
        elif rest.startswith(("tool_calls", "function_call")):
            message["calls"] = True
    for message in found.values():
        parts = message.pop("parts", None)
        if parts and message["content"] is None:
            message["content"] = [parts[k] for k in sorted(parts)]
    return [found[index] for index in sorted(found)]
