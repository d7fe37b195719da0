"""The prompt is put into the bytes of a request, and nothing else of them changes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.data.arms import Arm
from prompt_oirl.serving.choice import Choice
from prompt_oirl.serving.requests import read_request, with_prompt

ODD = (
    '{"n":1,"big":123456789012345678901234567890, "f":1.0,"e":1E400,"esc":"\\u00e9\\/é", "messages" : %s\n,'
    '"tools":[{"type":"function","function":{"name":"f"}}],"stop":null,"model":"m" } '
)


def chosen(prompt: str, position: str | None = None, llm: str | None = None) -> Choice:
    arm = prompt if llm is None else Arm(prompt, llm)
    return Choice(0, arm, "p", position, 0.5, 1.0, False, None, (1.0,))


def sent(messages: str, prompt: str, position: str | None = None, question_from: Any = "last") -> str:
    """The messages upstream; all around them must be as it was."""
    request = read_request((ODD % messages).encode(), question_from)
    assert request is not None
    before, after = ODD.split("%s")
    text = with_prompt(request, chosen(prompt, position)).decode()
    assert text.startswith(before) and text.endswith(after)
    return text[len(before) : len(text) - len(after)]


USER = '[ {"role":"user","content":"Why \\ud83d\\ude00?"}]'
PARTS = (
    '[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}},{"text":"A","type":"text"},'
    '{"type":"text","text":"B"}]}]'
)


@pytest.mark.parametrize(
    "position, expected",
    [
        (None, '[{"role": "system", "content": "Say \\"x\\"."}, ' + USER[1:]),
        ("before", '[ {"role":"user","content":"Say \\"x\\".\\nWhy \\ud83d\\ude00?"}]'),
        ("after", '[ {"role":"user","content":"Why \\ud83d\\ude00?\\nSay \\"x\\"."}]'),
        ("answer_start", '[{"role": "system", "content": "Say \\"x\\"."}, ' + USER[1:]),
    ],
)
def test_each_position_changes_only_its_place(position: str | None, expected: str) -> None:
    assert sent(USER, 'Say "x".', position) == expected


def test_a_template_takes_the_questions_place() -> None:
    assert sent(USER, "Q: {question}\nA:", "after") == (
        '[ {"role":"user","content":"Q: Why \\ud83d\\ude00?\\nA:"}]'
    )
    twice = sent('[{"role":"user","content":"$\\\\1 {question}"}]', "{question} Again: {question}")
    assert json.loads(twice)[0]["content"] == "$\\1 {question} Again: $\\1 {question}"


def test_parts_take_the_prompt_before_the_first_or_after_the_last_text() -> None:
    before = json.loads(sent(PARTS, "P", "before"))[0]["content"]
    after = json.loads(sent(PARTS, "P", "after"))[0]["content"]
    assert [p.get("text") for p in before] == [None, "P\nA", "B"]
    assert [p.get("text") for p in after] == [None, "A", "B\nP"]


@pytest.mark.parametrize(
    "first, expected",
    [
        ('{"role":"system","content":"Be kind."}', {"role": "system", "content": "P\n\nBe kind."}),
        ('{"role":"developer","content":""}', {"role": "developer", "content": "P\n\n"}),
        (
            '{"role":"system","content":[{"type":"text","text":"Be kind."}]}',
            {"role": "system", "content": [{"type": "text", "text": "P\n\nBe kind."}]},
        ),
        (
            '{"role":"system","content":[{"type":"x"}]}',
            {"role": "system", "content": [{"type": "text", "text": "P"}, {"type": "x"}]},
        ),
        ('{"role":"system","content":[]}', {"role": "system", "content": [{"type": "text", "text": "P"}]}),
        ('{"role":"system","content":null}', {"role": "system", "content": "P"}),
        ('{"role":"assistant","content":"Hi"}', {"role": "system", "content": "P"}),
    ],
)
def test_a_prompt_joins_the_instructions_that_are_there(first: str, expected: dict[str, Any]) -> None:
    messages = json.loads(sent(f'[{first},{{"role":"user","content":"Q"}}]', "P", "system"))
    assert messages[0] == expected
    kept = [json.loads(first)] if expected["content"] == "P" else []
    assert messages[1:] == [*kept, {"role": "user", "content": "Q"}]


def test_which_messages_are_the_question() -> None:
    talk = [("user", "one"), ("assistant", "no"), ("user", "two"), ("tool", "3")]
    body = json.dumps({"messages": [{"role": role, "content": text} for role, text in talk]}).encode()
    questions = [read_request(body, which).question for which in ("last", "first", "all")]  # type: ignore
    assert questions == ["two", "one", "one\ntwo"]
    messages = json.loads(with_prompt(read_request(body, "all"), chosen("[{question}]")))["messages"]
    assert [m["content"] for m in messages] == ["[one", "no", "two]", "3"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"[]", b"{}", b'{"messages": 1}', b'{"messages": []}', b'\xff{"messages": []}'),
        b'{"messages": [{"role": "user", "content": "a"}], "messages": []}',
        b'{"messages": [{"role": "user", "role": "user", "content": "a"}]}',
        b'{"messages": [{"role": "user", "content": "a"}]} x',
        b'{"messages": [{"role": "user", "content": "a"},]}',
        b'\xef\xbb\xbf{"messages": [{"role": "user", "content": "a"}]}',
        b'{"messages": [{"role": "user", "content": "  "}]}',
        b'{"messages": [{"role": "user", "content": 12}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "text", "text": 12}]}]}',
        b'{"messages": [{"role": "system", "content": "a"}]}',
        b'{"messages": ["a", {"role": "user", "content": "a"}]}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b', "messages": [{"role": "user", "content": "a"}]}',
    ],
)
def test_what_has_no_question_or_two_readings_is_left_alone(body: bytes) -> None:
    assert read_request(body) is None


def test_an_empty_prompt_changes_nothing_and_an_arm_sets_the_model() -> None:
    body = (ODD % USER).encode()
    request = read_request(body)
    assert request is not None and with_prompt(request, chosen("")) == body
    assert with_prompt(request, chosen("", llm="big")) == body.replace(b'"model":"m"', b'"model":"big"')
    bare = read_request(b'{"messages":[{"role":"user","content":"a"}]}')
    assert bare is not None
    assert with_prompt(bare, chosen("", llm="b")) == (
        b'{"model": "b", "messages":[{"role":"user","content":"a"}]}'
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant"]), "content": st.text(max_size=9)},
    optional={"x": JSON},
)


@settings(max_examples=300, deadline=None)
@given(
    fields=st.dictionaries(st.text(max_size=6), JSON, max_size=4),
    messages=st.lists(MESSAGE, max_size=4),
    prompt=st.text(min_size=1, max_size=9),
    position=st.sampled_from(["system", "before", "after"]),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
)
def test_reading_what_was_sent_gives_the_request_with_the_prompt(
    fields: dict[str, Any],
    messages: list[dict[str, Any]],
    prompt: str,
    position: str,
    indent: int | None,
    ascii_only: bool,
) -> None:
    data = {**fields, "messages": messages}
    body = json.dumps(data, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")
    request = read_request(body)
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
    if last < 0 or not messages[last]["content"].strip():
        assert request is None
        return
    assert request is not None
    expected = json.loads(body)
    texts = expected["messages"]
    if position == "system" and texts[0]["role"] == "system":
        texts[0]["content"] = f"{prompt}\n\n{texts[0]['content']}"
    elif position == "system":
        texts.insert(0, {"role": "system", "content": prompt})
    elif "{question}" not in prompt:
        asked = texts[last]["content"]
        texts[last]["content"] = f"{prompt}\n{asked}" if position == "before" else f"{asked}\n{prompt}"
    found = json.loads(with_prompt(request, chosen(prompt, position)))
    assert found == expected and list(found) == list(expected)


def test_long_white_space_takes_no_time() -> None:
    started = time.perf_counter()
    body = b'{"messages": [{"role": "user", "content": "a"}],' + b" " * 2**23 + b'"a": 1}'
    assert read_request(body) is not None
    assert time.perf_counter() - started < 1
