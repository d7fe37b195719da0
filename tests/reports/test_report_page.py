"""The report page: hostile text stays text, and a reader can use it (in a real browser, `slow`)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.reports.html import Report, page, write_page
from prompt_oirl.reports.page_text import LONGEST, one_line, shown
from prompt_oirl.reports.svg import Line, _ticks, interval_rows, line_chart, tick_labels
from prompt_oirl.selection.evaluation_tables import Evaluation, evaluation_of

HOSTILE = [
    "</script><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]><svg/onload=alert(1)>",
    "' onmouseover='alert(1)' x='",
    '" autofocus onfocus="alert(1)',
    "javascript:alert(1)",
    "$title ${data} $$ {{x}} `${alert(1)}`",
    "&lt;script&gt; &#60;b&#62; &amp;",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200f\ufeff",
    "\x00\x01\x07\x1b[31mred\x1b[0m\x7f\x85",
    "line\u2028separator\u2029\r\n\ttab",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 mixed 123",
    "e" + "\u0301" * 500,
    "W" * 100_000,
    "word " * 20_000,
    "https://example.com/x.png <a href=https://example.com>x</a> <iframe src=//example.com></iframe>",
    "=1+1",
    "constructor",
    "__proto__",
]


def evaluation(
    questions: list[str], prompts: list[str], seed: int = 0, ids: list[str] | None = None
) -> Evaluation:
    """An evaluation of made-up scores; a third of the cells is missing."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "question": q,
            "prompt": p,
            "correct": float(rng.random() < 0.5),
            "cost": rng.random(),
            "prompt_id": (ids or prompts)[j],
        }
        for q in questions
        for j, p in enumerate(prompts)
        if j == 0 or rng.random() < 0.6
    ]
    log = read_log(pd.DataFrame(rows))
    log = replace(log, known_groups=np.arange(len(log.questions)))  # thousands of texts are not compared here
    scores = rng.random(log.labels.shape).astype(np.float32)
    best = np.full(len(scores), log.prompt_success.argmax())
    return evaluation_of(log, log.groups, scores[None], scores.argmax(1)[None], best[None])


def report(evaluated: Evaluation, text: str = "plain") -> Report:
    votes = [{"policy": text, "calls": m, "success": 0.5, "low": 0.4, "high": 0.6} for m in (1, 2, 3)]
    learning = [{"questions": n, "gain": 0.0, "low": -0.01, "high": 0.01} for n in (10, 20)]
    return Report(
        text,
        text,
        "open",
        [text],
        evaluated,
        [text],
        [(text, 0.4), ("rest", 0.6)],
        text,
        learning,
        votes,
        text,
    )


class Reader(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(text)
    return reader.elements


def embedded(text: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]


def check_safe(text: str) -> None:
    found = elements(text)
    assert [tag for tag, _ in found].count("script") == 2 and not {
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
    } & {t for t, _ in found}
    for tag, attributes in found:
        for name, value in attributes.items():
            assert not name.startswith("on") and name not in ("style", "srcdoc"), (tag, name)
            assert name not in ("src", "href") or value in ("#questions", "data:,"), (tag, value)
    text.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    evaluated = evaluation(
        [*HOSTILE, "a", "b"], ["p" + text, "q " + text, "x"], ids=[text + "1", text + "2", "x"]
    )
    made = page(report(evaluated, text))
    check_safe(made)
    data = embedded(made)
    assert [row[0] for row in data["questions"]] == [shown(q) for q in evaluated.log.questions]
    assert made.count("<script") == 2 and len(made) < 3_000_000


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=50), st.text(min_size=1, max_size=50).filter(str.strip))
def test_any_text_stays_text(text: str, question: str) -> None:
    question = question.encode("utf-8", "replace").decode()
    evaluated = evaluation([question, "other"], ["p", "q"])
    evaluated.log.questions[0] = text  # also what read_log would have refused
    made = page(report(evaluated, text))
    check_safe(made)
    assert embedded(made)["questions"][0][0] == shown(text)


def test_long_texts_are_cut_and_say_so() -> None:
    assert shown("x" * (LONGEST + 5)) == "x" * LONGEST + " … (5 more characters)"
    assert shown("a\x00b\x1b\u202ec\ud800") == "a\u2400b\u241b⟨U+202E⟩c⟨U+D800⟩"
    assert shown("e" + "\u0301" * 500) == "e" + "\u0301" * 4
    assert shown("tab\there\nand there") == "tab\there\nand there"


def test_labels_of_wide_letters_are_shorter() -> None:
    assert one_line("x" * 46) == "x" * 46 and one_line("x" * 47) == "x" * 45 + "…"
    assert one_line("\u6f22" * 40) == "\u6f22" * 22 + "…" and one_line("two\n  lines") == "two lines"
    assert (
        one_line("x" * 40 + "\u202e") == "x" * 40 + "⟨U+2…"
    )  # nothing is hidden by being cut before it is escaped


