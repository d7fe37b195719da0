"""Train on one log, choose on another: another dataset's questions, or another LLM's answers.

The honest protocol for two logs at once: questions of both that are near-duplicates form joint clusters,
clusters are dealt into five folds, and each fold's test rows of the target are scored by models that were
trained on the source's training rows of the other four. Source and target the same is the plain cross-fitting
of step 5.
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
    """Every test row (n) of the target under the source's models. `success` by selector: `picked` by the
    source's reward model, `source_best` and `target_best` the prompt that is best on the source's and on the
    target's training rows.

    `labels` and `scores` are (n, K) over the K shared training prompts, `clusters` (n,) joint; `train_rows`
    counts the source's training rows that were left, per fold on average.
    """

    labels: np.ndarray
    scores: np.ndarray
    clusters: np.ndarray
    success: dict[str, np.ndarray]
    train_rows: float


def shared_prompts(source: OfflineDataset, target: OfflineDataset) -> tuple[list[int], list[int]]:
    """Columns of the training prompts that both logs have, under one id and text."""
    column = {(p.id, p.text): j for j, p in enumerate(target.names.train_prompts)}
    keys = [(p.id, p.text) for p in source.names.train_prompts]
    pairs = [(i, column[key]) for i, key in enumerate(keys) if key in column]
    if len(pairs) < 2:
        raise InputError(
            f"{source.names.dataset} and {target.names.dataset} share {len(pairs)} training prompts; log the "
            "same "
            "prompts (id and text) in both"
        )
    return [i for i, _ in pairs], [j for _, j in pairs]


def joint_clusters(source: OfflineDataset, target: OfflineDataset) -> tuple[np.ndarray, np.ndarray]:
    """Cluster of each distinct text of both logs: near-duplicates across them, or together in their own."""
    sizes = len(source.names.texts), len(target.names.texts)
    similar = cluster_texts([*source.names.texts, *target.names.texts])
    own = np.r_[source.names.clusters, target.names.clusters + source.names.clusters.max() + 1]
    joint = joined_groups(similar, own)
    return joint[: sizes[0]], joint[sizes[0] :]


def transfer(
    source: OfflineDataset, target: OfflineDataset, model: str = "interaction", seed: int = 0
) -> Transfer:
    """Train on `source`, evaluate on `target`.

    Parameters
    ----------
    source, target : logs with training prompts in common, embedded alike
    model : name of a reward model
    seed : of the folds and the model

    Raises: InputError on logs that cannot be compared.
    """
    for data in (source, target):
        if data.embedder.fitted:
            raise InputError(
                f"{data.names.dataset}: its embedder was fitted to its own texts, so vectors of two datasets "
                "do not compare; "
                "run step 3 with --embedder minilm for both"
            )
    if source.embedder != target.embedder:
        raise InputError(
            f"{source.names.dataset} and {target.names.dataset} were embedded differently; run step 3 alike "
            "for both"
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
            f"{source.names.dataset} and {target.names.dataset} are so alike (near-duplicates of one "
            "another) that no fold "
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
        return {
            "scores": scores,
            "picked": policies.picked(truth, policies.argmax_sound(scores, source_success, seed)),
            "source_best": truth[:, np.nan_to_num(source_success, nan=-1).argmax()],
            "target_best": truth[:, np.nan_to_num(target_success, nan=-1).argmax()],
        }

    held_out = crossfit(splits, fit)
    success = {name: held_out[name] for name in ("picked", "source_best", "target_best")}
    rows = sum(len(split.learned) for split in splits if len(split.test)) / HEADLINE_FOLDS
    return Transfer(labels, held_out["scores"], test_clusters, success, rows)


def transfer_rows(result: Transfer, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Success rates, paired gains and ranking quality, each with its 95 % interval over joint clusters."""
    bootstrap = ClusterBootstrap(result.clusters, seed)
    won, pairs = question_pairs(result.labels, result.scores)
    rates = {f"success_{name}": success for name, success in result.success.items()}
    for name in ("source_best", "target_best"):
        rates[f"gain_over_{name}"] = result.success["picked"] - result.success[name]
    values = {
        **{name: bootstrap.mean(rate[:, None])[0] for name, rate in rates.items()},
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
