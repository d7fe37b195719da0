"""summary.csv: one tidy row per (split, subset, selector, metric), each with n and a 95 % interval.

`monte_carlo` is the standard error that is left of drawing folds, validation questions and the seeds of the
models at random; empty for a single draw, whose error nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.io.files import read_csv
from prompt_oirl.pipeline.evaluate import BASELINE, PICKS_SHOWN, SelectorResults
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.stats import metrics
from prompt_oirl.stats.cells import column_means, mean_by_question, row_means
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.splits import subset_name

NOT_IDENTIFIABLE = "not identifiable: one training prompt cannot tell held-out prompts apart"
ONE_PROMPT_LEAVES_OPEN = ("irl_10", "held_out_only", "all_mixed")
MEAN_OF_SUBSETS = "mean"
# A question counts once however often it was logged; the published numbers count every logged row.
WEIGHTINGS = ("question", "row")
About = tuple[int, str, str, str]  # K, name of the subset, selector, variant of the features


def summary_rows(
    data: OfflineDataset, results: Sequence[SelectorResults], model: str, preset: str, seed: int
) -> Iterator[dict[str, Any]]:
    """Success of every selector and its paired gain over the train-best prompt; then how well scores rank.

    Every success and gain stands twice: with weighting = question (the estimand) and row (as published); how
    well scores rank is told over rows. Rows with subset = mean average the subsets of one size question by
    question before the interval is taken.

    Parameters
    ----------
    results : one per (group, subset, variant)
    model, preset : of the reward model, for the columns of these names
    seed : of the bootstrap, for the column of this name as well
    """

    def row(
        about: About,
        metric: str,
        weighting: str,
        interval: np.ndarray,
        rows: np.ndarray,
        monte_carlo: float = np.nan,
    ) -> dict[str, Any]:
        k, subset, selector, features = about
        index = data.names.test_index[rows]
        value, low, high = map(float, interval)
        return {
            "llm": data.names.llm,
            "dataset": data.names.dataset,
            "split": group,
            "k": k,
            "subset": subset,
            "selector": selector,
            "metric": metric,
            "weighting": weighting,
            "value": value,
            "n": len(np.unique(rows)),
            "n_questions": len(np.unique(index)),
            "n_clusters": len(np.unique(data.names.clusters[index])),
            "ci_low": low,
            "ci_high": high,
            "monte_carlo": None if np.isnan(monte_carlo) else float(monte_carlo),
            "seed": seed,
            "model": model,
            "preset": preset,
            "features": features,
            "note": note(selector, k),
        }

    for group in dict.fromkeys(result.group for result in results):
        of_group = [result for result in results if result.group == group]
        rows = of_group[0].rows
        index = data.names.test_index[rows]
        bootstrap = ClusterBootstrap(data.names.clusters[index], seed)
        columns = _success_columns(of_group)
        success = np.stack([column for _, column in columns], 1)
        for weighting in WEIGHTINGS:
            for metric, values in (("success_rate", success), ("gain_over_train_best", _gains(columns))):
                if weighting == "row":
                    found = bootstrap.mean(values)
                else:
                    questions, means = mean_by_question(index, values)
                    found = ClusterBootstrap(data.names.clusters[questions], seed).mean(means)
                errors = monte_carlo_error(
                    of_group[0].assignment, index if weighting == "question" else rows, values
                )
                for (about, _), column, interval, error in zip(columns, values.T, found, errors):
                    known = rows[~np.isnan(column)]
                    if len(known) and (metric == "success_rate" or about[2] != BASELINE):
                        yield row(about, metric, weighting, interval, known, error)
        for result in of_group:
            if len(result.subset) == len(data.names.train_prompts):
                for selector, metric, interval in ranking_measures(data, result, bootstrap):
                    about = (len(result.subset), subset_name(result.subset), selector, result.variant)
                    yield row(about, metric, "row", interval, rows)


def monte_carlo_error(assignment: np.ndarray, unit: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over fold assignments, float64 (m,); NaN if there is but one.

    Parameters
    ----------
    assignment : int (r,), number of the fold assignment of each entry
    unit : int (r,), what counts once: the question or the test row of each entry
    values : float (r, m), NaN is skipped
    """
    draws = np.unique(assignment)
    if len(draws) == 1:
        return np.full(values.shape[1], np.nan)
    means = [
        column_means(mean_by_question(unit[which], values[which])[1])
        for which in assignment == draws[:, None]
    ]
    return np.std(means, 0, ddof=1) / np.sqrt(len(draws))


