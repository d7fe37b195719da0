"""[question, prompt] pairs as trees see them: a short feature row each, and bins that all subsets of prompts
share."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.reward_models.pages import check_room, page_bytes, page_folder
from prompt_oirl.reward_models.training_set import CONSTANT, TrainingSet

EMBEDDING_AXES = 64
FEATURE_ARRAYS = ("mean", "grid_axes", "training_prompts")  # all that a fitted `PairFeatures` holds
LARGE = 2**16  # questions: of more, this many say where axes and bins lie


class PairFeatures:
    """(question, prompt) -> one feature row.

    The question's embedding is rotated onto its 64 main axes (fitted on training questions), which makes the
    trees seven times cheaper. The prompt is described by its similarity to each training prompt, so that one
    split can single out a prompt and a prompt never seen stands near its relatives.

    Both are rounded, for processors differ in the last digits of an embedding and of a matrix product (1e-7),
    and one question in another bin is enough for other trees. Axes get a grid of a quarter to half a standard
    deviation of the main one: hardly any value lies within 1e-7 of the middle between two grid values, and
    with fewer of those than bins, every grid value has a bin of its own. Rounding stands here, behind the
    rotation, because a sum of 384 rounded numbers carries more noise than one of 384 accurate ones.
    """

    def fit(self, train: TrainingSet) -> PairFeatures:
        """Learn the axes of the questions and keep the training prompts."""
        train, size = sample(train), train.embedding_size
        total, gram = np.zeros(size), np.zeros((size, size))
        for block in train.blocks():
            total += train.questions[block][:, :size].astype(np.float64).sum(0)
        self.mean = total / len(train.questions)
        for block in train.blocks():
            centred = train.questions[block][:, :size].astype(np.float64) - self.mean
            gram += centred.T @ centred
        variances, axes = np.linalg.eigh(gram / len(train.questions))
        axes = axes[:, ::-1][:, :EMBEDDING_AXES]
        axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])  # eigh leaves the sign open
        deviation = np.sqrt(max(variances[-1], CONSTANT**2))
        self.grid_axes = (axes / grid_step(deviation)).astype(np.float32)
        self.mean = self.mean.astype(np.float32)
        self.training_prompts = train.prompts
        self.present = np.ones(len(train.prompts), dtype=bool)
        return self

    def questions(self, questions: np.ndarray) -> np.ndarray:
        """Question half of the features, float32 (n, a + s): whole grid steps along the axes, and surface
        features."""
        size = len(self.mean)
        steps = np.rint((questions[:, :size] - self.mean) @ self.grid_axes)
        return np.concatenate([steps, questions[:, size:]], 1)

    def prompts(self, prompts: np.ndarray) -> np.ndarray:
        """Prompt half of the features, float32 (m, K): similarity to each training prompt."""
        similarity = (prompts @ self.training_prompts.T).round(4)
        # A threshold of a tree is a training value, so "is prompt j" reads "similarity >= 1", and a near twin
        # of j would count as a stranger. The nearest training value puts the threshold half-way instead.
        known = (self.training_prompts @ self.training_prompts.T).round(4)
        nearest = np.abs(similarity[:, None, :] - known[None, :, :]).argmin(1)
        return np.take_along_axis(known, nearest, 0)

    def column_weights(self, n_surface: int) -> np.ndarray:
        """How often a column is offered to a split: surface features and prompts are few, so more often."""
        return np.concatenate(
            [np.ones(self.grid_axes.shape[1]), np.full(n_surface, 4.0), np.where(self.present, 10.0, 0.0)]
        )

    def restricted(self, columns: tuple[int, ...]) -> PairFeatures:
        """The same columns for a subset of the training prompts: the others' similarity is 0 for everyone."""
        other = PairFeatures()
        other.mean, other.grid_axes = self.mean, self.grid_axes
        other.present = np.isin(np.arange(len(self.training_prompts)), columns)
        other.training_prompts = np.where(other.present[:, None], self.training_prompts, 0)
        return other


def grid_step(deviation: float) -> float:
    """The power of two that is a quarter to half of `deviation`; noise in `deviation` does not change it."""
    return float(2.0 ** np.floor(np.log2(deviation / 2)))


def sample(train: TrainingSet) -> TrainingSet:
    """At most LARGE of the questions, evenly spaced: whoever reads them, here or on a worker, finds the same
    axes and bins."""
    n = len(train.questions)
    return train if n <= LARGE else train.rows(np.linspace(0, n - 1, LARGE).astype(np.int64))


def pair_rows(questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """Feature rows float32 (n m, d + e) of all questions (n, d) with all prompts (m, e), question-major."""
    return np.concatenate(
        [np.repeat(questions, len(prompts), 0), np.tile(prompts, (len(questions), 1))], 1, dtype=np.float32
    )


def pair_columns(data: TrainingSet, features: PairFeatures | None) -> int:
    """How many columns the pairs of `data` have."""
    if features is None:
        return data.embedding_size + data.prompts.shape[1]
    return len(features.column_weights(data.questions.shape[1] - data.embedding_size))


class QuantisedPairs:
    """XGBoost's binned matrix of a training set's answered pairs, fed block by block from the two halves.

    The float rows of all pairs never stand in memory together. Where the questions are memory-mapped, the
    bins lie in files of `folder` as well (XGBoost's external memory) and are read back page by page.
    """

    def __init__(self, features: PairFeatures | None, train: TrainingSet, max_bin: int, threads: int = 1):
        self.features, self.train = features, train
        self.max_bin, self.threads = max_bin, threads
        self.halves: np.ndarray | None = None
        if not isinstance(train.questions, MappedQuestions):
            self.halves = self._questions(train.questions)
        some = sample(train)
        reference = None if some is train else QuantisedPairs(features, some, max_bin, threads).matrix
        self.matrix: Any = self.matrix_of(train, features, reference)

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
        """XGBoost's matrix of the answered pairs of `data`, its columns in bins.

        Parameters
        ----------
        data : answered questions and prompts; if its questions are memory-mapped, the bins lie in files too
        features : makes the prompts' columns and says how often each column is offered to a split; None takes
        the prompts' vectors as they are and offers all columns equally often
        reference : matrix whose bins are taken over; None finds them from `data`

        Raises: InputError if the bins must lie in files and the disk has no room for them.
        """
        import xgboost

        mapped = isinstance(data.questions, MappedQuestions)
        blocks = self._blocks
        n_surface = data.questions.shape[1] - data.embedding_size
        if mapped:
            check_room(page_bytes(int((data.weights > 0).sum()), pair_columns(data, features)))

        class Blocks(xgboost.DataIter):
            def __init__(self) -> None:
                super().__init__(cache_prefix=_page_prefix() if mapped else None)
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
    """Axes, question halves and bins of all prompts' pairs, which every subset of the prompts shares.

    Parameters
    ----------
    whole : training set with all prompts
    max_bin : bins per column, at most
    threads : that XGBoost uses while it makes the bins

    Returns: the same object for the same arguments; the four used last are kept.
    """
    return QuantisedPairs(PairFeatures().fit(whole), whole, max_bin, threads)


@lru_cache(maxsize=1)
def _page_prefix() -> str:
    """Where this process's pages lie; cached matrices are let go before their folder is removed."""
    prefix = str(page_folder() / "pairs")
    atexit.register(quantised_pairs.cache_clear)
    return prefix
