"""OpenAI's Batch API: files of requests and of replies, joined on `custom_id`.

Chat completions, responses and completions. There is no verdict and no gold answer. Which file is which shows
in its lines: a request has `body`, a reply `response`. Requests that failed or have no reply are left out,
as are replies that only call tools or refuse. A reply without a text is an empty answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.conversations import answer_in
from prompt_oirl.importers.inputs import files_of
from prompt_oirl.importers.json_values import at, count, filled, items, json_documents, no_rows, shown
from prompt_oirl.importers.messages import (
    EARLIER_TURNS,
    bare_where_known,
    content_text,
    has_earlier_turns,
    question_and_prompt,
)
from prompt_oirl.importers.verdicts import refuse_verdict, verdict_note
from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import InputError, on_one_line

HINT = "give the batch's input and output files (.jsonl), both in one command"
PATTERNS = ("*.jsonl",)  # what is read in a folder


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """Rows of batches, one a reply and choice.

    Parameters
    ----------
    files : requests and replies, in any order
    verdict : must be None, the files hold none

    Raises: InputError on a line that is neither request nor reply, or a `custom_id` of two requests.
    """
    files = files_of(files, PATTERNS, HINT.removeprefix("give "))
    refuse_verdict(verdict, "openai-batch")
    requests: dict[str, Any] = {}
    replies: list[tuple[str, Any]] = []
    for path in files:
        for where, line in json_documents(path, HINT):
            number = filled(at(line, "custom_id"))
            if number is None or not isinstance(line, dict) or not {"body", "response"} & set(line):
                raise InputError(f"{where}: neither a request nor a reply of a batch; {HINT}")
            if "response" in line:
                replies.append((number, line))
            elif requests.get(number, line["body"]) != line["body"]:  # the same one may be sent again
                name = on_one_line(number)
                raise InputError(
                    f"{where}: another request has the custom_id {name}; import one batch at a time"
                )
            else:
                requests[number] = line["body"]
    rows: list[ImportedRow] = []
    seen: set[str] = set()
    for number, line in replies:
        answers = list(_rows(requests.get(number), line))
        rows += answers
        seen |= {number} if answers else set()
    source = on_one_line(", ".join(map(str, files)), 300)
    if not rows:
        raise no_rows(source, f"no answer (requests: {len(requests):,}, replies: {len(replies):,})", HINT)
    notes = [verdict_note(None, len(rows))]
    unanswered = len(requests) - len(seen)
    if unanswered:
        notes.append(f"Left out: {counted(unanswered, 'request')} without an answer that could be read.")
    orphans = sum(number not in requests for number, _ in replies)
    if orphans:
        notes.append(f"Left out: {orphans:,} {'reply' if orphans == 1 else 'replies'} without a request.")
    turns = sum(has_earlier_turns(_asked(requests[number])) for number in seen)
    if turns:
        notes.append(EARLIER_TURNS.format(n=counted(turns, "answer")))
    return Imported(bare_where_known(rows), notes)


def _rows(body: Any, line: Any) -> Iterator[ImportedRow]:
    """The answers of one reply, none if it failed."""
    reply, asked = at(line, "response", "body"), question_and_prompt(_asked(body))
    if asked is None or at(line, "error") or at(line, "response", "status_code") not in (200, None):
        return
    answers = list(_answers(reply))
    usage = at(reply, "usage") if len(answers) == 1 else None  # of several choices it is the sum
    number = _reply_id(line)
    for i, answer in enumerate(answers):
        yield ImportedRow(
            *asked,
            answer=answer,
            llm=filled(at(body, "model")) or filled(at(reply, "model")),
            tokens_in=count(at(usage, "prompt_tokens", default=at(usage, "input_tokens"))),
            tokens_out=count(at(usage, "completion_tokens", default=at(usage, "output_tokens"))),
            answer_id=f"{number}:{i}" if number else None,
        )


def _reply_id(line: Any) -> str | None:
    """What names a reply: together, since servers of one's own draw some of it from a thousand numbers."""
    paths = ("id",), ("response", "request_id"), ("response", "body", "id")
    found = [shown(at(line, *path)) for path in paths]
    body = at(line, "response", "body")
    made = shown(at(body, "created", default=at(body, "created_at")))
    return ":".join(filter(None, [*found, made, shown(at(line, "custom_id"))])) if any(found) else None


def _asked(body: Any) -> Any:
    """The messages of a request: chat completions, responses, or completions."""
    if at(body, "messages") is not None:
        return at(body, "messages")
    asked, system = at(body, "input"), filled(at(body, "instructions"))
    if asked is None:
        return at(body, "prompt")
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    return [{"role": "system", "content": system}, *items(asked)] if system else asked


def _answers(reply: Any) -> Iterator[str]:
    """Texts of a reply; none of one that only calls tools or refuses."""
    for choice in items(at(reply, "choices")):
        said = answer_in({"choices": [choice]})
        if said is not None:
            yield said
    parts = [content_text(at(part, "content")) for part in items(at(reply, "output"))]
    said = "\n".join(filter(None, parts)) or answer_in({"output": at(reply, "output")})
    if at(reply, "output") and said is not None:
        yield said
