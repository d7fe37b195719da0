"""What exported traces hold, in one form: spans, verdicts and prompts.

Spans come as Phoenix's API and data frames write them, as OTLP JSON (`resourceSpans`) or as OpenTelemetry's
console exporter does; Langfuse's observations in its API's spelling (camelCase) and that of its storage
export (snake_case), alone or inside traces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prompt_oirl.importers.conversations import messages_in, with_instructions
from prompt_oirl.importers.json_values import at, filled, items, parsed, shown
from prompt_oirl.importers.span_attributes import is_call, messages_of, said_in, with_events
from prompt_oirl.importers.verdicts import MEANING
from prompt_oirl.io.files import InputError

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LISTS = (
    *("data", "resourceSpans", "scopeSpans", "spans", "annotations"),
    *("traces", "observations", "scores"),
)
_TRACE = ("context.trace_id", "trace_id", "traceId", "spanContext.traceId")
_MODELS = ("llm.model_name", "gen_ai.request.model", "gen_ai.response.model", "ai.model.id")
_TOKENS_IN = (
    *("llm.token_count.prompt", "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    *("ai.usage.promptTokens", "ai.usage.inputTokens"),
)
_TOKENS_OUT = (
    *("llm.token_count.completion", "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    *("ai.usage.completionTokens", "ai.usage.outputTokens"),
)
_FAILED = ("ERROR", "STATUS_CODE_ERROR", "2")
_DEEPEST = 40  # levels of attributes; deeper ones are no convention's


@dataclass(frozen=True)
class Span:
    """A span, observation or whole trace; texts of its attributes, "" and None where there are none."""

    number: str
    parent: str
    trace: str
    is_call: bool
    is_grader: bool
    failed: bool
    template: str | None
    variables: Any
    messages: list[Any]
    given: Any
    said: Any
    llm: str | None
    tokens_in: Any
    tokens_out: Any
    cost: Any
    prompt_id: str | None


@dataclass(frozen=True)
class Verdict:
    """A score or label of a span or trace (`target`)."""

    target: str
    name: str
    value: Any
    where: str


@dataclass
class Collected:
    """All that some files hold; `prompts` are Langfuse's templates by "name@version", a text a message."""

    spans: list[Span] = field(default_factory=list)
    traces: list[Span] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    prompts: dict[str, list[str]] = field(default_factory=dict)


def collected(documents: Iterable[tuple[str, Any]]) -> Collected:
    """Spans, verdicts and prompts of JSON documents; what is none of these is passed over.

    Parameters
    ----------
    documents : (where, JSON value)
    """
    found = Collected()
    for where, document in documents:
        for record in _records(document):
            _add(found, record, where)
    # Pages of an export may overlap: of spans with one number the last counts.
    found.spans = list({(s.trace, s.number) if s.number else id(s): s for s in found.spans}.values())
    return found


