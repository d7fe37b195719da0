import json

import pytest
from tool_files import ANN, BOX, SAMPLES, STEPS, chat, payload, unnamed, write

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.litellm import read
from prompt_oirl.importers.log_file import read_answers
from prompt_oirl.io.files import InputError

ROW = ImportedRow(ANN, STEPS, answer="7", llm="m", cost=0.002, tokens_in=20, tokens_out=1)


def test_a_call_is_a_row(tmp_path):
    expected = Imported([ROW], ["1 answer without a verdict: it needs grading."])
    assert read([write(tmp_path / "calls.jsonl", [payload(ANN)])], None) == expected
    assert read([write(tmp_path / "call.json", payload(ANN))], None) == expected
    assert read([write(tmp_path / "calls.json", [payload(ANN)])], None) == expected


def test_a_managed_prompt_has_its_id(tmp_path):
    metadata = {"prompt_management_metadata": {"prompt_id": "steps"}}
    assert (
        read([write(tmp_path / "c.json", payload(ANN, metadata=metadata))], None).rows[0].prompt_id == "steps"
    )


def test_what_cannot_be_read_is_left_out_and_said(tmp_path):
    turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}, *chat(BOX, None)]
    calls = [
        payload(ANN),
        payload(ANN, status="failure"),
        payload(ANN, messages=None),
        payload(ANN, messages=chat("redacted-by-litellm", None)),
        payload(BOX, messages=turns),
    ]
    found = read([write(tmp_path / "calls.jsonl", calls)], None)
    assert [row.question for row in found.rows] == [ANN, BOX]
    assert found.rows[1].prompt == "User: 1+1?\nAssistant: 2"
    assert found.notes[1] == "Left out: 1 call that failed."
    assert found.notes[2].startswith("Left out: 2 calls without messages of text; let litellm store messages")
    assert found.notes[3].startswith("1 answer with earlier turns, which belong to the prompt")


def test_refusals(tmp_path):
    redacted = write(tmp_path / "calls.jsonl", [payload(ANN, messages=None)])
    with pytest.raises(
        InputError, match=r"calls\.jsonl: no call of 1 has both .*; let litellm store messages"
    ):
        read([redacted], None)
    with pytest.raises(InputError, match=r"other\.jsonl:2: no StandardLoggingPayload"):
        read([write(tmp_path / "other.jsonl", [payload(ANN), {"question": "x"}])], None)
    with pytest.raises(InputError, match="--verdict match: files of litellm hold no verdicts"):
        read([redacted], "match")


def test_templates_in_the_users_message_are_told_apart(tmp_path):
    questions = [ANN, BOX, "What is 12 times 12?", "Tom runs 3 miles a day. How far in a week?"]
    templates = ["{question} Answer with one number only.", "{question} Think about it step by step first."]
    texts = [template.replace("{question}", q) for template in templates for q in questions]
    path = write(tmp_path / "calls.jsonl", [payload("", messages=chat(t, None)) for t in texts])
    assert [row.question for row in read([path], None).rows] == texts
    found = read_answers("litellm", [path], None).rows
    assert [(row.question, row.prompt) for row in found] == [(q, t) for t in templates for q in questions]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs ../shared/samples")
def test_sample_file():
    row = ImportedRow(ANN, STEPS, answer="7", llm="gpt-4o-mini", cost=1.35e-05, tokens_in=10, tokens_out=20)
    assert unnamed(read([SAMPLES / "litellm"], None).rows) == [row]


def test_spend_logs_and_callbacks_hold_calls_too(tmp_path):
    call = payload(ANN)
    expected = read([write(tmp_path / "a.jsonl", [call])], None)
    spend = {"spend" if key == "response_cost" else key: value for key, value in call.items()}
    spend |= {"messages": "{}", "proxy_server_request": json.dumps({"messages": call["messages"]})}
    assert read([write(tmp_path / "b.jsonl", [spend])], None) == expected
    wrapped = {"kwargs": {"standard_logging_object": call}}
    assert read([write(tmp_path / "c.jsonl", [wrapped])], None) == expected


@pytest.mark.parametrize(
    "response",
    [
        {"choices": [{"text": "7"}]},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "7"}]}]},
        {"role": "assistant", "content": [{"type": "text", "text": "7"}]},
    ],
)
def test_replies_of_other_endpoints(tmp_path, response):
    assert read([write(tmp_path / "a.jsonl", [payload(ANN, response=response)])], None).rows[0].answer == "7"


def test_calls_without_a_text_are_told(tmp_path):
    calls = [payload(ANN), payload(ANN, response={"choices": [{"message": {"tool_calls": [{"id": "c"}]}}]})]
    calls.append(payload(ANN, response={}))
    found = read([write(tmp_path / "a.jsonl", calls)], None)
    assert len(found.rows) == 1
    assert "Left out: 2 calls without an answer of text (of tools, embeddings)." in found.notes


def test_ids_tell_copies_from_other_calls(tmp_path):
    call = payload(ANN, id="chatcmpl-7", startTime=1.5)
    paths = [
        write(tmp_path / name, [lines])
        for name, lines in (("a.jsonl", call), ("b.jsonl", call), ("c.jsonl", call | {"startTime": 2.5}))
    ]
    found = read(paths, None).rows
    assert [row.answer_id for row in found] == ["chatcmpl-7:1.5:0", "chatcmpl-7:1.5:0", "chatcmpl-7:2.5:0"]
    assert read([write(tmp_path / "d.jsonl", [payload(ANN)])], None).rows[0].answer_id is None


def test_a_call_that_answered_nothing_has_an_empty_answer(tmp_path):
    choice = {"message": {"role": "assistant", "content": ""}, "finish_reason": "length"}
    calls = [
        payload(ANN, response={"choices": [choice]}),
        payload(BOX, response=""),
    ]  # the second: not stored
    assert [row.answer for row in read([write(tmp_path / "a.jsonl", calls)], None).rows] == [""]
