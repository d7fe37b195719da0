"""Variance split and oracle: what some cells asked twice tell, and what they do not tell about the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import read_log
from prompt_oirl.reports.own_log import variance_note, variance_shares
from prompt_oirl.selection.diagnosis import Diagnosis, report_lines
from prompt_oirl.selection.log_facts import data_facts
from prompt_oirl.selection.variance import VarianceSplit, oracle, oracle_where_repeated, variance_split


def drawn_log(n: int, twice: np.ndarray, seed: int = 0, copies: bool = False) -> PromptLog:
    """n questions x 3 prompts; questions of odd number are much harder; `twice` (n,) are asked two times."""
    rng = np.random.default_rng(seed)
    p = np.clip(0.75 - 0.5 * (np.arange(n) % 2)[:, None] + rng.normal(0, 0.15, (n, 3)), 0.02, 0.98)
    rows = []
    for i, j in np.ndindex(n, 3):
        answers = (rng.random(2) < p[i, j]).astype(int)
        answers[1] = answers[0] if copies else answers[1]
        rows += [(f"question {i}", f"p{j}", int(a)) for a in answers[: 2 if twice[i] else 1]]
    log = read_log(pd.DataFrame(rows, columns=["question", "prompt", "correct"]))
    return replace(log, known_groups=np.arange(n))


def split_of(log: PromptLog) -> VarianceSplit:
    split = variance_split(log.question, log.prompt, log.correct.astype(float), log.labels.shape)
    assert split is not None
    return split


def said(log: PromptLog) -> str:
    raw, without = oracle(log)
    return "\n".join(report_lines(Diagnosis(data_facts(log), split_of(log), raw, without, None)))


def noise_within(log: PromptLog) -> float:
    """Mean unbiased variance within the cells asked twice, by a plain loop."""
    cells: dict[tuple[int, int], list[float]] = {}
    for q, p, c in zip(log.question, log.prompt, log.correct.tolist()):
        cells.setdefault((q, p), []).append(c)
    return float(np.mean([np.var(v, ddof=1) for v in cells.values() if len(v) > 1]))


def test_special_questions_asked_twice_speak_for_themselves_alone() -> None:
    """Only the easy half of the questions is repeated."""
    twice = np.arange(400) % 2 == 0
    log = drawn_log(400, twice)
    split = split_of(log)
    assert split.repeated and (split.asked_twice, split.asked) == (600, 1200) and not split.typical
    assert split.noise[1] == pytest.approx(noise_within(log), rel=1e-9) and split.noise[1] > 0.1
    easy = split_of(log.select(np.flatnonzero(twice)))
    for name in ("prompt", "difficulty", "interaction", "noise"):
        assert getattr(split, name) == pytest.approx(getattr(easy, name))
    text = said(log)
    assert "This rests on the 600 cells asked more than once, of 1,200. It speaks for them alone: 7" in text
    assert "600 cells" in variance_note(split)
    raw, without = oracle(log)
    n, raw_there, without_there = oracle_where_repeated(log)
    assert n == 200 and without == without_there < raw_there
    assert f"Any prompt right: {raw:.3f}, luck included.\n" in text
    assert (
        f"On the 200 questions that every prompt was asked twice: {raw_there:.3f}, luck included; "
        f"{without:.3f} without luck." in text
    )


def test_questions_drawn_at_random_to_be_asked_twice_are_typical() -> None:
    alike = [
        split_of(drawn_log(300, np.random.default_rng(s).random(300) < 0.4, s)).typical for s in range(40)
    ]
    assert sum(alike) >= 34  # 95 % of 40 is 38
    everything = split_of(drawn_log(300, np.ones(300, bool)))
    assert everything.typical and everything.basis() == "" and np.isnan(everything.success[1])


def test_identical_repeats_are_a_fact_about_the_llm() -> None:
    split = split_of(drawn_log(200, np.ones(200, bool), copies=True))
    assert split.noise == (0, 0, 0) and split.disagreeing == 0
    assert split.basis() == "The repeats were identical: that is a fact about the LLM's settings."
    assert "identical" in said(drawn_log(200, np.ones(200, bool), copies=True))
    shares = dict(variance_shares(split))
    assert shares["luck of sampling"] == 0


@pytest.mark.parametrize(
    ("asked_twice", "copies", "reason"),
    [
        (0, False, "with one answer per cell they"),
        (20, False, "with only 60 of 600 cells asked more than once they"),
        (20, True, "with only 60 of 600 cells asked more than once, and identical answers there, they"),
    ],
)
def test_few_repeats_tell_nothing_about_the_rest(asked_twice: int, copies: bool, reason: str) -> None:
    log = drawn_log(200, np.arange(200) < asked_twice, copies=copies)
    split = split_of(log)
    assert not split.repeated and np.isnan(split.noise[1]) and np.isnan(oracle(log)[1])
    text = said(log)
    assert reason in text and "without luck" not in text
    assert reason.removesuffix(" they")[1:] in variance_note(split)


def test_repeats_of_one_prompt_give_bounds() -> None:
    rows = [(f"question {i}", p, i % 2) for i in range(100) for p in "aab"]
    log = read_log(pd.DataFrame(rows, columns=["question", "prompt", "correct"]))
    assert not split_of(log).repeated


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), samples=st.integers(2, 4))
def test_luck_never_hurts_and_noise_is_what_the_repeats_say(seed: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        (f"question {i}", f"p{j}", int(rng.random() < 0.5))
        for i in range(40)
        for j in range(3)
        for _ in range(1 + rng.integers(0, samples))
    ]
    rows += [(f"question {i}", f"p{j}", 1) for i in range(35) for j in range(3) for _ in range(2)]
    log = replace(
        read_log(pd.DataFrame(rows, columns=["question", "prompt", "correct"])), known_groups=np.arange(40)
    )
    n, raw, without = oracle_where_repeated(log)
    assert n >= 35 and without <= raw + 1e-12
    split = split_of(log)
    counts = np.bincount(log.prompt[np.unique(log.question * 3 + log.prompt, return_index=True)[1]])
    assert split.repeated and split.noise[1] >= 0 and counts.sum() == split.asked
    if split.asked_twice == 120:
        assert split.noise[1] == pytest.approx(noise_within(log), abs=1e-9)