def note(selector: str, k: int) -> str:
    """Why a row must not be read as a result."""
    base = selector.removesuffix("_as_published")
    return NOT_IDENTIFIABLE if k == 1 and base in ONE_PROMPT_LEAVES_OPEN else ""


def read_summary(path: Path) -> list[dict[str, str]]:
    """Rows of a summary.csv, each number once: the paper split by row, cross-fitting by question."""
    return [
        row
        for row in read_csv(path, hint="run llama_step5_offline_optimization.py again with --force")
        if row["metric"] not in ("success_rate", "gain_over_train_best")
        or row["weighting"] == ("row" if row["split"] == "paper" else "question")
    ]


def _success_columns(results: Sequence[SelectorResults]) -> list[tuple[About, np.ndarray]]:
    columns: list[tuple[About, np.ndarray]] = []
    by_size: dict[tuple[int, str], list[np.ndarray]] = {}
    for result in results:
        k = len(result.subset)
        for selector, success in result.success.items():
            columns.append(((k, subset_name(result.subset), selector, result.variant), success))
            if result.variant == "both":
                by_size.setdefault((k, selector), []).append(success)
    for (k, selector), members in by_size.items():
        if len(members) > 1:
            columns.append(((k, MEAN_OF_SUBSETS, selector, "both"), np.mean(members, 0)))
    return columns


def _gains(columns: Sequence[tuple[About, np.ndarray]]) -> np.ndarray:
    """Each column minus the train-best prompt of the same subset, row by row."""
    found = dict(columns)
    return np.stack([column - found[k, subset, BASELINE, v] for (k, subset, _, v), column in columns], 1)


def ranking_measures(
    data: OfflineDataset, result: SelectorResults, bootstrap: ClusterBootstrap
) -> Iterator[tuple[str, str, np.ndarray]]:
    """AUCs and log loss of the reward model, for prompts seen in training and for held-out ones.

    Parameters
    ----------
    data : one LLM's log of one dataset
    result : scores of the reward model on its test rows
    bootstrap : over the clusters of `result.rows`

    Returns: name for the column selector, metric, and value, low, high as float64 (3,).
    """
    n_seen = len(data.names.train_prompts)
    labels = data.test_labels[result.rows]
    parts = {"reward_model_seen_prompts": (labels[:, list(result.subset)], result.seen_scores)}
    if result.held_out_scores.shape[1]:
        parts["reward_model_held_out_prompts"] = (labels[:, n_seen:], result.held_out_scores)
    for selector, (y, scores) in parts.items():
        loss = -(y * np.log(np.clip(scores, 1e-7, 1)) + (1 - y) * np.log1p(-np.clip(scores, 0, 1 - 1e-7)))
        won, pairs = metrics.question_pairs(y, scores)
        yield selector, "auc_pooled", bootstrap.auc(y, scores)
        yield selector, "auc_within_prompt", bootstrap.auc_within_prompt(y, scores)
        yield selector, "auc_within_question", bootstrap.ratio(won[:, None], pairs[:, None])[0]
        yield selector, "log_loss", bootstrap.mean(row_means(loss)[:, None])[0]
        expected = scores.max(1)[:, None].astype(np.float64)
        yield selector, "expected_success_of_picks", bootstrap.mean(expected)[0]


def pick_rows(data: OfflineDataset, result: SelectorResults) -> Iterator[dict[str, Any]]:
    """picks.csv: which prompt each selector chose for each test question, and whether it was right."""
    names = data.names
    scored = {column: result.seen_scores[:, j] for j, column in enumerate(result.subset)}
    first_held_out = len(names.train_prompts)
    scored |= {first_held_out + j: column for j, column in enumerate(result.held_out_scores.T)}
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
