"""Gradient-boosted reward models on [question, prompt] features: XGBoost (the paper's) and LightGBM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from prompt_oirl.artifacts import InputError
from prompt_oirl.reward_models.training_set import TrainingSet

EMBEDDING_AXES = 64
MAX_ROUNDS = 200
PATIENCE = 10

# Chosen on the paper's own validation rows; in scripts/choose_preset.py's table of today it is second by 0.001
# of mean pick success (results/reference/preset_choice.csv).
XGBOOST_FAST = {"max_depth": 10, "eta": 0.1, "min_child_weight": 1, "colsample_bynode": 0.2, "max_bin": 64}
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


class PairFeatures:
    """(question, prompt) -> one feature row.

    The question's embedding is rotated onto its 64 main axes (fitted on training questions), which makes the
    trees seven times cheaper. The prompt is described by its similarity to each training prompt, so that one
    split can single out a prompt and a prompt never seen stands near its relatives.

    Both are rounded: a tree's threshold is a value of the training data, and the last bits of a matrix
    product depend on its shape, so unrounded features would fall on the wrong side of their own threshold.
    """

    def fit(self, train: TrainingSet) -> PairFeatures:
        embedding = train.questions[:, : train.embedding_size].astype(np.float64)
        self.mean = embedding.mean(0)
        centred = embedding - self.mean
        _, axes = np.linalg.eigh(centred.T @ centred)
        self.axes = axes[:, ::-1][:, :EMBEDDING_AXES].astype(np.float32)
        self.mean = self.mean.astype(np.float32)
        self.training_prompts = train.prompts
        return self

    def questions(self, questions: np.ndarray) -> np.ndarray:
        size = len(self.mean)
        return np.concatenate(
            [((questions[:, :size] - self.mean) @ self.axes).round(4), questions[:, size:]], 1
        )

    def prompts(self, prompts: np.ndarray) -> np.ndarray:
        similarity = (prompts @ self.training_prompts.T).round(4)
        # A threshold of a tree is a training value, so "is prompt j" reads "similarity >= 1", and a near twin
        # of j would count as a stranger. The nearest training value puts the threshold half-way instead.
        known = (self.training_prompts @ self.training_prompts.T).round(4)
        nearest = np.abs(similarity[:, None, :] - known[None, :, :]).argmin(1)
        return np.take_along_axis(known, nearest, 0)

    def column_weights(self, n_surface: int) -> np.ndarray:
        """How often a column is offered to a split: surface features and prompts are few, so more often."""
        return np.concatenate(
            [np.ones(self.axes.shape[1]), np.full(n_surface, 4.0), np.full(len(self.training_prompts), 10.0)]
        )


class _Boosted(ABC):
    """What both libraries share: feature rows in, probabilities out, in blocks that bound the memory."""

    features: PairFeatures | None

    def _prepare(self, train: TrainingSet) -> None:
        self.features = PairFeatures().fit(train)

    def _pairs(self, data: TrainingSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Feature rows float32 (cells, d + e), labels and weights of the answered cells."""
        questions, prompts = self._halves(data.questions, data.prompts)
        row, column, label, weight = data.cells()
        return np.concatenate([questions[row], prompts[column]], 1), label, weight

    def _halves(self, questions: np.ndarray, prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.features is None:
            return questions[:, : prompts.shape[1]], prompts
        return self.features.questions(questions), self.features.prompts(prompts)

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        q, p = self._halves(questions, prompts)
        scores = np.empty((len(q), len(p)), dtype=np.float32)
        for start in range(0, len(q), 2048):
            block = q[start : start + 2048]
            rows = np.concatenate([np.repeat(block, len(p), 0), np.tile(p, (len(block), 1))], 1)
            scores[start : start + 2048] = self._score(np.ascontiguousarray(rows, dtype=np.float32)).reshape(
                len(block), len(p)
            )
        return scores

    @abstractmethod
    def _score(self, rows: np.ndarray) -> np.ndarray: ...

    def _feature_arrays(self) -> dict[str, np.ndarray]:
        if self.features is None:
            return {}
        return {name: getattr(self.features, name) for name in ("mean", "axes", "training_prompts")}

    def _restore_features(self, arrays: dict[str, np.ndarray]) -> None:
        self.features = PairFeatures() if "axes" in arrays else None
        for name in ("mean", "axes", "training_prompts") if self.features else ():
            setattr(self.features, name, arrays[name])


class XGBoost(_Boosted):
    """The published learner. `fast` stops early on validation rows and trains on all; `paper` is as published.

    One thread per fit: equal bits whatever else runs, and fits run side by side instead.
    """

    def __init__(self, preset: str = "fast", seed: int = 0, **overrides: Any):
        self.paper = preset == "paper"
        parameters = XGBOOST_PAPER if self.paper else XGBOOST_FAST
        self.settings: dict[str, Any] = {"rounds": PAPER_ROUNDS if self.paper else MAX_ROUNDS}
        self._parameters = {
            **parameters,
            **overrides,
            "objective": "binary:logistic",
            "tree_method": "hist",
            "nthread": 1,
            "seed": seed,
        }

    def _matrix(self, data: TrainingSet, reference: Any = None) -> Any:
        import xgboost

        rows, label, weight = self._pairs(data)
        max_bin = self._parameters.get("max_bin", 256)
        matrix = xgboost.QuantileDMatrix(
            rows, label, weight=weight, max_bin=max_bin, ref=reference, nthread=1
        )
        if self.features is not None:
            n_surface = data.questions.shape[1] - len(self.features.mean)
            matrix.set_info(feature_weights=self.features.column_weights(n_surface))
        return matrix

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        import xgboost

        if self.paper:
            self.fit(train)
            return
        self._prepare(train)
        matrix = self._matrix(train)
        self.booster = xgboost.train(
            {**self._parameters, "eval_metric": "logloss"},
            matrix,
            MAX_ROUNDS,
            evals=[(self._matrix(validation, matrix), "validation")],
            early_stopping_rounds=PATIENCE,
            verbose_eval=False,
        )
        self.settings = {"rounds": self.booster.best_iteration + 1}
        self.booster = self.booster[: self.settings["rounds"]]

    def fit(self, train: TrainingSet) -> None:
        import xgboost

        self.features = None
        if not self.paper:
            self._prepare(train)
        self.booster = xgboost.train(self._parameters, self._matrix(train), self.settings["rounds"])

    def _score(self, rows: np.ndarray) -> np.ndarray:
        return self.booster.inplace_predict(rows)

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "booster": np.frombuffer(self.booster.save_raw("ubj"), dtype=np.uint8),
            **self._feature_arrays(),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        import xgboost

        self.booster = xgboost.Booster({"nthread": 1})
        self.booster.load_model(bytearray(arrays["booster"].tobytes()))
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
        self._prepare(train)
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
        self._prepare(train)
        self.booster = self._library.train(self._parameters, self._dataset(train), self.settings["rounds"])
        self._text = self.booster.model_to_string()

    def _dataset(self, data: TrainingSet, reference: Any = None) -> Any:
        rows, label, weight = self._pairs(data)
        return self._library.Dataset(rows, label, weight=weight, reference=reference, params=self._parameters)

    def _score(self, rows: np.ndarray) -> np.ndarray:
        return self.booster.predict(rows, num_threads=1)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"booster": np.frombuffer(self._text.encode(), dtype=np.uint8), **self._feature_arrays()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._text = arrays["booster"].tobytes().decode()
        self.booster = self._library.Booster(model_str=self._text)
        self._restore_features(arrays)


def _import_lightgbm() -> Any:
    try:
        import lightgbm
    except OSError as error:
        raise InputError(
            f"LightGBM cannot load its system library ({error}): install it (Debian/Ubuntu: apt-get install libgomp1), or use --model xgboost"
        ) from error
    return lightgbm
