"""cost.csv: what a selector pays per question, and what a dollar buys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from prompt_oirl.pipeline.evaluate import SelectorResults
from prompt_oirl.pipeline.offline_dataset import OfflineDataset

COLUMNS = [
    "llm",
    "dataset",
    "split",
    "k",
    "selector",
    "calls_per_question",
    "tokens_per_question",
    "price_per_million_tokens",
    "dollars_per_1000_questions",
    "success_rate",
    "successes_per_dollar",
]
CHARACTERS_PER_TOKEN = (
    4  # the released logs hold no token counts; English text runs at about four characters a token
)
UNKNOWN_ANSWER_CHARACTERS = 600.0  # for logs without answer texts


def cost_rows(data: OfflineDataset, result: SelectorResults, price: float) -> Iterator[dict[str, Any]]:
    """Calls, estimated tokens and dollars per question of every selector that was judged with all prompts."""
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
