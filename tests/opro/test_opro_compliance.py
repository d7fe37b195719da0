"""Gains in right answers beside gains in readable ones, and the reading of a question that instructions
share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opro_toy import toy_task

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.grading import settles
from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.llms import Decoding, shared_prefix
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.transformers_llm import TransformersLLM
from prompt_oirl.opro.format_compliance import compliance_rows
from prompt_oirl.opro.scorers import LLMScorer
from prompt_oirl.opro.shared_log import SharedLog, Spending

ROW = LogRow("m", "toy", "test", "q", "Is it?", "yes", "p", "Go.", 0.0)


def answers(prompt: str, *texts: str) -> list[LogRow]:
    """Of questions q0, q1, ..., all of which have the right answer yes."""
    return [
        replace(ROW, question_id=f"q{i}", prompt_id=prompt, answer=text, correct=float(text == "yes"))
        for i, text in enumerate(texts)
    ]


def test_a_gain_in_form_is_told_from_one_in_answers() -> None:
    """The winner makes two more answers readable; where both were readable nothing is gained."""
    log = answers("initial", "yes", "no", "hm", "hm") + answers("winner", "yes", "no", "yes", "no")
    groups = {f"q{i}": i for i in range(4)}
    rows = list(compliance_rows([*log, *answers("other", "yes")], "initial", "winner", "bool", groups))
    value = {(row["measure"], row["what"]): row["value"] for row in rows}
    assert [value["right", what] for what in ("initial", "winner", "gain")] == [0.25, 0.5, 0.25]
    assert [value["readable", what] for what in ("initial", "winner", "gain")] == [0.5, 1.0, 0.5]
    both = "right where both are readable"
    assert [value[both, what] for what in ("initial", "winner", "gain")] == [0.5, 0.5, 0.0]
    assert {row["n"] for row in rows if row["measure"] == both} == {2}
    always_yes = answers("winner", "yes", "yes", "yes", "yes")
    for row, gold in zip(always_yes, ("yes", "no", "no", "no")):
        log.append(replace(row, prompt_id="constant", gold=gold, correct=float(gold == "yes")))
    split = compliance_rows(log, "constant", "constant", "bool", groups)
    value = {row["measure"]: (row["value"], row["n"]) for row in split if row["what"] == "initial"}
    assert value["right where it is yes"] == (1.0, 1) and value["right where it is no"] == (0.0, 3)
    assert {row["groups"] for row in rows} == {4} and {row["most_common"] for row in rows} == {1.0}
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in rows)


def test_no_answer_is_readable_under_both() -> None:
    log = answers("initial", "hm") + answers("winner", "yes")
    rows = list(compliance_rows(log, "initial", "winner", "bool", {"q0": 0}))
    both = [row for row in rows if row["measure"] == "right where both are readable"]
    assert [row["value"] for row in both] == [None] * 3 and both[0]["n"] == 0


@pytest.mark.parametrize(
    ("kind", "question", "readable", "not_readable"),
    [
        ("number", "", "It is 8.", "Who knows?"),
        ("choice", "Which?\n(A) red\n(B) blue", "The answer is (B).", "I like both."),
        ("bool", "", "No.", "Hard to say"),
        ("text", "", "anything", " \n"),
    ],
)
def test_what_settles_on_a_value(kind: str, question: str, readable: str, not_readable: str) -> None:
    gold = {"number": "7", "choice": "(A)", "bool": "yes", "text": "red"}[kind]
    assert settles(readable, gold, kind, question) and not settles(not_readable, gold, kind, question)


@pytest.mark.parametrize("position", ["after", "before"])
def test_what_instructions_share_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, position: Any
) -> None:
    """Behind the question the question, before it the instruction; the answers are those of one at a time."""
    reads: list[int] = []
    whole = shared_prefix.read_starts

    def watched(model: Any, ids: Any, mask: Any, cache: Any) -> None:
        reads.append(len({tuple(row[m > 0].tolist()) for row, m in zip(ids, mask)}))
        whole(model, ids, mask, cache)

    monkeypatch.setattr(shared_prefix, "read_starts", watched)
    llm = TransformersLLM(str(REPO_ROOT / "data" / "nano_llama"))
    told = "Find out what is asked, write down each step, check the result, then say it."
    prompts = [Prompt(f"p{i}", f"{told if position == 'before' else ''} {w}", position) for i, w in
               enumerate(("Go.", "Add.", "Think.", "Count."))]  # fmt: skip
    asked = toy_task().questions[27:36:3]
    how = Decoding(0.0, 1.0, 8), "strict"

    def texts(folder: str) -> dict[tuple[str, str], str | None]:
        log = SharedLog(LogFiles(tmp_path / folder, "toy"), "run")
        scorer = LLMScorer(lambda: llm, "toy", toy_task(), *how, log, Budget(), Spending(None))
        scorer.score(prompts, asked, 0, "train")
        return {(row.question_id, row.prompt_id): row.answer for row in log.rows()}

    together = texts("together")
    assert reads and max(reads) < len(prompts) * len(asked), "nothing was shared"
    assert position == "before" or reads == [len(asked)]
    llm.batch_size = 1
    assert texts("alone") == together and len(together) == 12
