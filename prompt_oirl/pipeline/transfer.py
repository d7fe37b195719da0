"""Train on one log, choose on another: another dataset's questions, or another LLM's answers.

The honest protocol for two logs at once: questions of both that are near-duplicates form joint clusters, clusters
are dealt into five folds, and each fold's test rows of the target are judged by models that were trained on the source's
training rows of the other four. Source and target the same is the plain cross-fitting of step 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from prompt_oirl.data.near_duplicates import cluster_texts, in_order_of_appearance
from prompt_oirl.io.files import InputError
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.reward_models import TrainingSet, make, merge_repeats
from prompt_oirl.stats import policies
from prompt_oirl.stats.cells import column_means
from prompt_oirl.stats.metrics import ClusterBootstrap, question_pairs
from prompt_oirl.stats.splits import HEADLINE_FOLDS, assign_folds, crossfit_splits


@dataclass
class Transfer:
    """Every test row (n) of the target under the source's models. `success` by selector: `picked` by the source's
    reward model, `source_best` and `target_best` the prompt that is best on the source's and on the target's training rows.

    `labels` and `scores` are (n, K) over the K shared training prompts, `clusters` (n,) joint; `train_rows` counts
    the source's training rows that were left, per fold on average.
    """

    labels: np.ndarray
    scores: np.ndarray
    clusters: np.ndarray
    success: dict[str, np.ndarray] = field(default_factory=dict)
    train_rows: float = 0.0


def shared_prompts(source: OfflineDataset, target: OfflineDataset) -> tuple[list[int], list[int]]:
    """Columns of the training prompts that both logs have, under one id and text."""
    column = {(p.id, p.text): j for j, p in enumerate(target.names.train_prompts)}
    pairs = [
        (i, column[p.id, p.text])
        for i, p in enumerate(source.names.train_prompts)
        if (p.id, p.text) in column
    ]
    if len(pairs) < 2:
        raise InputError(
            f"{source.names.dataset} and {target.names.dataset} share {len(pairs)} training prompts; log the same "
            "prompts (id and text) in both"
        )
    return [i for i, _ in pairs], [j for _, j in pairs]


def joint_clusters(source: OfflineDataset, target: OfflineDataset) -> tuple[np.ndarray, np.ndarray]:
    """Cluster of each distinct text of both logs: near-duplicates across them, and what each log itself puts together."""
    sizes = len(source.names.texts), len(target.names.texts)
    similar = cluster_texts([*source.names.texts, *target.names.texts])
    own = [source.names.clusters, target.names.clusters + source.names.clusters.max() + 1]
    own_ids = np.concatenate(own) + similar.max() + 1
    nodes = int(own_ids.max()) + 1  # a text joins its two clusters
    graph = coo_matrix((np.ones(len(similar)), (similar, own_ids)), shape=(nodes, nodes))
    joint = in_order_of_appearance(connected_components(graph, directed=False)[1][similar])
    return joint[: sizes[0]], joint[sizes[0] :]


def transfer(
    source: OfflineDataset, target: OfflineDataset, model: str = "interaction", seed: int = 0
) -> Transfer:
    """Train on `source`, judge on `target`; `seed` draws the folds and seeds the model."""
    for data in (source, target):
        if data.embedder.fitted:
            raise InputError(
                f"{data.names.dataset}: its embedder was fitted to its own texts, so vectors of two datasets do not compare; "
                "run step 3 with --embedder minilm for both"
            )
    if source.embedder != target.embedder:
        raise InputError(
            f"{source.names.dataset} and {target.names.dataset} were embedded differently; run step 3 alike for both"
        )
    from_columns, to_columns = shared_prompts(source, target)
    of_source, of_target = joint_clusters(source, target)
    train_clusters = of_source[source.names.train_index]
    test_clusters = of_target[target.names.test_index]
    own_clusters = of_target[target.names.train_index]
    folds = assign_folds(np.concatenate([of_source, of_target]), HEADLINE_FOLDS, seed)
    questions, prompts, size = source.features("paper")
    asked = target.features("paper")[0]
    labels = target.test_labels[:, to_columns].astype(np.float64)
    result = Transfer(labels, np.full(labels.shape, np.nan, dtype=np.float32), test_clusters)
    result.success = {name: np.full(len(labels), np.nan) for name in ("picked", "source_best", "target_best")}
    for split in crossfit_splits(train_clusters, test_clusters, folds, "transfer", seed):
        rows = np.concatenate([split.train, split.validation])
        if not len(rows) or not len(split.test):
            continue
        sets = []
        for part in (split.train, split.validation, rows):
            ids, y, weights = merge_repeats(
                source.names.train_index[part], source.train_labels[part][:, from_columns]
            )
            sets.append(TrainingSet(questions[ids], prompts[from_columns], y, weights, size, of_source[ids]))
        fitted = make(model, "fast", seed)
        fitted.tune(sets[0], sets[1])
        fitted.fit(sets[2])
        texts, inverse = np.unique(target.names.test_index[split.test], return_inverse=True)
        scores = fitted.predict(asked[texts], prompts[from_columns])[inverse]
        source_success = column_means(source.train_labels[rows][:, from_columns])
        own = np.flatnonzero(folds[own_clusters] != folds[test_clusters[split.test[0]]])
        target_success = column_means(target.train_labels[own][:, to_columns])
        truth = labels[split.test]
        result.scores[split.test] = scores
        result.success["picked"][split.test] = policies.picked(
            truth, policies.argmax_sound(scores, source_success, seed)
        )
        for name, success in (("source_best", source_success), ("target_best", target_success)):
            result.success[name][split.test] = truth[:, int(np.nan_to_num(success, nan=-1).argmax())]
        result.train_rows += len(rows) / HEADLINE_FOLDS
    if np.isnan(result.scores).any():
        raise InputError(
            f"{source.names.dataset} and {target.names.dataset} are so alike (near-duplicates of one another) that no fold "
            "leaves questions to train on; give logs of more varied questions"
        )
    return result


COLUMNS = ["metric", "value", "ci_low", "ci_high", "n", "n_clusters", "train_rows"]


def transfer_rows(result: Transfer, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Success rates, paired gains and ranking quality, each with its 95 % interval over joint clusters."""
    bootstrap = ClusterBootstrap(result.clusters, seed)
    success = result.success
    won, pairs = question_pairs(result.labels, result.scores)
    values = {
        "success_picked": bootstrap.mean(success["picked"][:, None])[0],
        "success_source_best": bootstrap.mean(success["source_best"][:, None])[0],
        "success_target_best": bootstrap.mean(success["target_best"][:, None])[0],
        "gain_over_source_best": bootstrap.mean((success["picked"] - success["source_best"])[:, None])[0],
        "gain_over_target_best": bootstrap.mean((success["picked"] - success["target_best"])[:, None])[0],
        "auc_within_prompt": bootstrap.auc_within_prompt(result.labels, result.scores, resamples=200),
        "auc_within_question": bootstrap.ratio(won[:, None], pairs[:, None])[0],
    }
    for metric, (value, low, high) in values.items():
        yield {
            "metric": metric,
            "value": float(value),
            "ci_low": float(low),
            "ci_high": float(high),
            "n": len(result.labels),
            "n_clusters": bootstrap.n_clusters,
            "train_rows": round(result.train_rows),
        }
