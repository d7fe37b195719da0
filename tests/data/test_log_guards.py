"""Logs that mislead though every row is fine: each kind is told in a sentence or refused."""

from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_logs import ODD, made_log

from prompt_oirl import PromptSelector, diagnose, evaluate, read_log
from prompt_oirl.data.log_guards import first_variants, spelling
from prompt_oirl.io.files import InputError

LOG = made_log(40, missing=0).drop(columns="sample")


def notes(frame: pd.DataFrame) -> list[str]:
    return read_log(frame).notes


def refused(frame: pd.DataFrame) -> str:
    """What `fit` says, which is one line, and what the other commands say too."""
    log = read_log(frame)
    said = []
    for learn in (PromptSelector("tfidf").fit, lambda log: diagnose(log, "tfidf")):
        with pytest.raises(InputError) as error:
            learn(log)
        said.append(str(error.value))
    with pytest.raises(InputError) as error:
        evaluate(PromptSelector("tfidf"), log)
    assert {str(error.value), log.objection} == set(said) and "\n" not in said[0]
    assert log.select(np.arange(5)).objection == said[0], "a part of such a log is none the better"
    return said[0]


@pytest.mark.parametrize("template", ["{p} {q}", "Q: {q}\r\nA:", "{p}\n\n{q}  \n"])
def test_rendered_prompts_are_refused(template: str) -> None:
    rendered = [template.format(p=p, q=q) for p, q in zip(LOG.prompt, LOG.question)]
    n = len(set(rendered))
    assert refused(LOG.assign(prompt=rendered)).startswith(
        f"{n} of {n} prompts contain the one question that they were asked: they are rendered"
    )


def test_a_prompt_for_each_question_is_refused() -> None:
    ids = LOG.question.rank(method="dense").astype(int).astype(str)
    each = LOG.assign(prompt="Case " + ids + ": " + LOG.prompt)
    n = each.prompt.nunique()
    assert refused(each).startswith(f"{n} of {n} prompts were asked one question each, which tells nothing")
    some = LOG.assign(prompt=LOG.prompt.where(LOG.index % 9 > 0, "Case " + ids))
    found = read_log(some)
    assert found.objection is None
    assert [note for note in found.notes if "asked one question each: little is known" in note]


@pytest.mark.parametrize("name", [*ODD, "made"])
def test_other_logs_are_not_refused(name: str) -> None:
    assert read_log(ODD.get(name, LOG)).objection is None


def test_a_good_log_has_no_notes() -> None:
    assert notes(LOG) == [] and notes(LOG.assign(answer="7")) == []


def test_an_example_that_is_a_question_of_the_log_is_told() -> None:
    example = "Example: " + LOG.question[0] + " Answer: 7\n"
    assert notes(LOG.assign(prompt=LOG.prompt.replace("Answer:", example))) == [
        "1 of 3 prompts contain a question that they were asked (an example?): such answers say nothing of "
        "other questions."
    ]


def test_variants_of_a_text_are_told_and_merged() -> None:
    turn = [str, lambda t: t + " ", lambda t: t.replace(" ", "\u00a0"), lambda t: t.replace(" ", "\r\n", 1)]
    accented = LOG.assign(question="Café: " + LOG.question)
    varied = accented.assign(
        prompt=[turn[i % 4](p) for i, p in enumerate(accented.prompt)],
        question=[unicodedata.normalize("NFD", q) if i % 2 else q for i, q in enumerate(accented.question)],
    )
    plain, log, merged = read_log(accented), read_log(varied), read_log(varied, normalise=True)
    extra, n = len(log.questions) - len(plain.questions), len(log.prompts) - 3
    assert extra > 20 and n > 3
    sentence = (
        f"{extra} questions and {n} prompts that differ from an earlier one only in white space, line ends "
        "or Unicode form "
    )
    assert log.notes[0] == sentence + "count as different: --normalise takes them as one."
    assert merged.notes == [sentence + "are taken as that one."]
    np.testing.assert_array_equal(merged.labels, plain.labels)
    assert merged.questions == list(dict.fromkeys(first_variants(list(varied.question))))


def test_a_prompt_without_answers_is_told(tmp_path) -> None:
    blank = LOG.assign(answer=["" if p == "Answer:" else "7" for p in LOG.prompt])
    n = (LOG.prompt == "Answer:").sum()
    assert notes(blank) == [f"Most answers are blank of prompt 2 ({n} of {n}): did the calls fail?"]
    few = LOG.assign(answer=["" if p == "Answer:" and i % 3 else "7" for i, p in enumerate(LOG.prompt)])
    few["answer"] = few.answer.where(few.index % 2 > 0, "7")
    assert notes(few) == []
    # A log without answers, joined to a server's that has them.
    served = LOG[:9].assign(answer="7", propensity=0.5)
    served.to_json(tmp_path / "served.jsonl", orient="records", lines=True)
    LOG.to_csv(tmp_path / "own.csv", index=False)
    joined = read_log([tmp_path / "own.csv", tmp_path / "served.jsonl"])
    assert joined.has_answers and not [note for note in joined.notes if "blank" in note]


def test_copied_verdicts_are_told() -> None:
    wide = LOG.pivot_table(index="question", columns="prompt", values="correct", aggfunc="first", sort=False)
    wide["Draw a picture first."] = wide["Answer:"]
    copied = wide.reset_index().melt("question", var_name="prompt", value_name="correct")
    n = len(wide)
    said = [
        f"Equal verdicts on all questions that both were asked, as if copied: prompt 2 and prompt 3 ({n})."
    ]
    assert notes(copied) == said
    copied.loc[copied.index[-1], "correct"] = 1 - copied.correct.iloc[-1]
    assert notes(copied) == []
    assert notes(LOG.assign(correct=1)) == [], "prompts that are always right are equal by themselves"
    assert notes(LOG[LOG.question.isin(LOG.question.unique()[:12])].assign(correct=LOG.cost == 1)) == []


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_spelling_knows_no_white_space_and_no_unicode_form(text: str) -> None:
    assert spelling(spelling(text)) == spelling(text) == spelling(f"\r\n{text}\u00a0")
    assert spelling(unicodedata.normalize("NFD", text)) == spelling(text)
