"""What is said about others' files."""

from __future__ import annotations

import pytest

from prompt_oirl.importers.wording import counted, without_keys


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Incorrect API key provided: sk-proj-ab**yz. Find", "Incorrect API key provided: *** Find"),
        ("refused sk-abcdef0123456789!", "refused ***!"),
        ('{"Authorization": "Bearer abc.def/ghi+="}', '{"Authorization": "Bearer ***"}'),
        ("x-api-key: 0a1b2c, retry", "x-api-key: ***, retry"),
        ("GET https://x.org/v1?key=s3cret&alt=json", "GET https://x.org/v1?key=***&alt=json"),
        ("token eyJhbGciOiJI.eyJzdWIi.s1g", "token ***"),
        ("AIzaSyA0123456789-bc is invalid", "*** is invalid"),
    ],
)
def test_keys_are_masked(said: str, shown: str) -> None:
    assert without_keys(said) == shown


@pytest.mark.parametrize(
    "said",
    [
        "429: too many requests",
        "the task-based sk-learn model",
        "missing API key",
        "Bearer token missing",
        "hf-internal/m",
    ],
)
def test_other_texts_stay(said: str) -> None:
    assert without_keys(said) == said


def test_one_is_no_plural() -> None:
    assert [counted(n, "answer") for n in (0, 1, 2000)] == ["0 answers", "1 answer", "2,000 answers"]
