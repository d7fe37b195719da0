"""Step 5 by interaction: ask the LLM for the picked (question, prompt) pairs that the log lacks.

An offline table can score a pick only where the log holds the answer. Live evaluation, the published
alternative, asks for the rest; the new rows join the log, so the next run has them for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.questions import SEPARATORS, Question
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import LLM, generation
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.generation import Decoding, Item, LogSettings
from prompt_oirl.pipeline.evaluate import PICKS_SHOWN, SelectorResults
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.stats.metrics import ClusterBootstrap


def unlogged_picks(
    results: Sequence[tuple[OfflineDataset, SelectorResults]], rows: Sequence[LogRow]
) -> list[Item]:
    """The picks of every selector shown that stand in no row, each once, as items for the first sample."""
    known = {(row.question_id, row.prompt_id) for row in rows}
    asked = {
        row.question_id: Question(row.question_id, row.question, row.gold, row.split, group=row.group)
        for row in rows
        if row.split == "test"
    }
    pending = {}
    for data, result in results:
        for selector in PICKS_SHOWN:
            for row, column in zip(result.rows, result.picks.get(selector, ())):
                question, prompt = data.names.test_question_ids[row], data.names.prompts[column]
                if (question, prompt.id) not in known:
                    pending[question, prompt.id] = Item(asked[question], prompt, 0)
    return list(pending.values())


def decoding_of(rows: Sequence[LogRow], where: Path) -> Decoding:
    """How the log's answers were drawn; refused where the rows do not say."""
    first = rows[0]
    if first.temperature is None:
        raise InputError(
            f"{where}: its rows do not say how they were decoded, so new answers cannot join them; "
            "make the log with llama_step1_gen_offline.py, or leave --live out"
        )
    return Decoding.of(first)


def log_settings(rows: Sequence[LogRow], decoding: Decoding) -> LogSettings:
    """What new answers to a log's questions have in common with its rows."""
    first = rows[0]
    separator = SEPARATORS.get(first.dataset, "\n")
    return LogSettings(first.llm, first.dataset, decoding, first.grader, separator)


def ask(
    items: Sequence[Item],
    llm: LLM,
    decoding: Decoding,
    files: LogFiles,
    rows: Sequence[LogRow],
    budget: Budget,
) -> Counter[str]:
    """Ask with the grader of the log, and append the answers to it.

    Parameters
    ----------
    items : what to ask, see `unlogged_picks`
    llm : the model that answers
    decoding : how answers are drawn, see `decoding_of`
    files : of the log; answers are appended to its part file of rank 0
    rows : of the log, one at least; the first one names LLM, dataset and grader
    budget : limits on calls, cost and time; asking stops when they are reached

    Returns: why answers could not be had, counted.
    """
    settings = log_settings(rows, decoding)
    for row in rows:
        budget.expect(row.tokens_in or 0, row.tokens_out or 0)
    return generation.answer_items(items, llm, settings, budget, files.part(0), desc=f"{files.dataset} live")


def live_rows(
    data: OfflineDataset,
    result: SelectorResults,
    rows: Sequence[LogRow],
    asked: set[tuple[str, str]],
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Success of each selector's picks: offline from the log as it was, live with the answers asked since.

    Parameters
    ----------
    data : one LLM's log of one dataset, as it was
    result : the picks to score, on `data`
    rows : of the log with the answers asked since
    asked : (question id, prompt id) of the answers asked since
    seed : of the bootstrap

    Returns: one row per selector of `PICKS_SHOWN` that has picks. Success is in 0..1, with a 95 % interval
    over clusters; None where no pick has an answer.
    """
    names = data.names
    correct: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        correct.setdefault((row.question_id, row.prompt_id), []).append(row.correct)
    bootstrap = ClusterBootstrap(names.test_clusters[result.rows], seed)
    for selector in PICKS_SHOWN:
        if selector not in result.picks:
            continue
        keys = [
            (names.test_question_ids[row], names.prompts[column].id)
            for row, column in zip(result.rows, result.picks[selector])
        ]
        offline = result.success[selector].astype(np.float64)
        live = np.array([np.mean(correct.get(key, [np.nan])) for key in keys])
        line: dict[str, Any] = {
            "llm": names.llm,
            "dataset": names.dataset,
            "split": result.group,
            "selector": selector,
            "picks": len(keys),
            "asked": sum(key in asked for key in keys),
        }
        for name, values in (("offline", offline), ("live", live)):
            n = int((~np.isnan(values)).sum())
            value, low, high = bootstrap.mean(values[:, None])[0] if n else (None, None, None)
            line |= {name: value, f"{name}_n": n, f"{name}_ci_low": low, f"{name}_ci_high": high}
        yield line
