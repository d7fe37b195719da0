"""Logs whose prompts are the texts that were sent: the log of the templates comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_logs import made_log

from prompt_oirl.data.user_log import read_log
from prompt_oirl.importers.log_file import read_answers, write_log
from prompt_oirl.importers.own_log import read, templates_of
from prompt_oirl.importers.skeletons import PLACE
from prompt_oirl.io.files import InputError

LOG = made_log(40).drop(columns="kind")
SHOTS = "Q: Ann has 3 pens and gets 2.\nA: 5\n\n"
RENDERINGS: dict[str, Callable[[str, str], str]] = {
    "before": lambda p, q: f"{p} {q}",
    "example": lambda p, q: f"{SHOTS}{p}\nQ: {q}\nA:",
    "twice": lambda p, q: f"{p} Q: {q}\nRead the question again: {q}\nA:",
    "chat": lambda p, q: f"<|im_start|>system\n{p}<|im_end|>\n<|im_start|>user\n{q}<|im_end|>\n",
    "json": lambda p, q: json.dumps([p, q]),
}


def imported(log: pd.DataFrame, folder: Path, verdict: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The log that `import log` makes, and its notes."""
    log.to_json(folder / "sent.jsonl", orient="records", lines=True)
    found = read_answers("log", [folder / "sent.jsonl"], verdict)
    return write_log(folder / "log.parquet", found.rows, append=False).log, found.notes


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", RENDERINGS)
def test_the_log_of_the_templates_comes_back(name: str, known: bool, tmp_path: Path) -> None:
    render = RENDERINGS[name]
    sent = LOG.assign(prompt=[render(p, q) for p, q in zip(LOG.prompt, LOG.question)])
    assert "prompt-oirl import log FILES" in str(read_log(sent).objection)
    log, notes = imported(sent if known else sent.drop(columns="question"), tmp_path)
    assert list(log.prompt) == [render(p, PLACE) for p in LOG.prompt]
    back, own = read_log(tmp_path / "log.parquet"), read_log(LOG)
    assert back.questions == own.questions and back.objection is None
    np.testing.assert_array_equal(back.labels, own.labels)
    assert len(notes) == 1 and "3 " in notes[0]


def test_questions_may_be_the_texts_sent_and_prompts_their_names(tmp_path: Path) -> None:
    names = LOG.prompt.map(dict(zip(LOG.prompt.unique(), "abc")))
    sent = LOG.assign(prompt=names, question=LOG.prompt + "\n" + LOG.question)
    assert "the prompts only names" in str(read_log(sent).objection)
    imported(sent, tmp_path)
    back, own = read_log(tmp_path / "log.parquet"), read_log(LOG)
    assert back.questions == own.questions and back.objection is None
    np.testing.assert_array_equal(back.labels, own.labels)
    assert read_log(LOG.drop_duplicates("question")).objection is None  # a prompt a question, nothing shared


def test_what_stands_between_is_the_questions(tmp_path: Path) -> None:
    """A passage of each question's own: no template without it fits another question."""
    passage = LOG.question.rank(method="dense").astype(int).map("Passage {}.\n".format)
    sent = LOG.assign(prompt=LOG.prompt + "\n" + passage + LOG.question)
    log, _ = imported(sent, tmp_path)
    assert list(log.question) == list(passage.str.removeprefix("Passage ") + LOG.question)
    assert list(log.prompt) == [f"{p}\nPassage {PLACE}" for p in LOG.prompt]


def test_copies_of_a_question_elsewhere_stay_where_they_are() -> None:
    example = "Q: Is 7 prime?\nA: yes\n\nQ: {question}\nA:"
    asked = ["Is 7 prime?", "Is 8 prime?", "Is 9\r\nprime?", "A"]
    texts = [example.replace(PLACE, q.replace("\r\n", "\n")) for q in asked]
    assert templates_of(list(zip(asked, texts))) == [example] * 4
    assert templates_of([("Why?", "Be brief.")]) == ["Be brief."]


def test_columns_verdicts_and_what_is_left_out(tmp_path: Path) -> None:
    sent = LOG.assign(prompt=LOG.prompt + " " + LOG.question, mark=LOG.correct.map({0: "FAIL", 1: "PASS"}))
    log, notes = imported(sent.drop(columns="correct").assign(cost=0.5, llm="tiny"), tmp_path, "mark")
    assert list(log.correct) == list(LOG.correct) and set(log.cost) == {0.5} and set(log.llm) == {"tiny"}
    assert not [note for note in notes if "left out" in note]
    assert "The column mark is left out." in imported(sent, tmp_path)[1]
    assert "The columns mark, day are left out." in imported(sent.assign(day=1), tmp_path)[1]


def test_correct_has_the_name_of_its_column(tmp_path: Path) -> None:
    sent = LOG.assign(prompt=LOG.prompt + " " + LOG.question, mark=LOG.correct)
    sent.to_csv(tmp_path / "sent.csv", index=False)
    sent.drop(columns="correct").to_csv(tmp_path / "ungraded.csv", index=False)
    for name, asked, verdict in (
        ("sent", None, "correct"),
        ("sent", "mark", "mark"),
        ("ungraded", None, None),
    ):
        assert {row.verdict for row in read([tmp_path / f"{name}.csv"], asked).rows} == {verdict}


def test_a_file_that_is_named_in_two_ways_is_read_once(tmp_path: Path) -> None:
    LOG.assign(prompt=LOG.prompt + " " + LOG.question).to_csv(tmp_path / "sent.csv", index=False)
    (tmp_path / "link.csv").symlink_to(tmp_path / "sent.csv")
    once = read([tmp_path / "sent.csv"], None)
    paths = [tmp_path / "sent.csv", tmp_path / ".." / tmp_path.name / "sent.csv", tmp_path / "link.csv"]
    assert read(paths, None) == once


def test_a_question_that_no_prompt_contains_is_told(tmp_path: Path) -> None:
    numbers = LOG.question.rank(method="dense").astype(int).map("number {}".format)
    sent = LOG.assign(prompt=LOG.prompt + " " + LOG.question, question=numbers)
    log, notes = imported(sent, tmp_path)
    assert notes[0] == "No prompt contains its question: the column question was not used, except as group."
    assert list(log.question) == list(LOG.question) and list(log.group) == list(numbers)


def test_a_log_without_rendered_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prompt contains its question: prompt-oirl diagnose reads"):
        imported(LOG, tmp_path)
    with pytest.raises(InputError, match="the column prompt is missing"):
        imported(LOG.rename(columns={"prompt": "text"}), tmp_path)
