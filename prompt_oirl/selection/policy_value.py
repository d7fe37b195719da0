"""What another policy would have scored on the traffic of a log, with intervals.

A row is a request of a log with propensities, such as a server's, and requests are taken as independent draws
of one traffic; of other logs it is a question, the chance that a cell was asked is estimated from it, and
near-duplicates stay together. Values are means over rows that have a verdict. Estimators and intervals are
those of stats/off_policy.py; what cannot be known is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.selection import storage
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.storage import version_id
from prompt_oirl.selection.traffic import Traffic
from prompt_oirl.stats.off_policy import (
    Estimate,
    direct_method,
    doubly_robust,
    half_width,
    importance_weights,
    inverse_propensity,
    self_normalised,
)

FEWEST_ANSWERS = 30  # effective, below which no interval is given: it would cover too seldom
HALF_WIDTH = 0.03  # success that an interval should reach to either side
MUCH_WIDER = 1.5  # times, from which it is said how wide an interval by near-duplicates would be
SURE = 4.0  # standard errors that the mean weight may be from 1
ESTIMATORS = ("dr", "snips", "ips", "dm")
COLUMNS = (
    *("policy", "estimator", "value", "low", "high"),
    *("difference", "difference_low", "difference_high", "effective_answers", "rows"),
)


def target_of(traffic: Traffic, policy: str | PromptSelector, embedder: str | None = None) -> np.ndarray:
    """Probability that a policy picks each prompt of the log, float64 (rows, P).

    Parameters
    ----------
    traffic : rows of a log
    policy : a fitted selector or its folder, "random", "best" (the prompt of most success on the other
    folds, so that nothing is chosen on the answers it is valued by) or "prompt:NAME"
    embedder : of a selector in a folder, see `PromptSelector.load`

    Raises: InputError at a policy that is none of these, or that picks what the log never asked.
    """
    log, shape = traffic.log, traffic.logged.rewards.shape
    one_hot = np.eye(shape[1])
    if policy == "random":
        return np.full(shape, 1 / shape[1])
    if policy == "best":
        values = np.stack([_robust(traffic, np.tile(row, (shape[0], 1))).parts for row in one_hot], 1)
        group = traffic.predicted.group
        best = [int(values[group != g].mean(0).argmax()) for g in range(int(group.max()) + 1)]
        return one_hot[np.array(best)[group]]
    if isinstance(policy, str) and policy.startswith("prompt:"):
        return np.tile(one_hot[_prompt_named(log, policy)], (shape[0], 1))
    selector = storage.load(PromptSelector, Path(policy), embedder) if isinstance(policy, str) else policy
    picks, _ = selector.choose(log.questions, segments=log.segments)
    place = {arm: j for j, arm in enumerate(log.arms)}
    strange = next((pick for pick in picks[:, 0] if pick not in place), None)
    if strange is not None:
        hint = " with --arms prompt,llm" if selector.llms_ and not log.llms else ""
        raise InputError(
            f"the selector picks {on_one_line(str(strange), 60)!r}, which the log never asked: take a log of "
            f"its prompts{hint}, or serve it with --explore 0.05"
        )
    return one_hot[[place[pick] for pick in picks[:, 0]]][traffic.question]


def check_policies(log: PromptLog, policies: Sequence[str]) -> None:
    """Refuse, before anything is learned, what `target_of` would.

    Parameters
    ----------
    log : that the policies are valued on
    policies : as in `target_of`

    Raises: InputError at a prompt that the log does not have, or at what names no policy.
    """
    for policy in policies:
        if policy.startswith("prompt:"):
            _prompt_named(log, policy)
        elif policy not in ("best", "random") and not (Path(policy) / "selector.json").is_file():
            raise InputError(
                f"--policy {on_one_line(policy, 80)}: name the folder of a selector, best, random or "
                "prompt:NAME"
            )


def _prompt_named(log: PromptLog, policy: str) -> int:
    """Place of the prompt of "prompt:NAME"."""
    name = policy.removeprefix("prompt:")
    found = [j for j, n in enumerate(log.names) if name in (n, log.prompts[j])]
    if len(found) != 1:
        raise InputError(
            f"--policy {on_one_line(policy, 80)}: the log has "
            f"{'several such prompts' if found else 'no such prompt'}; its prompts are "
            f"{', '.join(on_one_line(n, 40) for n in log.names)}"
        )
    return found[0]


def _robust(traffic: Traffic, target: np.ndarray) -> Estimate:
    return doubly_robust(traffic.logged, target, traffic.predicted)


def policy_values(
    traffic: Traffic,
    policies: Sequence[str | PromptSelector | np.ndarray],
    embedder: str | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Value of each policy by each estimator, with differences to the first policy, and what to know of it.

    Parameters
    ----------
    traffic : rows of a log
    policies : as in `target_of`; or probabilities as it returns them, of a selector made from this log
    embedder : of selectors in folders, see `PromptSelector.load`

    Returns: rows with `COLUMNS`, and sentences.
    Raises: InputError where a value cannot be known from the log.
    """
    check_policies(traffic.log, [policy for policy in policies if isinstance(policy, str)])
    rows: list[dict[str, Any]] = []
    notes = list(traffic.notes)
    first: tuple[np.ndarray, dict[str, Estimate]] | None = None
    for policy in policies:
        name = policy if isinstance(policy, str) else "the new selector"
        target = policy if isinstance(policy, np.ndarray) else target_of(traffic, policy, embedder)
        _check_support(traffic, target, name, notes)
        found = _estimates(traffic, target)
        first = first or (target, found)
        few = min(found["dr"].answers, first[1]["dr"].answers) < FEWEST_ANSWERS
        for estimator in ESTIMATORS:
            e = found[estimator]
            low, high = (np.nan, np.nan) if found["dr"].answers < FEWEST_ANSWERS else (e.low, e.high)
            # Success lies in 0..1, though a weighted mean may not.
            value, low, high = np.clip((e.value, low, high), 0, 1).tolist()
            row = {"policy": name, "estimator": estimator, "value": value, "low": low, "high": high}
            if found is not first[1]:
                gap = _difference(traffic, estimator, (target, e), (first[0], first[1][estimator]))
                row |= dict(zip(COLUMNS[5:8], (gap[0], np.nan, np.nan) if few else gap))
            rows.append(row | {"effective_answers": e.answers, "rows": len(target)})
        notes += _few_answers(traffic, found["dr"], name) + _in_bursts(traffic, found["dr"], name)
    return rows, notes


