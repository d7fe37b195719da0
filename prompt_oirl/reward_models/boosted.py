"""Gradient-boosted reward models on [question, prompt] features: XGBoost (the paper's) and LightGBM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from prompt_oirl.features.mapped import BLOCK, MappedQuestions
from prompt_oirl.io.files import InputError
from prompt_oirl.reward_models.booster_files import checked_lightgbm, checked_xgboost
from prompt_oirl.reward_models.pairs import (
    FEATURE_ARRAYS,
    PairFeatures,
    QuantisedPairs,
    pair_rows,
    quantised_pairs,
    sample,
)
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.reward_models.trees import PATIENCE, Bins, Spread, growth_of

MAX_ROUNDS = 200

# Chosen inside the training rows (scripts/choose_preset.py, results/reference/preset_choice.csv).
XGBOOST_FAST = {"eta": 0.1, "min_child_weight": 1, "colsample_bynode": 0.2, "max_bin": 64}
# Best by mean pick success on held-out clusters and on the paper's validation rows; each fit's validation
# rows choose.
DEPTHS = (6, 10)
# Prompt-OIRL, llama_step4: everything else at the library's defaults, no early stopping.
XGBOOST_PAPER = {"max_depth": 10, "eta": 0.001}
PAPER_ROUNDS = 2000
LIGHTGBM_FAST = {
    "num_leaves": 63,
    "learning_rate": 0.1,
    "feature_fraction_bynode": 0.2,
    "max_bin": 63,
    "min_data_in_leaf": 10,
}


class _Boosted(ABC):
    """What both libraries share: feature rows in, probabilities out, in blocks that bound the memory."""

    features: PairFeatures | None
    booster: Any

    def _halves(self, questions: np.ndarray, prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.features is None:
            embedding_size = self.booster.num_features() - prompts.shape[1]
            return questions[:, :embedding_size], prompts
        return self.features.questions(questions), self.features.prompts(prompts)

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Success probabilities float32 (n, m) for questions (n, d) and prompts (m, e)."""
        scores = np.empty((len(questions), len(prompts)), dtype=np.float32)
        for first in range(0, len(questions), BLOCK):
            q, p = self._halves(questions[first : first + BLOCK], prompts)
            for start in range(0, len(q), 2048):
                block = q[start : start + 2048]
                scores[first + start : first + start + len(block)] = self._score(pair_rows(block, p)).reshape(
                    len(block), len(p)
                )
        return scores

    @abstractmethod
    def _score(self, rows: np.ndarray) -> np.ndarray: ...

    def _feature_arrays(self) -> dict[str, np.ndarray]:
        if self.features is None:
            return {}
        return {name: getattr(self.features, name) for name in FEATURE_ARRAYS}

    def _restore_features(self, arrays: dict[str, np.ndarray]) -> None:
        self.features = PairFeatures() if "training_prompts" in arrays else None
        for name in FEATURE_ARRAYS if self.features else ():
            setattr(self.features, name, arrays[name])


