"""What a plan rests on: which cells are known, and what the texts of the questions say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.features.cache import encode_distinct
from prompt_oirl.features.embedders import load_embedder
from prompt_oirl.features.segments import Segments
from prompt_oirl.features.surface import surface_features
from prompt_oirl.reward_models.question_features import QuestionFeatures
from prompt_oirl.reward_models.training_set import TrainingSet


@dataclass(frozen=True, eq=False)
class Known:
    """Answers to n questions x K prompts.

    Attributes
    ----------
    labels : float (n, K), mean success of each cell, NaN where it was never asked
    counts : float (n, K), answers behind it
    clusters : callable, int (n,): near-duplicates
    features : callable, float (n, D): question features
    """

    labels: np.ndarray
    counts: np.ndarray
    clusters: Callable[[], np.ndarray]
    features: Callable[[], np.ndarray]

    @classmethod
    def of(cls, log: PromptLog, embedder: str, seed: int) -> Known:
        """Of a log; texts are embedded once a policy asks for features."""
        return cls(
            log.labels, log.counts, lambda: log.groups, partial(question_features, log, embedder, seed)
        )

    @cached_property
    def asked(self) -> np.ndarray:
        """Answers of each prompt, float (K,)."""
        return self.counts.sum(0)

    @cached_property
    def phi(self) -> np.ndarray:
        """The question features, made once."""
        return self.features()

    def training_set(self) -> tuple[np.ndarray, TrainingSet]:
        """The questions that have answers, int (u,), and these answers."""
        rows = np.flatnonzero(self.counts.any(1))
        labels, counts = self.labels[rows].astype(np.float32), self.counts[rows].astype(np.float32)
        prompts = np.eye(labels.shape[1], dtype=np.float32)
        phi = self.phi[rows]
        return rows, TrainingSet(phi, prompts, labels, counts, phi.shape[1], self.clusters()[rows])


def question_features(log: PromptLog, embedder: str, seed: int) -> np.ndarray:
    """`QuestionFeatures` of a log's questions, asked or not, float32 (n, D)."""
    loaded = load_embedder(embedder, seed)
    loaded.fit(log.questions)
    vectors = encode_distinct(loaded, log.questions)
    segments = Segments.of(log.segments)
    columns = segments.columns(log.segments, len(log.questions))
    x = np.concatenate([vectors, surface_features(log.questions), columns], 1)
    features = QuestionFeatures(seed).fit(x, vectors.shape[1], len(segments.names))
    return features(x).astype(np.float32)
