"""What the fits of one dataset and split learn from, as arrays that can go to any worker (step 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prompt_oirl.features.embedders import EmbedderInfo
from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.stats.splits import Split

MEMORY_GB = 2.0  # question features beyond this stay in memory-mapped files
# Sanity checks beside the real fit ("both"): no signal at all, and each half of the features alone.
VARIANTS = ("both", "question_only", "prompt_only", "shuffled_labels")


@dataclass(frozen=True, eq=False)
class FitData:
    """What all fits of one dataset and split learn from: arrays and nothing else, so it can go to any worker.

    `questions` (texts, d) are features of distinct questions, `train_index` (rows,) says which of them a
    training row asks, `train_labels` (rows, P) how each training prompt did there, `clusters` (texts,) which
    texts are near-duplicates. Equal `key`, equal content:
    a worker that gets the same data with every task recognises it.
    """

    key: str
    questions: np.ndarray | MappedQuestions
    prompts: np.ndarray
    embedding_size: int
    train_index: np.ndarray
    train_labels: np.ndarray
    clusters: np.ndarray
    split: Split
    embedder: EmbedderInfo

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FitData) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def mapped(self) -> bool:
        """Whether the question features stay in memory-mapped files."""
        return isinstance(self.questions, MappedQuestions)


def fit_data(
    data: OfflineDataset, splits: Iterable[Split], memory_gb: float = MEMORY_GB
) -> dict[str, FitData]:
    """Features and labels of each split by its name.

    Parameters
    ----------
    data : one LLM's log of one dataset
    splits : that fits are made on
    memory_gb : size in 10^9 bytes beyond which question features stay in their files
    """
    features: dict[str, tuple] = {}
    found = {}
    names = data.names
    for split in splits:
        name = split.name if data.embedder.fitted else ""  # one set of vectors serves all splits
        if name not in features:
            features[name] = data.features(split.name, memory_gb)
        questions, prompts, size = features[name]
        shared = (names.train_index, data.train_labels, names.clusters)
        key = content_hash(questions, prompts, *shared, split.train, split.validation)
        found[split.name] = FitData(key, questions, prompts, size, *shared, split, data.embedder)
    return found


def content_hash(*arrays: np.ndarray | MappedQuestions) -> str:
    """sha256 of arrays; memory-mapped files count by name and time of change."""
    digest = hashlib.sha256()
    for array in arrays:
        if isinstance(array, MappedQuestions):
            files = [Path(getattr(part, "filename", "")) for part in array.parts]
            digest.update(repr([(str(file), file.stat().st_mtime_ns) for file in files]).encode())
        else:
            digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def masked_features(
    variant: str, questions: np.ndarray | MappedQuestions, prompts: np.ndarray
) -> tuple[np.ndarray | MappedQuestions, np.ndarray]:
    """Features as a fit sees them; a sanity variant sees zeros in place of one half.

    Parameters
    ----------
    variant : one of `VARIANTS`; question_only blanks the prompts, prompt_only the questions
    questions : float32 (texts, d)
    prompts : float32 (P, e)

    Returns: questions and prompts, of the same shapes.
    """
    if variant == "question_only":
        prompts = np.zeros_like(prompts)
    if variant == "prompt_only":
        questions = np.broadcast_to(np.zeros((1, questions.shape[1]), dtype=np.float32), questions.shape)
    return questions, prompts
