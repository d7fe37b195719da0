"""Logs of litellm: StandardLoggingPayload objects, one a line of .jsonl or one a .json file.

Rows of its spend logs are read alike, and payloads in what a callback wrote (`standard_logging_object`).
There is no verdict and no gold answer. litellm stores messages only where it is told to: calls without are
left out, as are calls that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.conversations import answer_in, messages_in
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
    shown,
)
from prompt_oirl.importers.messages import (
    EARLIER_TURNS,
    bare_where_known,
    has_earlier_turns,
    question_and_prompt,
)
from prompt_oirl.importers.verdicts import refuse_verdict, verdict_note
from prompt_oirl.importers.wording import counted
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
    failed = unread = silent = turns = 0
    for call in calls:
        # Spend logs may hold the messages in the request only.
        messages = messages_in(call.get("messages")) or messages_in(call.get("proxy_server_request"))
        if not messages and (bare := filled(parsed(call.get("messages")))):
            messages = [{"role": "user", "content": bare}]
        asked = question_and_prompt(messages)
        if call.get("status") not in ("success", None):
            failed += 1
        elif asked is None or _REDACTED in asked[0]:
            unread += 1
        else:
            found = _rows(call, asked)
            turns += has_earlier_turns(messages) and bool(found)
            silent += not found
            rows += found
    source = on_one_line(", ".join(map(str, files)), 300)
    if not rows:
        raise no_rows(source, f"no call of {len(calls):,} has both messages and a reply", STORE)
    notes = [verdict_note(None, len(rows))]
    if failed:
        notes.append(f"Left out: {counted(failed, 'call')} that failed.")
    if unread:
        notes.append(f"Left out: {counted(unread, 'call')} without messages of text; {STORE}.")
    if silent:
        notes.append(f"Left out: {counted(silent, 'call')} without an answer of text (of tools, embeddings).")
    if turns:
        notes.append(EARLIER_TURNS.format(n=counted(turns, "answer")))
    return Imported(bare_where_known(rows), notes)


def _calls(path: Path) -> list[dict[str, Any]]:
    found = []
    for where, document in json_documents(path, HINT):
        for call in document if isinstance(document, list) else [document]:
            for name in ("kwargs", "standard_logging_object"):
                call = at(call, name, default=call)
            if not isinstance(call, dict) or not {"messages", "response"} <= set(call):
                raise InputError(f"{where}: no StandardLoggingPayload (messages, response); {HINT}")
            found.append(call)
    return found


def _rows(call: dict[str, Any], asked: tuple[str, str | None]) -> list[ImportedRow]:
    """One row a choice; cost and tokens are the call's, so with several choices they go to none."""
    reply = parsed(call["response"])
    if not reply:  # not stored
        return []
    choices = items(at(reply, "choices"))
    answers = [answer_in({"choices": [choice]}) for choice in choices] or [answer_in(call["response"])]
    answers = [None if answer and _REDACTED in answer else answer for answer in answers]
    single, number = len(answers) == 1, _call_id(call)
    return [
        ImportedRow(
            *asked,
            answer=answer,
            llm=filled(call.get("model")),
            cost=amount(call.get("response_cost", call.get("spend"))) if single else None,
            tokens_in=count(call.get("prompt_tokens")) if single else None,
            tokens_out=count(call.get("completion_tokens")) if single else None,
            prompt_id=filled(at(call, "metadata", "prompt_management_metadata", "prompt_id")),
            answer_id=f"{number}:{i}" if number else None,
        )
        for i, answer in enumerate(answers)
        if answer is not None
    ]


def _call_id(call: dict[str, Any]) -> str | None:
    """Id and start of a call: the id is the server's, and some draw it from a thousand numbers."""
    found = (filled(call.get(name)) for name in ("id", "request_id", "litellm_call_id"))
    number = next((one for one in found if one), None)
    return ":".join(filter(None, [number, shown(call.get("startTime"))])) if number else None
