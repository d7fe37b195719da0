r"""Value of a policy from an incomplete log: what success would be if another policy picked the prompts.

A log knows the reward y of a question q under prompt p only where that cell was logged (O = 1), which
happened with propensity e(q, p) = P(O = 1 | q). The value of a target policy pi is V = E_q sum_p pi(p | q)
E[y | q, p]. One prompt logged per question (a bandit log) and cells missing here and there are the same thing
to these estimators; a question's cells are summed before anything is averaged, and questions of a cluster
stay together. Which estimator to take: see `evaluate_policy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit  # quantiles of Student's t; scipy.stats takes half a second to import

from prompt_oirl.io.files import InputError
from prompt_oirl.stats.off_policy_rewards import CrossFit

MIN_PROPENSITY = 0.01  # estimated propensities are not taken below this


@dataclass(frozen=True)
class LoggedRewards:
    """An incomplete log of n questions and P prompts.

    `rewards` float64 (n, P) is NaN where not logged; `propensities` float64 (n, P) are the probabilities that
    a cell is logged, NaN where unknown, as it may be of cells that are not logged; `clusters` (n,) are
    near-duplicates. `scores` (n, s), of estimated propensities only,
    are the gradients of each question's log likelihood: they narrow the intervals as estimating should.
    """

    rewards: np.ndarray
    propensities: np.ndarray
    clusters: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.rewards.shape != self.propensities.shape or len(self.clusters) != len(self.rewards):
            raise ValueError(
                f"rewards {self.rewards.shape}, propensities {self.propensities.shape} and clusters "
                f"{self.clusters.shape} do not belong together"
            )
        known = ~np.isnan(self.propensities)
        if not ((self.propensities >= 0) & (self.propensities <= 1) | ~(known | self.logged)).all():
            raise InputError("propensities must lie in 0..1; pass the probability that each cell was logged")
        if (self.logged & (self.propensities == 0)).any():
            raise InputError("a logged cell has propensity 0; correct the propensities or estimate them")

    @property
    def logged(self) -> np.ndarray:
        """Which cells are logged, bool (n, P)."""
        return ~np.isnan(self.rewards)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval. `answers` is the effective number of logged answers behind it, `parts`
    (n,) what each question adds, with the value as mean: parts of two policies make a paired difference."""

    value: float
    low: float
    high: float
    answers: float
    parts: np.ndarray = field(repr=False, compare=False)


def importance_weights(log: LoggedRewards, target: np.ndarray) -> np.ndarray:
    """w(q, p) = pi(p | q) O(q, p) / e(q, p), float64 (n, P).

    Refuses a target that puts weight where the log can hold nothing: no estimator could know.
    """
    if target.shape != log.rewards.shape or not np.allclose(target.sum(1), 1) or (target < 0).any():
        raise InputError(
            f"the target policy needs probabilities of shape {log.rewards.shape} that sum to 1 per question"
        )
    unsupported = (target > 0) & (log.propensities == 0)
    if unsupported.any():
        prompts = np.flatnonzero(unsupported.any(0)).tolist()
        raise InputError(
            f"the target policy picks prompts {prompts} where the log never holds them (propensity 0); "
            "log them, or choose a policy within the log's reach"
        )
    return np.where(log.logged, target / np.where(log.propensities > 0, log.propensities, 1), 0.0)


def inverse_propensity(log: LoggedRewards, target: np.ndarray) -> Estimate:
    """V = 1/n sum_q sum_p pi(p|q) O(q,p) / e(q,p) y(q,p)  (Horvitz and Thompson 1952).

    Unbiased under true propensities, whatever the rewards are; its variance grows with the weights.
    """
    weights = importance_weights(log, target)
    parts = (weights * np.nan_to_num(log.rewards)).sum(1)
    return _estimate(float(parts.mean()), parts, log, weights, log.scores)


