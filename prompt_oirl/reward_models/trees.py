"""XGBoost's trees of one fit: grown here or by several workers together, the same trees either way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_oirl.features.mapped import BLOCK
from prompt_oirl.reward_models import pairs
from prompt_oirl.reward_models.pairs import PairFeatures
from prompt_oirl.reward_models.training_set import TrainingSet

PATIENCE = 10
GRID = 2.0**22  # gradients are multiples of 1 / GRID, so float64 adds up 2^31 answers without rounding


@dataclass(frozen=True)
class Growth:
    """Boosters to grow, one for each of `parameters`, and how many rounds each.

    Trees split where sums of gradients say so. Float64 sums depend on the order of rows, hence on threads,
    pages and workers, and where two splits are equally good the last bit decides. `exact` is for fits of more
    than `pairs.LARGE` questions: gradients on a grid so coarse that no sum is rounded.
    """

    parameters: Sequence[dict[str, Any]]
    rounds: int
    exact: bool

    @property
    def max_bin(self) -> int:
        """Bins per column, at most; XGBoost's default where no parameter says so."""
        return self.parameters[0].get("max_bin", 256)

    def grow(self, matrix: Any, held_out: Any = None) -> list[Any]:
        """Boosters grown on `matrix`; with `held_out`, each until its loss there has stopped falling."""
        import xgboost

        stop = {"evals": [(held_out, "validation")], "early_stopping_rounds": PATIENCE} if held_out else {}
        gradients = rounded_gradients if self.exact else None
        return [
            xgboost.train(each, matrix, self.rounds, obj=gradients, verbose_eval=False, **stop)
            for each in self.parameters
        ]


@dataclass(frozen=True)
class Bins:
    """Where the bins of a matrix come from: pairs of all prompts in a `sample` of the questions, as
    `whole_features` describes them; `features` describe the prompts of the fit."""

    sample: TrainingSet
    whole_features: PairFeatures | None
    features: PairFeatures | None


Spread = Callable[[Growth, Bins, TrainingSet, "TrainingSet | None"], list[Any]]


def growth_of(
    parameters: dict[str, Any], settings: Sequence[dict[str, Any]], rounds: int, train: TrainingSet
) -> Growth:
    """The boosters of a fit on `train`: `parameters` with each of `settings`.

    Where sums are to be exact, the trees start from the mean label; XGBoost's own start is rounded as well.
    """
    exact = len(train.questions) > pairs.LARGE
    if exact:
        right = np.where(train.weights > 0, train.labels, 0).astype(np.float64) * train.weights
        mean = right.sum() / train.weights.sum(dtype=np.float64)
        parameters = parameters | {"base_score": float(np.clip(mean, 1e-6, 1 - 1e-6))}
    return Growth([parameters | chosen for chosen in settings], rounds, exact)


def rounded_gradients(margin: np.ndarray, matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivatives of the log loss by the margin (n,), float32 multiples of 1 / GRID."""
    label, weight = matrix.get_label(), matrix.get_weight()
    first, second = np.empty_like(margin), np.empty_like(margin)
    for start in range(0, len(margin), BLOCK):
        rows = slice(start, start + BLOCK)
        chance = 1 / (1 + np.exp(-margin[rows].astype(np.float64)))
        scale = weight[rows] * GRID
        first[rows] = np.rint((chance - label[rows]) * scale) / GRID
        second[rows] = np.rint(chance * (1 - chance) * scale) / GRID
    return first, second
