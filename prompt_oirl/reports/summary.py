"""summary.csv: one tidy row per (split, subset, selector, metric), each with n and a 95 % interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.io.files import read_csv
from prompt_oirl.pipeline.evaluate import BASELINE, PICKS_SHOWN, SelectorResults, note
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.stats import metrics
from prompt_oirl.stats.cells import mean_by_question, row_means
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
    "weighting",
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
# A question counts once however often it was logged; the published numbers count every logged row.
WEIGHTINGS = ("question", "row")


def summary_rows(
    data: OfflineDataset, results: Sequence[SelectorResults], model: str, preset: str, seed: int
) -> Iterator[dict[str, Any]]:
    """Success of every selector and its paired gain over the train-best prompt; then how well scores rank.

    Every success and gain stands twice: with weighting = question (the estimand) and row (as published); how well
    scores rank is told over rows. Rows with subset = mean average the subsets of one size question by question before the interval is taken.
    """
    for group in dict.fromkeys(j.group for j in results):
        of_group = [j for j in results if j.group == group]
        rows = of_group[0].rows
        index = data.names.test_index[rows]
        clusters = data.names.clusters[index]
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
        success, gain = np.stack(columns, 1), _gains(labels, columns)
        for weighting in WEIGHTINGS:
            for metric, values in (("success_rate", success), ("gain_over_train_best", gain)):
                if weighting == "row":
                    found = bootstrap.mean(values)
                else:
                    questions, means = mean_by_question(index, values)
                    found = ClusterBootstrap(data.names.clusters[questions], seed).mean(means)
                for (k, subset, selector, features), column, row in zip(labels, values.T, found):
                    known = rows[~np.isnan(column)]
                    if not len(known) or (metric != "success_rate" and selector == BASELINE):
                        continue
                    about = {"k": k, "subset": subset, "selector": selector, "metric": metric}
                    about |= {"weighting": weighting, "features": features, "note": note(selector, k)}
                    yield base | _counts(data, known) | _interval(row) | about
        for result in of_group:
            if len(result.subset) == len(data.names.train_prompts):
                yield from (base | _counts(data, rows) | row for row in ranking_rows(data, result, bootstrap))


def read_summary(path: Path) -> list[dict[str, str]]:
    """Rows of a summary.csv, each number once: the published split as published, cross-fitting by question."""
    return [
        row
        for row in read_csv(path, remedy="run llama_step5_offline_optimization.py again with --force")
        if row["metric"] not in ("success_rate", "gain_over_train_best")
        or row["weighting"] == ("row" if row["split"] == "paper" else "question")
    ]


def _success_columns(
    results: Sequence[SelectorResults],
) -> tuple[list[tuple[int, str, str, str]], list[np.ndarray]]:
    labels: list[tuple[int, str, str, str]] = []
    columns: list[np.ndarray] = []
    by_size: dict[tuple[int, str], list[np.ndarray]] = {}
    for result in results:
        k = len(result.subset)
        for selector, success in result.success.items():
            labels.append((k, subset_name(result.subset), selector, result.variant))
            columns.append(success)
            if result.variant == "both":
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
    data: OfflineDataset, result: SelectorResults, bootstrap: ClusterBootstrap
) -> Iterator[dict[str, Any]]:
    """AUCs and log loss of the reward model, for prompts seen in training and for held-out ones."""
    n_seen = len(data.names.train_prompts)
    labels = data.test_labels[result.rows]
    parts = {"reward_model_seen_prompts": (labels[:, list(result.subset)], result.seen_scores)}
    if result.held_out_scores.shape[1]:
        parts["reward_model_held_out_prompts"] = (labels[:, n_seen:], result.held_out_scores)
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
                "k": len(result.subset),
                "subset": subset_name(result.subset),
                "selector": selector,
                "metric": metric,
                "weighting": "row",
                "features": result.variant,
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


def pick_rows(data: OfflineDataset, result: SelectorResults) -> Iterator[dict[str, Any]]:
    """picks.csv: which prompt each selector chose for each test question, and whether it was right."""
    names = data.names
    scored = {column: result.seen_scores[:, j] for j, column in enumerate(result.subset)}
    first_held_out = len(names.train_prompts)
    scored |= {
        first_held_out + j: result.held_out_scores[:, j] for j in range(result.held_out_scores.shape[1])
    }
    for i, row in enumerate(result.rows):
        for selector in PICKS_SHOWN:
            if selector not in result.picks:
                continue
            column = int(result.picks[selector][i])
            yield {
                "question_id": names.test_question_ids[row],
                "assignment": int(result.assignment[i]),
                "selector": selector,
                "prompt_id": names.prompts[column].id,
                "score": float(scored[column][i]),
                "success": float(result.success[selector][i]),
            }