def self_normalised(log: LoggedRewards, target: np.ndarray) -> Estimate:
    """V = sum_qp w y / sum_qp w, w = pi O / e  (Hajek 1971; Swaminathan and Joachims 2015).

    Stays within the range of the rewards; gains much where the sum of weights varies; its bias is O(1/n).
    """
    weights = importance_weights(log, target)
    total = weights.sum()
    if total == 0:
        raise InputError(
            "no logged answer is one that the target policy would have asked for; log more, or choose "
            "another policy"
        )
    value = float((weights * np.nan_to_num(log.rewards)).sum() / total)
    parts = value + (weights * (np.nan_to_num(log.rewards) - value)).sum(1) * len(weights) / total
    return _estimate(value, parts, log, weights, log.scores)


def direct_method(log: LoggedRewards, target: np.ndarray, predicted: CrossFit) -> Estimate:
    """V = 1/n sum_q sum_p pi(p|q) r(q,p), r predicted across folds.

    Needs no propensities; its bias is the reward model's, and no interval knows of that. The interval is a
    jackknife over groups of clusters, so that it holds the noise of fitting the model.

    Parameters
    ----------
    log, target, predicted : as in `evaluate_policy`; `predicted` cannot be left out
    """
    parts = (target * predicted.held_out).sum(1)
    kept = [(target * r).sum(1)[predicted.group != g].mean() for g, r in enumerate(predicted.by_model)]
    groups = len(kept)
    error = np.sqrt((groups - 1) / groups * ((np.array(kept) - np.mean(kept)) ** 2).sum())
    reach = stdtrit(groups - 1, 0.975) * error
    value = float(parts.mean())
    return Estimate(value, float(value - reach), float(value + reach), float(log.logged.sum()), parts)


def doubly_robust(log: LoggedRewards, target: np.ndarray, predicted: CrossFit) -> Estimate:
    """V = 1/n sum_q sum_p pi(p|q) [r(q,p) + O(q,p) / e(q,p) (y(q,p) - r(q,p))].

    Unbiased under true propensities, and consistent if either propensities or reward model are; r is
    predicted across folds, so a question's own reward never predicts it (Dudik, Langford and Li 2011).

    Parameters
    ----------
    log, target, predicted : as in `evaluate_policy`; `predicted` cannot be left out
    """
    weights = importance_weights(log, target)
    r = predicted.held_out
    parts = (target * r).sum(1) + (weights * np.where(log.logged, log.rewards - r, 0)).sum(1)
    return _estimate(float(parts.mean()), parts, log, weights, None)


def _estimate(
    value: float, parts: np.ndarray, log: LoggedRewards, weights: np.ndarray, scores: np.ndarray | None
) -> Estimate:
    """An estimate with the interval of its parts.

    Under propensities estimated by maximum likelihood the part of `parts` that their scores explain is no
    noise (Robins, Rotnitzky and Zhao 1994; Hirano, Imbens and Ridder 2003).
    """
    noise, spent = parts - parts.mean(), 1
    if scores is not None and len(parts) > 2 * scores.shape[1]:
        noise = noise - scores @ np.linalg.lstsq(scores, noise, rcond=None)[0]
        spent += scores.shape[1]
    reach = half_width(noise, log.clusters, spent)
    answers = weights.sum() ** 2 / max((weights**2).sum(), 1e-300)
    return Estimate(value, float(value - reach), float(value + reach), float(answers), parts)


