"""What a reward model is trained on: questions x prompts with a success rate per cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prompt_oirl.features.mapped import BLOCK, MappedQuestions
from prompt_oirl.stats.cells import mean_labels

CONSTANT = 1e-5  # standard deviation up to which a column is taken for constant


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Distinct questions (u, d) with a label per prompt (K, e); XGBoost and the interaction model also take
    them as `MappedQuestions`, block by block.

    `labels` float32 (u, K) is the mean success of a cell, NaN if never asked; `weights` float32 (u, K) how
    many answers stand behind it. The first `embedding_size` columns of `questions` are the embedding, the
    next are surface features, and the last `segments` are segments (features/segments.py). `clusters` (u,)
    are near-duplicate clusters, for models that fold their own training questions; without them every
    question is a cluster of its own. Of a subset of prompts, `whole` is the set of all of them and `columns`
    the places of the subset there, so that subsets share what does not depend on them.
    """

    questions: np.ndarray
    prompts: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    embedding_size: int
    clusters: np.ndarray | None = None
    whole: TrainingSet | None = None
    columns: tuple[int, ...] = ()
    segments: int = 0

    def subset(self, columns: Sequence[int]) -> TrainingSet:
        """The same questions with some of the prompts."""
        if tuple(columns) == tuple(range(len(self.prompts))):
            return self
        keep = list(columns)
        return replace(
            self,
            prompts=self.prompts[keep],
            labels=self.labels[:, keep],
            weights=self.weights[:, keep],
            whole=self,
            columns=tuple(columns),
        )

    def rows(self, keep: np.ndarray) -> TrainingSet:
        """Some of the questions, by mask or index; memory-mapped ones stay in their files."""
        mapped = isinstance(self.questions, MappedQuestions)
        questions: Any = self.questions.select(keep) if mapped else self.questions[keep]  # type: ignore[attr-defined]
        return replace(
            self,
            questions=questions,
            labels=self.labels[keep],
            weights=self.weights[keep],
            clusters=None if self.clusters is None else self.clusters[keep],
        )

    def blocks(self) -> Iterator[slice]:
        """Row ranges of at most BLOCK questions."""
        for start in range(0, len(self.questions), BLOCK):
            yield slice(start, start + BLOCK)

    @property
    def prompt_means(self) -> np.ndarray:
        """Weighted mean success of each prompt, float64 (K,)."""
        known = np.where(np.isnan(self.labels), 0, self.labels)
        return (known * self.weights).sum(0) / np.maximum(self.weights.sum(0), 1e-12)

    def cells(self, block: slice = slice(None)) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Answered cells of a block of questions as flat arrays: question row within the block, prompt
        column, label, weight; question-major."""
        labels, weights = self.labels[block], self.weights[block]
        row, column = np.nonzero(weights > 0)
        return row, column, labels[row, column], weights[row, column]


def merge_repeats(
    question_index: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merge rows that ask the same question into one, exactly as good for any weighted log loss.

    Takes the distinct-question id (n,) and labels (n, K) with NaN for unknown; returns the ids (u,) in rising
    order, mean labels float32 (u, K) and answer counts float32 (u, K). SVAMP's 15,000 training rows hold
    3,961 questions, so this alone makes fits almost four times smaller.
    """
    ids, inverse = np.unique(question_index, return_inverse=True)
    row, column = np.nonzero(~np.isnan(labels))
    means, counts = mean_labels(inverse[row], column, labels[row, column], (len(ids), labels.shape[1]))
    return ids, means.astype(np.float32), counts.astype(np.float32)


def prompt_coordinates(training_prompts: np.ndarray) -> np.ndarray:
    """Matrix (e, K) that writes any prompt vector as a mix of the K training prompts.

    `prompts @ prompt_coordinates(training)` is the ridge-regression weight of each training prompt: one-hot
    (nearly) for the training prompts themselves, a blend of its relatives for a prompt never seen.
    """
    gram = training_prompts.astype(np.float64) @ training_prompts.T.astype(np.float64)
    ridge = 1e-3 * np.trace(gram) / max(len(gram), 1) + 1e-12
    return (np.linalg.solve(gram + ridge * np.eye(len(gram)), training_prompts).T).astype(np.float32)


def mean_and_scale(questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (d,) of each column; infinite where it is constant but for rounding.

    Nothing was learned along such a column, so a new question that differs there must count as one that
    doesn't.
    """
    spread = questions.std(0)
    scale = np.where(spread > CONSTANT, spread + 1e-6, np.inf)
    return questions.mean(0), scale.astype(questions.dtype)
