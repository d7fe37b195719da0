"""Chat messages as prompt and question.

The rule: the last user message is the question. What stands before it is the prompt: the system (or
developer) messages as they are, and earlier turns, such as few-shot examples, as lines "User: ..." and
"Assistant: ...", all joined by blank lines. What follows it (answers, tool calls) belongs to neither.
"""

from __future__ import annotations

from typing import Any

_SYSTEM = ("system", "developer")
_SPEAKERS = {"user": "User", "assistant": "Assistant", "tool": "Tool", "function": "Tool"}


def question_and_prompt(messages: Any) -> tuple[str, str | None] | None:
    """Question and prompt (None if empty) of chat messages by the rule above; None without a question.

    Parameters
    ----------
    messages : a list of messages, each with role and content
    """
    turns = [(message.get("role"), _text(message.get("content"))) for message in messages]
    asked = [i for i, (role, _) in enumerate(turns) if role == "user"]
    if not asked:
        return None
    question, before = turns[asked[-1]][1], turns[: asked[-1]]
    if (
        question is None
        or not question.strip()
        or any(said is None for role, said in before if role != "assistant")
    ):
        return None
    blocks: list[list[str]] = []
    for role, said in before:
        if role in _SYSTEM:
            blocks.append([said or ""])
        elif said is not None:  # an assistant that only calls a tool says nothing
            if role == "user" or not blocks:
                blocks.append([])
            blocks[-1].append(f"{_SPEAKERS.get(str(role), 'Other')}: {said}")
    return question, "\n\n".join("\n".join(block) for block in blocks) if blocks else None


def _text(content: Any) -> str | None:
    """A text, or the texts of its parts; None where a part is a picture or sound."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if texts and len(texts) == len(parts) else None
