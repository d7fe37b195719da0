"""Model cards: users' texts stand in them as they are, whatever they hold."""

from __future__ import annotations

import html
import re
import string
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_logs import made_log
from markdown_it import MarkdownIt

from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.model_cards import escaped, write_card
from prompt_oirl.selection.selector import PromptSelector

HOSTILE = (
    "---\nlicense: mit\n---\n# *Bold* <script>alert(1)</script> | [a](http://b.c) ![x](y) `code` $x$ &amp; "
    "www.a.b"
)


def rendered(text: str) -> str:
    return MarkdownIt("gfm-like", {"linkify": False}).render(text)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
@example(HOSTILE)
@example("1. a")
@example("    code")
@example("~~~")
@settings(max_examples=200, deadline=None)
def test_any_text_is_shown_as_it_is(text: str) -> None:
    cell = escaped(text)
    found = re.search(r"<td>(.*?)</td>", rendered(f"| a |\n|---|\n| {cell} |\n"))
    row = found[1] if found else ""
    plain = "".join(c if c.isprintable() else " " for c in text.strip())
    assert html.unescape(row) == plain.strip()
    assert "<" not in row and "\n" not in cell and "|" not in cell


def test_front_matter_is_what_was_given(tmp_path: Path) -> None:
    odd = f"a: b\n---\n# {string.punctuation}\u2028'"
    front = {"tags": ["a", odd], "base_model": odd, "license": None}
    text = write_card(tmp_path, front, "Title", ["one", "", "two"]).read_text(encoding="utf-8")
    read = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert read == {"tags": ["a", odd], "base_model": odd}
    assert text.endswith("# Title\n\none\n\ntwo\n")


def card_of(folder: Path) -> ModelCard:
    return ModelCard((folder / "README.md").read_text(encoding="utf-8"))


def test_a_selector_says_what_it_is(tmp_path: Path) -> None:
    log = made_log(160)
    log["prompt"] = log["prompt"].replace({"Answer:": HOSTILE})
    selector = PromptSelector("tfidf").fit(log)
    card = card_of(selector.save(tmp_path))
    assert card.data.tags == ["prompt-oirl", "prompt-selection"] and card.data.library_name == "prompt-oirl"
    assert card.data.license is None
    page = rendered(card.text)
    assert "<script>" not in page and "<img" not in page and "<a " not in page and page.count("<h1>") == 1
    assert html.unescape(page).count("<script>alert(1)</script> | [a](http://b.c)") == 1
    assert "<strong>Worth it.</strong> Choosing per question gains +" in html.unescape(page)
    read = read_log(log)
    assert (
        f"| questions | {len(read):,} |" in card.text and f"| answers | {len(read.correct):,} |" in card.text
    )
    again = PromptSelector.load(tmp_path)
    assert again.fitted_on_ == selector.fitted_on_
    again.save(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_bytes() == (tmp_path / "README.md").read_bytes()


def test_no_gain_is_said_aloud(tmp_path: Path) -> None:
    flat = PromptSelector("tfidf").fit(made_log(160, depends=False)).save(tmp_path / "flat")
    assert "**No gain is shown (" in card_of(flat).text
    with pytest.warns(UserWarning, match="best overall"):
        small = PromptSelector("tfidf").fit(made_log(12)).save(tmp_path / "small")
    found = card_of(small).text
    assert "**No gain is shown (not enough data).** The log has" in found
    assert "Every question gets the prompt that is best overall." in found
    other = PromptSelector("tfidf", "knn").fit(made_log(60)).save(tmp_path / "other")
    assert "**Not known.**" in card_of(other).text


def test_a_card_is_not_trusted_and_breaks_nothing(tmp_path: Path) -> None:
    selector = PromptSelector("tfidf", "linear").fit(made_log(40))
    selector.save(tmp_path)
    (tmp_path / "README.md").write_bytes(b"\xff\x00 altered")
    assert PromptSelector.load(tmp_path).fitted_on_ == selector.fitted_on_
