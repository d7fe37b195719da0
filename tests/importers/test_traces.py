import json

import pytest
from tool_files import ANN, BOX, STEPS, annotation, chat, llm_span, unnamed, write

from prompt_oirl.importers import ImportedRow
from prompt_oirl.importers.traces import read
from prompt_oirl.io.files import InputError

ROW = ImportedRow(ANN, "Think. {question}", answer="7", llm="m", tokens_in=12, tokens_out=3)


def rows(tmp_path, *documents, verdict=None):
    """What is read of documents, a .json file each."""
    paths = [write(tmp_path / f"{i}.json", document) for i, document in enumerate(documents)]
    return unnamed(read(paths, verdict).rows)


def attribute(key, value):
    kind = {str: "stringValue", int: "intValue"}[type(value)]
    return {"key": key, "value": {kind: str(value)}}


def test_a_span_of_phoenix_is_a_row(tmp_path):
    assert rows(tmp_path, {"data": [llm_span("1", ANN)], "next_cursor": None}) == [ROW]


def test_other_writings_of_a_span_read_alike(tmp_path):
    span = llm_span("1", ANN)
    otlp = {
        "traceId": "t1",
        "spanId": "s1",
        "attributes": [attribute(key, value) for key, value in span["attributes"].items()],
    }
    nested = {
        "context": span["context"],
        "attributes": {
            "openinference": {"span": {"kind": "LLM"}},
            "llm": {
                "model_name": "m",
                "prompt_template": {"template": "Think. {question}", "variables": {"question": ANN}},
                "token_count": {"prompt": 12, "completion": 3},
            },
            "output": {"value": "7"},
        },
    }
    frame = {f"attributes.{key}": value for key, value in span["attributes"].items()}
    assert rows(tmp_path, {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [otlp]}]}]}) == [ROW]
    assert rows(tmp_path, [nested]) == [ROW]
    assert rows(tmp_path, [frame | {"context.span_id": "s1"}]) == [ROW]
    assert unnamed(read([write(tmp_path / "spans.jsonl", [span])], None).rows) == [ROW]


def test_messages_without_a_template(tmp_path):
    span = llm_span("1", ANN)
    for name in ("template", "variables"):
        del span["attributes"][f"llm.prompt_template.{name}"]
    for i, message in enumerate(chat(ANN)):
        for key, value in message.items():
            span["attributes"][f"llm.input_messages.{i}.message.{key}"] = value
    assert [(row.question, row.prompt) for row in rows(tmp_path, [span])] == [(ANN, STEPS)]


def test_opentelemetrys_own_names(tmp_path):
    parts = [{"role": "user", "parts": [{"type": "text", "content": ANN}]}]
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "7"}], "finish_reason": "stop"}]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": STEPS}]),
        "gen_ai.input.messages": json.dumps(parts),
        "gen_ai.output.messages": json.dumps(said),
    }
    expected = ImportedRow(ANN, STEPS, answer="7", llm="m", tokens_in=12, tokens_out=3)
    assert rows(tmp_path, {"spanId": "s1", "attributes": attributes}) == [expected]


def test_annotations_are_joined_by_span(tmp_path):
    notes = {"data": [annotation("s1", 1), annotation("s2", 0), annotation("s2", 1)]}
    found = rows(tmp_path, [llm_span("1", ANN), llm_span("2", BOX)], notes)
    assert [row.correct for row in found] == [1.0, 0.5]  # two judged the second


def test_verdicts_in_the_span(tmp_path):
    inside = {"evaluations.0.evaluation.name": "right", "evaluations.0.evaluation.label": "incorrect"}
    assert rows(tmp_path, [llm_span("1", ANN, **inside)])[0].correct == 0.0
    frame = llm_span("1", ANN) | {"eval.right.score": 0.25, "eval.right.label": None}
    assert rows(tmp_path, [frame])[0].correct == 0.25


