"""Success of a prompt on the nearest training questions (the baseline ICLR reviewer 1 asked for)."""

from __future__ import annotations

from typing import Any

import numpy as np

from prompt_oirl.reward_models.training_set import TrainingSet, prompt_coordinates
from prompt_oirl.stats.metrics import log_loss

GRID = (5, 10, 20, 40, 80, 160)
PRIOR_ANSWERS = 2.0  # a neighbourhood without answers falls back to the prompt's mean success


class NearestQuestions:
    """k nearest training questions by cosine of the embedding; k is chosen on validation."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"k": 40}

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Choose the settings on `validation`; leaves the model fitted on `train`."""
        self.fit(train)
        losses = {}
        for k in GRID:
            self.settings = {"k": k}
            losses[k] = log_loss(
                validation.labels, self.predict(validation.questions, validation.prompts), validation.weights
            )
        self.settings = {"k": min(losses, key=lambda k: losses[k])}

    def fit(self, train: TrainingSet) -> None:
        """Train on all rows with the chosen settings."""
        self._vectors = _unit(train.questions[:, : train.embedding_size])
        self._right = np.where(np.isnan(train.labels), 0, train.labels) * train.weights
        self._asked = train.weights
        self._means = train.prompt_means.astype(np.float32)
        self._coordinates = prompt_coordinates(train.prompts)

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Success probabilities float32 (n, m) for questions (n, d) and prompts (m, e)."""
        k = min(self.settings["k"], len(self._vectors))
        rates = np.empty((len(questions), len(self._means)), dtype=np.float32)
        for start in range(0, len(questions), 512):
            batch = _unit(questions[start : start + 512, : self._vectors.shape[1]])
            similarity = batch @ self._vectors.T
            nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
            right, asked = self._right[nearest].sum(1), self._asked[nearest].sum(1)
            rates[start : start + 512] = (right + PRIOR_ANSWERS * self._means) / (asked + PRIOR_ANSWERS)
        return np.clip(rates @ (prompts @ self._coordinates).T, 0, 1).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything `predict` needs, as plain arrays."""
        return {
            "vectors": self._vectors,
            "right": self._right.astype(np.float32),
            "asked": self._asked,
            "means": self._means,
            "coordinates": self._coordinates,
            "k": np.array([self.settings["k"]]),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        self._vectors, self._right, self._asked = arrays["vectors"], arrays["right"], arrays["asked"]
        self._means, self._coordinates = arrays["means"], arrays["coordinates"]
        self.settings = {"k": int(arrays["k"][0])}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
