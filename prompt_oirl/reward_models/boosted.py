"""Gradient-boosted reward models on [question, prompt] features: XGBoost (the paper's) and LightGBM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from prompt_oirl.artifacts import InputError
from prompt_oirl.mapped_questions import BLOCK, MappedQuestions
from prompt_oirl.reward_models.pages import check_room, page_bytes, page_folder
from prompt_oirl.reward_models.training_set import TrainingSet

EMBEDDING_AXES = 64
MAX_ROUNDS = 200
PATIENCE = 10

# Chosen inside the training rows (scripts/choose_preset.py, results/reference/preset_choice.csv).
XGBOOST_FAST = {"eta": 0.1, "min_child_weight": 1, "colsample_bynode": 0.2, "max_bin": 64}
# Of which validation rows choose: they favour the deep one where they repeat problems of the training rows, as the
# paper's do, and mostly the shallow one where problems are new.
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


class PairFeatures:
    """(question, prompt) -> one feature row.

    The question's embedding is rotated onto its 64 main axes (fitted on training questions), which makes the
    trees seven times cheaper. The prompt is described by its similarity to each training prompt, so that one
    split can single out a prompt and a prompt never seen stands near its relatives.

    Both are rounded: a tree's threshold is a value of the training data, and the last bits of a matrix
    product depend on its shape, so unrounded features would fall on the wrong side of their own threshold.
    """

    def fit(self, train: TrainingSet) -> PairFeatures:
        size = train.embedding_size
        total, gram = np.zeros(size), np.zeros((size, size))
        for block in train.blocks():
            total += train.questions[block][:, :size].astype(np.float64).sum(0)
        self.mean = total / len(train.questions)
        for block in train.blocks():
            centred = train.questions[block][:, :size].astype(np.float64) - self.mean
            gram += centred.T @ centred
        _, axes = np.linalg.eigh(gram)
        self.axes = axes[:, ::-1][:, :EMBEDDING_AXES].astype(np.float32)
        self.mean = self.mean.astype(np.float32)
        self.training_prompts = train.prompts
        self.present = np.ones(len(train.prompts), dtype=bool)
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
            [np.ones(self.axes.shape[1]), np.full(n_surface, 4.0), np.where(self.present, 10.0, 0.0)]
        )

    def restricted(self, columns: tuple[int, ...]) -> PairFeatures:
        """The same columns for a subset of the training prompts: the others' similarity is 0 for everyone."""
        other = PairFeatures()
        other.mean, other.axes = self.mean, self.axes
        other.present = np.isin(np.arange(len(self.training_prompts)), columns)
        other.training_prompts = np.where(other.present[:, None], self.training_prompts, 0)
        return other