def half_width(noise: np.ndarray, clusters: np.ndarray, spent: int = 1) -> float:
    """Half of the 95 % Student interval of a mean, from sums by cluster, taken as independent.

    Where a few clusters make most of the variance, as answers of large weight do, the variance itself is
    uncertain: Student's degrees of freedom are (sum s^2)^2 / sum s^4 of the sums s (Satterthwaite, Biometrics
    Bulletin 2, 1946, with s^2 in place of the variances).

    Parameters
    ----------
    noise : float (n,), what each question adds less the mean
    clusters : (n,), near-duplicates
    spent : parameters that were estimated, the mean among them

    Raises: InputError if there is one cluster only.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster, weights=noise)
    n = len(noise)
    if len(sums) < 2:
        raise InputError("an interval needs questions of at least two clusters; log more questions")
    widen = len(sums) / (len(sums) - 1) * n / max(n - spent, 1)
    squares = sums**2
    freedom = np.clip(squares.sum() ** 2 / max((squares**2).sum(), 1e-300), 1, len(sums) - 1)
    return float(stdtrit(freedom, 0.975) * np.sqrt(widen * squares.sum()) / n)


def estimate_propensities(rewards: np.ndarray, features: np.ndarray, clusters: np.ndarray) -> LoggedRewards:
    """The log with propensities fitted to what was logged: per prompt a logistic regression on features.

    Right only if what decided over logging is among the features; no estimator can notice if it is not.

    Parameters
    ----------
    rewards : float64 (n, P), NaN where not logged
    features : float (n, d), of the questions
    clusters : int (n,), near-duplicates among the questions
    """
    from sklearn.linear_model import LogisticRegression

    x = (features - features.mean(0)) / (features.std(0) + 1e-9)
    logged = ~np.isnan(rewards)
    propensities = np.empty(rewards.shape)
    for j in range(logged.shape[1]):
        if logged[:, j].all() or not logged[:, j].any():
            propensities[:, j] = logged[:, j]
            continue
        model = LogisticRegression(C=1e4, max_iter=300).fit(x, logged[:, j])
        propensities[:, j] = np.clip(model.predict_proba(x)[:, 1], MIN_PROPENSITY, 1)
    design = np.column_stack([np.ones(len(x)), x])
    scores = ((logged - propensities)[:, :, None] * design[:, None, :]).reshape(len(x), -1)
    return LoggedRewards(rewards, propensities, clusters, scores)


def evaluate_policy(
    log: LoggedRewards, target: np.ndarray, predicted: CrossFit | None = None
) -> dict[str, Estimate]:
    """All estimators on one target policy.

    Doubly robust is the one to start with: it stays right if either the propensities or the reward model are.
    It is not the best (scripts/measure_off_policy.py) where the target picks what was seldom logged: weights
    are large then, and the direct method errs less if its model is any good. Nor where rewards are hard to
    predict: self-normalised IPS is as good then and needs no model. Where both propensities and model are
    wrong, it is wrong as well.

    Parameters
    ----------
    log : n questions and P prompts
    target : float (n, P), probability that the policy picks each prompt; sums to 1 per question
    predicted : rewards by `cross_fit` on this log; without them "dm" and "dr" are left out

    Returns: estimates by name: "ips" and "snips", "dm" (direct method) and "dr" (doubly robust).
    Raises: InputError on a target that is no policy or beyond the log's reach, or fewer than two clusters.
    """
    found = {"ips": inverse_propensity(log, target), "snips": self_normalised(log, target)}
    if predicted is not None:
        found |= {
            "dm": direct_method(log, target, predicted),
            "dr": doubly_robust(log, target, predicted),
        }
    return found


def cell_values(labels: np.ndarray, counts: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Doubly robust success of each question under each prompt: its label where every cell is logged.

    Parameters
    ----------
    labels : float (n, P), NaN where a cell is not logged
    counts : float (n, P), answers behind each label
    scores : float (n, P), success predicted without the question's own answers

    Returns: float64 (n, P); the prediction, corrected by the logged answers in inverse proportion to how
    often the prompt was logged; NaN where it never was.
    Source: Dudik, Langford and Li 2011, with the propensity of a prompt the same for all questions.
    """
    logged, predicted = counts > 0, scores.astype(np.float64)
    share = logged.mean(0)
    correction = np.where(logged, np.nan_to_num(labels) - predicted, 0) / np.maximum(share, 1e-12)
    return np.where(share > 0, predicted + correction, np.nan)
