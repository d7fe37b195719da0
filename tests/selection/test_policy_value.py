"""Value of policies on a served log, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import InputError
from prompt_oirl.selection.policy_value import check_policies, policy_values
from prompt_oirl.selection.traffic import Traffic

PROMPTS = ("a", "b", "c")
TRUE = np.array([0.8, 0.5, 0.3])


def served(n: int = 1500, share: float = 0.3, seed: int = 0, verdicts: float = 1.0) -> pd.DataFrame:
    """Prompt a is drawn for questions about cats, b for the others; some at random."""
    rng = np.random.default_rng(seed)
    cats = rng.random(n) < 0.5
    chances = np.full((n, 3), share / 3)
    chances[np.arange(n), np.where(cats, 0, 1)] += 1 - share
    prompt = (rng.random((n, 1)) > chances.cumsum(1)).sum(1)
    words = rng.permutation([f"{x}{y}" for x in "bcdfghjk" for y in range(n)])
    rows = pd.DataFrame(
        {
            "question": [
                f"{'cat' if c else 'dog'} {' '.join(words[4 * i : 4 * i + 4])}?" for i, c in enumerate(cats)
            ],
            "prompt": np.array(PROMPTS)[prompt],
            "correct": (rng.random(n) < TRUE[prompt]).astype(object),
            "propensity": chances[np.arange(n), prompt],
            "group": np.arange(n),
        }
    )
    rows.loc[rng.random(n) > verdicts, "correct"] = None
    return rows


def values(rows: pd.DataFrame, *policies: str) -> tuple[pd.DataFrame, list[str]]:
    found, notes = policy_values(Traffic.of(read_log(rows)), policies)
    return pd.DataFrame(found), notes


def test_intervals_cover_the_truth_of_each_policy_about_as_often_as_they_say() -> None:
    truth = {f"prompt:{p}": t for p, t in zip(PROMPTS, TRUE)} | {"random": TRUE.mean(), "best": 0.8}
    found = pd.concat([values(served(seed=seed), *truth)[0] for seed in range(8)])
    found = found[found.estimator != "dm"]
    of = found.policy.map(truth)
    assert ((found.low <= of) & (of <= found.high)).mean() >= 0.9
    gaps = found[found.policy == "prompt:b"]
    assert ((gaps.difference_low <= -0.3) & (gaps.difference_high >= -0.3)).mean() >= 0.8
    assert (gaps.difference_high < 0).all()


def test_a_log_that_never_explored_is_refused_with_what_would_be_needed() -> None:
    with pytest.raises(InputError, match=r"never explored.*--explore 0.05; about [\d,]+ requests"):
        values(served(share=0.0), "prompt:a")


def test_propensities_that_are_not_those_of_the_draws_are_refused() -> None:
    rows = served()
    rows["propensity"] = (rows["propensity"] * 0.5).clip(lower=0.01)
    with pytest.raises(InputError, match="correct the propensities"):
        values(rows, "random")


def test_few_effective_answers_give_a_value_without_interval() -> None:
    found, notes = values(served(n=120, share=0.1), "prompt:c")
    assert found.low.isna().all() and found.value.notna().all()
    assert "no interval" in notes[-1]


@pytest.mark.parametrize("policy", ["prompt:z", "no_such_folder"])
def test_an_unknown_policy_is_refused(policy: str) -> None:
    with pytest.raises(InputError, match="--policy"):
        values(served(n=200), policy)


def test_requests_without_verdict_are_counted_and_uneven_ones_noticed() -> None:
    _, notes = values(served(verdicts=0.6), "random")
    assert "requests have a verdict" in notes[0] and not any("depends on the prompt" in n for n in notes)
    rows = served()
    rows.loc[(rows.prompt == "a") & (np.arange(len(rows)) % 2 == 0), "correct"] = None
    assert any("depends on the prompt" in n for n in values(rows, "random")[1])


def test_a_complete_log_needs_no_propensities() -> None:
    rows = pd.DataFrame(
        [
            {"question": f"q{i} {'x' * (i % 7)}", "prompt": p, "correct": int((i + j) % 3 > 0), "group": i}
            for i in range(60)
            for j, p in enumerate(PROMPTS)
        ]
    )
    found, notes = values(rows, "random")
    assert not notes and np.allclose(found[found.estimator != "dm"].value, 2 / 3)


def test_the_success_of_prompts_is_balanced_by_propensity() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    easy = rng.random(n) < 0.5
    p_of_a = np.where(easy, 0.95, 0.05)
    a = rng.random(n) < p_of_a
    rows = pd.DataFrame(
        {
            "question": [f"question {i} {'easy' if e else 'hard'}" for i, e in enumerate(easy)],
            "prompt": np.where(a, "a", "b"),
            "correct": (rng.random(n) < np.where(easy, 0.9, 0.1) + np.where(a, 0, 0.1)).astype(int),
            "propensity": np.where(a, p_of_a, 1 - p_of_a),
            "group": np.arange(n),
        }
    )
    log = read_log(rows)
    assert log.prompt_success[log.prompts.index("b")] > log.prompt_success[log.prompts.index("a")]
    assert rows[a].correct.mean() > rows[~a].correct.mean() + 0.5  # what the plain means would say


def test_what_names_no_policy_is_refused_before_anything_is_learned(tmp_path) -> None:
    log = read_log(served(60))
    check_policies(log, ["best", "random", "prompt:a"])
    with pytest.raises(InputError, match="no such prompt; its prompts are "):
        check_policies(log, ["best", "prompt:d"])
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="name the folder of a selector"):
            check_policies(log, [str(folder)])