def test_several_verdicts_must_be_chosen_from(tmp_path):
    documents = [llm_span("1", ANN)], [annotation("s1", 1), annotation("s1", 0, "tone")]
    with pytest.raises(
        InputError, match="several verdicts: correctness, tone; choose one with --verdict NAME"
    ):
        rows(tmp_path, *documents)
    assert rows(tmp_path, *documents, verdict="tone")[0].correct == 0.0


def test_a_parents_template_and_verdict_count_for_its_only_call(tmp_path):
    call = llm_span("1", ANN) | {"parent_id": "root"}
    above = {"span_id": "root", "attributes": {"openinference.span.kind": "CHAIN"}}
    for name in ("template", "variables"):
        key = f"llm.prompt_template.{name}"
        above["attributes"][key] = call["attributes"].pop(key)
    assert rows(tmp_path, [call, above], [annotation("root", 0)])[0] == ImportedRow(
        ANN, "Think. {question}", 0.0, "7", "m", tokens_in=12, tokens_out=3
    )
    second = llm_span("2", ANN) | {"parent_id": "root"}
    found = rows(tmp_path, [call, second, above], [annotation("root", 0)])
    assert [row.correct for row in found] == [None, None]  # whose verdict it is, nobody knows


def test_a_call_seen_twice_counts_once_and_a_judges_never(tmp_path):
    inner = llm_span("2", ANN) | {"parent_id": "s1"}
    judge = {"span_id": "judge", "attributes": {"openinference.span.kind": "EVALUATOR"}}
    judging = llm_span("3", "Is it right?") | {"parent_id": "judge"}
    assert rows(tmp_path, [llm_span("1", ANN), inner, judge, judging]) == [ROW]


def test_parents_in_a_circle_end(tmp_path):
    assert rows(tmp_path, [llm_span("1", ANN) | {"parent_id": "s1"}]) == [ROW]


OBSERVATION = {
    "id": "o1",
    "traceId": "t1",
    "type": "GENERATION",
    "name": "call",
    "model": "m",
    "input": chat(ANN),
    "output": {"role": "assistant", "content": "7"},
    "usageDetails": {"input": 12, "output": 3, "total": 15},
    "calculatedTotalCost": 0.002,
}
SCORE = {
    "id": "x",
    "traceId": "t1",
    "observationId": None,
    "name": "right",
    "value": 1,
    "dataType": "NUMERIC",
}
ASKED = ImportedRow(ANN, STEPS, 1.0, "7", "m", cost=0.002, tokens_in=12, tokens_out=3)


def test_langfuses_observations_and_scores(tmp_path):
    assert rows(tmp_path, {"data": [OBSERVATION]}, {"data": [SCORE]}) == [ASKED]
    trace = {"id": "t1", "name": "trace", "input": "x", "observations": [OBSERVATION], "scores": [SCORE]}
    assert rows(tmp_path, [trace]) == [ASKED]
    word = SCORE | {"dataType": "BOOLEAN", "value": 0, "stringValue": "False", "observationId": "o1"}
    assert rows(tmp_path, [OBSERVATION], [word])[0].correct == 0.0


def test_langfuses_storage_export(tmp_path):
    stored = {
        "id": "o1",
        "trace_id": "t1",
        "type": "GENERATION",
        "name": "call",
        "provided_model_name": "m",
        "input": json.dumps({"messages": chat(ANN)}),
        "output": json.dumps({"role": "assistant", "content": "7"}),
        "usage_details": {"input": 12, "output": 3},
        "total_cost": 0.002,
    }
    score = {"trace_id": "t1", "observation_id": "o1", "name": "right", "value": 1, "string_value": None}
    observations = write(tmp_path / "observations.jsonl", [stored])
    found = read([observations, write(tmp_path / "scores.jsonl", [score])], None).rows
    assert unnamed(found) == [ASKED]


