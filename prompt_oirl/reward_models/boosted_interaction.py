"""The interaction learned by boosted trees on top of prompt and difficulty, not by ridge regressions."""

from __future__ import annotations

from typing import Any

import numpy as np

from prompt_oirl.reward_models.boosted import XGBOOST_FAST
from prompt_oirl.reward_models.cells import Cells, RidgePath
from prompt_oirl.reward_models.interaction import InteractionModel, choose_interaction
from prompt_oirl.reward_models.pairs import PairFeatures, QuantisedPairs, pair_rows
from prompt_oirl.reward_models.training_set import TrainingSet

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
    """logit P = b_p + a d(q) + s m_p(q), where m are XGBoost's trees, grown on the margin b_p + a d(q).

    As in `InteractionModel`, s is weighed on held-out answers among the prompts that might be chosen, lowered
    by a standard error, and 0 where support is weak: the choice is then the prompt that is best on train.
    """

    SETTINGS = ("difficulty_ridge", "slope", "rounds", "interaction", "support")

    def fit(self, train: TrainingSet) -> None:
        """Train on all rows; inner folds choose the rounds and whether the trees count at all."""
        self._pairs, self._weight = PairFeatures().fit(train), 0.0
        self._booster: Any = None
        super().fit(train)

    def _fit_interaction(
        self, train: TrainingSet, path: RidgePath, cells: Cells, d: np.ndarray, slope: float
    ) -> float:
        margin = self._b + slope * d[:, None]
        residual, information = self.interaction_targets(cells, d, slope)
        candidates = np.empty((len(ROUNDS), *margin.shape))
        for held in path.rows:
            kept = np.setdiff1d(np.arange(len(d)), held)
            trees = self._grow(train.rows(kept), margin[kept], ROUNDS[-1])
            for i, rounds in enumerate(ROUNDS):
                candidates[i][held] = self._margins(trees, train.questions[held], train.prompts, rounds)
        chosen, weighed = choose_interaction(cells, d, candidates[::-1], residual, information)
        rounds = ROUNDS[::-1][chosen]
        support = weighed.share / max(weighed.error, 1e-12)
        self._supported = bool(support > MIN_SUPPORT)
        self.settings |= {"rounds": rounds, "support": round(support, 3), "interaction": 0.0}
        if not self._supported:
            return slope
        self._booster = self._grow(train, margin, rounds)
        self._b, self._weight = weighed.b, weighed.cautious
        self.settings["interaction"] = round(self._weight, 4)
        return weighed.slope

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
        raw = b"" if self._booster is None else self._booster.save_raw("ubj")
        return {
            **super().arrays(),
            "booster": np.frombuffer(raw, dtype=np.uint8),
            "weight": np.array([self._weight]),
            **{f"pairs_{name}": getattr(self._pairs, name) for name in PAIRS},
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        import xgboost

        super().restore(arrays)
        self._weight, self._booster, self._pairs = float(arrays["weight"][0]), None, PairFeatures()
        for name in PAIRS:
            setattr(self._pairs, name, arrays[f"pairs_{name}"])
        if len(arrays["booster"]):
            self._booster = xgboost.Booster({"nthread": 1})
            self._booster.load_model(bytearray(arrays["booster"].tobytes()))


PAIRS = ("mean", "axes", "training_prompts")