def test_the_verdict_comes_first_and_numbers_are_the_evaluations() -> None:
    evaluated = evaluation([f"question {i}" for i in range(40)], ["p", "q", "r"])
    made = page(report(evaluated, "Not shown"))
    assert (
        made.index('class="verdict open"')
        < made.index("What each choice is worth")
        < made.index('id="questions"')
    )
    row = next(r for r in evaluated.policies if r["policy"] == "selector")
    assert f"{100 * row['gain']:+.1f} [{100 * row['gain_low']:+.1f}, {100 * row['gain_high']:+.1f}]" in made
    data = embedded(made)
    for i, (text, pick, best, scores, right, counts) in enumerate(data["questions"]):
        assert text == f"question {i}" and (pick, best) == (evaluated.picks[0, i], evaluated.best[0, i])
        np.testing.assert_allclose(scores, evaluated.probabilities[i], atol=6e-4)
        assert [c > 0 for c in counts] == [r is not None for r in right]


def test_the_same_run_is_the_same_page() -> None:
    evaluated = evaluation(["a", "b"], ["p", "q"])
    assert page(report(evaluated)) == page(report(evaluated))


def test_charts_stay_inside_their_frame() -> None:
    for values in ([0.5], [0.5, 0.5], [0.0, 1.0], [-0.3, 0.2], [1e-9, 2e-9]):
        charts = [
            line_chart("t", [Line("a", [(i, v, v - 0.1, v + 0.1) for i, v in enumerate(values)])], "x", "y"),
            interval_rows("t", [("a", v, float("nan"), float("nan")) for v in values], points=True),
        ]
        for chart in charts:
            width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', chart).groups())  # type: ignore[union-attr]
            for axis, limit in (("x|cx|x1|x2", width), ("y|cy|y1|y2", height)):
                assert all(0 <= float(v) <= limit for v in re.findall(rf' (?:{axis})="([^"]+)"', chart)), (
                    chart
                )


@settings(max_examples=100, deadline=None)
@given(low=st.floats(-1e4, 1e4), width=st.floats(1e-6, 1e5), signed=st.booleans(), percent=st.booleans())
def test_ticks_of_an_axis_can_be_told_apart(low: float, width: float, signed: bool, percent: bool) -> None:
    ticks = _ticks(low, low + width)
    labels = tick_labels(ticks, percent=percent, signed=signed)
    assert 2 <= len(ticks) <= 12 and len(set(labels)) == len(ticks)
    assert not any(re.fullmatch(r"[-+]0(\.0*)?", label) for label in labels)
    gap = ticks[1] - ticks[0]
    for tick, label in zip(ticks, labels):
        assert float(label.replace(",", "")) / (100 if percent else 1) == pytest.approx(tick, abs=0.02 * gap)


def test_ticks_have_as_few_decimals_as_they_need() -> None:
    assert tick_labels([0, 0.0005, 0.001], percent=True) == ["0.00", "0.05", "0.10"]
    assert tick_labels([-0.1, -0.0, 0.1], percent=True, signed=True) == ["-10", "0", "+10"]
    assert tick_labels([1000, 2000], percent=False) == ["1,000", "2,000"]


@pytest.mark.parametrize(
    "values", [[0.0, 1e-17], [0.001, 0.0012], [0.5, 0.5], [-0.0, 0.0], [1.11e-16, -1.11e-16], [0.1, 0.9]]
)
def test_no_axis_says_the_same_twice(values: list[float]) -> None:
    lines = [Line("a", [(1 + i / 8, v, v - 1e-4, v + 1e-4) for i, v in enumerate(values)])]
    chart = line_chart("t", lines, "calls", "y")
    rows = interval_rows("t", [("a", v, v, v) for v in values], points=True)
    ends = re.findall(r'class="tick"[^>]*text-anchor="end">([^<]*)<', chart)
    bottom = re.findall(r'class="tick"[^>]*text-anchor="middle">([^<]*)<', chart)
    for labels in (ends, bottom, re.findall(r'class="tick"[^>]*>([^<]*)<', rows)):
        assert len(labels) >= 2 and len(set(labels)) == len(labels)
        assert not any(label.startswith("-0 ") or label == "-0" for label in labels)


def in_browser(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/check_report.py", str(path)], cwd=REPO_ROOT, capture_output=True, text=True
    )
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.slow
def test_a_reader_can_use_a_hostile_page(tmp_path: Path) -> None:
    evaluated = evaluation(
        [*HOSTILE, *(f"question {i}" for i in range(40))], [h + str(i) for i, h in enumerate(HOSTILE)]
    )
    write_page(tmp_path / "page.html", report(evaluated, HOSTILE[0]))
    in_browser(tmp_path / "page.html")


@pytest.mark.slow
def test_a_reader_can_use_a_page_of_20_000_questions(tmp_path: Path) -> None:
    evaluated = evaluation([f"question {i} of many, {'word ' * 20}" for i in range(20_000)], ["p", "q", "r"])
    write_page(tmp_path / "page.html", report(evaluated))
    in_browser(tmp_path / "page.html")
