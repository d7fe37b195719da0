"""Does a found instruction make a model answer better, or only in a form that can be read?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from prompt_oirl import grading
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.opro.report import INTERVAL
from prompt_oirl.stats.metrics import ClusterBootstrap


def compliance_rows(
    rows: Sequence[LogRow], initial: str, winner: str, kind: str, groups: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Shares of right and of readable answers under both instructions, and the winner's gain in each.

    An answer is readable if it settles on any value of its kind. Where both instructions get a readable
    answer, a gain in right ones is more than a gain in form. Yes-no questions are also told apart by their
    right answer: a model that always says the same is right about all of one kind.

    Parameters
    ----------
    rows : answers of the log to test questions; those to other instructions are passed over
    initial, winner : ids of the instructions
    kind : of the answers: number, choice, bool or text
    groups : group of near-duplicates of each question, which intervals resample

    Returns: rows with the columns what, measure, value, ci_low, ci_high, n, groups, most_common (the share of
    the most frequent right answer, which a constant reaches).
    """
    by_prompt: dict[str, dict[str, LogRow]] = {initial: {}, winner: {}}
    for row in rows:
        if row.prompt_id in by_prompt:
            by_prompt[row.prompt_id][row.question_id] = row
    asked = sorted(by_prompt[initial].keys() & by_prompt[winner].keys() & groups.keys())
    right, readable = (
        np.array([[of(by_prompt[p][q]) for p in (initial, winner)] for q in asked], dtype=np.float64)
        for of in (lambda row: row.correct, lambda row: _readable(row, kind))
    )
    gold = [by_prompt[initial][q].gold.strip().lower() for q in asked]
    golds = Counter(gold)
    bootstrap = ClusterBootstrap(np.array([groups[q] for q in asked]), 0)

    def where(kept: Any) -> np.ndarray:
        return np.where(np.array(kept, dtype=bool)[:, None], right, np.nan)

    values = {
        "right": right,
        "readable": readable,
        "right where both are readable": where(readable.all(axis=1)),
    }
    for one in sorted(golds) if kind == "bool" else ():
        values[f"right where it is {one}"] = where([g == one for g in gold])
    for measure, pair in values.items():
        columns = np.column_stack([pair, pair[:, 1] - pair[:, 0]])
        n = int((~np.isnan(columns[:, 0])).sum())
        estimates = bootstrap.mean(columns) if n else np.full((3, 3), np.nan)
        for what, estimate in zip(("initial", "winner", "gain"), estimates):
            yield {
                "what": what,
                "measure": measure,
                **{name: None if np.isnan(v) else float(v) for name, v in zip(INTERVAL, estimate)},
                "n": n,
                "groups": bootstrap.n_clusters,
                "most_common": golds.most_common(1)[0][1] / len(asked),
            }


def _readable(row: LogRow, kind: str) -> bool:
    return grading.settles(row.answer or "", row.gold, kind, row.question)
