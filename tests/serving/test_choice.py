"""Which prompt is drawn, and that its propensity is the chance that it had."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import InputError
from prompt_oirl.serving.choice import best_choices, draw
from prompt_oirl.serving.exploration import Exploration

PREDICTED = np.array([0.35, 0.5, 0.45], dtype=np.float32)


@pytest.mark.parametrize("by", ["uniform", "uncertainty"])
@pytest.mark.parametrize("predicted", [PREDICTED, None])
@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_prompts_are_drawn_as_often_as_their_propensities_say(
    small_selector: PromptSelector, by: str, predicted: np.ndarray | None, share: float
) -> None:
    rng, explore = np.random.default_rng(5), Exploration(share, by)  # type: ignore[arg-type]
    drawn = [draw(small_selector, predicted, rng, explore) for _ in range(4000)]
    expected = np.array(drawn[0].propensities)
    assert {c.propensities for c in drawn} == {drawn[0].propensities}
    assert all(c.propensity == c.propensities[c.index] for c in drawn)
    counts = np.bincount([c.index for c in drawn], minlength=3)
    assert chisquare(counts, 4000 * expected / expected.sum()).pvalue > 1e-3
    assert abs(np.mean([c.explored for c in drawn]) - share) < 0.03


def test_propensities_by_hand(small_selector: PromptSelector) -> None:
    rng = np.random.default_rng(0)
    uniform = draw(small_selector, PREDICTED, rng, Exploration(0.3))
    assert uniform.propensities == pytest.approx((0.1, 0.8, 0.1))
    likely = np.exp((PREDICTED.astype(float) - 0.5) / 0.1)
    expected = 0.3 * (1 / 3 + likely / likely.sum()) / 2 + np.array([0, 0.7, 0])
    by_doubt = draw(small_selector, PREDICTED, rng, Exploration(0.3, "uncertainty"))
    assert by_doubt.propensities == pytest.approx(tuple(expected))
    sure = draw(small_selector, PREDICTED, rng)
    assert (sure.index, sure.propensity, sure.explored, sure.fallback) == (1, 1.0, False, None)
    assert sure.probability == pytest.approx(0.5)


@pytest.mark.parametrize(
    "predicted, given, below, fallback",
    [
        (PREDICTED, None, 0.6, "abstained"),
        (PREDICTED, "slow", None, "slow"),
        (None, "slow", 0.6, "slow"),
        (None, None, None, "failed"),
        (np.array([np.nan, 0.9, 0.1]), None, None, "failed"),
    ],
)
def test_the_best_prompt_is_the_fallback_and_keeps_its_exploration(
    small_selector: PromptSelector, predicted: np.ndarray | None, given: str, below: float, fallback: str
) -> None:
    rng = np.random.default_rng(0)
    choice = draw(small_selector, predicted, rng, Exploration(0.3), below, given)  # type: ignore[arg-type]
    assert choice.fallback == fallback
    assert np.argmax(choice.propensities) == small_selector.best_
    assert sorted(choice.propensities) == pytest.approx([0.1, 0.1, 0.8])


def test_votes_ask_the_best_prompts_for_certain(small_selector: PromptSelector) -> None:
    two = best_choices(small_selector, PREDICTED, 2)
    assert [c.index for c in two] == [1, 2] and {c.propensities for c in two} == {(0.0, 1.0, 1.0)}
    unknown = best_choices(small_selector, None, 5, "slow")
    assert unknown[0].index == small_selector.best_ and len(unknown) == 3
    assert {(c.fallback, c.probability, c.propensity) for c in unknown} == {("slow", None, 1.0)}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_0_to_1(share: float) -> None:
    with pytest.raises(InputError, match="--explore"):
        Exploration(share)
