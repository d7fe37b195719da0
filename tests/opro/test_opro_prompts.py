"""Meta-prompts and candidates: golden buckets and parses, structure of the three layouts, odd text of every
sort."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.data.prompts import load_instructions
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.llms import Decoding
from prompt_oirl.opro import candidates, report
from prompt_oirl.opro.candidates import CandidateFilter, normalise, parse
from prompt_oirl.opro.meta_prompt import (
    PLACES,
    MetaPromptSettings,
    Scored,
    exemplar_input,
    meta_prompt,
    shown_pairs,
    shown_score,
)
from prompt_oirl.opro.search_proposer import CLAUSES, PhraseSearch, read_pairs

HISTORY = [Scored(f"Text {name}", score) for name, score in zip("abcde", (0.5, 0.125, 0.9, 0.5, 0.3))]
EXEMPLARS = [Question("1", "What is 1 + 1?", "2", "train"), Question("2", "What is 2 + 3?", "5", "train")]


# --- meta-prompt ---------------------------------------------------------------------------------------


def test_golden_buckets() -> None:
    """Whole numbers round half to even: .125 and .5 in 20 buckets are 2 and 10."""
    assert [shown_score(s, "20") for s in (0.125, 0.5)] == ["2", "10"]
    assert shown_score(0.60536, "100") == "61" and shown_score(0.60536, "raw") == "0.605"
    for bad in (-0.01, 1.01, float("nan")):
        with pytest.raises(ValueError, match="0..1"):
            shown_score(bad, "100")


def test_trajectory_ascends_ties_keep_their_order_and_the_best_are_kept() -> None:
    def texts(**settings: object) -> str:
        return "".join(p.instruction[-1] for p in shown_pairs(HISTORY, MetaPromptSettings(**settings), 0))  # type: ignore[arg-type]

    assert texts() == "beadc"
    assert texts(order="descending") == "cdaeb"
    assert texts(max_pairs=2) == "dc"
    assert sorted(texts(order="random")) == list("abcde")
    assert texts(threshold=0.4) == "adc"
    assert texts(threshold=0.99) == "c", "a threshold never empties the trajectory"


@pytest.mark.parametrize("layout", ["chat", "bracket", "completion"])
@pytest.mark.parametrize("position", list(PLACES))
def test_structure_of_the_layouts(layout: str, position: str) -> None:
    text = meta_prompt(HISTORY, EXEMPLARS, MetaPromptSettings(layout=layout), position, "sums")  # type: ignore[arg-type]
    assert "sums" in text and PLACES[position] in text
    places = [text.index(p.instruction) for p in shown_pairs(HISTORY, MetaPromptSettings(), 0)]
    assert places == sorted(places)
    if layout == "completion":
        assert re.findall(r"^Precision: (\d+)\n<TEXT>(.*)</TEXT>$", text, re.M)[-1] == ("90", "Text c")
        assert "What is" not in text
        return
    assert "sorted from the lowest to the highest" in text and "between 0 and 100" in text
    assert re.findall(r"\n\ntext:\n(.*)\nscore:\n(\d+)\n", text)[-1] == ("Text c", "90")
    assert text.index("Text c") < text.index("What is 1 + 1?") < text.index("unlike all of the above")
    for question in EXEMPLARS:
        assert exemplar_input(question.text, position) in text
    assert "often failed" not in text, "exemplars drawn at random are not called hard"
    ending = "square brackets." if layout == "bracket" else "end it with </INS>."
    assert text.endswith(ending)


def test_place_of_the_instruction_in_an_exemplar() -> None:
    assert exemplar_input("Q?", "before") == "<INS>\nQ?"
    assert exemplar_input("Q?", "after") == "Q?\n<INS>"
    assert exemplar_input("Q?", "answer_start") == "Q: Q?\nA: <INS>"


def test_what_a_meta_prompt_says_is_true_of_its_settings() -> None:
    def text(failed: bool = False, **settings: object) -> str:
        return meta_prompt(HISTORY, EXEMPLARS, MetaPromptSettings(**settings), "after", "sums", failed)  # type: ignore[arg-type]

    assert "between 0 and 20;" in text(buckets="20") and "between 0 and 1;" in text(buckets="raw")
    hidden = text(buckets="hidden")
    assert "score:" not in hidden and "between 0" not in hidden and "Text c" in hidden
    assert "highest to the lowest" in text(order="descending") and "no particular order" in text(
        order="random"
    )
    swapped = text(trajectory_first=False)
    assert swapped.index("What is 1 + 1?") < swapped.index("Text c") < swapped.index("unlike all")
    assert "often failed" in text(failed=True)
    assert "Right answer" not in meta_prompt(HISTORY, [], MetaPromptSettings(), "after", "sums")
    words = text(task_description="questions on tax law", solution_description="polite")
    assert "questions on tax law" in words and "should be polite" in words and "sums" not in words


@pytest.mark.parametrize(
    "flags", [{"buckets": "0"}, {"buckets": "many"}, {"max_pairs": 0}, {"threshold": 2.0}, {"exemplars": -1}]
)
def test_bad_settings_are_refused(flags: dict) -> None:
    with pytest.raises(InputError, match="--meta"):
        MetaPromptSettings(**flags)


# --- parsing and normalising ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "output", "found"),
    [
        ("chat", "Sure! <INS> Think. </INS> and <INS>more</INS>", "Think."),
        ("chat", "Think.</INS>", "Think."),  # a missing start tag: from the beginning
        ("chat", "Sure! <INS>Think.", "Think."),  # a missing end tag: to the end
        ("chat", "</INS> <INS>Think.</INS>", "Think."),
        ("chat", "I cannot help with that.", None),
        ("chat", "<INS></INS>", ""),
        ("bracket", "Here: [Think.] or [Go.]", "Think."),
        ("bracket", "[Let's [go]]", "Let's [go]"),
        ("bracket", "[Let's\ngo]", "Let's\ngo"),
        ("bracket", "none", None),
        ("bracket", "[open", None),
        ("bracket", "] [a]", "a"),
        ("completion", "Precision: 99\n<TEXT>Think\nhard</TEXT>\n<TEXT>Go</TEXT>", "Think\nhard"),
        ("completion", "Think.</TEXT>", None),
    ],
)
def test_parse(layout: str, output: str, found: str | None) -> None:
    assert parse(output, layout) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  **let's** think ", "Let's think"),
        ("\u201cLet\u2019s go.\u201d", "Let\u2019s go."),
        ("- go\non", "Go on"),
        ("=SUM(A1)", "SUM(A1)"),
        ("e\u0301tape", "\u00c9tape"),
        ("a\x00b\ud800c\u2028d", "A b c d"),
        ("x", "x"),
        ("", ""),
        ('"a" or "b"', '"a" or "b"'),
        ("\u00dfa", "SSa"),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal


@given(st.text(max_size=120))
@settings(max_examples=300, deadline=None)
def test_normalised_text_is_one_clean_line(text: str) -> None:
    normal = normalise(text)
    assert normalise(normal) == normal == unicodedata.normalize("NFC", normal) == normal.strip()
    assert "\n" not in normal and "**" not in normal
    assert not normal or normal[0] not in "=+-@\t"
    normal.encode("utf-8")


@given(st.text(max_size=300), st.sampled_from(["chat", "bracket", "completion"]))
@settings(max_examples=200, deadline=None)
def test_parse_takes_any_text_and_finds_what_is_marked(text: str, layout: str) -> None:
    parse(text, layout)  # type: ignore[arg-type]
    left, right = {"chat": ("<INS>", "</INS>"), "bracket": "[]", "completion": ("<TEXT>", "</TEXT>")}[layout]
    inner = re.sub(r"[\[\]<>]", "", text)
    assert parse(f"{left}{inner}{right}", layout) == inner.strip()  # type: ignore[arg-type]


def test_huge_and_nested_output_is_quick() -> None:
    for huge in ("[" * 10**6, "<INS>" * 10**6, "a" * 10**7, "[" * 10**6 + "]" * 10**6):
        for layout in ("chat", "bracket", "completion"):
            found = parse(huge, layout)  # type: ignore[arg-type]
            assert found is None or len(found) <= candidates.MAX_OUTPUT


def test_filters_give_their_reason_and_initial_instructions_count_as_seen() -> None:
    accept = CandidateFilter("after", no_digits=True)
    accept.add("Let's solve the problem.")
    judged = [
        accept.verdict(text, finish, closed)
        for text, finish, closed in [
            ("Think.", "stop", True),
            ("Think.", "stop", True),
            ("Let's solve the problem.", "stop", True),
            (None, "stop", True),
            ("", "stop", True),
            ("x" * 501, "stop", True),
            ("Add 2", "stop", True),
            ("Use INS here", "stop", True),
            ("Use <Start> here", "stop", True),
            ("Cut", "length", False),
            ("Whole", "length", True),
            (None, "error", True),
            ("x" * 501, "stop", True),
            ("Die Antwort, bitte \u2014 \u4e00\u6b65\u4e00\u6b65", "stop", True),
        ]
    ]
    assert judged == [
        "accepted",
        "duplicate",
        "duplicate",
        "no instruction found",
        "empty",
        "longer than 500 characters",
        "holds a digit",
        "holds the placeholder",
        "holds the placeholder",
        "cut off by the token limit",
        "accepted",
        "no answer",
        "duplicate",
        "accepted",
    ]
    assert CandidateFilter("after", no_digits=False).verdict("Add 2", "stop") == "accepted"


# --- phrase search ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["chat", "bracket", "completion"])
@pytest.mark.parametrize("buckets", ["100", "raw", "hidden"])
def test_phrase_search_reads_the_meta_prompt_and_answers_in_its_format(layout: str, buckets: str) -> None:
    history = [Scored("", 0.2), Scored("Let's go: now.", 0.75), Scored("Think, then answer.", 0.5)]
    chosen = MetaPromptSettings(layout=layout, buckets=buckets)  # type: ignore[arg-type]
    text = meta_prompt(history, EXEMPLARS, chosen, "after", "sums")
    pairs = read_pairs(text, layout)  # type: ignore[arg-type]
    assert [t for t, _ in pairs] == ["", "Think, then answer.", "Let's go: now."]
    assert [s for _, s in pairs] == (
        [None] * 3 if buckets == "hidden" else [20, 50, 75] if buckets == "100" else [0.2, 0.5, 0.75]
    )
    search = PhraseSearch(layout)  # type: ignore[arg-type]

    def propose(temperature: float, seeds: range) -> list[str]:
        turns = [[{"role": "user", "content": text}] for _ in seeds]
        answers = search.generate(turns, decoding=Decoding(temperature, 1, None), seeds=seeds)
        return [normalise(parse(a.text, layout) or "") for a in answers]  # type: ignore[arg-type]

    accept = CandidateFilter("after", no_digits=True)
    found = propose(1.0, range(40))
    assert found == propose(1.0, range(40)) and len(set(found)) > 20
    assert {accept.verdict(t, "stop") for t in found} <= {"accepted", "duplicate"}
    assert len(set(propose(0.0, range(8)))) == 1, "greedy: the seed changes nothing"


def test_phrases_are_clean() -> None:
    assert len(set(CLAUSES)) == len(CLAUSES) and all(
        normalise(c) == c and not re.search(r"\d", c) for c in CLAUSES
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text,position\nA.,after\nB.,behind\n", ":3: position 'behind', choose system"),
        ("text,prompt_id\nA.,a\nB.,a\n", ":3: prompt_id a names another instruction above"),
        ("text,prompt_id\nA.,a\tb\n", ":2: prompt_id 'a\\tb' may hold letters"),
        ("text,prompt_id\nA,B,c\n", ":2: more cells than columns"),
        ("prompt\nA.\n", ":1: columns ['text'] are missing"),
    ],
)
def test_instruction_files_are_checked(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(said)):
        load_instructions(path, None)


def test_controls_of_an_instruction_do_not_reach_the_terminal() -> None:
    assert on_one_line("a\x1b[2J\nb\u202e") == "a [2J b " and report._code("a\x1b`b") == "`a 'b`"
