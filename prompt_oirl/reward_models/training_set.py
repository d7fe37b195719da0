"""What a reward model is trained on: questions x prompts with a success rate per cell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class TrainingSet:
    """Distinct questions (u, d) with a label per prompt (K, e).

    `labels` float32 (u, K) is the mean success of a cell, NaN if never asked; `weights` float32 (u, K) how
    many answers stand behind it. The first `embedding_size` columns of `questions` are the embedding, the
    rest surface features. `clusters` (u,) are near-duplicate clusters, for models that fold their own training
    questions; without them every question is a cluster of its own.
    """

    questions: np.ndarray
    prompts: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    embedding_size: int
    clusters: np.ndarray | None = None

    @property
    def prompt_means(self) -> np.ndarray:
        """Weighted mean success of each prompt, float64 (K,)."""
        known = np.where(np.isnan(self.labels), 0, self.labels)
        return (known * self.weights).sum(0) / np.maximum(self.weights.sum(0), 1e-12)

    def embedding_only(self) -> TrainingSet:
        return replace(self, questions=self.questions[:, : self.embedding_size])

    def cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Answered cells as flat arrays: question row, prompt column, label, weight; question-major."""
        row, column = np.nonzero(self.weights > 0)
        return row, column, self.labels[row, column], self.weights[row, column]


def merge_repeats(
    question_index: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merge rows that ask the same question into one, exactly as good for any weighted log loss.

    Takes the distinct-question id (n,) and labels (n, K) with NaN for unknown; returns the ids (u,) in rising
    order, mean labels float32 (u, K) and answer counts float32 (u, K). SVAMP's 15,000 training rows hold
    3,961 questions, so this alone makes fits almost four times smaller.
    """
    ids, inverse = np.unique(question_index, return_inverse=True)
    known = ~np.isnan(labels)
    total = np.zeros((len(ids), labels.shape[1]))
    count = np.zeros_like(total)
    np.add.at(total, inverse, np.where(known, labels, 0))
    np.add.at(count, inverse, known)
    with np.errstate(invalid="ignore"):
        return ids, (total / count).astype(np.float32), count.astype(np.float32)


def prompt_coordinates(training_prompts: np.ndarray) -> np.ndarray:
    """Matrix (e, K) that writes any prompt vector as a mix of the K training prompts.

    `prompts @ prompt_coordinates(training)` is the ridge-regression weight of each training prompt: one-hot
    (nearly) for the training prompts themselves, a blend of its relatives for a prompt never seen.
    """
    gram = training_prompts.astype(np.float64) @ training_prompts.T.astype(np.float64)
    ridge = 1e-3 * np.trace(gram) / max(len(gram), 1) + 1e-12
    return (np.linalg.solve(gram + ridge * np.eye(len(gram)), training_prompts).T).astype(np.float32)
