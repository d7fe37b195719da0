"""Answers in the replies of chat servers: their text, how they ended, and how many tokens they took."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from prompt_oirl.io.files import on_one_line
from prompt_oirl.llms import Conversation, Generation
from prompt_oirl.llms.refusal_words import FINISH_REASONS
from prompt_oirl.llms.server_replies import MAX_TOKENS_OF_A_REPLY, SENTENCE, without_key

_NOT_TEXT = (
    "thinking",
    "reasoning",
    "reasoning_text",
    "redacted_thinking",
    "refusal",
    "tool_use",
    "tool_call",
)


def read_answer(data: Any, conversation: Conversation, key: str = "") -> Generation | None:
    """The answer in a reply.

    Parameters
    ----------
    data : JSON of a reply that came as a success
    conversation : what was asked; tokens that the server does not count are taken at four characters each
    key : what must not be stored

    Returns: the answer; blank, with its reason as `refusal`, where the server stopped it or the model wrote
    none. None if the reply is no chat completion, or an answer that failed on the way (`error_inside`).
    """
    if not isinstance(data, dict):
        return None
    asked = -(-sum(len(turn["content"]) for turn in conversation) // 4)
    choices = data.get("choices")
    blocked = data.get("promptFeedback") or data.get("prompt_feedback")
    if isinstance(blocked, dict) and not choices:
        why = blocked.get("blockReason") or blocked.get("block_reason") or "the prompt"
        return Generation("", "content_filter", *usage(data), refusal=_line(f"blocked: {why}"))
    if "choices" in data and not choices and usage(data) != (0, 0):  # billed all the same
        return Generation("", "empty", *usage(data), refusal="a reply without choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return None
    message = choice.get("message")
    message = message if isinstance(message, dict) else {"content": choice.get("text")}
    text = without_key(_text(message.get("content")), key)
    refusal = without_key(_refusal(message), key)
    said = choice.get("finish_reason") or choice.get("stop_reason") or "stop"
    reason = next((name for name, words in FINISH_REASONS.items() if words.search(str(said))), "stop")
    if reason == "error":
        return None
    called = message.get("tool_calls") or message.get("function_call")
    if reason == "tool_calls" and text.strip() and not called:
        reason = "stop"
    if not text.strip() and reason == "stop":
        reason = "refused" if refusal else "tool_calls" if called else "empty"
    if reason not in ("stop", "length"):
        refusal = refusal or f"finish_reason {said}" + ("" if text.strip() else ", no text")
    elif reason == "length" and not text.strip():
        refusal = f"finish_reason {said}, no text: the limit of tokens went to reasoning"
    else:
        refusal = ""
    counted = usage(data, asked)
    return Generation(
        text,
        reason,
        counted[0] or asked,
        counted[1] or -(-len(text) // 4),
        refusal=_line(refusal) if refusal else None,
    )


def error_inside(data: Any) -> Any:
    """The error that a reply holds although it came as a success; None if it holds none."""
    if not isinstance(data, dict):
        return None
    choices = data.get("choices")
    if isinstance(choices, list) and choices:
        error = choices[0].get("error") if isinstance(choices[0], dict) else None
        return {"error": error} if error else None
    base = data.get("base_resp")  # MiniMax; 0 is success
    if isinstance(base, dict) and base.get("status_code"):
        return base
    names = ("error", "errors", "detail", "message", "msg", "error_msg", "error_code")
    return data if any(data.get(name) for name in names) else None


def usage(data: Any, asked: int = 0) -> tuple[int, int]:
    """Tokens read and written that a reply reports; 0 where it reports none, or a count that cannot be.

    Thoughts are written too: servers that leave them out of the answer's count have them in the total.

    Parameters
    ----------
    data : JSON of a reply
    asked : tokens that the question is taken to have where a reply tells nothing but the total
    """
    read, written, total = (token_count(tokens) or 0 for tokens in _reported(data))
    if total > written and not read:
        read = total - written if written else min(asked, total)
    return read, max(written, total - read)


def counts_oddly(data: Any) -> bool:
    """Whether a reply reports counts of tokens that cannot be."""
    return any(tokens is not None and token_count(tokens) is None for tokens in _reported(data))


def _reported(data: Any) -> tuple[Any, Any, Any]:
    """Tokens read, written and in all, as a reply has them."""
    counts = data.get("usage") if isinstance(data, dict) else None
    if not isinstance(counts, dict):
        return None, None, None
    read, written = counts.get("prompt_tokens"), counts.get("completion_tokens")
    return (
        counts.get("input_tokens") if read is None else read,
        counts.get("output_tokens") if written is None else written,
        counts.get("total_tokens"),
    )


def token_count(tokens: Any) -> int | None:
    """A number of tokens, which some servers send as 50.0 or "50"; None if it is none or cannot be."""
    if isinstance(tokens, str) and re.fullmatch(r"[0-9]{1,8}", tokens):
        tokens = int(tokens)
    if isinstance(tokens, bool) or not isinstance(tokens, int | float):
        return None
    return int(tokens) if 0 <= tokens <= MAX_TOKENS_OF_A_REPLY and tokens == int(tokens) else None


def _text(content: Any) -> str:
    """The text of a message: itself, or that of its parts in order; thoughts and refusals are none."""
    return content if isinstance(content, str) else "".join(_parts(content))


def _parts(content: Any) -> Iterator[str]:
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict) and part.get("type") not in _NOT_TEXT:
            text = part.get("text")
            text = text.get("value") if isinstance(text, dict) else text
            if isinstance(text, str):
                yield text


def _refusal(message: dict[str, Any]) -> str:
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    found = [message.get("refusal"), *(part.get("refusal") for part in parts)]
    return next((said for said in found if isinstance(said, str) and said.strip()), "")


def _line(text: str) -> str:
    return on_one_line(" ".join(text.split()), SENTENCE)
