import pytest
from tool_files import ANN, BOX, SAMPLES, STEPS, batch_lines, completion, repeats, unnamed, write

from prompt_oirl.importers import ImportedRow
from prompt_oirl.importers.log_file import read_answers
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
    assert [(row.answer, n, row.tokens_in) for row, n in zip(found, repeats(found))] == [
        ("7", 0, None),
        ("8", 1, None),
    ]


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
        "Left out: 2 requests without an answer that could be read.",
        "Left out: 1 reply without a request.",
    ]


def test_refusals(tmp_path):
    requests, replies = batch_lines([ANN, BOX])
    with pytest.raises(
        InputError, match=r"in\.jsonl: no answer \(requests: 2, replies: 0\); give the batch's input"
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
    assert unnamed(read([folder], None).rows) == [row]


def test_a_request_that_was_sent_again_is_one_request(tmp_path):
    requests, replies = batch_lines([ANN, BOX])
    failed = replies[0] | {"response": {"status_code": 500, "body": {}}}
    found = read(files(tmp_path, [*requests, requests[0]], [failed, replies[1], replies[0]]), None)
    assert [row.question for row in found.rows] == [BOX, ANN] and repeats(found.rows) == [0, 0]
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "length"}]},
        {"choices": [{"message": {"role": "assistant", "content": None}, "finish_reason": "length"}]},
        {"output": [{"type": "reasoning", "summary": []}], "status": "incomplete"},
    ],
)
def test_a_call_that_answered_nothing_has_an_empty_answer(tmp_path, body):
    requests, replies = batch_lines([ANN])
    replies[0]["response"]["body"] = body
    assert [row.answer for row in read(files(tmp_path, requests, replies), None).rows] == [""]


def test_calls_of_tools_and_refusals_are_left_out(tmp_path):
    requests, replies = batch_lines([ANN, BOX, "1+1?", "2+2?"])
    for reply, message in zip(replies, ({"tool_calls": [{"id": "c"}]}, {"refusal": "No."})):
        reply["response"]["body"] = {"choices": [{"message": message | {"content": None}}]}
    replies[2]["response"]["body"] = {"output": [{"type": "function_call", "name": "add"}]}
    assert [row.question for row in read(files(tmp_path, requests, replies), None).rows] == ["2+2?"]


def test_a_copy_names_the_same_answers_and_another_call_none_of_them(tmp_path):
    requests, replies = batch_lines([ANN, BOX])
    assert {row.answer_id for row in read(files(tmp_path, requests, replies), None).rows} == {None}
    for i, reply in enumerate(replies):
        reply["id"] = f"batch_req_{i}"
    copy = write(tmp_path / "copy.jsonl", replies)
    again = write(tmp_path / "again.jsonl", [reply | {"id": reply["id"] + "x"} for reply in replies])
    ids = [row.answer_id for row in read([*files(tmp_path, requests, replies), copy, again], None).rows]
    assert ids[0] == ids[2] != ids[4] and len(set(ids)) == 4


def test_a_copied_file_leaves_no_gap_in_the_repeats(tmp_path):
    requests, replies = batch_lines([ANN])
    again = [replies[0] | {"id": "another reply"}]
    replies[0]["id"] = "one reply"
    names = {"in": requests, "out": replies, "copy": replies, "rerun": again}
    paths = [write(tmp_path / f"{name}.jsonl", lines) for name, lines in names.items()]
    found = read_answers("openai-batch", paths, None)
    assert repeats(found.rows) == [0, 1] and "Counted once: 1 answer found in several places." in found.notes