def test_langfuses_prompts_tell_template_and_question_apart(tmp_path):
    sent = OBSERVATION | {"input": f"Think. {ANN} Now:", "promptName": "think", "promptVersion": 2}
    assert rows(tmp_path, [sent])[0].prompt_id == "think@2"
    assert rows(tmp_path, [sent])[0].prompt is None
    prompt = {"name": "think", "version": 2, "type": "text", "prompt": "Think. {{ sum }} Now:"}
    found = rows(tmp_path, [sent], [prompt])[0]
    assert (found.question, found.prompt, found.prompt_id) == (ANN, "Think. {{ sum }} Now:", "think@2")


def test_what_is_left_out_is_said(tmp_path):
    silent = llm_span("2", BOX, **{"output.value": None})
    path = write(
        tmp_path / "spans.json", [llm_span("1", ANN), llm_span("3", BOX), silent, annotation("s1", 1)]
    )
    found = read([path], None)
    assert [row.correct for row in found.rows] == [1.0, None]
    assert found.notes == [
        "correct is the verdict correctness.",
        "1 of 2 answers have no verdict of their own.",
        "Left out: 1 call without a question and an answer of text.",
    ]


def test_files_without_a_call_are_refused(tmp_path):
    chain = {"span_id": "s", "attributes": {"openinference.span.kind": "CHAIN"}}
    with pytest.raises(
        InputError, match=r"0\.json: 1 span, no call of an LLM with question and answer; give"
    ):
        rows(tmp_path, [chain])
    with pytest.raises(
        InputError, match=r"0\.json: the verdict correctness is 7, expected a number from 0 to 1"
    ):
        rows(tmp_path, [llm_span("1", ANN), annotation("s1", 7)])


def call(number, messages, **attributes):
    """A span with messages instead of a template, in trace t0."""
    span = llm_span(number, ANN, **attributes)
    span["context"]["trace_id"] = "t0"
    for name in ("template", "variables"):
        del span["attributes"][f"llm.prompt_template.{name}"]
    span["attributes"]["gen_ai.input.messages"] = json.dumps(messages)
    return span


def test_the_steps_of_a_loop_over_tools_are_one_answer(tmp_path):
    said = {"role": "assistant", "content": "I look it up.", "tool_calls": [{"id": "c"}]}
    result = {"role": "tool", "content": "7 apples"}
    only_calls = {"llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "add"}
    first = call("1", chat(ANN), **{"output.value": "I look it up."})
    second = call("2", [*chat(ANN), said, result], **only_calls)
    last = call("3", [*chat(ANN), said, result, {"role": "tool", "content": "sure"}])
    files = [
        write(tmp_path / "a.json", [first, second, last]),
        write(tmp_path / "b.json", [annotation("t0", 1)]),
    ]
    found = read(files, None)
    assert [(row.question, row.answer, row.correct) for row in found.rows] == [(ANN, "7", 1.0)]
    assert "Left out: 2 steps of a loop over tools, without an answer yet." in found.notes


def test_repeats_within_a_trace_are_no_steps(tmp_path):
    assert [row.answer for row in rows(tmp_path, [call("1", chat(ANN)), call("2", chat(ANN))])] == ["7", "7"]


def test_calls_that_failed_are_no_answers(tmp_path):
    broken = [
        llm_span("1", ANN) | {"status_code": "ERROR"},
        llm_span("2", ANN) | {"status": {"code": 2}},
        llm_span("3", ANN) | {"status": {"status_code": "ERROR"}},
        {
            "id": "4",
            "trace_id": "t",
            "type": "GENERATION",
            "input": chat(ANN),
            "output": "?",
            "level": "ERROR",
        },
    ]
    found = read([write(tmp_path / "a.json", [*broken, llm_span("5", BOX)])], None)
    assert [row.question for row in found.rows] == [BOX]
    assert "Left out: 4 calls that failed." in found.notes


def test_a_span_of_two_pages_counts_once(tmp_path):
    assert rows(tmp_path, [llm_span("1", ANN)], [llm_span("1", ANN), llm_span("2", BOX)])[1].question == BOX


def test_openllmetry_vercel_and_events(tmp_path):
    openllmetry = {
        "llm.request.type": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": STEPS,
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": json.dumps([{"type": "text", "text": ANN}]),
        "gen_ai.completion.0.content": "7",
        "gen_ai.usage.prompt_tokens": 12,
        "gen_ai.usage.completion_tokens": 3,
    }
    vercel = {
        "ai.operationId": "ai.generateText",
        "ai.model.id": "m",
        "ai.prompt": json.dumps({"system": STEPS, "messages": [{"role": "user", "content": ANN}]}),
        "ai.response.text": "7",
        "ai.usage.promptTokens": 12,
        "ai.usage.completionTokens": 3,
    }
    plain = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
    }
    logfire = [
        {"event.name": "gen_ai.system.message", "content": STEPS, "role": "system"},
        {"event.name": "gen_ai.user.message", "content": ANN, "role": "user"},
        {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "7"}},
    ]
    otlp = [
        {"name": "gen_ai.content.prompt", "attributes": [attribute("gen_ai.prompt", json.dumps(chat(ANN)))]},
        {"name": "gen_ai.content.completion", "attributes": [attribute("gen_ai.completion", "7")]},
    ]
    inner = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.prompt.messages": "[]",
        "ai.response.text": "7",
    }
    spans = [
        {"spanId": "1", "traceId": "1", "attributes": openllmetry},
        {"spanContext": {"spanId": "2", "traceId": "2"}, "attributes": vercel},
        {"spanContext": {"spanId": "3", "traceId": "2"}, "parentSpanId": "2", "attributes": inner},
        {"spanId": "4", "traceId": "4", "attributes": plain | {"events": json.dumps(logfire)}},
        {"spanId": "5", "traceId": "5", "attributes": plain, "events": otlp},
    ]
    expected = ImportedRow(ANN, STEPS, answer="7", llm="m", tokens_in=12, tokens_out=3)
    assert rows(tmp_path, spans) == [expected] * 4