def pair_rows(questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """Feature rows float32 (n m, d + e) of all questions (n, d) with all prompts (m, e), question-major."""
    return np.concatenate(
        [np.repeat(questions, len(prompts), 0), np.tile(prompts, (len(questions), 1))], 1, dtype=np.float32
    )


class _Boosted(ABC):
    """What both libraries share: feature rows in, probabilities out, in blocks that bound the memory."""

    features: PairFeatures | None

    def _halves(self, questions: np.ndarray, prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.features is None:
            return questions[:, : prompts.shape[1]], prompts
        return self.features.questions(questions), self.features.prompts(prompts)

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
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
        return {name: getattr(self.features, name) for name in ("mean", "axes", "training_prompts")}

    def _restore_features(self, arrays: dict[str, np.ndarray]) -> None:
        self.features = PairFeatures() if "axes" in arrays else None
        for name in ("mean", "axes", "training_prompts") if self.features else ():
            setattr(self.features, name, arrays[name])


class QuantisedPairs:
    """XGBoost's binned matrix of a training set's answered pairs, fed block by block from the two halves.

    The float rows of all pairs never stand in memory together. Where the questions are memory-mapped, the bins
    lie in files of `folder` as well (XGBoost's external memory) and are read back page by page.
    """

    def __init__(self, features: PairFeatures | None, train: TrainingSet, max_bin: int, threads: int = 1):
        self.features, self.train = features, train
        self.max_bin, self.threads = max_bin, threads
        self.halves: np.ndarray | None = None
        if not isinstance(train.questions, MappedQuestions):
            self.halves = self._questions(train.questions)
        self.matrix = self.matrix_of(train, features, None)

    def _questions(self, questions: np.ndarray) -> np.ndarray:
        if self.features is None:
            return questions[:, : self.train.embedding_size]
        return self.features.questions(questions)

    def _blocks(
        self, data: TrainingSet, features: PairFeatures | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Feature rows float32 (cells, d + e), labels and weights of the answered cells, block by block."""
        prompts = data.prompts if features is None else features.prompts(data.prompts)
        shared = data.questions is self.train.questions and self.halves is not None
        for block in data.blocks():
            row, column, label, weight = data.cells(block)
            if not len(row):
                continue
            questions = self.halves[block] if shared else self._questions(data.questions[block])  # type: ignore[index]
            yield np.concatenate([questions[row], prompts[column]], 1, dtype=np.float32), label, weight

    def matrix_of(self, data: TrainingSet, features: PairFeatures | None, reference: Any) -> Any:
        """Bins of `data`'s pairs: those of `reference` where one is given, else found from the data."""
        import xgboost

        mapped = isinstance(data.questions, MappedQuestions)
        blocks = self._blocks
        n_surface = data.questions.shape[1] - data.embedding_size
        if mapped:
            columns = (
                data.embedding_size + data.prompts.shape[1]
                if features is None
                else len(features.column_weights(n_surface))
            )
            check_room(page_bytes(int((data.weights > 0).sum()), columns))

        class Blocks(xgboost.DataIter):
            def __init__(self) -> None:
                super().__init__(cache_prefix=str(page_folder() / "pairs") if mapped else None)
                self.reset()

            def reset(self) -> None:
                self._left = blocks(data, features)

            def next(self, input_data: Any) -> bool:
                block = next(self._left, None)
                if block is not None:
                    input_data(data=block[0], label=block[1], weight=block[2])
                return block is not None

        kind = xgboost.ExtMemQuantileDMatrix if mapped else xgboost.QuantileDMatrix
        matrix = kind(Blocks(), max_bin=self.max_bin, ref=reference, nthread=self.threads)
        if features is not None:
            matrix.set_info(feature_weights=features.column_weights(n_surface))
        return matrix


@lru_cache(maxsize=4)
def quantised_pairs(whole: TrainingSet, max_bin: int, threads: int) -> QuantisedPairs:
    """Axes, question halves and bins of all prompts' pairs, which every subset of the prompts shares."""
    return QuantisedPairs(PairFeatures().fit(whole), whole, max_bin, threads)


class XGBoost(_Boosted):
    """The published learner. `fast` chooses depth and rounds on validation rows and trains on all; `paper` is as published.

    One thread per fit: equal bits whatever else runs, and fits run side by side instead.
    """

    def __init__(self, preset: str = "fast", seed: int = 0, depths: Sequence[int] = DEPTHS, **overrides: Any):
        self.paper = preset == "paper"
        self.depths = depths
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
        import xgboost

        if self.paper:
            self.fit(train)
            return
        matrix, held_out = self._matrices(train, validation)
        found = [
            xgboost.train(
                {**self._parameters, "max_depth": depth, "eval_metric": "logloss"},
                matrix,
                MAX_ROUNDS,
                evals=[(held_out, "validation")],
                early_stopping_rounds=PATIENCE,
                verbose_eval=False,
            )
            for depth in self.depths
        ]
        best = int(np.argmin([booster.best_score for booster in found]))
        self.settings = {"max_depth": self.depths[best], "rounds": found[best].best_iteration + 1}
        self.booster = found[best][: self.settings["rounds"]]

    def fit(self, train: TrainingSet) -> None:
        import xgboost

        settings = {name: value for name, value in self.settings.items() if name != "rounds"}
        self.booster = xgboost.train(
            {**self._parameters, **settings}, self._matrices(train)[0], self.settings["rounds"]
        )

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
