"""summary.csv: one tidy row per (split, subset, selector, metric), each with n and a 95 % interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from prompt_oirl.pipeline.evaluate import BASELINE, PICKS_SHOWN, Judgement, note
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.stats import metrics
from prompt_oirl.stats.cells import row_means
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.splits import subset_name

COLUMNS = [
    "llm",
    "dataset",
    "split",
    "k",
    "subset",
    "selector",
    "metric",
    "value",
    "n",
    "n_questions",
    "n_clusters",
    "ci_low",
    "ci_high",
    "seed",
    "model",
    "preset",
    "features",
    "note",
]
MEAN_OF_SUBSETS = "mean"


def summary_rows(
    data: OfflineDataset, judgements: Sequence[Judgement], model: str, preset: str, seed: int
) -> Iterator[dict[str, Any]]:
    """Success of every selector and its paired gain over the train-best prompt; then how well scores rank.

    Rows with subset = mean average the subsets of one size question by question before the interval is taken.
    """
    for group in dict.fromkeys(j.group for j in judgements):
        of_group = [j for j in judgements if j.group == group]
        rows = of_group[0].rows
        clusters = data.names.test_clusters[rows]
        bootstrap = ClusterBootstrap(clusters, seed)
        base = {
            "llm": data.names.llm,
            "dataset": data.names.dataset,
            "split": group,
            "seed": seed,
            "model": model,
            "preset": preset,
        }
        labels, columns = _success_columns(of_group)
        for metric, values in (
            ("success_rate", np.stack(columns, 1)),
            ("gain_over_train_best", _gains(labels, columns)),
        ):
            for label, column, row in zip(labels, values.T, bootstrap.mean(values)):
                k, subset, selector, features = label
                known = rows[~np.isnan(column)]
                if not len(known) or (metric != "success_rate" and selector == BASELINE):
                    continue
                yield (
                    base
                    | _counts(data, known)
                    | _interval(row)
                    | {
                        "k": k,
                        "subset": subset,
                        "selector": selector,
                        "metric": metric,
                        "features": features,
                        "note": note(selector, k),
                    }
                )
        for judgement in of_group:
            if len(judgement.subset) == len(data.names.train_prompts):
                yield from (
                    base | _counts(data, rows) | row for row in ranking_rows(data, judgement, bootstrap)
                )


def _success_columns(
    judgements: Sequence[Judgement],
) -> tuple[list[tuple[int, str, str, str]], list[np.ndarray]]:
    labels: list[tuple[int, str, str, str]] = []
    columns: list[np.ndarray] = []
    by_size: dict[tuple[int, str], list[np.ndarray]] = {}
    for judgement in judgements:
        k = len(judgement.subset)
        for selector, success in judgement.success.items():
            labels.append((k, subset_name(judgement.subset), selector, judgement.variant))
            columns.append(success)
            if judgement.variant == "both":
                by_size.setdefault((k, selector), []).append(success)
    for (k, selector), members in by_size.items():
        if len(members) > 1:
            labels.append((k, MEAN_OF_SUBSETS, selector, "both"))
            columns.append(np.mean(members, 0))
    return labels, columns


def _gains(labels: Sequence[tuple[int, str, str, str]], columns: Sequence[np.ndarray]) -> np.ndarray:
    """Each column minus the train-best prompt of the same subset, row by row."""
    baseline = {
        (k, subset, features): column
        for (k, subset, selector, features), column in zip(labels, columns)
        if selector == BASELINE
    }
    return np.stack(
        [column - baseline[k, subset, features] for (k, subset, _, features), column in zip(labels, columns)],
        1,
    )


def ranking_rows(
    data: OfflineDataset, judgement: Judgement, bootstrap: ClusterBootstrap
) -> Iterator[dict[str, Any]]:
    """AUCs and log loss of the reward model, for prompts seen in training and for held-out ones."""
    n_seen = len(data.names.train_prompts)
    labels = data.test_labels[judgement.rows]
    parts = {"reward_model_seen_prompts": (labels[:, list(judgement.subset)], judgement.seen_scores)}
    if judgement.held_out_scores.shape[1]:
        parts["reward_model_held_out_prompts"] = (labels[:, n_seen:], judgement.held_out_scores)
    for selector, (y, scores) in parts.items():
        loss = -(y * np.log(np.clip(scores, 1e-7, 1)) + (1 - y) * np.log1p(-np.clip(scores, 0, 1 - 1e-7)))
        won, pairs = metrics.question_pairs(y, scores)
        values = {
            "auc_pooled": bootstrap.auc(y, scores),
            "auc_within_prompt": bootstrap.auc_within_prompt(y, scores),
            "auc_within_question": bootstrap.ratio(won[:, None], pairs[:, None])[0],
            "log_loss": bootstrap.mean(row_means(loss)[:, None])[0],
            "expected_success_of_picks": bootstrap.mean(scores.max(1)[:, None].astype(np.float64))[0],
        }
        for metric, row in values.items():
            yield _interval(row) | {
                "k": len(judgement.subset),
                "subset": subset_name(judgement.subset),
                "selector": selector,
                "metric": metric,
                "features": judgement.variant,
                "note": "",
            }


def _counts(data: OfflineDataset, rows: np.ndarray) -> dict[str, int]:
    """What a value rests on: judged test rows, their distinct questions, their clusters."""
    index = data.names.test_index[rows]
    return {
        "n": len(np.unique(rows)),
        "n_questions": len(np.unique(index)),
        "n_clusters": len(np.unique(data.names.clusters[index])),
    }


def _interval(row: np.ndarray) -> dict[str, float]:
    return {"value": float(row[0]), "ci_low": float(row[1]), "ci_high": float(row[2])}


PICK_COLUMNS = ["question_id", "assignment", "selector", "prompt_id", "score", "success"]


def pick_rows(data: OfflineDataset, judgement: Judgement) -> Iterator[dict[str, Any]]:
    """picks.csv: which prompt each selector chose for each test question, and whether it was right."""
    names = data.names
    scored = {column: judgement.seen_scores[:, j] for j, column in enumerate(judgement.subset)}
    first_held_out = len(names.train_prompts)
    scored |= {
        first_held_out + j: judgement.held_out_scores[:, j] for j in range(judgement.held_out_scores.shape[1])
    }
    assignment = np.cumsum(np.r_[0, np.diff(judgement.rows) < 0])
    for i, row in enumerate(judgement.rows):
        for selector in PICKS_SHOWN:
            if selector not in judgement.picks:
                continue
            column = int(judgement.picks[selector][i])
            yield {
                "question_id": names.test_question_ids[row],
                "assignment": int(assignment[i]),
                "selector": selector,
                "prompt_id": names.prompts[column].id,
                "score": float(scored[column][i]),
                "success": float(judgement.success[selector][i]),
            }
