"""The column position of a log, and what a selector keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_logs import PROMPTS, made_log

from prompt_oirl import PromptSelector, read_log
from prompt_oirl.io.files import InputError, content_key


def test_positions_reach_the_saved_selector(tmp_path: Path) -> None:
    places = dict(zip(PROMPTS, ("system", "after", None)))
    log = made_log().assign(position=lambda d: d.prompt.map(places))
    selector = PromptSelector("tfidf").fit(log)
    by_prompt = dict(zip(selector.prompts_, selector.positions_))
    assert by_prompt == places
    loaded = PromptSelector.load(selector.save(tmp_path / "s"))
    assert loaded.positions_ == selector.positions_


def test_a_part_of_a_log_keeps_them() -> None:
    log = read_log(made_log().assign(position="before"))
    assert log.positions == ["before"] * 3
    assert log[:10].positions == ["before"] * 3
    assert read_log(made_log()).positions is None


def test_two_positions_of_one_prompt_count_as_unknown() -> None:
    table = made_log().assign(position="system")
    table.loc[table.index[table.prompt == PROMPTS[0]][:3], "position"] = "after"
    log = read_log(table)
    assert dict(zip(log.prompts, log.positions or []))[PROMPTS[0]] is None
    assert "1 prompts stood at several positions" in " ".join(log.notes)


@pytest.mark.parametrize("column", [range(len(made_log())), "template", "", None])
def test_a_column_that_means_something_else_is_left_alone(column: object) -> None:
    assert read_log(made_log().assign(position=column)).positions is None


def test_old_selectors_load_and_odd_positions_are_refused(tmp_path: Path) -> None:
    folder = PromptSelector("tfidf").fit(made_log()).save(tmp_path / "s")

    def change(position: object) -> None:
        header = json.loads((folder / "selector.json").read_text())
        header.pop("check")
        for prompt in header["prompts"]:
            prompt.pop("position", None)
            prompt |= {} if position is None else {"position": position}
        (folder / "selector.json").write_text(json.dumps(header | {"check": content_key(header)}))

    change(None)
    assert PromptSelector.load(folder).positions_ == [None] * 3
    change("sideways")
    with pytest.raises(InputError, match="damaged"):
        PromptSelector.load(folder)
