"""Messages and answer of a call, out of the shapes in which providers and frameworks write them.

Inputs are lists of messages or requests that hold one (OpenAI, Anthropic, Gemini, Vercel, LangChain);
outputs are texts, messages, lists of these, or replies. A message that only calls tools is no answer, one
that holds nothing at all (its tokens went into reasoning) is an empty one.
"""

from __future__ import annotations

import re
from typing import Any

from prompt_oirl.importers.json_values import at, filled, items, parsed, shown, text
from prompt_oirl.importers.messages import content_text, message_text

_HOLDERS = ("messages", "contents", "input", "prompt")
_SYSTEM = (
    *(("instructions",), ("system",), ("system_instruction",), ("systemInstruction",)),
    *(("config", "system_instruction"), ("config", "systemInstruction")),
)
_REQUEST = {"model", *(path[0] for path in _SYSTEM)}  # texts that a request has besides
_REPLIES = {"choices": list, "candidates": list, "message": dict, "output": list, "parts": list}
_REASONING = ("reasoning", "thinking", "redacted_thinking")
_SILENT = ("function", "function_call", "tool_call", "tool_use", "tool-call", *_REASONING)
_CALLS = (
    *("tool_calls", "invalid_tool_calls", "function_call", "functionCall", "toolCallId"),
    *("calls", "refusal"),  # what a model refuses to say is no answer either
)
_MEDIA = ("inline_data", "inlineData", "file_data", "fileData", "audio")  # Gemini's and OpenAI's
_TEXTS = (None, "text", "output_text", "message", "constructor", "ai", "AIMessageChunk", "assistant")
_SPEAKER = re.compile(r"^(system|developer|user|assistant|tool): ", re.MULTILINE)
_DEEPEST = 12  # levels of replies in replies


def messages_in(given: Any) -> list[Any]:
    """The messages of a call's input, empty if it holds none.

    Parameters
    ----------
    given : a list of messages, a request that holds one, one message, or such as JSON; a text with a speaker
        at the beginning of lines ("user: ...")
    """
    given = parsed(given)
    if isinstance(given, str):
        return _spoken(given)
    if isinstance(given, dict):
        name = next((name for name in _HOLDERS if given.get(name)), "")
        held = parsed(given.get(name))
        others = {key for key, value in given.items() if filled(value)} - {name, *_REQUEST}
        if held is None or (isinstance(held, str) and others):  # variables, one of which is called so
            return [given] if at(given, "role") and message_text(given) is not None else []
        if isinstance(held, str):
            held = [{"role": "user", "content": held}]
        system = next((found for path in _SYSTEM if (found := at(given, *path))), None)
        instructions = message_text(system) if isinstance(system, dict) else content_text(system)
        first = [{"role": "system", "content": instructions}] if instructions else []
        return [*first, *messages_in(held)]
    found = items(given)
    if len(found) == 1 and isinstance(found[0], list):  # LangChain's batches of conversations
        found = found[0]
    return [_unpacked(message) for message in found]


def with_instructions(messages: list[Any], said: Any) -> list[Any]:
    """Messages after the instructions that OpenAI's responses repeat, if no message holds any.

    Parameters
    ----------
    said : the reply
    """
    instructions = filled(at(parsed(said), "instructions"))
    if (
        instructions is None
        or not messages
        or any(at(m, "role") in ("system", "developer") for m in messages)
    ):
        return messages
    return [{"role": "system", "content": instructions}, *messages]


def _spoken(said: str) -> list[Any]:
    """Messages that an instrument wrote as lines "system: ..." and "user: ..."."""
    before, *turns = _SPEAKER.split(said)
    if before or "user" not in turns[::2]:
        return []
    return [{"role": role, "content": part.removesuffix("\n")} for role, part in zip(turns[::2], turns[1::2])]


def _unpacked(message: Any) -> Any:
    """A message as LangChain serialises it ({"kwargs": ..., "id": [..., "HumanMessage"]}) as others do."""
    kind = text(at(message, "id", -1)) if isinstance(at(message, "id"), list) else None
    if kind is None or not isinstance(at(message, "kwargs"), dict):
        return message
    return message["kwargs"] | {"role": kind.removesuffix("Chunk").removesuffix("Message").lower()}


def answer_in(said: Any) -> str | None:
    """The answer's text, "" for a blank one; None if there is none, or only calls of tools.

    Parameters
    ----------
    said : a text, a message, a reply that holds one, or a list of such, of which the last counts; other JSON
        is an answer as it is
    """
    unpacked = parsed(said)
    if any(map(_is_reply, unpacked if isinstance(unpacked, list) else [unpacked])):
        return filled(_text_of(unpacked, 0)) or (None if _holds_more(unpacked, 0) else "")
    whole = shown(said)
    return None if whole is None else filled(whole) or ""


def _is_reply(part: Any) -> bool:
    """Whether an object is a message, a part of one, a call of a tool, or a reply around these."""
    return (
        at(part, "role") in ("assistant", "model", "ai", "user", "tool", "system")
        or at(part, "type") in (*_SILENT, "text", "output_text", "message", "constructor")
        or any(isinstance(at(part, name), kind) for name, kind in _REPLIES.items())
        or any(at(part, name) for name in ("tool_calls", "toolCallId", "finish_reason", "finishReason"))
        or isinstance(at(part, "additional_kwargs"), dict)  # LangChain's
    )


def _text_of(said: Any, depth: int) -> str | None:
    """The text in a message, in the last of several that has one, or in a reply."""
    if isinstance(said, str) or depth > _DEEPEST:
        return text(said)
    if isinstance(said, list):
        whole = content_text(said)
        if whole is not None:
            return whole
        texts = (_text_of(part, depth + 1) for part in reversed(said) if isinstance(part, dict))
        return next((found for found in texts if found and found.strip()), None)
    message = _unpacked(said)
    if at(message, "type") in _SILENT:
        return None
    for name, kind in _REPLIES.items():
        if isinstance(inner := at(message, name), kind):
            return _text_of(inner[:1] if name in ("choices", "candidates") else inner, depth + 1)
    content = at(message, "content")
    return text(at(message, "text")) if content is None else _text_of(content, depth + 1)


def _holds_more(said: Any, depth: int) -> bool:
    """Whether a reply without a text holds calls of tools, pictures or such, or no message at all."""
    if isinstance(said, list):
        return any(_holds_more(part, depth + 1) for part in said)
    message = _unpacked(said)
    kind = at(message, "type")
    if depth > _DEEPEST or not isinstance(message, dict) or kind in _REASONING:
        return depth > _DEEPEST
    more = (at(message, name) or at(message, "additional_kwargs", name) for name in (*_CALLS, *_MEDIA))
    if kind not in _TEXTS or any(more):
        return True
    inner = [message[name] for name, of in _REPLIES.items() if isinstance(at(message, name), of)]
    return [] in inner or any(_holds_more(part, depth + 1) for part in [*inner, at(message, "content")])
