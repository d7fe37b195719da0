"""Where a prompt goes in a request's bytes, and how often each prompt is drawn."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from made_logs import made_log
from scipy.stats import chisquare

from prompt_oirl import PromptSelector
from prompt_oirl.data.arms import Arm
from prompt_oirl.serving.choice import Choice, Exploration, draw
from prompt_oirl.serving.requests import read_request, with_prompt

ODD = b'{ "x":1.0,"big":123456789012345678901234567890, "messages" : [%s] ,"u":"\\u00e9","e":1E5}'
USER = b'{"role":"user","content":"a\\u00e9\\n?","tag":1.50}'


def choice(prompt: str | Arm, position: str | None = None) -> Choice:
    return Choice(0, prompt, "p", position, 0.5, 1.0, False, None, (1.0,))


@pytest.mark.parametrize(
    ("prompt", "position", "expected"),
    [
        ("Hi\n", None, b'{"role": "system", "content": "Hi\\n"}, ' + USER),
        ("Hi", "before", USER.replace(b'"a', b'"Hi\\na')),
        ("Hi", "after", USER.replace(b'?"', b'?\\nHi"')),
        ("Q: {question} A:", "after", USER.replace(b'"a', b'"Q: a').replace(b'?"', b'? A:"')),
        ("", "before", USER),
    ],
)
def test_all_other_bytes_stay(prompt: str, position: str | None, expected: bytes) -> None:
    request = read_request(ODD % USER)
    assert request is not None and request.question == "a\u00e9\n?"
    assert with_prompt(request, choice(prompt, position)) == ODD % expected


def test_parts_instructions_and_models() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:x"}}
    parts = [image, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    request = read_request(json.dumps({"model": "m", "messages": messages}).encode())
    assert request is not None and request.question == "a\nb"
    changed = json.loads(with_prompt(request, choice(Arm("Hi", "big"))))
    assert changed["model"] == "big" and changed["messages"][0]["content"] == "Hi\n\nBe brief."
    after = json.loads(with_prompt(request, choice("Hi {question}! {question}")))["messages"][1]["content"]
    assert after == [image, {"type": "text", "text": "Hi a"}, {"type": "text", "text": "b! a\nb"}]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b'{"messages":[]}', b'{"messages":[{"role":"user"}]}', b"[" * 100_000]
    + [b'{"messages":[{"role":"user","content":"a","content":"b"}]}', ODD % USER + b"x"],
)
def test_what_asks_nothing_is_no_chat(body: bytes) -> None:
    assert read_request(body) is None


def test_mutated_bodies_raise_nothing_and_stay_json() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        body = bytearray(ODD % (b'{"role":"system","content":[{"type":"text","text":"s"}]},' + USER))
        for _ in range(rng.randint(1, 3)):
            body[rng.randrange(len(body))] = rng.choice(b'{}[]",:0a\\ \n\xff')
        if (request := read_request(bytes(body))) is not None:
            for position in ("system", "before", "after"):
                json.loads(with_prompt(request, choice('H"i', position)))


@pytest.mark.parametrize("by", ["uniform", "uncertainty"])
def test_prompts_are_drawn_as_often_as_their_propensities_say(by: str) -> None:
    selector = PromptSelector("tfidf").fit(made_log())
    rng, r = np.random.default_rng(0), np.array([0.5, 0.6, 0.3])
    drawn = [draw(selector, r, rng, Exploration(0.6, by)) for _ in range(5000)]  # type: ignore[arg-type]
    propensities = np.array(drawn[0].propensities)
    counts = np.bincount([c.index for c in drawn], minlength=3)
    assert propensities.sum() == pytest.approx(1) and propensities.min() > 0
    assert chisquare(counts, 5000 * propensities).pvalue > 1e-3
    assert all(c.propensity == propensities[c.index] for c in drawn)


def test_fallbacks_keep_exploring() -> None:
    selector, rng = PromptSelector("tfidf").fit(made_log()), np.random.default_rng(0)
    for r, below, expected in (
        (None, None, "failed"),
        (np.full(3, np.nan), None, "failed"),
        (np.full(3, 0.1), 0.5, "abstained"),
    ):
        made = draw(selector, r, rng, Exploration(0.3), below)
        assert made.fallback == expected
        assert made.propensities[selector.best_] == pytest.approx(0.8)
