"""What success another policy would have had on a log's traffic: from the log of a server, or any log.

With a column propensity an answer is a request, for which one prompt was drawn with that chance; the value is
the mean over requests. Without, propensities are estimated, and each distinct question counts once.
Intervals keep near-duplicate questions together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.stats.cells import PromptSuccess
from prompt_oirl.stats.off_policy import (
    Estimate,
    LoggedRewards,
    estimate_propensities,
    evaluate_policy,
    half_width,
)
from prompt_oirl.stats.off_policy_rewards import CrossFit, cross_fit, ridge_rewards

LEAST_ANSWERS = 30  # effective ones, below which no interval is to be relied on
LARGEST_CLUSTER = 0.2  # share of the requests above which sums by cluster say little about their variance
WEIGHT_OFF = 0.1  # how far the mean weight may be shown to be from 1
EXPLORE = "serve with --explore 0.05 or more"
NAMES = {"dr": "doubly robust", "snips": "self-normalised IPS", "ips": "IPS", "dm": "direct method"}


@dataclass(frozen=True)
class Traffic:
    """A log as off-policy estimates need it: n requests (or questions) and the log's P prompts.

    `question` int (n,) is the question of each request, `predicted` the cross-fitted success of each cell;
    `notes` say what the figures rest on. `known` says whether the propensities were logged.
    """

    log: PromptLog
    rewards: LoggedRewards
    question: np.ndarray
    predicted: CrossFit
    known: bool
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, log: PromptLog, seed: int = 0) -> Traffic:
        """The requests of a log whose propensity is known, or the questions of a log without propensities.

        Raises: InputError where the log never explored, or one answer stands for everything.
        """
        notes: list[str] = []
        features = surface_features(log.questions).astype(np.float64)
        if log.propensity is not None:
            rows = np.flatnonzero(~np.isnan(log.propensity))
            if len(rows) < len(log.propensity):
                notes.append(
                    f"{len(log.propensity) - len(rows):,} answers without a propensity do not count."
                )
            question, prompt, chance = log.question[rows], log.prompt[rows], log.propensity[rows]
            if not (chance < 1).any():
                raise InputError(f"the log never explored: every propensity is 1; {EXPLORE}")
            table = np.full((2, len(rows), len(log.prompts)), np.nan)
            table[:, np.arange(len(rows)), prompt] = log.correct[rows], chance
            rewards = LoggedRewards(table[0], table[1], log.groups[question])
        else:
            question = np.arange(len(log.questions))
            if log.counts.all():
                rewards = LoggedRewards(log.labels, np.ones(log.labels.shape), log.groups)
            else:
                rewards = estimate_propensities(log.labels, features, log.groups)
                notes.append(
                    "the log has no column propensity: the chances of its cells are estimated from lengths, "
                    "numbers and words of the questions, which is right only if nothing else decided over "
                    "which prompt was asked; each distinct question counts once."
                )
        largest = np.unique(rewards.clusters, return_counts=True)[1].max() / len(question)
        if largest > LARGEST_CLUSTER:
            notes.append(
                f"{100 * largest:.0f} % of the requests are near-duplicates of one another: intervals by "
                "groups of them are too narrow here."
            )
        predicted = cross_fit(rewards, ridge_rewards(features[question], rewards.rewards), seed)
        return cls(log, rewards, question, predicted, log.propensity is not None, notes)

    def targets(self, policy: str | PromptSelector) -> np.ndarray:
        """Probabilities (n, P) of a policy: a selector, "best", "random" or "prompt:NAME".

        "best" is the prompt of highest standing on the other folds, so it is not chosen by its own answers.
        """
        n_prompts = len(self.log.prompts)
        if isinstance(policy, PromptSelector):
            return np.eye(n_prompts)[self._picks(policy)[self.question]]
        if policy == "random":
            return np.full((len(self.question), n_prompts), 1 / n_prompts)
        if policy == "best":
            group = self.predicted.group
            best = np.array([self._best(group != g) for g in range(int(group.max()) + 1)])
            return np.eye(n_prompts)[best[group]]
        name = policy.removeprefix("prompt:")
        found = [j for j, (n, t) in enumerate(zip(self.log.names, self.log.prompts)) if name in (n, t)]
        if len(found) != 1:
            have = on_one_line(", ".join(self.log.names), 200)
            raise InputError(f"--policy {on_one_line(policy, 100)}: name one prompt of the log ({have})")
        return np.eye(n_prompts)[np.full(len(self.question), found[0])]

    def _picks(self, selector: PromptSelector) -> np.ndarray:
        place = {arm: j for j, arm in enumerate(self.log.arms)}
        picks, _ = selector.choose(self.log.questions, segments=self.log.segments)
        lacking = {str(pick) for pick in picks[:, 0] if pick not in place}
        if lacking:
            raise InputError(
                f"the selector picks a prompt that the log never asks: {on_one_line(min(lacking), 100)}; log "
                "answers of it, or choose another policy"
            )
        return np.array([place[pick] for pick in picks[:, 0]])

    def _best(self, rows: np.ndarray) -> int:
        logged = self.rewards.logged[rows]
        weights = np.where(logged, 1 / np.where(logged, self.rewards.propensities[rows], 1), 0.0)
        # The answers of a prompt sum to their effective number (Kish), so that none counts for hundreds.
        scale = weights.sum(0) / np.maximum((weights**2).sum(0), 1e-300)
        return PromptSuccess.of(np.nan_to_num(self.rewards.rewards[rows]), weights * scale).best


def policy_values(traffic: Traffic, policies: dict[str, str | PromptSelector]) -> list[dict[str, Any]]:
    """Value of each policy by each estimator, then paired differences of the others to the first.

    Parameters
    ----------
    traffic : the log
    policies : by the name that the rows shall have

    Returns: rows with policy, minus (the policy compared with, or None), estimator, value, low, high, answers
    (effective) and requests.
    Raises: InputError where the log cannot tell, see `check_reach`.
    """
    rows: list[dict[str, Any]] = []
    found: dict[str, dict[str, Estimate]] = {}
    for name, policy in policies.items():
        target = traffic.targets(policy)
        found[name] = evaluate_policy(traffic.rewards, target, traffic.predicted)
        check_reach(traffic, target, name, found[name]["dr"].answers)
        rows += [_row(name, None, kind, found[name][kind], traffic) for kind in NAMES]
    first, *others = found
    for name in others:
        for kind in ("dr", "snips", "ips"):
            a, b = found[name][kind], found[first][kind]
            parts = a.parts - b.parts
            reach = half_width(parts - parts.mean(), traffic.rewards.clusters)
            value, answers = a.value - b.value, min(a.answers, b.answers)
            difference = Estimate(value, value - reach, value + reach, answers, parts)
            rows.append(_row(name, first, kind, difference, traffic))
    return rows


def check_reach(traffic: Traffic, target: np.ndarray, name: str, answers: float) -> None:
    """Refuse a policy of which the log knows too little, or whose weights say that propensities are wrong.

    Parameters
    ----------
    traffic : the log
    target : probabilities (n, P) of the policy
    name : of the policy, for the complaint
    answers : effective number of answers behind its value

    Raises: InputError with fewer than 30 effective answers, or a mean weight shown to be off 1 by more than
    0.1: it is 1 where every prompt that the policy picks can be drawn with the propensity that is logged.
    """
    where = f"policy {on_one_line(name, 60)}"
    if answers < LEAST_ANSWERS:
        needed = int(np.ceil(len(target) * LEAST_ANSWERS / max(answers, 1e-9) / 100)) * 100
        more = f"about {needed:,} such requests, or more exploration, would do" if answers else EXPLORE
        raise InputError(
            f"{where}: {answers:.0f} effective answers of what it would have asked, of {LEAST_ANSWERS} "
            f"needed; {more}"
        )
    if not traffic.known:
        return
    weights = np.where(traffic.rewards.logged, target / np.nan_to_num(traffic.rewards.propensities, nan=1), 0)
    total = weights.sum(1)
    reach = half_width(total - total.mean(), traffic.rewards.clusters)
    if abs(total.mean() - 1) > reach + WEIGHT_OFF:
        raise InputError(
            f"{where}: the weights' mean is {total.mean():.2f} and not 1: either the log never draws some "
            f"prompt that it picks ({EXPLORE}), or the propensities are not those of this log"
        )


def _row(name: str, minus: str | None, kind: str, e: Estimate, traffic: Traffic) -> dict[str, Any]:
    row = {"policy": name, "minus": minus, "estimator": kind, "value": e.value, "low": e.low, "high": e.high}
    return row | {"answers": round(e.answers, 1), "requests": len(traffic.question)}
