"""Votes on a user's own log: figures agree with the table of success, every call counts, the buy holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_logs import PROMPTS, made_log

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.reward_models.study import widened
from prompt_oirl.selection.evaluate import evaluate
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.simulation import simulate
from prompt_oirl.selection.vote_result import VoteResult
from prompt_oirl.selection.voting import WAYS, _of_way, best_buy, evaluate_votes, learn_rewards
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.voting.evaluate import Curve

REAL_LOGS = sorted((REPO_ROOT.parent / "shared" / "logs").glob("*.csv.gz"))
KEYS = ("success", "success_low", "success_high")
QUICK = PromptSelector("tfidf", "linear")


def with_answers(seed: int, blank: float = 0.4, samples: int = 1, drop: float = 0.0) -> pd.DataFrame:
    """A log with answers that agree or not, some blank; of blank ones some are graded right nevertheless."""
    rng = np.random.default_rng(seed)
    log = made_log(40, missing=0.0, seed=seed, samples=samples)
    wrong = rng.integers(8, 11, len(log))
    answer = pd.Series(np.where(log.correct == 1, "7", wrong.astype(str)), dtype=object)
    answer[rng.random(len(log)) < blank] = rng.choice(["", " ", "no idea"])
    log["correct"] = np.where(answer.isin(["", " "]) & (rng.random(len(log)) < 0.2), 1, log.correct)
    return log.assign(answer=answer)[rng.random(len(log)) >= drop]


def row(found: VoteResult, way: str, budget: int) -> dict[str, Any]:
    return next(r for r in found.rows if r["way"] == WAYS[way] and r["budget"] == budget)


def check_one_call(found: VoteResult, log: PromptLog, selector: PromptSelector, seed: int = 0) -> None:
    """One call of the best prompt is the row of `evaluate`, to the last digit."""
    table = evaluate(selector, log, seed=seed).policies[0]
    assert table["policy"] == "best prompt"
    for way in ("best", "decided", "any_right"):
        voted = row(found, way, 1)
        assert [voted[key] for key in KEYS] == [table[key] for key in KEYS]
        assert (voted["calls"], voted["gain"], voted["n"]) == (1, 0, table["n"])


@given(st.integers(0, 10_000), st.sampled_from([1, 3]), st.sampled_from([0.0, 0.4, 0.95]))
@settings(max_examples=8, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_call_of_the_best_prompt_is_the_success_table(seed: int, samples: int, blank: float) -> None:
    log = read_log(with_answers(seed, blank, samples))
    found = evaluate_votes(log, parser="number", seed=seed % 3)
    check_one_call(found, log, QUICK, seed % 3)
    for way in ("random", "best"):  # a blank answer is a call like any other
        assert [row(found, way, k)["calls"] for k in (1, 2, 3)] == [1, 2, 3]
    assert all(row(found, "decided", k)["success"] == row(found, "best", k)["success"] for k in (1, 2, 3))
    assert found.blank == sum(text is None for text in log.answer)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_call_is_the_table_where_cells_are_missing_and_where_rewards_choose(samples: int) -> None:
    log = read_log(with_answers(5, samples=samples, drop=0.3))  # cells have 0 to `samples` answers
    found = evaluate_votes(log, learn_rewards(QUICK, log), "number")
    check_one_call(found, log, QUICK)
    table = evaluate(QUICK, log).policies
    chosen = next(r for r in table if r["policy"] == "selector")
    anyone = next(r for r in table if r["policy"] == "random prompt")
    for way, expected in (("predicted", chosen), ("adaptive_predicted", chosen), ("random", anyone)):
        assert [row(found, way, 1)[k] for k in KEYS] == pytest.approx([expected[k] for k in KEYS], abs=1e-6)
        assert row(found, way, 1)["calls"] == 1


@pytest.mark.parametrize("path", REAL_LOGS, ids=lambda path: path.name.removesuffix(".csv.gz"))
def test_one_call_is_the_table_on_real_logs(path: Path) -> None:
    """On the rows of at most 200 questions."""
    frame = pd.read_csv(path)
    log = read_log(frame[frame.question.isin(frame.question.unique()[:200])])
    if len(np.unique(log.groups)) < 10:
        with pytest.raises(InputError, match="different questions"):
            evaluate_votes(log)
        return
    found = evaluate_votes(log)
    check_one_call(found, log, QUICK)
    for k in range(1, len(log.prompts) + 1):
        assert row(found, "best", k)["calls"] == k and row(found, "decided", k)["calls"] <= k


def test_a_blank_first_answer_is_paid_and_the_next_prompt_asked() -> None:
    """Prompt A is right where it answers, and blank on three tenths of the questions; B is right there."""
    frame = pd.DataFrame(
        [
            {"question": text, "prompt": prompt, "correct": right, "answer": "7" if right else ""}
            for i, text in enumerate(made_log(60, missing=0).question.unique())
            for prompt, right in (("A", int(i % 2 == 0 or i % 10 in (1, 3))), ("B", int(i % 2 == 1)))
        ]
    )
    found = evaluate_votes(read_log(frame))
    assert row(found, "best", 1)["success"] == pytest.approx(0.7)  # 1 if blank answers were left out
    assert row(found, "best", 2)["success"] == 1 and row(found, "best", 2)["calls"] == 2
    assert row(found, "decided", 2)["success"] == 1
    assert row(found, "decided", 2)["calls"] == pytest.approx(1.3)
    assert (found.buy.way, found.buy.budget) == ("decided", 2)
    assert found.buy.prompts == ("prompt 1: A", "prompt 2: B")
    said = found.buy.sentence()
    assert said.startswith(
        "Best buy: ask these 2 prompts (prompt 1: A; prompt 2: B) and take the majority, stopping once "
        "decided: +30.0 points ["
    )
    assert "over one call of the best prompt, for 1.3 calls a question. The interval holds for all 1 " in said


def test_logs_that_cannot_vote_are_refused() -> None:
    log = with_answers(1)
    for frame, said in (
        (log.drop(columns="answer"), "needs the answers themselves"),
        (log.assign(answer=""), "needs the answers themselves"),
        (log[log.prompt == PROMPTS[0]], "at least two prompts"),
        (log.drop_duplicates("question"), "at least two prompts"),
        (log.groupby("question").sample(1, random_state=0), "no question has the answers of two prompts"),
        (log[log.question.isin(log.question.unique()[:6])], "needs 10 different questions, it has 6"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate_votes(read_log(frame))
    with pytest.raises(InputError, match="no parser 'regex'"):
        evaluate_votes(read_log(log), parser="regex")


# --- the buy -----------------------------------------------------------------------------------------


def curves(n: int = 400, **gains: list[float]) -> dict[str, Curve]:
    """Curves of which `best` is half right and the named ones gain that much more, by budget."""
    base = np.arange(n) % 2.0
    most = max(map(len, gains.values()), default=1)
    found = {"best": Curve(np.tile(base[:, None], most), np.tile(np.arange(1.0, most + 1), (n, 1)))}
    for way, points in gains.items():
        right = np.tile(base[:, None], len(points))
        for m, gain in enumerate(points):
            right[: round(2 * abs(gain) * n) : 2, m] += np.sign(gain)
        found[way] = Curve(right, np.tile(np.arange(1.0, len(points) + 1), (n, 1)))
    return found


@pytest.mark.parametrize(
    ("gains", "way", "budget"),
    [
        ({"decided": [0, 0.05, 0.10]}, "decided", 3),  # five points for a call more
        ({"decided": [0, 0.05, 0.055]}, "decided", 2),  # half a point for a call more
        ({"decided": [0, 0.0025, 0.0025]}, "best", 1),  # one question of 400 is chance
        ({"decided": [0, -0.05, -0.1]}, "best", 1),
        ({"decided": [0, 0.05], "predicted": [0.05, 0.05]}, "predicted", 1),  # at one call
        ({"decided": [0, 0.05], "predicted": [0, 0.0525]}, "decided", 2),  # not worth a reward model
        ({"decided": [0, 0.05], "predicted": [0, 0.1], "adaptive_predicted": [0, 0.1]}, "predicted", 2),
    ],
)
def test_the_buy_is_the_cheapest_unless_a_call_more_brings_a_point(
    gains: dict[str, list[float]], way: str, budget: int
) -> None:
    buy = best_buy(curves(**gains), ClusterBootstrap(np.arange(400)), ["A", "B", "C"])
    assert (buy.way, buy.budget) == (way, budget)
    assert buy.prompts == (("A", "B", "C")[: budget if way in ("best", "decided") else 3])
    said = buy.sentence()
    assert said.startswith(
        "No vote is shown to beat one call of the best prompt (A)." if way == "best" else "Best"
    )


def test_nothing_is_bought_where_nothing_gains() -> None:
    """Sixteen ways that are as good as one call of the best prompt: bought by chance on few logs."""
    bought = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        right = rng.random((150, 17)) < 0.6
        found = {
            "best": Curve(right[:, :1].astype(float), np.ones((150, 1))),
            "decided": Curve(right.astype(float), np.ones((150, 17))),
        }
        buy = best_buy(found, ClusterBootstrap(np.arange(150), seed, resamples=300), ["A"] * 17)
        bought += buy.way != "best"
    assert bought <= 10  # 2.5 % expected; 42 by the intervals of single ways


def test_only_gains_of_a_reward_model_are_widened() -> None:
    assert widened(0.1, 0.0, 0.2) == pytest.approx((0.1, -0.05, 0.25))
    assert _of_way("decided", 0.1, 0.0, 0.2) == (0.1, 0.0, 0.2)
    assert _of_way("predicted", 0.1, 0.0, 0.2) == widened(0.1, 0.0, 0.2)


def test_a_cost_that_changes_no_pick_leaves_the_interval_of_the_gain_as_wide() -> None:
    log = simulate(5, train=400, test=1, rates=(0.5, 0.5, 0.5), seed=4)
    answers = replace(log.prompt_log(), cost=np.zeros(1200))
    value, low, high = evaluate(PromptSelector(log.embedder()), answers).gain
    weighed, least, most = evaluate(PromptSelector(log.embedder(), cost_weight=0.5), answers).gain
    assert weighed == pytest.approx(value, abs=1e-9) and most - least == pytest.approx(high - low, rel=0.15)


def test_a_choice_has_the_interval_in_votes_that_it_has_in_evaluate() -> None:
    log = simulate(5, train=400, test=1, rates=(0.5, 0.5, 0.5), seed=4)
    answers, selector = log.prompt_log(), PromptSelector(log.embedder())
    answers = replace(answers, answer=["yes" if right else "no" for right in answers.correct])
    voting = evaluate_votes(answers, learn_rewards(selector.fit(answers), answers, 0))
    one_call = row(voting, "predicted", 1)
    value, low, high = evaluate(PromptSelector(log.embedder()), answers).gain
    assert one_call["gain"] == pytest.approx(value, abs=1e-9)
    assert one_call["gain_high"] - one_call["gain_low"] == pytest.approx(high - low, rel=0.15)


# --- spellings ---------------------------------------------------------------------------------------

SPELLINGS = {
    "number": ("{}", "The answer is {}.", "\\boxed{{{}}}", "So we get **{}** in the end."),
    "choice": ("{}", "({})", "The answer is ({}).", "**{}**\n\nExplanation: the others are wrong."),
    "bool": ("{}", "{}.", "The answer is {}.", "**{}**, because it holds."),
    "text": ("{}", '"{}"', "The answer is {}.", "{}\n\nLet me know if you have questions!"),
}
MEANT = {
    "number": ("7", "8", "9", "10"),
    "choice": ("A", "B", "C", "D"),
    "bool": ("Yes", "No", "No", "No"),
    "text": ("Paris", "St. Louis", "Lyon", "Rome"),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_a_log_in_several_spellings_gives_the_table_of_the_bare_answers(kind: str) -> None:
    frame = with_answers(3, blank=0.1)
    meant = dict(zip(MEANT["number"], MEANT[kind]))
    bare = frame.answer.map(lambda text: meant.get(text, ""))
    forms = np.random.default_rng(0).choice(SPELLINGS[kind], len(frame))
    spelt = [form.format(text) if text else "" for form, text in zip(forms, bare)]
    plainly, variously = (evaluate_votes(read_log(frame.assign(answer=texts))) for texts in (bare, spelt))
    assert plainly.parser == variously.parser == kind
    assert plainly.rows == variously.rows and plainly.buy == variously.buy
    last = max(r["budget"] for r in plainly.rows)
    assert row(plainly, "best", last)["gain"] != 0  # votes are counted
