"""Messages and answers out of the shapes in which real calls write them."""

import json

import pytest
from tool_files import ANN, STEPS

from prompt_oirl.importers.conversations import answer_in, messages_in
from prompt_oirl.importers.messages import question_and_prompt

USER = {"role": "user", "content": ANN}
SYSTEM = {"role": "system", "content": STEPS}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


@pytest.mark.parametrize(
    "given",
    [
        [SYSTEM, USER],
        json.dumps({"messages": [SYSTEM, USER], "model": "m"}),
        {"instructions": STEPS, "input": [USER]},
        {"system": STEPS, "prompt": ANN},
        {"system": [{"type": "text", "text": STEPS}], "messages": [USER]},
        {"config": {"system_instruction": STEPS}, "contents": [{"role": "user", "parts": [{"text": ANN}]}]},
        {"systemInstruction": {"parts": [{"text": STEPS}]}, "contents": ANN},
        [
            [
                {"lc": 1, "id": ["langchain_core", "SystemMessage"], "kwargs": {"content": STEPS}},
                {"lc": 1, "id": ["langchain_core", "HumanMessage"], "kwargs": {"content": ANN}},
            ]
        ],
        [{"type": "system", "content": STEPS}, {"type": "human", "content": ANN}],
        f"system: {STEPS}\nuser: {ANN}",
        [SYSTEM, USER, {"role": "user", "content": [{"type": "tool_result", "content": "7"}]}],
        [SYSTEM, USER, {"role": "user", "parts": [{"function_response": {"name": "add"}}]}],
    ],
)
def test_messages_of_a_call(given):
    assert question_and_prompt(messages_in(given)) == (ANN, STEPS)


def test_what_holds_no_messages():
    assert [messages_in(given) for given in (None, "", ANN, {"topic": "x"}, 3)] == [[]] * 5
    assert messages_in({"input": ANN, "context": "A shop."}) == []  # two variables of a template


def test_a_call_of_a_tool_before_the_question_hides_nothing():
    before = [SYSTEM, {"type": "function_call", "name": "add"}, {"role": "tool", "content": None}]
    assert question_and_prompt([*before, USER]) == (ANN, STEPS)


@pytest.mark.parametrize(
    "said",
    [
        "7",
        {"role": "assistant", "content": "7"},
        json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "7"}]}]),
        {"choices": [{"message": {"content": "7"}}, {"message": {"content": "8"}}]},
        {"choices": [{"text": "7"}]},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "7"}]}}]},
        {"index": 0, "message": {"role": "assistant", "content": "7"}},
        {
            "output": [
                {"type": "reasoning", "summary": []},
                {"content": [{"type": "output_text", "text": "7"}]},
            ]
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "7"}, {"type": "tool_use", "name": "add"}],
        },
        {"content": {"parts": [{"text": "7"}]}, "finish_reason": "STOP"},
        {"text": "7", "finish_reason": "stop"},
        {"type": "AIMessageChunk", "content": "7", "additional_kwargs": {}, "tool_calls": []},
        {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": "7"}},
    ],
)
def test_the_answer_of_a_call(said):
    assert answer_in(said) == "7"


@pytest.mark.parametrize(
    "said",
    [
        None,
        [CALL],
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"choices": [{"message": {"content": None, "tool_calls": [CALL]}}]},
        [{"role": "assistant", "parts": [{"type": "tool_call", "name": "add"}]}],
        {"role": "assistant", "content": [{"type": "tool_use", "name": "add"}]},
        {"output": [{"type": "function_call", "name": "add"}]},
        [{"toolCallId": "c1", "toolName": "add", "input": "{}"}],
    ],
)
def test_calls_of_tools_are_no_answer(said):
    assert answer_in(said) is None


@pytest.mark.parametrize("said", ['{"answer": 7}', "[1, 2]", '{"role": "cook", "message": "hi"}', "[]"])
def test_json_is_an_answer_as_it_is(said):
    assert answer_in(said) == said


@pytest.mark.parametrize(
    "said",
    [
        " ",
        {"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "length"}]},
        {"choices": [{"message": {"content": None, "reasoning": "Hm."}, "finish_reason": "length"}]},
        {"choices": [{"text": ""}]},
        {"role": "assistant", "content": [], "stop_reason": "end_turn"},
        {"output": [{"type": "reasoning", "summary": []}], "status": "incomplete"},
        {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]},
        {"type": "ai", "content": "", "additional_kwargs": {}, "tool_calls": []},
    ],
)
def test_a_reply_of_nothing_is_an_empty_answer(said):
    assert answer_in(said) == ""


@pytest.mark.parametrize(
    "said",
    [
        {"choices": []},
        {"choices": [{"message": {"content": None, "refusal": "No."}}]},
        {"role": "assistant", "content": [{"type": "image_url", "image_url": {}}]},
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "add"}}]}}]},
        {"type": "ai", "content": "", "additional_kwargs": {"tool_calls": [CALL]}},
    ],
)
def test_what_is_no_text_is_no_empty_answer(said):
    assert answer_in(said) is None
