"""Which prompt a question gets while serving, and with what probability: the log then stays valid for
off-policy evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from prompt_oirl.serving.exploration import Exploration

if TYPE_CHECKING:
    from prompt_oirl.data.arms import Arm
    from prompt_oirl.selection.selector import PromptSelector

Fallback = Literal["slow", "failed", "abstained"]


@dataclass(frozen=True)
class Choice:
    """A prompt for a question. `propensities` (K,) are the chances that each prompt of the selector had,
    `propensity` that of this one; `probability` is its predicted success, `position` where it stood in the
    log that the selector learned from, None if unknown."""

    index: int
    arm: str | Arm
    name: str
    position: str | None
    probability: float | None
    propensity: float
    explored: bool
    fallback: Fallback | None
    propensities: tuple[float, ...]


def draw(
    selector: PromptSelector,
    probabilities: np.ndarray | None,
    rng: np.random.Generator,
    explore: Exploration | None = None,
    abstain_below: float | None = None,
    fallback: Fallback | None = None,
) -> Choice:
    """Choose the selector's pick, its best prompt as fallback, or a prompt at random; nothing is asked.

    Parameters
    ----------
    selector : fitted, with K prompts
    probabilities : predicted success of each prompt (K,); None if there is none, or not in time
    rng : draws whether a prompt is drawn at random, and which
    explore : default: never
    abstain_below : predicted success of the pick below which the best prompt serves (fallback "abstained")
    fallback : why the best prompt serves in any case; default "failed" where probabilities are missing or
    not finite

    Returns: the choice with its exact propensity, P(this prompt | question, what was known here).
    """
    explore = explore or Exploration()
    n_prompts = len(selector.prompts_)
    known, fallback = _known(probabilities, fallback)
    pick = selector.best_
    if known is not None and fallback is None:
        first = int(selector.order(known[None], selector.arms_)[0, 0])
        if abstain_below is not None and known[first] < abstain_below:
            fallback = "abstained"
        else:
            pick = first
    chances = explore.chances(n_prompts, known)
    propensities = explore.share * chances
    propensities[pick] += 1 - explore.share
    explored = bool(rng.random() < explore.share)
    index = int(rng.choice(n_prompts, p=chances)) if explored else pick
    return _choice(selector, index, known, propensities, fallback, explored)


def best_choices(
    selector: PromptSelector, probabilities: np.ndarray | None, k: int, fallback: Fallback | None = None
) -> list[Choice]:
    """Choose the k best prompts for a vote, each for certain; by standing where nothing is predicted.

    Parameters
    ----------
    selector, probabilities, fallback : as in `draw`
    k : how many, at most all
    """
    known, fallback = _known(probabilities, fallback)
    guess = np.zeros(len(selector.prompts_)) if known is None else known
    order = selector.order(guess[None], selector.arms_)[0, :k].tolist()
    propensities = np.zeros(len(selector.prompts_))
    propensities[order] = 1.0
    return [_choice(selector, j, known, propensities, fallback) for j in order]


def _known(
    probabilities: np.ndarray | None, fallback: Fallback | None
) -> tuple[np.ndarray | None, Fallback | None]:
    known = None if probabilities is None else np.asarray(probabilities, np.float64)
    if known is None or not np.isfinite(known).all():
        return None, fallback or "failed"
    return known, fallback


def _choice(
    selector: PromptSelector,
    index: int,
    known: np.ndarray | None,
    propensities: np.ndarray,
    fallback: Fallback | None,
    explored: bool = False,
) -> Choice:
    return Choice(
        index=index,
        arm=selector.arms_[index],
        name=selector.names_[index],
        position=selector.positions_[index],
        probability=None if known is None else float(known[index]),
        propensity=float(propensities[index]),
        explored=explored,
        fallback=fallback,
        propensities=tuple(propensities.tolist()),
    )
