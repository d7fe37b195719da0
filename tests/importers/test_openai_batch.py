import pytest
from tool_files import ANN, BOX, SAMPLES, STEPS, batch_lines, completion, write

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.openai_batch import read
from prompt_oirl.io.files import InputError


def files(tmp_path, requests, replies):
    return [write(tmp_path / "out.jsonl", replies), write(tmp_path / "in.jsonl", requests)]


def test_requests_and_replies_are_joined(tmp_path):
    requests, replies = batch_lines([ANN, BOX])
    replies[0]["response"]["body"] = completion("8")
    found = read(files(tmp_path, requests, replies[::-1]), None)
    row = ImportedRow(BOX, STEPS, answer="7", llm="m", tokens_in=20, tokens_out=1)
    assert found.rows == [row, ImportedRow(ANN, STEPS, answer="8", llm="m", tokens_in=20, tokens_out=1)]
    assert found.notes == ["2 answers without a verdict: they need grading."]


def test_several_choices_are_repeats_whose_tokens_are_unknown(tmp_path):
    requests, replies = batch_lines([ANN])
    choices = [{"message": {"role": "assistant", "content": said}} for said in ("7", "8")]
    replies[0]["response"]["body"] = completion("", choices=choices)
    found = read(files(tmp_path, requests, replies), None).rows
    assert [(row.answer, row.sample, row.tokens_in) for row in found] == [("7", 0, None), ("8", 1, None)]


def test_responses_api(tmp_path):
    body = {"model": "m", "instructions": STEPS, "input": ANN}
    message = {"type": "message", "content": [{"type": "output_text", "text": "7"}]}
    reply = {"output": [{"type": "reasoning"}, message], "usage": {"input_tokens": 9, "output_tokens": 2}}
    replies = [{"custom_id": "a", "response": {"status_code": 200, "body": reply}}]
    found = read(files(tmp_path, [{"custom_id": "a", "body": body}], replies), None).rows
    assert found == [ImportedRow(ANN, STEPS, answer="7", llm="m", tokens_in=9, tokens_out=2)]


def test_what_has_no_answer_is_left_out_and_said(tmp_path):
    requests, replies = batch_lines([ANN, BOX, "1+1?"])
    replies[1]["response"]["status_code"] = 429
    replies[2]["custom_id"] = "other"
    found = read(files(tmp_path, requests, replies), None)
    assert [row.question for row in found.rows] == [ANN]
    assert found.notes[1:] == [
        "2 requests without an answer that could be read: left out.",
        "1 replies without a request: left out.",
    ]


def test_refusals(tmp_path):
    requests, replies = batch_lines([ANN, BOX])
    with pytest.raises(
        InputError, match=r"in\.jsonl: 2 requests, 0 replies, no answer; give the batch's input"
    ):
        read(files(tmp_path, requests, [])[1:], None)
    requests[1]["custom_id"] = "q0"
    with pytest.raises(
        InputError, match=r"in\.jsonl:2: another request has the custom_id q0; import one batch"
    ):
        read(files(tmp_path, requests, replies), None)
    with pytest.raises(InputError, match=r"in\.jsonl:1: neither a request nor a reply"):
        read(files(tmp_path, [{"custom_id": "q0"}], replies), None)
    with pytest.raises(InputError, match="--verdict match: files of openai-batch hold no verdicts"):
        read(files(tmp_path, requests, replies), "match")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs ../shared/samples")
def test_sample_files():
    row = ImportedRow("What is 2+3?", STEPS, answer="5", llm="gpt-4o-mini", tokens_in=20, tokens_out=1)
    folder = SAMPLES / "openai_batch"
    assert read([folder], None) == Imported([row], ["1 answer without a verdict: it needs grading."])


def test_a_request_that_was_sent_again_is_one_request(tmp_path):
    requests, replies = batch_lines([ANN, BOX])
    failed = replies[0] | {"response": {"status_code": 500, "body": {}}}
    found = read(files(tmp_path, [*requests, requests[0]], [failed, replies[1], replies[0]]), None)
    assert [(row.question, row.sample) for row in found.rows] == [(BOX, None), (ANN, None)]
    assert len(found.notes) == 1
