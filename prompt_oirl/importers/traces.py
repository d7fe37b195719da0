"""Traces: OpenInference and OpenTelemetry spans (Phoenix, OTLP JSON), and Langfuse's observations.

An answer is a span of kind LLM; where there is none, a span with a prompt template. The prompt is
`llm.prompt_template.template` of the span or of one above it, the question its `.variables`. Without a
template, messages are taken by the rule of `messages`, else `input.value` as a rendered text. Langfuse's
templates come from its prompts (name, version, prompt), if their file is given too. A verdict is an
evaluation, annotation or score of the span; one of a span above it, or of the trace, counts where just one
answer lies below. Calls that failed are no answers, nor are the steps of a loop over tools before its last.
A call that was answered with nothing has an empty answer.
Traces of Langfuse without observations are answers themselves.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.conversations import answer_in, messages_in
from prompt_oirl.importers.inputs import files_of
from prompt_oirl.importers.json_values import (
    amount,
    at,
    count,
    filled,
    json_documents,
    no_rows,
    parsed,
    shown,
)
from prompt_oirl.importers.messages import (
    EARLIER_TURNS,
    bare_where_known,
    has_earlier_turns,
    message_text,
    one_question,
    question_and_prompt,
)
from prompt_oirl.importers.spans import Span, Verdict, collected
from prompt_oirl.importers.verdicts import as_correct, chosen_verdict, ungraded_note, verdict_note
from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import on_one_line

_VARIABLE = re.compile(r"\{\{[^{}]{1,200}\}\}")
HINT = "give exported spans or observations (.json or .jsonl: Phoenix, OTLP, Langfuse)"
PATTERNS = ("*.json", "*.jsonl")  # what is read in a folder


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """Rows of traces, one a call of an LLM.

    Parameters
    ----------
    files : spans or observations, and where they lie apart, annotations, scores and prompts
    verdict : name of the evaluation, annotation or score; None: the only one there is

    Raises: InputError if there is no call of an LLM, or if the verdict must be chosen.
    """
    files = files_of(files, PATTERNS, HINT.removeprefix("give "))
    found = collected(document for path in files for document in json_documents(path, HINT))
    source = on_one_line(", ".join(map(str, files)), 300)
    spans = {span.number: span for span in found.spans if span.number}
    calls = [span for span in found.spans if _is_answer(span, spans)]
    calls = calls or [span for span in found.spans if span.template is not None] or found.traces
    answers = {id(call): None if call.failed else answer_in(call.said) for call in calls}
    steps = _continued(calls) | {id(call) for call in calls if _spoke(call) and answers[id(call)] is None}
    calls = [call for call in calls if id(call) not in steps]
    below = Counter(above.number for call in calls for above in _line_of(call, spans))
    of_trace = Counter(call.trace for call in calls)
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for one in found.verdicts:
        verdicts[one.target].append(one)
    name = chosen_verdict((one.name for one in found.verdicts), verdict, source)
    rows, failed, unread, turns = [], 0, 0, 0
    for call in calls:
        line = _line_of(call, spans)
        asked, answer = _asked(call, line, found.prompts), answers[id(call)]
        if call.failed or asked is None or answer is None:
            failed += call.failed
            unread += not call.failed
            continue
        targets = [above.number for above in line if below[above.number] == 1]
        targets += [call.trace] * (of_trace[call.trace] == 1)
        turns += has_earlier_turns(call.messages)
        correct = _correct(name, [verdicts[t] for t in dict.fromkeys(targets) if t])
        rows.append(
            ImportedRow(
                *asked,
                correct=correct,
                answer=answer,
                llm=call.llm,
                cost=amount(call.cost),
                tokens_in=count(call.tokens_in),
                tokens_out=count(call.tokens_out),
                prompt_id=call.prompt_id,
                answer_id=_answer_id(call),
                verdict=None if correct is None else name,
            )
        )
    if not rows:
        what = f"{counted(len(found.spans), 'span')}, no call of an LLM with question and answer"
        what += f" ({failed:,} failed, {len(steps):,} only call tools)" if failed or steps else ""
        raise no_rows(source, what, HINT)
    notes = [verdict_note(name, len(rows))]
    notes += ungraded_note(name, [row.correct for row in rows])
    if failed:
        notes.append(f"Left out: {counted(failed, 'call')} that failed.")
    if steps:
        notes.append(f"Left out: {counted(len(steps), 'step')} of a loop over tools, without an answer yet.")
    if unread:
        notes.append(f"Left out: {counted(unread, 'call')} without a question and an answer of text.")
    if turns:
        notes.append(EARLIER_TURNS.format(n=counted(turns, "answer")))
    return Imported(bare_where_known(rows), notes)


def _answer_id(call: Span) -> str | None:
    """Trace and span; some exporters write the numbers as 0x..."""
    numbers = [number.removeprefix("0x") for number in (call.trace, call.number) if number]
    return ":".join(numbers) if call.number else None


def _line_of(span: Span, spans: dict[str, Span]) -> list[Span]:
    """A span and those above it, nearest first; parents that form a circle end it."""
    line, seen = [span], {span.number}
    while (parent := spans.get(line[-1].parent)) is not None and parent.number not in seen:
        line.append(parent)
        seen.add(parent.number)
    return line


def _is_answer(span: Span, spans: dict[str, Span]) -> bool:
    """Whether a span is a call of an LLM: no grader's, and not the same call seen by a second instrument."""
    line = _line_of(span, spans)
    return (
        span.is_call and not any(one.is_grader for one in line) and not any(one.is_call for one in line[1:])
    )


