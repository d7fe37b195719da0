"""The interaction learned by boosted trees on top of prompt and difficulty, not by ridge regressions."""

from __future__ import annotations

from typing import Any

import numpy as np

from prompt_oirl.reward_models.boosted import XGBOOST_FAST
from prompt_oirl.reward_models.booster_files import checked_xgboost
from prompt_oirl.reward_models.cells import Cells, sigmoid
from prompt_oirl.reward_models.held_out import contenders
from prompt_oirl.reward_models.interaction import InteractionModel
from prompt_oirl.reward_models.pairs import FEATURE_ARRAYS, PairFeatures, QuantisedPairs, pair_rows
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.stats.splits import INNER_FOLDS, deal_folds

ROUNDS = (10, 30, 100, 200)  # of which the inner folds choose
MIN_SUPPORT = 2.6  # standard errors by which the trees' weight must exceed 0
PARAMETERS: dict[str, Any] = {
    **XGBOOST_FAST,
    "max_depth": 10,
    "objective": "binary:logistic",
    "tree_method": "hist",
    "nthread": 1,
}


class BoostedInteraction(InteractionModel):
    """logit P = b_p + d(q) + s m_p(q), where m are XGBoost's trees, grown on the margin b_p + d(q).

    As in `InteractionModel`, s is weighed on held-out answers among the prompts that might be chosen, and is
    0 where support is weak: the choice is then the prompt that is best on train.
    """

    SETTINGS = ("slope", "rounds", "interaction", "support")

    def _fit(self, train: TrainingSet) -> None:
        super()._fit(train)
        self._supported, self._booster, self._weight = False, None, 0.0
        self._pairs = PairFeatures().fit(train)
        cells, effects = Cells.of(train), self.study.effects
        self._b, self._difficulty = effects.b_alone, effects.difficulty
        margin = self._b + (self.study.phi @ self._difficulty)[:, None]
        folds = deal_folds(cells.clusters, INNER_FOLDS, self.seed)
        held_out = np.empty((len(ROUNDS), *margin.shape))
        for fold in range(folds.max() + 1):
            kept, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            trees = self._grow(train.rows(kept), margin[kept], ROUNDS[-1])
            for m, rounds in zip(held_out, ROUNDS):
                m[held] = self._margins(trees, train.questions[held], train.prompts, rounds)
        weighed = [_weighed(cells, margin, m) for m in held_out]
        chosen = int(np.argmax([support for _, support in weighed]))
        share, support = weighed[chosen]
        self.settings = {
            "slope": 1.0,
            "rounds": ROUNDS[chosen],
            "interaction": 0.0,
            "support": round(support, 3),
        }
        if support > MIN_SUPPORT:
            self._booster = self._grow(train, margin, ROUNDS[chosen])
            self._weight = self.settings["interaction"] = round(share, 4)

    def _grow(self, train: TrainingSet, margin: np.ndarray, rounds: int) -> Any:
        """Trees added to `margin` (u, K) on the answered cells of `train`."""
        import xgboost

        pairs = QuantisedPairs(self._pairs, train, PARAMETERS["max_bin"])
        row, column, _, _ = train.cells()
        pairs.matrix.set_base_margin(margin[row, column].astype(np.float32))
        return xgboost.train({**PARAMETERS, "seed": self.seed}, pairs.matrix, rounds)

    def _margins(
        self, trees: Any, questions: np.ndarray, prompts: np.ndarray, rounds: int | None = None
    ) -> np.ndarray:
        """What the first `rounds` trees add, logits (n, m)."""
        q, p = self._pairs.questions(questions), self._pairs.prompts(prompts)
        rows = pair_rows(q, p)
        added = trees.inplace_predict(
            rows, iteration_range=(0, rounds or 0), predict_type="margin", base_margin=np.zeros(len(rows))
        )
        return added.reshape(len(q), len(p)).astype(np.float64)

    def _logits(self, questions: np.ndarray, prompts: np.ndarray, mixture: np.ndarray) -> np.ndarray:
        logits = super()._logits(questions, prompts, mixture)
        if self._booster is None:
            return logits
        known = self._margins(self._booster, questions, self._prompts).mean(1, keepdims=True)
        return logits + self._weight * (self._margins(self._booster, questions, prompts) - known)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything `predict` needs, as plain arrays."""
        raw = b"" if self._booster is None else checked_xgboost(self._booster.save_raw("ubj"))
        return {
            **super().arrays(),
            "booster": np.frombuffer(raw, dtype=np.uint8),
            "weight": np.array([self._weight]),
            **{f"pairs_{name}": getattr(self._pairs, name) for name in FEATURE_ARRAYS},
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        import xgboost

        super().restore(arrays)
        self._weight, self._booster, self._pairs = float(arrays["weight"][0]), None, PairFeatures()
        for name in FEATURE_ARRAYS:
            setattr(self._pairs, name, arrays[f"pairs_{name}"])
        if len(arrays["booster"]):
            self._booster = xgboost.Booster({"nthread": 1})
            self._booster.load_model(checked_xgboost(arrays["booster"].tobytes()))


def _weighed(cells: Cells, margin: np.ndarray, m: np.ndarray) -> tuple[float, float]:
    """Share of held-out m (u, K) beside the margin (u, K), and its support: a score test's standard errors.

    Only prompts that might be chosen count; clusters are independent, their questions are not.
    """
    among = contenders(margin, m)
    if among.sum() < 2:
        return 0.0, 0.0
    some, m = cells.prompts(among), m[:, among] - m[:, among].mean(1, keepdims=True)
    pull = (some.a * (some.y - sigmoid(margin[:, among])) * m).sum(1)
    by_cluster = np.bincount(cells.clusters, pull)
    support = by_cluster.sum() / np.sqrt(max((by_cluster**2).sum(), 1e-12))
    return max(float(some.slopes(m[None], margin[:, among])[0]), 0.0), float(support)
