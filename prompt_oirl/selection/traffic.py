"""A log as off-policy estimates take it: requests of a server's log, or the questions of another one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtrc

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.features.segments import Segments
from prompt_oirl.features.surface import NAMES, surface_features
from prompt_oirl.io.files import InputError
from prompt_oirl.stats.off_policy import LoggedRewards, estimate_propensities
from prompt_oirl.stats.off_policy_rewards import CrossFit, cross_fit, ridge_rewards

# Features of a question that may have decided which prompt it got, where that is estimated.
DECIDING = ("characters", "sentences", "numbers", "largest", "decimals", "asked_length")


@dataclass(frozen=True)
class Traffic:
    """Rows of a log as the estimators take them, `question` (rows,) of each, and `notes` about them."""

    log: PromptLog
    question: np.ndarray
    logged: LoggedRewards
    predicted: CrossFit
    known: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, log: PromptLog, seed: int = 0, policy: str | None = None) -> Traffic:
        """The rows of a log.

        Parameters
        ----------
        log : with propensities, or without
        seed : of the reward model's folds
        policy : only requests that were served by this version of a selector, if there are any
        """
        known = log.propensity is not None and bool(np.isfinite(log.propensity).any())
        of_segments = Segments.of(log.segments).columns(log.segments, len(log.questions))
        surface = surface_features(log.questions).astype(np.float64)
        surface[:, 0] = np.log1p(surface[:, 0])
        features = np.column_stack([surface, of_segments])
        notes: list[str] = []
        if known:
            question, logged = _requests(log, policy, notes)
        else:
            few = np.column_stack([surface[:, [NAMES.index(name) for name in DECIDING]], of_segments])
            question, logged = np.arange(len(log.questions)), _questions(log, few, notes)
        if len(np.unique(log.groups[question])) < 2:
            raise InputError("an interval needs at least two different questions: log more questions")
        # Folds keep near-duplicates together in any case.
        in_groups = replace(logged, clusters=log.groups[question])
        predicted = cross_fit(in_groups, ridge_rewards(features[question], logged.rewards), seed)
        return cls(log, question, logged, predicted, known, tuple(notes))

    @property
    def success(self) -> float:
        """Mean success of what was logged."""
        return float(np.nanmean(self.logged.rewards))


def _requests(log: PromptLog, policy: str | None, notes: list[str]) -> tuple[np.ndarray, LoggedRewards]:
    assert log.propensity is not None
    rows = np.flatnonzero(np.isfinite(log.propensity))
    if policy is not None:
        served_by = log.policy or [None] * len(log.propensity)
        mine = [i for i in rows if served_by[i] == policy]
        if mine:
            rows = np.array(mine)
        else:
            notes.append("this selector served none of these: if it learned from them, it looks too good.")
    if len(rows) < len(log.propensity):
        notes.append(
            f"{len(log.propensity) - len(rows):,} answers without propensity are left out of the values."
        )
    shape = len(rows), len(log.prompts)
    rewards, propensities = np.full(shape, np.nan), np.full(shape, np.nan)
    cell = np.arange(len(rows)), log.prompt[rows]
    rewards[cell], propensities[cell] = log.correct[rows], log.propensity[rows]
    question = log.question[rows]
    if len(log.unrated):
        n = len(rows) + len(log.unrated)
        notes.append(f"{len(rows):,} of {n:,} requests have a verdict: the values speak for these.")
        notes += _uneven_feedback(log, rows)
    return question, LoggedRewards(rewards, propensities, np.arange(len(rows)))


def _uneven_feedback(log: PromptLog, rows: np.ndarray) -> list[str]:
    """A sentence if whether a verdict comes depends on the prompt, questions being alike by weighting."""
    assert log.propensity is not None
    place = {arm: j for j, arm in enumerate(log.arms)}
    prompt = np.r_[log.prompt[rows], [place.get(arm, -1) for arm, _ in log.unrated]]
    weight = 1 / np.r_[log.propensity[rows], [chance for _, chance in log.unrated]]
    rated = np.arange(len(prompt)) < len(rows)
    share = float((weight * rated).sum() / weight.sum())
    total, asked = 0.0, 0
    for j in np.unique(prompt):
        of = prompt == j
        w = weight[of]
        # The variance of the common share: that of the prompt's own is 0 where all are rated, or none.
        spread = (w**2).sum() * share * (1 - share) / w.sum() ** 2
        total += ((w * rated[of]).sum() / w.sum() - share) ** 2 / max(spread, 1e-12)
        asked += 1
    if asked > 1 and chdtrc(asked - 1, total) < 0.001:
        return [
            "whether a verdict comes depends on the prompt: values are of requests that get one, which may "
            "be other ones under another policy; ask for verdicts in the same way whatever the prompt."
        ]
    return []


def _questions(log: PromptLog, features: np.ndarray, notes: list[str]) -> LoggedRewards:
    if not np.isnan(log.labels).any():
        return LoggedRewards(log.labels, np.ones(log.labels.shape), log.groups)
    notes.append(
        "the log has no propensities: they are estimated from the questions' texts and segments, which is "
        "right only if nothing else decided which prompt was asked."
    )
    return estimate_propensities(log.labels, features[:, features.std(0) > 0], log.groups)