def _spoke(call: Span) -> bool:
    return call.said is not None and not call.failed


def _continued(calls: Sequence[Span]) -> set[int]:
    """Calls (by `id`) that another call of their trace goes on from, with what tools said in between."""
    of_trace: dict[str, list[tuple[tuple[str, ...], int]]] = defaultdict(list)
    for call in calls:
        asked = question_and_prompt(call.messages)
        if call.trace and asked is not None:
            said = tuple(str((at(m, "role"), message_text(m))) for m in call.messages)
            of_trace[f"{call.trace} {asked}"].append((said, id(call)))
    found = set()
    for turns in of_trace.values():
        turns.sort()
        following = None  # a longer conversation: sorted, it stands right behind those that it continues
        for said, number in reversed(turns):
            if following is not None and len(said) < len(following) and following[: len(said)] == said:
                found.add(number)
            else:
                following = said
    return found


def _asked(call: Span, line: list[Span], prompts: dict[str, list[str]]) -> tuple[str, str | None] | None:
    for span in line:
        if span.template is not None and isinstance(span.variables, dict) and span.variables:
            question = one_question(span.variables)
            return (question, span.template) if question.strip() else None
    asked = question_and_prompt(call.messages)
    if asked is None:
        given = parsed(call.given)
        messages = call.messages or messages_in(given)
        asked = question_and_prompt(messages)
        if asked is None and not messages:
            rendered = one_question(given) if isinstance(given, dict) and given else shown(given)
            asked = (rendered, None) if rendered and filled(rendered) else None
    asked = _asked_above(call, asked, line[1:])
    template = prompts.get(call.prompt_id or "")
    if asked is None or not template:
        return asked
    # What stood in the template is not known: it is what the last message has in the variable's place.
    around = _VARIABLE.split(template[-1])
    start, end = around[0], around[-1]
    if len(around) == 2 and asked[0].startswith(start) and asked[0].endswith(end):
        middle = asked[0][len(start) : len(asked[0]) - len(end)]
        return (middle, "\n\n".join(template)) if middle.strip() else asked
    return asked


def _asked_above(
    call: Span, asked: tuple[str, str | None] | None, above: Sequence[Span]
) -> tuple[str, str | None] | None:
    """What an agent around the call was asked, where it knows more: the instructions of the same question.

    A call that holds only results of tools answers the agent's question.
    """
    without = asked is None and bool(call.messages) and not _has_user(call)
    for span in above:
        known = question_and_prompt(span.messages)
        if known is not None and (without or (asked == (known[0], None) and known[1] is not None)):
            return known
    return asked


def _has_user(call: Span) -> bool:
    return any(at(message, "role") in ("user", "human") for message in call.messages)


def _correct(name: str | None, found: list[list[Verdict]]) -> float | None:
    """The mean of the verdicts of that name at the nearest place that has any."""
    for verdicts in found:
        values = [as_correct(v.value, v.name, v.where) for v in verdicts if v.name == name]
        known = [value for value in values if value is not None]
        if known:
            return sum(known) / len(known)
    return None
