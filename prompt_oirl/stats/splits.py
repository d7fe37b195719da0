"""Who is trained on what and evaluated on what: the published row split and cross-fitting by cluster."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

HEADLINE_FOLDS = 5  # all training prompts
SUBSET_FOLDS = 2  # every subset of them
INNER_FOLDS = 5


@dataclass(frozen=True)
class Split:
    """Rows of one fit. `train` and `validation` index training rows, `test` indexes test rows.

    `validation` rows decide settings (early stopping) and then join `train` for the final fit, except in the
    published preset, which never sees them. `assignment` numbers the draw of the folds,
    `fold` the part of it that is held out.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    assignment: int = 0
    fold: int = 0

    @property
    def learned(self) -> np.ndarray:
        """Rows that the final fit sees: training and validation rows."""
        return np.sort(np.concatenate([self.train, self.validation]))


def paper_split(n_train: int, n_test: int) -> Split:
    """The published split: every test row; the last 20 % of the training rows validate, unshuffled."""
    cut = int(0.8 * n_train)
    return Split("paper", np.arange(cut), np.arange(cut, n_train), np.arange(n_test))


def assign_folds(clusters: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Fold 0..n_folds-1 of every distinct cluster id 0..C-1, int64 (C,), drawn at random.

    Parameters
    ----------
    clusters : int (n,), cluster of each row; the ids are 0..C-1
    n_folds : at most; fewer where there are fewer clusters
    seed : of the draw
    """
    n_clusters = int(clusters.max()) + 1
    if n_clusters < n_folds:
        n_folds = max(n_clusters, 1)
    fold = np.zeros(n_clusters, dtype=np.int64)
    # As scikit-learn's GroupKFold draws them, which takes a second to import.
    drawn = np.random.RandomState(seed).permutation(n_clusters)
    for f, held_out in enumerate(np.array_split(drawn, n_folds)):
        fold[held_out] = f
    return fold


def deal_folds(clusters: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Fold 0..n_folds-1 of each row, int64 (n,), so that no cluster stands in two.

    Parameters
    ----------
    clusters : int (n,), any ids; folds depend on their order alone
    n_folds : at most; fewer where there are fewer clusters
    seed : seeds the draw
    """
    if not len(clusters):
        return np.zeros(0, dtype=np.int64)
    _, dense = np.unique(clusters, return_inverse=True)
    return assign_folds(dense, n_folds, seed)[dense]


def cluster_splits(clusters: np.ndarray, n_folds: int, seed: int) -> list[Split]:
    """Splits of one table of questions that is learned from and evaluated: see `crossfit_splits`.

    Parameters
    ----------
    clusters : int (n,), any ids, cluster of each question
    n_folds : at most; fewer where there are fewer clusters
    seed : of the folds and of the inner folds
    """
    _, dense = np.unique(clusters, return_inverse=True)
    return crossfit_splits(dense, dense, assign_folds(dense, n_folds, seed), "crossfit", seed)


def crossfit_splits(
    train_clusters: np.ndarray,
    test_clusters: np.ndarray,
    fold_of_cluster: np.ndarray,
    name: str,
    seed: int = 0,
    assignment: int = 0,
) -> list[Split]:
    """One split per fold: train on the other folds' clusters, evaluate this fold's test rows.

    Every test row is evaluated exactly once; no cluster stands on both sides, which is asserted. The inner
    validation rows are one of five inner folds, again whole clusters.

    Parameters
    ----------
    train_clusters, test_clusters : int (n,) and (m,), cluster of each row
    fold_of_cluster : int (C,), see `assign_folds`
    name : beginning of the splits' names
    seed : of the inner folds
    assignment : number of the draw of the folds
    """
    splits = []
    for fold in range(int(fold_of_cluster.max()) + 1):
        test = np.flatnonzero(fold_of_cluster[test_clusters] == fold)
        train = np.flatnonzero(fold_of_cluster[train_clusters] != fold)
        shared = np.intersect1d(train_clusters[train], test_clusters[test])
        if len(shared):
            raise AssertionError(f"clusters {shared[:5]} stand on both sides of fold {fold}")
        held_out = deal_folds(train_clusters[train], INNER_FOLDS, seed) == 0
        splits.append(Split(f"{name}_fold{fold}", train[~held_out], train[held_out], test, assignment, fold))
    return splits


def prompt_subsets(n_prompts: int) -> list[tuple[int, ...]]:
    """Every non-empty subset of the training prompts by size (63 of 6); beyond eight only singles and all."""
    everything = tuple(range(n_prompts))
    if n_prompts > 8:
        return [(i,) for i in everything] + [everything]
    return [subset for k in range(1, n_prompts + 1) for subset in combinations(everything, k)]


def subset_name(subset: tuple[int, ...]) -> str:
    """Published name of a subset: its prompt indices joined by underscores."""
    return "_".join(map(str, subset))
