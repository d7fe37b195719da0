"""Choosing among LLMs too: pairs of prompt and LLM as arms, from reading a log to a saved selector."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_logs import log_of_two_llms, made_log

from prompt_oirl import PromptSelector, diagnose, evaluate, read_log
from prompt_oirl.data.arms import Arm, costs_of, on_llms
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.io.files import InputError, content_key, write_json
from prompt_oirl.selection.equal_cost import fit_at_equal_cost
from prompt_oirl.selection.storage import HEADER
from prompt_oirl.selection.voting import evaluate_votes, learn_rewards

ARMS = ("prompt", "llm")


def quick(**changed: object) -> PromptSelector:
    return PromptSelector(**{"embedder": "tfidf", **changed})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def log() -> PromptLog:
    return read_log(log_of_two_llms(), arms=ARMS)


@pytest.fixture(scope="module")
def fitted(log: PromptLog) -> PromptSelector:
    return quick().fit(log)


# --- reading ---------------------------------------------------------------------------------------------


def small(**changed: object) -> pd.DataFrame:
    """Three pairs of two prompts and two LLMs; nobody asked y with B."""
    rows = {
        "question": ["How many?", "Why?", "How many?", "Why?", "How many?", "Why?"],
        "prompt": ["A", "A", "B", "B", "A", "A"],
        "llm": ["x", "x", "x", "x", "y", "y"],
        "correct": [1, 0, 1, 1, 0, 0],
        "cost": [1, 3, 4, 4, None, 7],
    }
    return pd.DataFrame({**rows, **changed}, dtype=object)


def test_pairs_that_were_asked_are_arms() -> None:
    log = read_log(small(), arms=ARMS)
    assert log.arms == [Arm("A", "x"), Arm("B", "x"), Arm("A", "y")]
    assert log.prompts == ["A", "B", "A"] and log.llms == ["x", "x", "y"]
    assert log.names == ["prompt 1 on x", "prompt 2 on x", "prompt 1 on y"]
    assert log.questions == ["How many?", "Why?"] and len(log.groups) == 2  # the same for both LLMs
    np.testing.assert_array_equal(log.labels, [[1, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(log.prompt_cost, [2, 4, 7])
    assert log.notes == ["2 prompts on 2 LLMs: the 3 pairs that were asked count as prompts."]
    part = log.select(prompts=np.array([2, 0]))
    assert part.arms == [Arm("A", "y"), Arm("A", "x")]
    assert read_log(small(), llm="x").arms == ["A", "B"]


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["cot", "cot", "re", "re", "cot", "cot"], ["cot on x", "re on x", "cot on y"]),
        (["a", "a", "a", "a", "a", "a"], ["prompt 1 on x", "prompt 2 on x", "prompt 1 on y"]),
        (["a", "a", "b", "b", "c", "c"], ["prompt 1 on x", "prompt 2 on x", "prompt 1 on y"]),
    ],
)
def test_names_of_arms(ids: list[str], names: list[str]) -> None:
    assert read_log(small(prompt_id=ids), arms=ARMS).names == names


def test_names_that_read_alike_are_not_taken() -> None:
    frame = small(
        prompt_id=["a on b", "a on b", "a", "a", "a on b", "a on b"],
        llm=list("cc") + ["b on c"] * 2 + list("dd"),
    )
    assert read_log(frame, arms=ARMS).names == ["prompt 1 on c", "prompt 2 on b on c", "prompt 1 on d"]


BAD: dict[str, tuple[pd.DataFrame, dict, str]] = {
    "no column": (
        small().drop(columns="llm"),
        {"arms": ARMS},
        "there is no column llm to choose among LLMs by",
    ),
    "empty llm": (small(llm=["x", "x", None, "x", "y", "y"]), {"arms": ARMS}, "row 2: llm is empty"),
    "half a surrogate": (small(llm=["x"] * 5 + ["\ud800"]), {"arms": ARMS}, "row 5: the llm holds half"),
    "one llm and all": (small(), {"arms": ARMS, "llm": "x"}, "--llm keeps one LLM.*leave one out"),
    "other arms": (small(), {"arms": ("llm",)}, "--arms llm: choose prompt or prompt,llm"),
    "neither": (small(), {}, "choose one with --llm, or among all of them with --arms prompt,llm"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_logs_are_refused(name: str) -> None:
    frame, options, message = BAD[name]
    with pytest.raises(InputError, match=message) as refused:
        read_log(frame, **options)
    assert "\n" not in str(refused.value)


# --- choosing --------------------------------------------------------------------------------------------


def test_it_chooses_across_llms(fitted: PromptSelector) -> None:
    new = log_of_two_llms(seed=1).drop_duplicates("question").query("kind < 3")
    wanted = ["small" if kind == 0 else "big" for kind in new.kind]
    picks = fitted.select(list(new.question))
    assert np.mean([pick.llm == llm for pick, llm in zip(picks, wanted)]) > 0.9
    assert set(picks) <= set(fitted.arms_) and len(fitted.arms_) == 4
    assert fitted.select(list(new.question[:2]), k=4).shape == (2, 4)
    assert fitted.select(["How many?"], abstain_below=1.0).tolist() == [None]


def test_cost_weight_steers_to_the_cheap_llm(log: PromptLog, fitted: PromptSelector) -> None:
    def share_of_small(weight: float) -> float:
        fitted.set_params(cost_weight=weight)
        return float(np.mean([pick.llm == "small" for pick in fitted.select(log.questions)]))

    shares = [share_of_small(weight) for weight in (0.0, 0.03, 1.0)]
    fitted.set_params(cost_weight=0.0)
    assert shares[0] <= shares[1] <= shares[2] == 1 and 0.1 < shares[1] < 0.7


def test_a_gain_over_the_best_pair_is_measured(log: PromptLog) -> None:
    found = evaluate(quick(), log)
    assert found.gain[1] > 0.1
    rows = {row["policy"]: row for row in found.policies}
    assert rows["selector"]["cost"] < rows["best prompt"]["cost"] == 10
    assert rows["always prompt 1 on small"]["cost"] == 1
    assert diagnose(log, "tfidf").supported


def test_votes_are_taken_over_arms(log: PromptLog) -> None:
    rows = evaluate_votes(log, learn_rewards(quick(model="linear"), log)).rows
    assert {row["budget"] for row in rows} == {1, 2, 3, 4}


@pytest.mark.parametrize("model", ["interaction", "linear", "knn", "xgboost"])
def test_two_llms_with_the_same_prompt_are_told_apart(log: PromptLog, model: str) -> None:
    first = read_log(log_of_two_llms().query("prompt == 'Think'"), arms=ARMS)
    p = quick(model=model).fit(first).predict_proba(first.questions)
    kind = log_of_two_llms().drop_duplicates("question").kind.to_numpy()
    better = p[:, first.llms.index("big")] > p[:, first.llms.index("small")]  # type: ignore[union-attr]
    assert better[np.isin(kind, (1, 2))].mean() > 0.9 and better[kind == 0].mean() < 0.1


def test_new_prompts_are_tried_on_each_llm_and_are_like_the_others_there(fitted: PromptSelector) -> None:
    arms = on_llms(["Something new", "Answer"], fitted.arms_)
    assert arms == [
        Arm("Something new", "big"),
        Arm("Something new", "small"),
        Arm("Answer", "big"),
        Arm("Answer", "small"),
    ]
    assert on_llms(["a", "b"], ["c"]) == ["a", "b"]
    logged = [Arm("A", "x"), Arm("B", "x"), Arm("B", "y")]
    assert on_llms(["A", "new"], logged) == [Arm("A", "x"), Arm("new", "x"), Arm("new", "y")]
    new = log_of_two_llms(seed=2).drop_duplicates("question")
    p = fitted.predict_proba(list(new.question), arms[:2])
    assert p[new.kind.isin((1, 2)), 0].mean() > p[new.kind.isin((1, 2)), 1].mean() + 0.2
    assert p[new.kind == 0, 1].mean() > p[new.kind == 0, 0].mean() + 0.2
    assert fitted.select(["How many?"], arms[:1]).tolist() == arms[:1]
    fitted.set_params(cost_weight=1.0)
    assert fitted.select(["How many?"], arms[:2])[0].llm == "small"  # a new prompt costs what others do there
    fitted.set_params(cost_weight=0.0)


def test_texts_and_arms_are_not_mixed_up(fitted: PromptSelector) -> None:
    with pytest.raises(InputError, match=r"prompts\[0\] is str, expected an Arm"):
        fitted.predict_proba(["How many?"], ["Think"])
    plain = quick().fit(log_of_two_llms().query("llm == 'big'"))
    assert plain.llms_ is None
    with pytest.raises(InputError, match=r"prompts\[0\] is Arm, expected text"):
        plain.select(["How many?"], [Arm("Think", "big")])
    with pytest.raises(InputError, match="expected an Arm"):
        evaluate(quick(), read_log(log_of_two_llms(), llm="big"), read_log(log_of_two_llms(), arms=ARMS))


def test_one_pair_only_is_always_chosen() -> None:
    one = read_log(log_of_two_llms().query("llm == 'big' and prompt == 'Think'"), arms=ARMS)
    with pytest.warns(UserWarning, match="one prompt only"):
        selector = quick().fit(one)
    assert selector.select(["a", "b"]).tolist() == [Arm("Think", "big")] * 2


def test_a_pair_that_was_never_asked_is_no_arm() -> None:
    frame = log_of_two_llms().query("llm == 'big' or prompt == 'Think'")
    selector = quick().fit(read_log(frame, arms=ARMS))
    assert Arm("Answer", "small") not in selector.arms_ and len(selector.arms_) == 3
    assert set(selector.select(list(frame.question.unique()))) <= set(selector.arms_)


# --- costs -----------------------------------------------------------------------------------------------


def test_unknown_costs() -> None:
    logged = [Arm("A", "x"), Arm("B", "x"), Arm("C", "x"), Arm("A", "y")]
    costs = np.array([1.0, 3.0, np.nan, 8.0])
    asked = [Arm("C", "x"), Arm("new", "x"), Arm("new", "y"), Arm("A", "z"), Arm("A", "y")]
    np.testing.assert_array_equal(costs_of(asked, logged, costs), [2, 2, 8, 4, 8])
    np.testing.assert_array_equal(costs_of(["b", "c"], ["a", "b", "c"], np.array([1.0, 3.0, np.nan])), [3, 2])


def test_an_llm_without_costs_is_refused_where_costs_count() -> None:
    frame = log_of_two_llms()
    log = read_log(frame.assign(cost=frame.cost.where(frame.llm == "big")), arms=ARMS)
    with pytest.raises(InputError, match="the costs of every LLM, but small has none"):
        quick(cost_weight=0.1).fit(log)
    assert quick().fit(log).select(["How many?"])[0] in log.arms


def log_with_a_middle_price() -> PromptLog:
    """The best prompt costs 3: the one that costs 6 can be paid for where the one that costs 1 is right."""
    frame = made_log(240, missing=0, seed=3)
    frame["cost"] = frame.cost.map({1: 3, 2: 1, 3: 6})
    easy = frame.kind == 3
    frame.loc[easy, "correct"] = (frame.prompt[easy] == "Think step by step.").astype(int)
    return read_log(frame)


def test_equal_cost_spends_no_more_than_the_best_prompt() -> None:
    log = log_with_a_middle_price()
    free, equal = evaluate(quick(), log), evaluate(quick(), log, learn=fit_at_equal_cost)
    cost = {
        (way, row["policy"]): row["cost"]
        for way, found in (("free", free), ("equal", equal))
        for row in found.policies
    }
    assert cost["free", "best prompt"] == cost["equal", "best prompt"] == 3
    assert cost["free", "selector"] > cost["equal", "selector"] and cost["equal", "selector"] < 3.2
    assert equal.gain[1] > 0.1 and equal.gain[0] <= free.gain[0] + 0.02


def test_the_weight_is_the_smallest_within_the_budget() -> None:
    log = log_with_a_middle_price()
    predicted = evaluate(quick(), log).probabilities
    selector = fit_at_equal_cost(quick(cost_weight=5.0), log)
    assert selector.cost_weight > 0
    weights = (selector.cost_weight, selector.cost_weight * (1 - 1e-6))
    within, beyond = (
        log.prompt_cost[selector.set_params(cost_weight=w).order(predicted, log.arms)[:, 0]].mean()
        for w in weights
    )
    assert within <= 3 < beyond


def test_equal_cost_needs_costs() -> None:
    with pytest.raises(InputError, match="cost_weight needs costs"):
        fit_at_equal_cost(quick(), read_log(made_log(40).drop(columns="cost")))


def test_nothing_is_gained_at_equal_cost_where_the_best_pair_is_the_cheapest() -> None:
    frame = log_of_two_llms()
    frame["cost"] = frame.llm.map({"big": 1.0, "small": 1.5})
    log = read_log(frame, arms=ARMS)
    found = evaluate(quick(), log, learn=fit_at_equal_cost)
    dear = np.mean([log.arms[pick].llm == "small" for pick in found.picks.ravel()])  # type: ignore[union-attr]
    assert dear < 0.03 and found.gain[0] < 0.03


# --- keeping ---------------------------------------------------------------------------------------------


def test_arms_are_saved(fitted: PromptSelector, tmp_path: Path) -> None:
    again = PromptSelector.load(fitted.save(tmp_path))
    questions = ["How many apples?", "Why?"]
    assert again.arms_ == fitted.arms_ and again.names_ == fitted.names_
    np.testing.assert_array_equal(again.predict_proba(questions), fitted.predict_proba(questions))
    assert again.select(questions).tolist() == fitted.select(questions).tolist()
    assert json.loads((tmp_path / HEADER).read_text())["llms"] == fitted.llms_


def rewrite(folder: Path, change: dict) -> None:
    header = json.loads((folder / HEADER).read_text()) | change
    header = {k: v for k, v in header.items() if k != "check" and v != "gone"}
    write_json(folder / HEADER, header | {"check": content_key(header)})


@pytest.mark.parametrize("llms", [["big"], ["big", "big", "small", 3], "four", {"big": 1}])
def test_damaged_llms_are_refused(fitted: PromptSelector, llms: object, tmp_path: Path) -> None:
    rewrite(fitted.save(tmp_path), {"llms": llms})
    with pytest.raises(InputError, match="damaged"):
        PromptSelector.load(tmp_path)
