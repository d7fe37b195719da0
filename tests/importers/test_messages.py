import pytest

from prompt_oirl.importers import ImportedRow
from prompt_oirl.importers.messages import (
    bare_where_known,
    content_text,
    has_earlier_turns,
    one_question,
    question_and_prompt,
)


def said(role, content, **more):
    return {"role": role, "content": content} | more


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("1+1?", ("1+1?", None)),
        ([said("user", "1+1?")], ("1+1?", None)),
        ([said("system", "Add."), said("user", "1+1?")], ("1+1?", "Add.")),
        ([said("developer", "Add."), said("user", "1+1?"), said("assistant", "2")], ("1+1?", "Add.")),
        (
            [said("system", "Add."), said("user", "1+1?"), said("assistant", "2"), said("user", "2+2?")],
            ("2+2?", "Add.\n\nUser: 1+1?\nAssistant: 2"),
        ),
        (
            [
                said("system", "1+1?", name="example_user"),
                said("system", "2", name="example_assistant"),
                said("user", "2+2?"),
            ],
            ("2+2?", "User: 1+1?\nAssistant: 2"),
        ),
        ([said("user", [{"type": "text", "text": "1+"}, {"type": "text", "text": "1?"}])], ("1+\n1?", None)),
        ([said("user", [{"type": "text", "text": "What is it?"}, {"type": "image_url"}])], None),
        ([said("human", "1+1?", parts=[])], ("1+1?", None)),
        ([{"role": "user", "parts": [{"type": "text", "content": "1+1?"}]}], ("1+1?", None)),
        ([said("system", "Add."), said("user", " \n")], None),
        ([said("system", "Add.")], None),
        ([said("user", None)], None),
        ([], None),
        (None, None),
        ({"role": "user"}, None),
        ([3, "x", None], None),
    ],
)
def test_the_last_user_message_is_the_question(messages, expected):
    assert question_and_prompt(messages) == expected


def test_a_tool_call_without_text_says_nothing_in_the_prompt():
    messages = [said("user", "1+1?"), said("assistant", None), said("tool", "2"), said("user", "And 2+2?")]
    assert question_and_prompt(messages) == ("And 2+2?", "User: 1+1?\nTool: 2")
    assert has_earlier_turns(messages)
    assert not has_earlier_turns([said("system", "Add."), said("user", "1+1?")])


def test_reasoning_is_no_part_of_a_text():
    parts = [{"type": "reasoning", "reasoning": "hm"}, {"type": "output_text", "text": "2"}]
    assert content_text(parts) == "2"
    assert content_text([]) is None


def test_one_variable_is_the_question_and_several_are_named():
    assert one_question({"q": "1+1?"}) == "1+1?"
    assert one_question({"context": "Sums.", "n": 3}) == "context: Sums.\nn: 3"


def test_a_question_that_others_ask_with_a_prompt_was_asked_bare():
    rows = [ImportedRow("1+1?", "Add."), ImportedRow("1+1?", None), ImportedRow("Add. 2+2?", None)]
    assert [row.prompt for row in bare_where_known(rows)] == ["Add.", "", None]
