"""One logistic regression per training prompt; a prompt never seen mixes their logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from prompt_oirl.reward_models.training_set import TrainingSet, mean_and_scale, prompt_coordinates
from prompt_oirl.stats.metrics import log_loss

GRID = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)


class LogisticPerPrompt:
    """L2-regularised logistic regression on standardised features; the strength C is chosen on validation."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"C": GRID[2]}

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Choose the settings on `validation`; leaves the model fitted on `train`."""
        losses = {}
        for strength in GRID:
            self.settings = {"C": strength}
            self.fit(train)
            losses[strength] = log_loss(
                validation.labels, self.predict(validation.questions, validation.prompts), validation.weights
            )
        self.settings = {"C": min(losses, key=lambda c: losses[c])}
        self.fit(train)

    def fit(self, train: TrainingSet) -> None:
        """Train on all rows with the chosen settings."""
        from sklearn.linear_model import LogisticRegression

        self._mean, self._scale = mean_and_scale(train.questions)
        self._coordinates = prompt_coordinates(train.prompts)
        x = (train.questions - self._mean) / self._scale
        coefficients = []
        for j in range(len(train.prompts)):
            # A mean label y with weight w is one right answer of weight w*y and one wrong one of w*(1-y).
            y = np.where(np.isnan(train.labels[:, j]), 0, train.labels[:, j])
            weight = np.concatenate([train.weights[:, j] * y, train.weights[:, j] * (1 - y)])
            target = np.repeat([1, 0], len(x))
            used = weight > 0
            if len(set(target[used])) < 2:  # all right or all wrong: a constant, pulled half a count inwards
                rate = (weight[: len(x)].sum() + 0.5) / (weight.sum() + 1)
                coefficients.append(np.append(np.zeros(x.shape[1]), np.log(rate / (1 - rate))))
                continue
            model = LogisticRegression(C=self.settings["C"], max_iter=200)
            model.fit(np.concatenate([x, x])[used], target[used], sample_weight=weight[used])
            coefficients.append(np.append(model.coef_[0], model.intercept_))
        self._coefficients = np.array(coefficients, dtype=np.float32)

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Success probabilities float32 (n, m) for questions (n, d) and prompts (m, e)."""
        x = (questions - self._mean) / self._scale
        logits = (x @ self._coefficients[:, :-1].T + self._coefficients[:, -1]) @ (
            prompts @ self._coordinates
        ).T
        return (1 / (1 + np.exp(-np.clip(logits, -30, 30)))).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything `predict` needs, as plain arrays."""
        return {
            "coefficients": self._coefficients,
            "mean": self._mean,
            "scale": self._scale,
            "coordinates": self._coordinates,
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        self._coefficients, self._mean = arrays["coefficients"], arrays["mean"]
        self._scale, self._coordinates = arrays["scale"], arrays["coordinates"]
