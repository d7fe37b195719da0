"""Train on one log, choose on another: another dataset's questions, or another LLM's answers.

The honest protocol for two logs at once: questions of both that are near-duplicates form joint clusters, clusters
are dealt into five folds, and each fold's test rows of the target are judged by models that were trained on the source's
training rows of the other four. Source and target the same is the plain cross-fitting of step 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.data.near_duplicates import cluster_texts, joined_groups
from prompt_oirl.io.files import InputError
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.reward_models import TrainingSet, merge_repeats
from prompt_oirl.stats import policies
from prompt_oirl.stats.cells import column_means
from prompt_oirl.stats.crossfit import crossfit
from prompt_oirl.stats.metrics import ClusterBootstrap, question_pairs
from prompt_oirl.stats.splits import HEADLINE_FOLDS, Split, assign_folds, crossfit_splits


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
    success: dict[str, np.ndarray]
    train_rows: float


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
    own = np.r_[source.names.clusters, target.names.clusters + source.names.clusters.max() + 1]
    joint = joined_groups(similar, own)
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
    splits = crossfit_splits(train_clusters, test_clusters, folds, "transfer", seed)
    if any(len(split.test) and not len(split.learned) for split in splits):
        raise InputError(
            f"{source.names.dataset} and {target.names.dataset} are so alike (near-duplicates of one another) that no fold "
            "leaves questions to train on; give logs of more varied questions"
        )

    def fit(split: Split) -> dict[str, np.ndarray]:
        rows = split.learned
        ids, y, weights = merge_repeats(
            source.names.train_index[rows], source.train_labels[rows][:, from_columns]
        )
        data = TrainingSet(questions[ids], prompts[from_columns], y, weights, size, of_source[ids])
        fitted = reward_models.train(model, data, seed=seed)
        texts, inverse = np.unique(target.names.test_index[split.test], return_inverse=True)
        scores = fitted.predict(asked[texts], prompts[from_columns])[inverse]
        own = np.flatnonzero(folds[own_clusters] != split.fold)
        source_success = column_means(source.train_labels[rows][:, from_columns])
        target_success = column_means(target.train_labels[own][:, to_columns])
        truth = labels[split.test]
        best = [int(np.nan_to_num(s, nan=-1).argmax()) for s in (source_success, target_success)]
        return {
            "scores": scores,
            "picked": policies.picked(truth, policies.argmax_sound(scores, source_success, seed)),
            "source_best": truth[:, best[0]],
            "target_best": truth[:, best[1]],
        }

    held_out = crossfit(splits, fit)
    success = {name: held_out[name] for name in ("picked", "source_best", "target_best")}
    rows = sum(len(split.learned) for split in splits if len(split.test)) / HEADLINE_FOLDS
    return Transfer(labels, held_out["scores"], test_clusters, success, rows)


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
