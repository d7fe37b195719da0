"""Best of N with written prompts: which prompts a question is asked with, from a fixed pool or from a writer.

An arm proposes candidate prompts for a question; the reward model r(question, prompt) ranks them without
calling the LLM. With one call the best-ranked prompt is used; with k calls the k best are, and the answers
vote with the weights r. So arms of equal `calls` cost the LLM the same, whatever the number of candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from prompt_oirl.alol.rewards.log_reward import LogRewardModel
from prompt_oirl.grading.numbers import strict_number
from prompt_oirl.stats.metrics import ClusterBootstrap

INTERVALS = ("success", "ci_low", "ci_high", "gain_over_pool", "gain_ci_low", "gain_ci_high")
Answer = tuple[str, float]  # an answer's text and its verdict


def ranked(
    reward_model: LogRewardModel, questions: Sequence[str], candidates: Sequence[Sequence[str]]
) -> list[list[tuple[str, float]]]:
    """Each question's different candidates with their r, best first; equal r in the order proposed.

    Parameters
    ----------
    reward_model : gives r(question, prompt) in 0..1
    questions : n texts
    candidates : of each question, the prompts proposed; one without text gets r = 0
    """
    distinct = [list(dict.fromkeys(found)) for found in candidates]
    pairs = [(q, p) for q, found in zip(questions, distinct) for p in found]
    scores = reward_model.score([q for q, _ in pairs], [p if p.strip() else "." for _, p in pairs])
    scores = np.where([bool(p.strip()) for _, p in pairs], scores, 0.0)
    at, lists = 0, []
    for found in distinct:
        here = list(zip(found, scores[at : at + len(found)].tolist()))
        lists.append(sorted(here, key=lambda pair: -pair[1]))
        at += len(found)
    return lists


def vote(answers: Sequence[Answer], weights: Sequence[float]) -> float:
    """Verdict of the answer whose number has the most weight; ties and answers without a number go by their
    order."""
    total: dict[Fraction | None, float] = {}
    first: dict[Fraction | None, float] = {}
    for (text, verdict), weight in zip(answers, weights):
        number = strict_number(text)
        # Without a number an answer can't be agreed with: it counts for nothing unless there is no other.
        total[number] = total.get(number, 0.0) + (0.0 if number is None else max(weight, 1e-9))
        first.setdefault(number, verdict)
    return first[max(total, key=lambda number: total[number])]


def outcome(
    ranking: Sequence[Sequence[tuple[str, float]]], calls: int, answers: Sequence[Mapping[str, Answer]]
) -> np.ndarray:
    """Success of every question with so many LLM calls, float64 (n,).

    Parameters
    ----------
    ranking : of each question, its candidates with their r, best first: what `ranked` returns
    calls : prompts that a question is asked with; fewer where it has fewer different candidates
    answers : of each question, the answer to each prompt
    """
    found = []
    for best, known in zip(ranking, answers):
        used = best[:calls]
        found.append(vote([known[prompt] for prompt, _ in used], [weight for _, weight in used]))
    return np.array(found)


def table(arms: Sequence[dict[str, Any]], groups: Sequence[str], seed: int = 0) -> list[dict[str, Any]]:
    """Rows of the comparison, one per arm: success and gain with 95 % intervals by bootstrap over groups.

    Gains are paired, question by question, over the arm `pool` of equal calls, which must be there.

    Parameters
    ----------
    arms : each holds its names `arm` and `writer` (empty: none), `calls`, and `values` float (writers, n),
        the success of n questions, averaged over writers here; what else it holds is copied to its row
    groups : group of each of the n questions
    seed : of the bootstrap
    """
    boot = ClusterBootstrap(np.array(groups), seed)
    pools = {arm["calls"]: arm["values"].mean(0) for arm in arms if arm["arm"] == "pool"}
    rows = []
    for arm in arms:
        values = arm["values"].mean(0)
        columns = np.column_stack([values, values - pools[arm["calls"]]])
        found = {"arm": arm["arm"], "writer": arm["writer"]}
        found["writers"] = len(arm["values"]) if arm["writer"] else None
        found |= {name: value for name, value in arm.items() if name != "values"}
        found |= dict(zip(INTERVALS, boot.mean(columns).ravel().tolist()))
        rows.append(found | {"questions": len(values), "groups": boot.n_clusters})
    return rows