def test_langfuses_traces_alone_and_its_judges(tmp_path):
    trace = {"id": "t1", "timestamp": "2026", "name": "qa", "input": chat(ANN), "output": "7"}
    assert rows(tmp_path, [trace | {"scores": {"right": [1]}}]) == [ImportedRow(ANN, STEPS, 1.0, "7")]
    judged = {"id": "g", "trace_id": "t2", "type": "GENERATION", "input": chat("Right?"), "output": "yes"}
    judged["environment"] = "langfuse-llm-as-a-judge"
    assert [row.answer for row in rows(tmp_path, [trace, judged])] == ["7"]


def test_scores_in_columns_of_langfuses_tables(tmp_path):
    row = {"id": "o", "traceId": "t", "type": "GENERATION", "input": chat(ANN), "output": "7", "comments": []}
    row |= {"tags": ["beta"], "right": [1], "tone": None, "toolCallNames": []}
    assert [found.correct for found in rows(tmp_path, [row])] == [1.0]


def test_annotations_as_data_frames_write_them(tmp_path):
    frame = [{"span_id": "s1", "annotation_name": "right", "result.score": None, "result.label": "correct"}]
    assert rows(tmp_path, [llm_span("1", ANN)], frame)[0].correct == 1.0


def test_runs_of_phoenixs_experiments_are_refused(tmp_path):
    run = {
        "example_id": "e",
        "repetition_number": 1,
        "input": {"question": ANN},
        "output": "7",
        "trace_id": "t",
    }
    with pytest.raises(InputError, match="a run of a Phoenix experiment, which names no prompt; export the"):
        rows(tmp_path, [run])


def test_json_lines_in_a_json_file_and_blank_lines(tmp_path):
    path = write(tmp_path / "spans.jsonl", [llm_span("1", ANN), llm_span("2", BOX)])
    lines = path.read_text(encoding="utf-8").splitlines()
    (tmp_path / "spans.json").write_text("\n\n".join(lines) + "\n\n", encoding="utf-8")
    assert read([tmp_path / "spans.json"], None) == read([path], None)
    (tmp_path / "spans.json").write_text("\n".join([*lines, "{"]), encoding="utf-8")
    with pytest.raises(InputError, match=r"spans\.json: not valid JSON"):
        read([tmp_path / "spans.json"], None)