def _records(value: Any) -> Iterator[dict[str, Any]]:
    """Objects in lists, pages and traces, and OTLP's spans; a trace also stands for itself."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            inner = [key for key in _LISTS if isinstance(value.get(key), list)]
            yield {key: part for key, part in value.items() if key not in inner}
            waiting.extend(value[key] for key in reversed(inner))


def _add(found: Collected, record: dict[str, Any], where: str) -> None:
    flat = _flat(record)
    attributes = {
        name.removeprefix("attributes."): value
        for name, value in flat.items()
        if name.startswith("attributes.")
    }
    number = _first(flat, "context.span_id", "span_id", "spanId", "spanContext.spanId", "id")
    snake = {_CAMEL.sub("_", key).lower(): value for key, value in record.items()}
    name = shown(snake.get("name")) or shown(snake.get("annotation_name")) or "unnamed"
    if {"example_id", "repetition_number"} <= set(snake):
        raise InputError(
            f"{where}: a run of a Phoenix experiment, which names no prompt; export the spans of its project"
        )
    if attributes:
        found.spans.append(_span(flat, attributes, number))
        found.verdicts += _span_verdicts(flat, attributes, number, where)
    elif {"input", "output"} & set(snake) and ({"trace_id", "timestamp"} & set(snake)):
        if "trace_id" in snake:
            found.spans.append(_observation(snake))
        else:  # a trace of Langfuse, without its observations in a table's export
            found.traces.append(_observation(snake | {"trace_id": snake.get("id"), "type": "TRACE"}))
        found.verdicts += [Verdict(number, *score, where) for score in _table_scores(record)]
    elif {"name", "version", "prompt"} <= set(snake):
        messages = snake["prompt"]
        blocks = [at(m, "content") for m in messages] if isinstance(messages, list) else [messages]
        found.prompts[f"{snake['name']}@{snake['version']}"] = [b for b in map(filled, blocks) if b]
    elif {"result.score", "result.label"} & set(flat):  # Phoenix's annotation, in data frames by dotted names
        value = _value(flat, "result.score", "result.label")
        found.verdicts.append(Verdict(_first(flat, "span_id", "trace_id"), name, value, where))
    elif "name" in snake and ("value" in snake or "string_value" in snake):  # Langfuse's score
        value = snake.get("value") if snake.get("value") is not None else snake.get("string_value")
        if snake.get("data_type") in ("CATEGORICAL", "BOOLEAN") and filled(snake.get("string_value")):
            value = snake["string_value"]
        target = filled(snake.get("observation_id")) or filled(snake.get("trace_id")) or ""
        found.verdicts.append(Verdict(target, name, value, where))


def _table_scores(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Scores in a row of Langfuse's tables: by name in `scores`, or each a column of its own, a list."""
    columns = dict(record["scores"]) if isinstance(record.get("scores"), dict) else {}
    if "comments" in record:  # only the tables' exports have these
        columns |= {k: v for k, v in record.items() if v and isinstance(v, list) and all(map(_is_verdict, v))}
    for name, value in columns.items():
        for one in items(value) or [value]:
            yield name, one


def _is_verdict(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and value.lower() in MEANING)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Values by dotted names; lists are numbered, OTLP's attributes are read, variables stay whole."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any, int]] = [("", record, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if name.endswith("attributes") and isinstance(value, list):
            value = {str(at(pair, "key")): _otlp(at(pair, "value")) for pair in value}
        whole = name.endswith("prompt_template.variables") or name.endswith(("metadata", "events"))
        if isinstance(value, dict) and not whole and depth < _DEEPEST:
            waiting.extend((f"{name}.{key}".lstrip("."), part, depth + 1) for key, part in value.items())
        elif isinstance(value, list) and not whole and depth < _DEEPEST:
            waiting.extend((f"{name}.{i}", part, depth + 1) for i, part in enumerate(value))
        else:
            found[name] = value
    return found


def _otlp(value: Any) -> Any:
    """A value of OTLP JSON, which writes whole numbers as texts."""
    for kind in ("stringValue", "boolValue", "doubleValue"):
        if at(value, kind) is not None:
            return at(value, kind)
    whole = at(value, "intValue")
    if isinstance(whole, str) and whole.isdecimal() and len(whole) < 20:
        return int(whole)
    return (
        whole
        if whole is not None
        else [_otlp(one) for one in items(at(value, "arrayValue", "values"))] or None
    )


def _first(flat: dict[str, Any], *names: str) -> str:
    """The first of these values that is a text, "" without one."""
    return next((found for name in names if (found := filled(flat.get(name)))), "")


def _value(flat: dict[str, Any], *names: str) -> Any:
    return next((flat[name] for name in names if flat.get(name) is not None), None)


