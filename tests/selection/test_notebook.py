"""Results in a notebook: tidy tables, a few plain lines, and markup that no text of a log can break."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from made_logs import ODD, PROMPTS, made_log

from prompt_oirl import Diagnosis, Evaluation, PromptSelector, VoteResult, diagnose, evaluate, read_log, vote
from prompt_oirl.selection.notebook_cell import ROWS_SHOWN, as_html
from prompt_oirl.selection.voting import evaluate_votes, learn_rewards

HOSTILE = '<script>alert("1")</script> & \u202e $\\href{javascript:1}{x}$\n\x1b[31m'
ALLOWED = {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}


class Page(HTMLParser):
    """Tags of a page, its text, and the cells of its table by rows."""

    def __init__(self, markup: str):
        super().__init__()
        self.tags: set[str] = set()
        self.text, self.rows, self.classes = "", [[]], ""
        self.feed(markup)
        self.rows = [row for row in self.rows if row]

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)
        self.classes += " ".join(value for name, value in attrs if name == "class")
        assert all(name == "class" for name, _ in attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A log whose prompts, names and answers are hostile."""
    names = {text: f"{HOSTILE}{j}" for j, text in enumerate(PROMPTS)}
    return made_log().assign(
        prompt_id=lambda d: d.prompt.map(names),
        prompt=lambda d: HOSTILE + d.prompt,
        answer=lambda d: np.where(d.correct == 1, "7", "8"),
    )


@pytest.fixture(scope="module")
def results(frame: pd.DataFrame) -> dict[str, Diagnosis | Evaluation | VoteResult]:
    selector = PromptSelector("tfidf")
    return {
        "diagnosis": diagnose(frame, "tfidf"),
        "evaluation": evaluate(selector, frame),
        "votes": vote(selector, frame),
    }


@pytest.mark.parametrize("name", ["diagnosis", "evaluation", "votes"])
def test_markup_holds_and_lines_are_few(results: dict, name: str) -> None:
    found = results[name]
    lines = repr(found).splitlines()
    assert 1 <= len(lines) <= 3 and all(line.isprintable() for line in lines) and "points" in lines[0]
    page = Page(found._repr_html_())
    assert page.tags == ALLOWED and page.text.isprintable()
    assert all(line in page.text for line in lines)
    assert "mathjax_ignore" in page.classes and "tex2jax_ignore" in page.classes
    assert len({len(row) for row in page.rows}) == 1 and 5 < len(page.rows) <= ROWS_SHOWN + 1


def test_the_table_of_an_evaluation(results: dict) -> None:
    found = results["evaluation"]
    table = found.to_frame().set_index("policy")
    assert tuple(table.loc["selector", ["gain", "gain_low", "gain_high"]]) == found.gain
    assert f"always {HOSTILE}0" in table.index and len(table) == len(found.policies)
    value, low, high = (100 * number for number in found.gain)
    said = f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"
    assert repr(found).startswith(f"Choosing per question brings {said} over the best single prompt.\n")
    assert f"selector {table.success['selector']:.3f} [" in repr(found)
    rows = {row[0]: row for row in Page(found._repr_html_()).rows}
    assert rows["policy"] == ["policy", "success", "gain, points"]
    assert rows["selector"][2] == f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
    assert any(name.startswith("always <script>") for name in rows)


def test_the_table_of_a_diagnosis(results: dict) -> None:
    found = results["diagnosis"]
    table = found.to_frame().set_index("measure")
    assert list(table.columns) == ["value", "low", "high"] and table.index.is_unique
    assert tuple(table.loc["gain over the best prompt"]) == found.gain.estimate
    assert table.value["rows"] == found.facts.rows and table.value["coverage"] == found.facts.coverage
    assert table.value[f"success of {HOSTILE}0"] == found.facts.success[f"{HOSTILE}0"]
    shares = table.filter(like="variance, share of", axis=0)
    assert len(shares) == 4 and shares.high.max() <= 1
    assert repr(found).startswith(f"{found.verdict.upper()}: ") and found.buy in repr(found)


@pytest.mark.parametrize("name", ODD)
def test_a_diagnosis_of_an_odd_log_is_shown(name: str) -> None:
    found = diagnose(ODD[name], "tfidf")
    assert found.reason in repr(found) and "nan" not in repr(found)
    table = found.to_frame().set_index("measure").value
    assert table["questions"] == ODD[name].question.nunique() and table.index.is_unique
    assert ("gain over the best prompt" in table) == (found.gain is not None)
    assert "nan" not in found._repr_html_()


def test_the_table_of_votes(results: dict, frame: pd.DataFrame) -> None:
    found, log = results["votes"], read_log(frame)
    selector = PromptSelector("tfidf")
    assert found == evaluate_votes(log, learn_rewards(selector, log)) and not hasattr(selector, "model_")
    table = found.to_frame()
    assert table.to_dict("records") == found.rows
    rows = Page(found._repr_html_()).rows
    assert rows[0] == ["way", "success, 1 call at most", "success, 2 calls at most"]
    one = table[table.budget == 1].set_index("way").success
    assert [row[0] for row in rows[1:]] == list(one.index)
    assert [float(row[1]) for row in rows[1:]] == pytest.approx(list(one), rel=1e-3)
    blank = vote(selector, frame.assign(answer=lambda d: d.answer.where(d.correct == 0, "")))
    assert f"; {blank.blank:,} are blank" in repr(blank) and blank.blank > 0


def test_long_tables_and_texts_are_cut() -> None:
    table = pd.DataFrame({"a_b": ["x" * 500] * 50, "n": [None, 12345, 0.123456, *range(47)]}, dtype=object)
    page = Page(as_html(["said"], table))
    assert len(page.rows) == ROWS_SHOWN + 1 and "30 more rows in to_frame()" in page.text
    assert page.rows[0] == ["a b", "n"] and len(page.rows[1][0]) == 60
    assert [row[1] for row in page.rows[1:4]] == ["", "12345", "0.1235"]
