"""Logs of litellm: StandardLoggingPayload objects, one a line of .jsonl or one a .json file.

There is no verdict and no gold answer. litellm stores messages only where it is told to: calls without are
left out, as are calls that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.inputs import files_of
from prompt_oirl.importers.json_values import (
    amount,
    at,
    count,
    filled,
    items,
    json_documents,
    no_rows,
    parsed,
    text,
)
from prompt_oirl.importers.messages import (
    EARLIER_TURNS,
    bare_where_known,
    has_earlier_turns,
    message_text,
    question_and_prompt,
)
from prompt_oirl.importers.verdicts import refuse_verdict, verdict_note
from prompt_oirl.io.files import InputError, on_one_line

HINT = "give litellm's StandardLoggingPayload objects (.jsonl or .json)"
PATTERNS = ("*.json", "*.jsonl")  # what is read in a folder
STORE = "let litellm store messages (turn_off_message_logging: false, store_prompts_in_spend_logs: true)"
_REDACTED = "redacted-by-litellm"


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """Rows of litellm's logs, one a call and choice.

    Parameters
    ----------
    files : logs, or folders of them; several make one table
    verdict : must be None, the files hold none

    Raises: InputError on what is no such payload, or if no call has its messages stored.
    """
    files = files_of(files, PATTERNS, HINT.removeprefix("give "))
    refuse_verdict(verdict, "litellm")
    calls = [call for path in files for call in _calls(path)]
    rows: list[ImportedRow] = []
    failed = unread = turns = 0
    for call in calls:
        messages = parsed(call.get("messages"))
        asked = question_and_prompt(messages)
        if call.get("status") not in ("success", None):
            failed += 1
        elif asked is None or _REDACTED in asked[0]:
            unread += 1
        else:
            turns += has_earlier_turns(messages)
            rows += _rows(call, asked)
    source = on_one_line(", ".join(map(str, files)), 300)
    if not rows:
        raise no_rows(source, f"none of {len(calls):,} calls has both messages and a reply", STORE)
    notes = [verdict_note(None, len(rows))]
    if failed:
        notes.append(f"{failed:,} calls failed: left out.")
    if unread:
        notes.append(f"{unread:,} calls without messages of text: left out; {STORE}.")
    if turns:
        notes.append(EARLIER_TURNS.format(n=turns))
    return Imported(bare_where_known(rows), notes)


def _calls(path: Path) -> list[dict[str, Any]]:
    found = []
    for where, document in json_documents(path, HINT):
        for call in document if isinstance(document, list) else [document]:
            if not isinstance(call, dict) or not {"messages", "response"} <= set(call):
                raise InputError(f"{where}: no StandardLoggingPayload (messages, response); {HINT}")
            found.append(call)
    return found


def _rows(call: dict[str, Any], asked: tuple[str, str | None]) -> list[ImportedRow]:
    """One row a choice; cost and tokens are the call's, so with several choices they go to none."""
    reply = parsed(call["response"])
    answers = [message_text(at(choice, "message")) for choice in items(at(reply, "choices"))]
    if isinstance(reply, str):
        answers = [text(reply)]
    answers = [None if answer and _REDACTED in answer else answer for answer in answers]
    single = len(answers) == 1
    return [
        ImportedRow(
            *asked,
            answer=answer,
            llm=filled(call.get("model")),
            sample=None if single else i,
            cost=amount(call.get("response_cost")) if single else None,
            tokens_in=count(call.get("prompt_tokens")) if single else None,
            tokens_out=count(call.get("completion_tokens")) if single else None,
            prompt_id=filled(at(call, "metadata", "prompt_management_metadata", "prompt_id")),
        )
        for i, answer in enumerate(answers)
        if answer is not None
    ]
