"""Every table and figure that step 5 writes for one dataset and protocol; here also what a selector costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.io.files import write_csv
from prompt_oirl.pipeline.evaluate import SelectorResults
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.pipeline.plan import Plan
from prompt_oirl.reports import figures, published, summary

# The released logs hold no token counts; English text runs at about four characters a token.
CHARACTERS_PER_TOKEN = 4
UNKNOWN_ANSWER_CHARACTERS = 600.0  # for logs without answer texts


def cost_rows(data: OfflineDataset, result: SelectorResults, price: float) -> Iterator[dict[str, Any]]:
    """Rows of cost.csv: calls, estimated tokens and dollars per question of every selector with all prompts.

    Parameters
    ----------
    price : dollars per million tokens
    """
    names = data.names
    question = np.mean([len(names.texts[i]) for i in names.test_index[result.rows]]) / CHARACTERS_PER_TOKEN
    prompt = np.mean([len(p.text) for p in names.prompts]) / CHARACTERS_PER_TOKEN
    answer = (names.answer_characters or UNKNOWN_ANSWER_CHARACTERS) / CHARACTERS_PER_TOKEN
    per_call = question + prompt + answer
    k = len(result.subset)
    for selector, success in result.success.items():
        calls = result.calls_of(selector, len(names.prompts))
        dollars = calls * per_call * price / 1e6
        known = success[~np.isnan(success)]
        if not len(known):
            continue
        rate = float(known.mean())
        yield {
            "llm": names.llm,
            "dataset": names.dataset,
            "split": result.group,
            "k": k,
            "selector": selector,
            "calls_per_question": calls,
            "tokens_per_question": round(calls * per_call),
            "price_per_million_tokens": price,
            "dollars_per_1000_questions": dollars * 1000,
            "success_rate": rate,
            "successes_per_dollar": rate / dollars if dollars else None,
        }


def of_all_prompts(data: OfflineDataset, results: Sequence[SelectorResults]) -> list[SelectorResults]:
    """Those on all training prompts and all features."""
    return [r for r in results if len(r.subset) == len(data.names.train_prompts) and r.variant == "both"]


def write_tables(
    folder: Path, data: OfflineDataset, results: Sequence[SelectorResults], plan: Plan, price: float
) -> list[Path]:
    """Write summary.csv, cost.csv, picks.csv and the published tables and figures; returns their paths.

    Parameters
    ----------
    results : one per (group, subset, variant) of one protocol
    price : dollars per million tokens, for cost.csv
    """
    outputs: list[Path] = []

    def table(name: str, rows: Iterable[dict[str, Any]]) -> Path:
        outputs.append(folder / name)
        write_csv(outputs[-1], rows)
        return outputs[-1]

    table("summary.csv", summary.summary_rows(data, results, plan.model, plan.preset, plan.seed))
    for full in of_all_prompts(data, results)[:1]:
        # The result on most training data stands for the protocol: five folds rather than two.
        table("cost.csv", cost_rows(data, full, price))
        table("picks.csv", summary.pick_rows(data, full))
    stem = f"{data.names.dataset.upper()}_{data.names.llm}"
    title = f"{data.names.dataset.upper()}, {data.names.llm}, {folder.name} protocol"
    # Published tables run over K, so they take the groups that hold every subset; all of them use the same
    # folds.
    by_k = [result for result in results if result.group in ("paper", "crossfit2")] or results
    path = table(f"{stem}_performance_comparison.csv", published.performance_rows(by_k))
    outputs.append(figures.draw_performance(path, title))
    metric_rows = list(published.metric_rows(data, by_k))
    for metric, name in published.METRICS.items():
        path = table(f"{stem}_{metric}_comparison.csv", (row[metric] for row in metric_rows))
        outputs.append(figures.draw_metric(path, title, name))
    return outputs
