"""Template and question told apart in rendered texts."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_example_log import Args, main
from tool_files import ANN

from prompt_oirl.importers.templates import PLACE, asked_bare, separate

TEMPLATES = [
    "Q: {question}\nA: Let's think step by step.",
    "{question}",
    "Be brief.\n\n{question}\n\nAnswer:",
]
WORDS = st.text("abcdefgh", min_size=1, max_size=6)
PARTS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Templates that differ from each other and questions, no word of theirs in common."""
    n = draw(st.integers(2, 5))
    before = draw(
        st.lists(st.one_of(st.just(""), PARTS.map(lambda p: f"{p.upper()}: ")), min_size=n, max_size=n)
    )
    after = draw(
        st.lists(st.one_of(st.just(""), PARTS.map(lambda p: f"\n{p.upper()}")), min_size=n, max_size=n)
    )
    templates = list(dict.fromkeys(f"{b}{PLACE}{a}" for b, a in zip(before, after)))
    questions = draw(st.lists(PARTS, min_size=6, max_size=20, unique=True))
    return templates, [f"{i} {question} {i}?" for i, question in enumerate(questions)]


def same_up_to_edges(found: list[str | None], true: list[str]) -> bool:
    """Whether each question was found with the same text more, or less, at its edges."""
    first, *others = [(f or "", t) for f, t in zip(found, true)]
    if first[1] in first[0]:
        before, _, after = first[0].partition(first[1])
        return all(f == before + t + after for f, t in others)
    before, _, after = first[1].partition(first[0])
    return bool(first[0]) and all(t == before + f + after for f, t in others)