def _span(flat: dict[str, Any], attributes: dict[str, Any], number: str) -> Span:
    kind = _first(attributes, "openinference.span.kind") or _first(flat, "span_kind")
    attributes = with_events(attributes, _with_plain_attributes(flat.get("events")))
    status = _value(flat, "status_code", "status.status_code", "status.code")
    return Span(
        number=number,
        parent=_first(flat, "parent_id", "parentSpanId", "parent_span_id", "parentSpanContext.spanId"),
        trace=_first(flat, *_TRACE),
        is_call=is_call(attributes, kind),
        is_grader=kind.upper() == "EVALUATOR",
        failed=str(status).upper() in _FAILED,
        template=filled(attributes.get("llm.prompt_template.template")),
        variables=parsed(attributes.get("llm.prompt_template.variables")),
        messages=messages_of(attributes),
        given=attributes.get("input.value"),
        said=said_in(attributes),
        llm=_first(attributes, *_MODELS) or None,
        tokens_in=_value(attributes, *_TOKENS_IN),
        tokens_out=_value(attributes, *_TOKENS_OUT),
        cost=_value(attributes, "llm.cost.total", "gen_ai.usage.cost", "operation.cost"),
        prompt_id=_first(attributes, "prompt.id", "llm.prompt_template.version") or None,
    )


def _with_plain_attributes(events: Any) -> list[dict[str, Any]]:
    """Events of a span, OTLP's lists of attributes as objects."""
    found = []
    for event in items(parsed(events)):
        pairs = at(event, "attributes")
        if isinstance(pairs, list):
            event = event | {"attributes": {str(at(p, "key")): _otlp(at(p, "value")) for p in pairs}}
        found.append(event)
    return found


def _span_verdicts(
    flat: dict[str, Any], attributes: dict[str, Any], number: str, where: str
) -> Iterator[Verdict]:
    """Evaluations in a span's attributes, and the columns `eval.NAME.score` of Phoenix's data frames."""
    trace = _first(flat, *_TRACE)
    names: dict[tuple[str, str], dict[str, Any]] = {}
    for name, value in attributes.items():
        found = re.fullmatch(
            r"((?:trace\.)?(?:evaluations|annotations)\.\d+)\.(?:evaluation|annotation)\.(name|score|label)",
            name,
        )
        if found:
            names.setdefault((found[1], ""), {})[found[2]] = value
    for name, value in flat.items():
        found = re.fullmatch(r"eval\.(.+)\.(score|label)", name)
        if found:
            names.setdefault(("eval", found[1]), {"name": found[1]})[found[2]] = value
    for (place, _), one in names.items():
        value = one.get("score") if one.get("score") is not None else one.get("label")
        called = filled(one.get("name"))
        if value is not None and called is not None:
            yield Verdict(trace if place.startswith("trace.") else number, called, value, where)


def _observation(snake: dict[str, Any]) -> Span:
    """An observation of Langfuse, or a trace."""
    given = parsed(snake.get("input"))
    usage = parsed(snake.get("usage_details")) or parsed(snake.get("usage"))
    prompt, version = filled(snake.get("prompt_name")), snake.get("prompt_version")
    return Span(
        number=filled(snake.get("id")) or "",
        parent=filled(snake.get("parent_observation_id")) or "",
        trace=filled(snake.get("trace_id")) or "",
        is_call=str(snake.get("type", "GENERATION")).upper() == "GENERATION",
        is_grader=str(snake.get("type")).upper() == "EVALUATOR"
        or str(snake.get("environment")).startswith("langfuse-"),  # Langfuse's own, such as its judges
        failed=snake.get("level") == "ERROR",
        template=None,
        variables=None,
        messages=with_instructions(messages_in(given), snake.get("output")),
        given=given,
        said=parsed(snake.get("output")),
        llm=filled(snake.get("model")) or filled(snake.get("provided_model_name")),
        tokens_in=at(usage, "input", default=snake.get("prompt_tokens")),
        tokens_out=at(usage, "output", default=snake.get("completion_tokens")),
        cost=snake.get("calculated_total_cost") or snake.get("total_cost"),
        prompt_id=None if prompt is None else prompt if version is None else f"{prompt}@{version}",
    )
