"""The success of each prompt and nothing else: what is left where a log is too small to learn from questions."""

from __future__ import annotations

from typing import Any

import numpy as np

from prompt_oirl.reward_models.training_set import TrainingSet, prompt_coordinates


class PromptMeans:
    """r(question, prompt) = mean success of the prompt, drawn towards the mean of all by one right and one wrong."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.fit(train)

    def fit(self, train: TrainingSet) -> None:
        asked = train.weights.sum(0, dtype=np.float64)
        self._means = ((train.prompt_means * asked + 1) / (asked + 2)).astype(np.float32)
        self._coordinates = prompt_coordinates(train.prompts)

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        means = np.clip(self._means @ (prompts @ self._coordinates).T, 0, 1)
        return np.tile(means.astype(np.float32), (len(questions), 1))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"means": self._means, "coordinates": self._coordinates}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._means, self._coordinates = arrays["means"], arrays["coordinates"]
