"""The five CSVs the published step 5 was meant to write, column for column, ties and all.

X is K, the number of training prompts; means and standard deviations are over the subsets of that size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from prompt_oirl.pipeline.evaluate import SelectorResults
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.stats.metrics import precision_recall_f1

SELECTORS = {
    "Training Best": "test_best_as_published",
    "IRL 0": "irl_0_as_published",
    "All Mixed": "all_mixed_as_published",
    "IRL 10": "irl_10_as_published",
    "IRL 100": "irl_100",  # the labels of its hundred prompts were never released: the columns stay empty
}
METRICS = {"precision": "Precision", "recall": "Recall", "F1": "F1", "acc": "Accuracy"}


def by_size(results: Sequence[SelectorResults]) -> dict[int, list[SelectorResults]]:
    """The results on all features by K, rising."""
    sizes: dict[int, list[SelectorResults]] = {}
    for result in results:
        if result.variant == "both":
            sizes.setdefault(len(result.subset), []).append(result)
    return dict(sorted(sizes.items()))


def performance_rows(results: Sequence[SelectorResults]) -> Iterator[dict[str, Any]]:
    """{DS}_{llm}_performance_comparison.csv: success rates as published, "Training Best" chosen on test."""
    sizes = by_size(results)
    full = sizes[max(sizes)][-1:]
    for k, members in sizes.items():
        row: dict[str, Any] = {"X": k}
        for title, selector in SELECTORS.items():
            row |= _mean_and_std(title, _success_rates(members, selector))
        for title, selector, of in (
            ("LLM Confidence w/ Test Prompts", "lmsc_16_as_published", full),
            ("LLM Confidence Train Prompts", "lmsc_as_published", full),
            ("LLM combined", "lmsc_as_published", members),
        ):
            rates = _success_rates(of, selector)
            row[title] = np.mean(rates) if rates else None
        yield row


def _success_rates(results: Sequence[SelectorResults], selector: str) -> list[float]:
    """Success rate of a selector in each of the results that have it."""
    return [float(np.nanmean(r.success[selector])) for r in results if selector in r.success]


def _mean_and_std(title: str, values: Sequence[float]) -> dict[str, Any]:
    """The two columns of a title; empty where there is no value."""
    mean, std = (np.mean(values), np.std(values)) if values else (None, None)
    return {f"{title} Mean": mean, f"{title} Std": std}


def metric_rows(
    data: OfflineDataset, results: Sequence[SelectorResults]
) -> Iterator[dict[str, dict[str, Any]]]:
    """Rows of the four metric CSVs, one dict of rows per K: how the reward model predicts single labels.

    "Test" are held-out prompts, "Train" training prompts, both on test questions; each value is a mean over
    prompts.
    """
    n_seen = len(data.names.train_prompts)
    critic: dict[str, tuple[float, ...]] = {}
    if data.verdicts is not None:
        for side, columns in (("Test", slice(n_seen, None)), ("Train", slice(0, n_seen))):
            if data.test_labels[:, columns].shape[1]:
                critic[side] = precision_recall_f1(
                    data.test_labels[:, columns], data.verdicts[:, columns].astype(bool)
                )
    for k, members in by_size(results).items():
        values: dict[str, list[tuple[float, ...]]] = {"Test": [], "Train": []}
        for result in members:
            labels = data.test_labels[result.rows]
            values["Train"].append(
                precision_recall_f1(labels[:, list(result.subset)], result.seen_scores > 0.5)
            )
            if result.held_out_scores.shape[1]:
                values["Test"].append(precision_recall_f1(labels[:, n_seen:], result.held_out_scores > 0.5))
        rows: dict[str, dict[str, Any]] = {}
        for i, (metric, title) in enumerate(METRICS.items()):
            row: dict[str, Any] = {"X": k}
            for side, found in values.items():
                row |= _mean_and_std(f"{side} {title}", [v[i] for v in found if not np.isnan(v[i])])
            for side in values:
                row[f"LLM {side} Metric"] = critic[side][i] if side in critic else None
            rows[metric] = row
        yield rows
