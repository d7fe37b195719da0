"""A small dataset by hand, as step 4 and step 5 read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prompt_oirl.data.prompts import Prompt
from prompt_oirl.features.embedders import EmbedderInfo, save_embeddings
from prompt_oirl.pipeline.offline_dataset import DatasetIndex, OfflineDataset, fold_column
from prompt_oirl.stats.splits import assign_folds

SEEN, HELD_OUT = 3, 2
INFO = EmbedderInfo("by hand", "0", "0")


def dataset(
    folder: Path,
    n_texts: int = 40,
    repeats: int = 1,
    seed: int = 0,
    confidences: bool = True,
    clusters: Sequence[int] | None = None,
    n_held_out: int = HELD_OUT,
) -> OfflineDataset:
    """`n_texts` questions, each with a test row and `repeats` training rows (0: half train, half test)."""
    rng = np.random.default_rng(seed)
    texts = np.arange(n_texts)
    if repeats:
        train_index, test_index = np.tile(texts, repeats), texts
    else:
        train_index, test_index = texts[: n_texts // 2], texts[n_texts // 2 :]
    cluster = np.array(clusters if clusters is not None else texts, dtype=np.int64)
    folds = {fold_column(n, a): assign_folds(cluster, n, a) for n in (2, 5) for a in range(3)}
    prompts = [Prompt(f"p{j}", f"prompt {j}") for j in range(SEEN)]
    prompts += [Prompt(f"h{j}", f"held-out {j}", role="held_out") for j in range(n_held_out)]
    vectors = rng.normal(size=(n_texts, 4)).astype(np.float32)
    arrays_ = {
        "questions": vectors,
        "prompts": rng.normal(size=(len(prompts), 4)).astype(np.float32),
        "surface": rng.random((n_texts, 2)).astype(np.float32),
    }
    save_embeddings(folder, arrays_, INFO)
    chance = 1 / (1 + np.exp(-2 * vectors[:, :1] - np.linspace(1, -1, len(prompts))))
    labels = (rng.random((len(train_index), len(prompts))) < chance[train_index]).astype(np.float32)
    test_labels = (rng.random((len(test_index), len(prompts))) < chance[test_index]).astype(np.float32)
    names = DatasetIndex(
        "tiny",
        "toy",
        prompts,
        [f"text {i}" for i in texts],
        train_index,
        test_index,
        cluster,
        folds,
        [f"q{i}" for i in test_index],
        None,
    )
    certain = rng.random(test_labels.shape).round(1) if confidences else None
    return OfflineDataset(
        names, labels[:, :SEEN], test_labels, arrays_["surface"], INFO, folder, certain, None
    )