class XGBoost(_Boosted):
    """The published learner. `fast` chooses depth and rounds on validation rows and trains on all; `paper` is
    as published.

    One thread per fit: equal bits whatever else runs, and fits run side by side instead. With more than
    `pairs.LARGE` questions the bits are the same for any number of threads and workers (`trees.Growth`).
    """

    def __init__(
        self,
        preset: str = "fast",
        seed: int = 0,
        depths: Sequence[int] = DEPTHS,
        spread: Spread | None = None,
        **overrides: Any,
    ):
        """`spread` grows the trees of more than `pairs.LARGE` memory-mapped questions (`pipeline.spread`)."""
        self.paper = preset == "paper"
        self.depths, self.spread = depths, spread
        parameters = XGBOOST_PAPER if self.paper else XGBOOST_FAST
        self.settings: dict[str, Any] = (
            {"rounds": PAPER_ROUNDS} if self.paper else {"max_depth": depths[0], "rounds": MAX_ROUNDS}
        )
        self._parameters = {
            "nthread": 1,
            **parameters,
            **overrides,
            "objective": "binary:logistic",
            "tree_method": "hist",
            "seed": seed,
        }

    def _matrices(self, train: TrainingSet, validation: TrainingSet | None = None) -> list[Any]:
        """Binned matrices of the training and, with the same bins, of the validation pairs."""
        max_bin, threads = self._parameters.get("max_bin", 256), self._parameters["nthread"]
        whole = train.whole or train
        if self.paper:
            self.features = None
            shared = QuantisedPairs(None, train, max_bin, threads)
            matrix = shared.matrix
        else:
            shared = quantised_pairs(whole, max_bin, threads)
            self.features, matrix = shared.features, shared.matrix
            if train is not whole:
                self.features = shared.features.restricted(train.columns)  # type: ignore[union-attr]
                matrix = shared.matrix_of(train, self.features, shared.matrix)
        return [matrix] + ([shared.matrix_of(validation, self.features, matrix)] if validation else [])

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Choose the settings on `validation`; leaves the model fitted on `train`."""
        if self.paper:
            self.fit(train)
            return
        candidates = [{"max_depth": depth, "eval_metric": "logloss"} for depth in self.depths]
        found = self._grow(candidates, MAX_ROUNDS, train, validation)
        best = int(np.argmin([booster.best_score for booster in found]))
        self.settings = {"max_depth": self.depths[best], "rounds": found[best].best_iteration + 1}
        self.booster = found[best][: self.settings["rounds"]]

    def fit(self, train: TrainingSet) -> None:
        """Train on all rows with the chosen settings."""
        settings = {name: value for name, value in self.settings.items() if name != "rounds"}
        self.booster = self._grow([settings], self.settings["rounds"], train)[0]

    def _grow(
        self,
        settings: Sequence[dict[str, Any]],
        rounds: int,
        train: TrainingSet,
        validation: TrainingSet | None = None,
    ) -> list[Any]:
        """A booster for each of the `settings`."""
        growth = growth_of(self._parameters, settings, rounds, train)
        # Where sums are rounded, workers may choose otherwise among equal splits; few need no workers.
        if not (self.spread and growth.exact and isinstance(train.questions, MappedQuestions)):
            return growth.grow(*self._matrices(train, validation))
        whole, whole_features = train, None
        if not self.paper:
            whole = train.whole or train
            whole_features = PairFeatures().fit(whole)
        self.features = whole_features
        if whole_features and whole is not train:
            self.features = whole_features.restricted(train.columns)
        bins = Bins(sample(whole), whole_features, self.features)
        return self.spread(growth, bins, train, validation)

    def _score(self, rows: np.ndarray) -> np.ndarray:
        return self.booster.inplace_predict(rows)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything `predict` needs, as plain arrays."""
        return {
            "booster": np.frombuffer(checked_xgboost(self.booster.save_raw("ubj")), dtype=np.uint8),
            **self._feature_arrays(),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        import xgboost

        self.booster = xgboost.Booster({"nthread": 1})
        self.booster.load_model(checked_xgboost(arrays["booster"].tobytes()))
        self._restore_features(arrays)


class LightGBM(_Boosted):
    """The same features in LightGBM; soft labels through its cross-entropy objective."""

    def __init__(self, seed: int = 0):
        self.settings: dict[str, Any] = {"rounds": MAX_ROUNDS}
        self._parameters = {
            **LIGHTGBM_FAST,
            "objective": "cross_entropy",
            "num_threads": 1,
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        self._library = _import_lightgbm()

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Choose the settings on `validation`; leaves the model fitted on `train`."""
        self.features = PairFeatures().fit(train)
        data = self._dataset(train)
        stop = self._library.early_stopping(PATIENCE, verbose=False)
        valid = self._dataset(validation, data)
        self.booster = self._library.train(
            self._parameters, data, MAX_ROUNDS, valid_sets=[valid], callbacks=[stop]
        )
        self.settings = {"rounds": self.booster.best_iteration}
        self._text = self.booster.model_to_string(num_iteration=self.settings["rounds"])
        self.booster = self._library.Booster(model_str=self._text)

    def fit(self, train: TrainingSet) -> None:
        """Train on all rows with the chosen settings."""
        self.features = PairFeatures().fit(train)
        self.booster = self._library.train(self._parameters, self._dataset(train), self.settings["rounds"])
        self._text = self.booster.model_to_string()

    def _dataset(self, data: TrainingSet, reference: Any = None) -> Any:
        questions, prompts = self._halves(data.questions, data.prompts)
        row, column, label, weight = data.cells()
        rows = np.concatenate([questions[row], prompts[column]], 1)
        return self._library.Dataset(rows, label, weight=weight, reference=reference, params=self._parameters)

    def _score(self, rows: np.ndarray) -> np.ndarray:
        return self.booster.predict(rows, num_threads=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything `predict` needs, as plain arrays."""
        text = checked_lightgbm(self._text)
        return {"booster": np.frombuffer(text.encode(), dtype=np.uint8), **self._feature_arrays()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        self._text = checked_lightgbm(arrays["booster"].tobytes().decode())
        self.booster = self._library.Booster(model_str=self._text)
        self._restore_features(arrays)


def _import_lightgbm() -> Any:
    try:
        import lightgbm
    except OSError as error:
        raise InputError(
            f"LightGBM cannot load its system library ({error}): install it (Debian/Ubuntu: apt-get install "
            "libgomp1), or use --model xgboost"
        ) from error
    return lightgbm