def test_messages_in_a_column_of_a_data_frame(tmp_path):
    row = {
        "context.span_id": "1",
        "span_kind": "LLM",
        "attributes.llm.output_messages": [{"message.content": "7"}],
    }
    messages = [{f"message.{key}": value for key, value in message.items()} for message in chat(ANN)]
    for column in (messages, json.dumps(messages)):
        found = rows(tmp_path, [row | {"attributes.llm.input_messages": column}])
        assert found == [ImportedRow(ANN, STEPS, answer="7")]


def test_an_agent_around_the_calls_knows_the_instructions(tmp_path):
    agent = {"id": "a", "traceId": "t", "type": "AGENT", "input": chat(ANN), "output": "7"}
    bare = {"role": "user", "parts": [{"type": "text", "content": ANN}]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "response": "7"}]}
    tool = [{"role": "assistant", "parts": [{"type": "tool_call", "name": "add"}]}]
    call = {"parentObservationId": "a", "traceId": "t", "type": "GENERATION"}
    first = call | {"id": "1", "input": [bare], "output": tool}
    for messages in ([result], [bare]):  # some send only what is new
        last = call | {"id": "2", "input": messages, "output": "7"}
        assert rows(tmp_path, [first, last, agent]) == [ImportedRow(ANN, STEPS, answer="7")]


def test_instructions_that_only_the_reply_repeats(tmp_path):
    said = {"type": "message", "content": [{"type": "output_text", "text": "7"}]}
    reply = json.dumps({"instructions": STEPS, "output": [said]})
    asked = [{"role": "user", "content": ANN}]
    found = rows(tmp_path, [{"id": "1", "traceId": "t", "input": asked, "output": reply}])
    assert found == [ImportedRow(ANN, STEPS, answer="7")]


def test_a_call_that_answered_nothing_has_an_empty_answer(tmp_path):
    blank = [
        llm_span("1", ANN, **{"output.value": " "}),
        llm_span("2", BOX, **{"output.value": ""}),
        {"id": "o", "traceId": "t", "type": "GENERATION", "input": chat("1+1?"), "output": {"content": ""}},
    ]
    blank[2]["output"]["role"] = "assistant"
    found = read([write(tmp_path / "a.json", [*blank, annotation("s1", 0)])], None)
    assert [(row.answer, row.correct) for row in found.rows] == [("", 0.0), ("", None), ("", None)]
    assert len(found.notes) == 2


def test_vercels_calls_of_tools_beside_an_empty_text_are_no_answer(tmp_path):
    attributes = {"ai.operationId": "ai.generateText", "ai.prompt": json.dumps({"prompt": ANN})}
    step = attributes | {"ai.response.text": "", "ai.response.toolCalls": '[{"toolName": "add"}]'}
    spans = [{"spanId": "1", "attributes": step}, {"spanId": "2", "attributes": attributes}]
    spans[1]["attributes"]["ai.response.text"] = ""
    assert [row.answer for row in rows(tmp_path, spans)] == [""]
    found = read([write(tmp_path / "b.json", [llm_span("3", ANN), spans[0]])], None)
    assert "Left out: 1 step of a loop over tools, without an answer yet." in found.notes


def test_spans_name_answers_and_verdicts(tmp_path):
    console = llm_span("2", BOX)
    console["context"] = {"trace_id": "0xt2", "span_id": "0xs2"}
    spans = write(tmp_path / "a.json", [llm_span("1", ANN), console, annotation("s1", 1)])
    found = read([spans], None).rows
    assert [(row.answer_id, row.verdict) for row in found] == [("t1:s1", "correctness"), ("t2:s2", None)]
