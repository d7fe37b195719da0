"""A question in short: main axes of its embedding, surface features, a smooth kernel on both; segments."""

from __future__ import annotations

from tempfile import TemporaryFile

import numpy as np

from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.reward_models.cells import blocks_of
from prompt_oirl.reward_models.pages import check_room
from prompt_oirl.reward_models.training_set import TrainingSet

SAMPLE = 2**14  # questions that say where axes, scales and landmarks lie
ROWS = 2**12  # questions at a time: what lies between a question and its phi is larger than both
AXES = 96
LANDMARKS = 400
REACH = 4.0  # squared distance at which two questions share 1/e of the smooth part
SURFACE = 2.0  # variance of the surface features beside the embedding's 1
CLIP = 4.0  # standard deviations; an odd text must not stretch a linear model
LEAST_SEEN = 1.0  # squared length over all questions below which a direction says nothing that can be learned


class QuestionFeatures:
    """phi(q), float64 (n, D): the linear part (axes and surface) beside a Nystroem map of a Gaussian kernel
    on it, turned so that columns are uncorrelated over the training questions; then segments as they are.

    The embedding has total variance 1, the surface features SURFACE; columns are centred on the training
    questions, so that a ridge penalty pulls towards the average question. Ridge regressions don't mind the
    turn; directions in which the questions hardly differ are left out, which makes everything built on phi
    several times faster.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(
        self, questions: np.ndarray | MappedQuestions, embedding_size: int, segments: int = 0
    ) -> QuestionFeatures:
        """Learn axes, scales and landmarks; the first `embedding_size` columns are the embedding, the last
        `segments` are segments."""
        n, self._segments = len(questions), segments
        if n > SAMPLE or isinstance(questions, MappedQuestions):  # a sample says as much
            rows = np.random.default_rng(self.seed).permutation(n)[:SAMPLE]
            questions = questions[np.sort(rows)]
        embedding = questions[:, :embedding_size].astype(np.float64)
        self._mean = embedding.mean(0)
        centred = embedding - self._mean
        spectrum, axes = np.linalg.eigh(centred.T @ centred / len(centred))
        self._axes = axes[:, ::-1][:, :AXES] / np.sqrt(max(spectrum.sum(), 1e-12))
        surface = questions[:, embedding_size : questions.shape[1] - segments].astype(np.float64)
        self._surface_mean, spread = surface.mean(0), surface.std(0)
        varies = spread > 1e-6
        self._surface_scale = np.where(
            varies, 1 / np.maximum(spread, 1e-6) * np.sqrt(SURFACE / max(varies.sum(), 1)), 0
        )
        linear = self._linear(questions)
        _, distinct = np.unique(linear.round(6), axis=0, return_index=True)
        rng = np.random.default_rng(self.seed)
        self._landmarks = linear[np.sort(rng.permutation(np.sort(distinct))[:LANDMARKS])]
        values, vectors = np.linalg.eigh(self._kernel(self._landmarks))
        kept = values > 1e-6 * values.max()
        self._whitening = vectors[:, kept] / np.sqrt(values[kept])
        smooth = self._kernel(linear) @ self._whitening
        self._smooth_mean = smooth.mean(0)
        both = np.concatenate([linear, smooth - self._smooth_mean], 1)
        seen, directions = np.linalg.eigh(both.T @ both * (n / len(both)))
        self._turn = directions[:, seen > min(LEAST_SEEN, seen.max() / 2)][:, ::-1]
        return self

    def __call__(self, questions: np.ndarray) -> np.ndarray:
        linear = self._linear(questions)
        smooth = self._kernel(linear) @ self._whitening - self._smooth_mean
        turned = np.concatenate([linear, smooth], 1) @ self._turn
        return np.concatenate([turned, questions[:, len(self._mean) + len(self._surface_mean) :]], 1)

    def of_block(self, questions: np.ndarray) -> np.ndarray:
        """phi of a block of questions, float32 (n, D)."""
        parts = [questions[start : start + ROWS] for start in range(0, len(questions), ROWS)]
        return np.concatenate([self(part).astype(np.float32) for part in parts])

    def of_all(self, train: TrainingSet) -> np.ndarray:
        """phi of all training questions, float32 (u, D); of memory-mapped ones in a file, see `room`."""
        n = len(train.questions)
        mapped = isinstance(train.questions, MappedQuestions)
        phi = self.room(n) if mapped else np.empty((n, self.size), np.float32)
        for block in blocks_of(n):
            phi[block] = self.of_block(train.questions[block])
        return phi

    @property
    def size(self) -> int:
        """D."""
        return self._turn.shape[1] + self._segments

    def room(self, n: int) -> np.ndarray:
        """Room for phi of n questions, float32 (n, D), in a file without a name that goes with the array.

        Raises: InputError if there is none.
        """
        check_room(4 * n * self.size, "descriptions of all questions")
        with TemporaryFile(prefix="prompt_oirl_phi_") as file:
            return np.memmap(file, np.float32, "w+", shape=(n, self.size))

    def _linear(self, questions: np.ndarray) -> np.ndarray:
        size = len(self._mean)
        surface = questions[:, size : size + len(self._surface_mean)]
        surface = (surface - self._surface_mean) * self._surface_scale
        bound = CLIP * np.sqrt(SURFACE / max((self._surface_scale > 0).sum(), 1))
        return np.concatenate(
            [(questions[:, :size] - self._mean) @ self._axes, np.clip(surface, -bound, bound)], 1
        )

    def _kernel(self, linear: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # of a damaged selector; what is infinitely far has kernel 0
            squares = (linear**2).sum(1)[:, None] + (self._landmarks**2).sum(1)
            squares -= 2 * linear @ self._landmarks.T
        return np.exp(-np.maximum(squares, 0) / REACH)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything a call needs, as plain arrays."""
        return {name: getattr(self, f"_{name}") for name in _ARRAYS}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        for name in _ARRAYS:
            setattr(self, f"_{name}", arrays[name])


_ARRAYS = ("mean", "axes", "surface_mean", "surface_scale", "landmarks", "whitening", "smooth_mean", "turn")
