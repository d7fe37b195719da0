"""Question difficulty apart from question x prompt interaction, as far as held-out answers support it.

logit P(correct | q, p) = b_p + a d(q) + s m_p(q)

b_p is how good prompt p is, d how easy question q is, m_p what p gains or loses on q beyond both. A shared d
never changes which prompt is best, so whatever is chosen is chosen by m. d and m are random effects on one
compressed description of the question (effects.py); a and s say how much they count, and come from held-out
answers (held_out.py), which also calibrates the probabilities. s is 0 unless a test shows m and the measured
gain does not speak against it (study.py): the model then ranks prompts by b_p alone, so the highest
prediction is the prompt that is best on train, and choosing by it can lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from prompt_oirl.features.mapped import BLOCK, MappedQuestions
from prompt_oirl.reward_models.cells import OverBlocks, sigmoid
from prompt_oirl.reward_models.question_features import ROWS, QuestionFeatures
from prompt_oirl.reward_models.study import study
from prompt_oirl.reward_models.training_set import TrainingSet, prompt_coordinates

# phi (u, D) of memory-mapped questions, and what does the sums of its blocks.
SpreadSums = Callable[[QuestionFeatures, TrainingSet], tuple[np.ndarray, OverBlocks]]


class InteractionModel:
    """r(question, prompt) = prompt + difficulty + interaction; `settings` says what the test found."""

    SETTINGS: tuple[str, ...] = ("interaction", "slope", "p_value")

    def __init__(self, seed: int = 0, spread: SpreadSums | None = None):
        """`spread` has workers read more than BLOCK memory-mapped questions (`pipeline.spread`)."""
        self.seed, self.spread = seed, spread
        self.settings: dict[str, Any] = {}

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Fit; settings come from inner folds of `train`, so `validation` stays unseen."""
        self.fit(train)

    def fit(self, train: TrainingSet) -> None:
        """Fit on all rows, in one thread of linear algebra: equal bits whatever else runs."""
        with threadpool_limits(1, user_api="blas"):
            self._fit(train)

    def _fit(self, train: TrainingSet) -> None:
        self._prompts = train.prompts.astype(np.float32)
        self._coordinates = prompt_coordinates(train.prompts)
        self.features = QuestionFeatures(self.seed).fit(train.questions, train.embedding_size, train.segments)
        many = isinstance(train.questions, MappedQuestions) and len(train.questions) > BLOCK
        if self.spread and many:
            phi, each = self.spread(self.features, train)
            self.study = study(phi, train, self.seed, each)
        else:
            self.study = study(self.features.of_all(train), train, self.seed)
        effects, self._supported = self.study.effects, self.study.supported
        self._b = self.study.b
        self._difficulty = self.study.slope * effects.difficulty
        self._interaction = self.study.share * effects.interaction  # `predict` needs `_supported` too
        self.settings = {
            "interaction": round(self.study.share * self._supported, 4),
            "slope": round(self.study.slope, 4),
            "p_value": round(self.study.p_value, 6),
        }

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Success probabilities float32 (n, m); a prompt never seen mixes its relatives."""
        scores = np.empty((len(questions), len(prompts)), dtype=np.float32)
        mixture = self._mixture(prompts).T
        for start in range(0, len(questions), ROWS):
            block = questions[start : start + ROWS]
            scores[start : start + ROWS] = sigmoid(self._logits(block, prompts, mixture))
        return scores

    def _logits(self, questions: np.ndarray, prompts: np.ndarray, mixture: np.ndarray) -> np.ndarray:
        """Logits (n, m) of a block of questions; `mixture` (K, m) of the training prompts."""
        known, phi = self._b.mean(), self.features(questions)
        relative = (self._b - known) + (phi @ self._interaction) * self._supported  # (n, K)
        return known + (phi @ self._difficulty)[:, None] + relative @ mixture

    def _mixture(self, prompts: np.ndarray) -> np.ndarray:
        """How much of each training prompt is in each asked one, (m, K): one-hot for a known one."""
        if prompts.shape == self._prompts.shape and np.allclose(prompts, self._prompts, atol=1e-6):
            return np.eye(len(prompts))
        mixture = (prompts @ self._coordinates).astype(np.float64)
        for row, prompt in enumerate(prompts):
            same = np.abs(self._prompts - prompt).max(1) < 1e-6
            if same.any():
                mixture[row] = np.arange(len(same)) == same.argmax()
        return mixture

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything `predict` needs, as plain arrays."""
        return {
            **self.features.arrays(),
            "prompts": self._prompts,
            "coordinates": self._coordinates,
            "b": self._b,
            "difficulty": self._difficulty,
            "interaction": self._interaction,
            "supported": np.array([self._supported]),
            "settings": np.array([self.settings[k] for k in self.SETTINGS], dtype=np.float64),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        self.features = QuestionFeatures(self.seed)
        self.features.restore(arrays)
        self._prompts, self._coordinates = arrays["prompts"], arrays["coordinates"]
        self._b, self._difficulty = arrays["b"], arrays["difficulty"]
        self._interaction, self._supported = arrays["interaction"], bool(arrays["supported"][0])
        self.settings = dict(zip(self.SETTINGS, arrays["settings"].tolist()))