@given(logs(), st.sampled_from(["nothing", "questions", "templates"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rendering_and_separating_gives_the_same_questions_back(
    made: tuple[list[str], list[str]], known: str
) -> None:
    templates, questions = made
    asked = [(t, q) for q in questions for t in templates]
    if len(templates) == 1 and len(templates[0].split()) < 4:
        return  # nothing confirms so short a template
    found, of = separate(
        [t.replace(PLACE, q) for t, q in asked],
        [q for _, q in asked] if known == "questions" else None,
        [t for t, _ in asked] if known == "templates" else None,
    )
    assert same_up_to_edges(found, [q for _, q in asked]), (found[:4], of[:4])
    assert len({*zip(of, (t for t, _ in asked))}) == len(set(of)) == len(templates)
    for template, question, (t, q) in zip(of, found, asked):
        assert template is not None and question is not None
        assert template.replace(PLACE, question) == t.replace(PLACE, q)


RENDERINGS: dict[str, Callable[[str, str], str]] = {
    "before": lambda p, q: f"{p}\n{q}",
    "after": lambda p, q: f"{q}\n{p}",
    "around": lambda p, q: f"Question: {q}\nAnswer: {p}",
    "twice": lambda p, q: f"{p} Q: {q}\nRead the question again: {q}\nA:",
    "varied": lambda p, q: (
        ("Be brief. " if "step" in p else "Hello! ") + q + (" Go." if "e" in p[:9] else "\nNow:")
    ),
}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """300 questions, 4 prompts, 30 % of the cells missing."""
    path = tmp_path_factory.mktemp("example") / "log.csv"
    main(Args(out=path))
    return pd.read_csv(path, keep_default_na=False)


@pytest.mark.parametrize("name", RENDERINGS)
def test_a_real_log_comes_back(example: pd.DataFrame, name: str) -> None:
    render = RENDERINGS[name]
    texts = [render(p, q) for p, q in zip(example.prompt, example.question)]
    questions, templates = separate(texts)
    assert questions == list(example.question)
    assert templates == [render(p, PLACE) for p in example.prompt]


def test_parts_that_vary_independently_are_all_taken_off(example: pd.DataFrame) -> None:
    parts = [("Please", "Now", "Kindly"), (" answer: ", " solve: "), ("", " Think.", "\nA:")]
    templates = [f"{a}{b}{PLACE}{c}" for a, b, c in product(*parts)]
    questions = list(dict.fromkeys(example.question))[:60]
    asked = [(t, q) for i, q in enumerate(questions) for j, t in enumerate(templates) if (i + j) % 3]
    found, of = separate([t.replace(PLACE, q) for t, q in asked])
    assert found == [q for _, q in asked] and of == [t for t, _ in asked]


@pytest.mark.parametrize("twice", [False, True])
def test_numbers_that_vary_are_the_questions(twice: bool) -> None:
    """Sums of two numbers could be templates of one number as well; prompts of the log tell."""
    questions = [f"What is {a} + {b}?" for a in range(9) for b in range(9)]
    templates = [
        "{question} Think.",
        "Q: {question}\nAgain: {question}\nA:" if twice else "Now: {question}\nA:",
    ]
    asked = [(t, q) for t in templates for q in questions]
    found, of = separate([t.replace(PLACE, q) for t, q in asked])
    assert len(set(of)) == 2 and len(set(found)) == 81
    assert all(str(f) in q for f, (_, q) in zip(found, asked))


def test_templates_that_differ_in_numbers_stay_templates(example: pd.DataFrame) -> None:
    templates = [f"Answer in {n} words: {PLACE}" for n in (50, 100, 200)] + [
        "Q: {question}",
        "{question} Go.",
    ]
    asked = [(t, q) for t in templates for q in dict.fromkeys(example.question)]
    found, of = separate([t.replace(PLACE, q) for t, q in asked])
    assert found == [q for _, q in asked] and of == [t for t, _ in asked]


def test_short_questions_that_stand_twice() -> None:
    templates = ["Q: {question}\nRead the question again: {question}\nA:", "Q: {question}\nA:"]
    asked = [(t, q) for t in templates for q in ("Paris", "New York", "Rome", "Oslo", "Lima")]
    found, of = separate([t.replace(PLACE, q) for t, q in asked])
    assert found == [q for _, q in asked] and of == [t for t, _ in asked]


def test_few_texts_with_known_questions_are_enough() -> None:
    questions = ["How many has Ann?", "Who is Tom?"]
    rendered = [t.replace(PLACE, q) for t in TEMPLATES for q in questions]
    found = separate(rendered, groups=["a", "b"] * 3)
    assert found == (questions * 3, [t for t in TEMPLATES for _ in questions])


def test_templates_known_by_name_agree_on_the_question() -> None:
    """One was asked questions only that begin alike, one a single question."""
    asked = [(0, "Ann has 3?"), (0, "Ann has 4?"), (1, "Ann has 3?"), (1, "Tom ate 2?"), (2, "Tom ate 2?")]
    rendered = [TEMPLATES[t].replace(PLACE, q) for t, q in asked]
    questions, templates = separate(rendered, keys=[str(t) for t, _ in asked])
    assert questions == [q for _, q in asked] and templates == [TEMPLATES[t] for t, _ in asked]


def test_templates_that_share_no_question_are_told_by_what_they_have_in_common() -> None:
    long = ["Think about this step by step: ", "You are a careful teacher of arithmetic. "]
    asked = [(long[i % 2], f"{word} is {i}?") for i, word in enumerate(["ab", "cd", "ef", "gh", "ij", "kl"])]
    questions, templates = separate([t + q for t, q in asked])
    assert questions == [q for _, q in asked] and templates == [t + PLACE for t, _ in asked]


def test_questions_that_begin_alike_make_no_template(example: pd.DataFrame) -> None:
    """Without a template nothing is told; with two that share no question, each has its half."""
    questions = list(dict.fromkeys(example.question))
    assert set(separate(questions)[0]) == {None}
    asked = [
        (TEMPLATES[0] if i % 2 else "You are careful.\n\n{question}", q) for i, q in enumerate(questions)
    ]
    found, templates = separate([t.replace(PLACE, q) for t, q in asked])
    assert found == questions and templates == [t for t, _ in asked]


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["What is 2 + 3?"],
        ["What is 2 + 3?"] * 3,
        ["What is it?", "Who was she?", "Where are they?"],
        ["", " "],
    ],
)
def test_what_cannot_be_told_is_none(texts: list[str]) -> None:
    assert separate(texts) == ([None] * len(texts), [None] * len(texts))


def test_hostile_texts_take_no_long_time() -> None:
    """Texts that share ever longer beginnings and ends, and texts without a pattern."""
    rng = random.Random(0)
    nested = ["a " * i for i in range(1, 300)]
    noise = ["".join(rng.choices("ab \n{}?", k=200)) for _ in range(200)]
    questions, templates = separate(nested + noise)
    for text, question, template in zip(nested + noise, questions, templates):
        if template is not None and template.count(PLACE) == 1:
            assert template.replace(PLACE, question or "") == text


def test_many_texts_that_share_nothing_were_asked_bare():
    words = ["red", "green", "blue", "pink", "white", "black", "grey", "brown", "gold", "plum"]
    questions = [f"{word} {i}? {word} {i + 1} or {word} {i + 2}?" for i, word in enumerate(words)]
    unknown = [None] * len(questions)
    assert separate(questions)[1] == unknown and asked_bare(questions, unknown)
    assert not asked_bare(questions[1:], unknown[1:])  # too few to know
    assert not asked_bare(questions, ["one question"] * len(questions))
    assert not asked_bare([f"{word} {ANN} {word}" for word in words], unknown)