def _estimates(traffic: Traffic, target: np.ndarray) -> dict[str, Estimate]:
    return {
        "dr": _robust(traffic, target),
        "snips": self_normalised(traffic.logged, target),
        "ips": inverse_propensity(traffic.logged, target),
        "dm": direct_method(traffic.logged, target, traffic.predicted),
    }


def _difference(
    traffic: Traffic, estimator: str, one: tuple[np.ndarray, Estimate], other: tuple[np.ndarray, Estimate]
) -> tuple[float, float, float]:
    """What one policy gains over another, with the interval of the pairs."""
    if estimator == "dm":  # linear in the target
        e = direct_method(traffic.logged, one[0] - other[0], traffic.predicted)
        return e.value, e.low, e.high
    parts = one[1].parts - other[1].parts
    value, reach = float(parts.mean()), half_width(parts - parts.mean(), traffic.logged.clusters)
    return value, value - reach, value + reach


def _check_support(traffic: Traffic, target: np.ndarray, name: str, notes: list[str]) -> None:
    """Refuse a policy that picks what the log never asks: the mean weight is 1 where all may be drawn."""
    asked = traffic.logged.logged.any(0)
    if (target[:, ~asked] > 0).any():
        raise InputError(f"--policy {on_one_line(name, 80)} picks a prompt that the log never asked")
    weights = importance_weights(traffic.logged, target).sum(1)
    mean = float(weights.mean())
    chances = traffic.logged.propensities[traffic.logged.logged]
    error = half_width(weights - mean, traffic.logged.clusters) / 1.96
    # A mean of few draws may have had bad luck; no interval rests on them then.
    enough = weights.sum() ** 2 >= FEWEST_ANSWERS * (weights**2).sum() or chances.min() > 0.999
    if traffic.known and enough and abs(mean - 1) > max(SURE * error, 0.02):
        where = f"--policy {on_one_line(name, 80)}: "
        if chances.min() > 0.999:
            share, n_prompts = 0.05, target.shape[1]
            p = traffic.success
            needed = (1.96 / HALF_WIDTH) ** 2 * p * (1 - p) * n_prompts / share
            raise InputError(
                f"{where}the log never explored, every propensity is 1: serve with --explore {share}; about "
                f"{needed:,.0f} requests would give +- {100 * HALF_WIDTH:.0f} points"
            )
        raise InputError(
            f"{where}its weights have the mean {mean:.2f} +- {1.96 * error:.2f}, which is 1 where "
            "propensities are right and every prompt may be drawn: correct the propensities, or explore "
            "everywhere"
        )


def _few_answers(traffic: Traffic, e: Estimate, name: str) -> list[str]:
    """A sentence if few answers stand behind a value, with what would be needed."""
    if e.answers >= FEWEST_ANSWERS:
        return []
    needed = len(traffic.question) * max((e.high - e.low) / 2 / HALF_WIDTH, 1) ** 2
    return [
        f"{on_one_line(name, 80)}: no interval, for only {e.answers:.0f} effective answers stand behind "
        f"its values, fewer than {FEWEST_ANSWERS}; about {needed:,.0f} requests like these, or more "
        f"exploration, would give +- {100 * HALF_WIDTH:.0f} points."
    ]


def _in_bursts(traffic: Traffic, e: Estimate, name: str) -> list[str]:
    """A sentence if the interval hangs on near-duplicates of one question having come independently."""
    noise = e.parts - e.parts.mean()
    wider = half_width(noise, traffic.log.groups[traffic.question]) / max((e.high - e.low) / 2, 1e-9)
    if not traffic.known or wider < MUCH_WIDER:
        return []
    return [
        f"{on_one_line(name, 80)}: its interval takes requests as independent; it is {wider:.1f} times as "
        "wide if near-duplicate questions come in bursts."
    ]


def out_of_sample(log: PromptLog, selector: str | Path) -> bool:
    """Whether a saved selector surely learned from none of a log's answers, for it served all of them.

    Parameters
    ----------
    log : with or without the versions of the selectors that drew its prompts
    selector : its folder
    """
    return log.policy is not None and set(log.policy) == {version_id(selector)}
