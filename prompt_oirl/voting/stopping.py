"""When to stop asking: once a majority is decided, or by a rule learned from votes counted to the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from prompt_oirl.reward_models.cells import sigmoid
from prompt_oirl.voting.votes import Count

LEARNED_FROM = 5000  # questions suffice for a rule of six coefficients
RIDGE = 0.1  # on that rule's slopes
STEPS = 100  # at most, of Newton's method


@dataclass(frozen=True)
class Stopping:
    """When to stop asking: at `max_calls`, or as soon as the leader stays in front with probability
    `threshold`.

    That probability is a logistic regression on the state of the vote, fitted to votes that were counted to
    the end (`coefficients` float64 (6,), the last one the intercept).
    """

    max_calls: int
    threshold: float
    coefficients: np.ndarray

    def stays(self, count: Count, left: np.ndarray) -> np.ndarray:
        """Probability (n, max_calls) that the leader after each call leads after `max_calls`; `left` (n, M)
        is the weight of the calls that remain of these."""
        z = _state(count, left, self.max_calls) @ self.coefficients[:-1] + self.coefficients[-1]
        safe = (count.lead - count.second)[:, : self.max_calls] > left[:, : self.max_calls]
        return np.where(safe, 1.0, 1 / (1 + np.exp(-z)))

    def calls(self, count: Count, left: np.ndarray) -> np.ndarray:
        """Calls (n,) made before stopping."""
        return calls_until(self.stays(count, left), self.threshold)


def calls_until_decided(count: Count, paid: np.ndarray) -> np.ndarray:
    """Calls (n, M) paid for if a majority of at most 1..M calls ends once no answer to come can change it.

    Parameters
    ----------
    count : of votes of equal weight
    paid : float (n, M), calls made by each place of the order, see `calls_made`
    """
    n, most = paid.shape
    ahead = count.lead - count.second
    voted = count.leader >= 0
    first = count.leader[np.arange(n), voted.argmax(1), None]  # the answer given first wins ties
    wins_ties = voted & (count.leader == first)
    calls = np.empty_like(paid)
    for limit in range(most):
        so_far = slice(limit + 1)
        surplus = ahead[:, so_far] - (paid[:, limit, None] - paid[:, so_far])  # over all that may still come
        decided = (surplus > 0) | (wins_ties[:, so_far] & (surplus == 0))
        decided[:, -1] = True
        calls[:, limit] = paid[np.arange(n), decided.argmax(1)]
    return calls


def calls_until(stays: np.ndarray, threshold: float) -> np.ndarray:
    """First call (n,), counted from one, at which `stays` (n, M) reaches the threshold; else M."""
    stop = stays >= threshold
    stop[:, -1] = True
    return stop.argmax(1) + 1


def weight_left(order: np.ndarray, weights: np.ndarray, calls: int) -> np.ndarray:
    """Weight float (n, calls) of the prompts still to come after each of `calls` calls.

    Parameters
    ----------
    order : int (n, M), in which prompts are asked
    weights : float (n, P), of the votes
    calls : at which asking ends, at most M
    """
    asked = np.take_along_axis(weights, order[:, :calls], 1)
    return asked.sum(1, keepdims=True) - np.cumsum(asked, 1)


def _state(count: Count, left: np.ndarray, calls: int) -> np.ndarray:
    """Features (n, calls, 5) of a running vote."""
    lead, second, left = count.lead[:, :calls], count.second[:, :calls], left[:, :calls]
    ahead = lead - second
    share = lead / np.arange(1, calls + 1)
    return np.stack([ahead, second, left, ahead / np.sqrt(left + 0.5), share], axis=2)


@threadpool_limits.wrap(limits=1, user_api="blas")  # the same bits on any machine, and no waiting
def fit_stopping(
    count: Count, order: np.ndarray, weights: np.ndarray, budgets: Sequence[float]
) -> list[Stopping]:
    """For each budget of mean calls the rule that did best on these (training) questions within it.

    For every limit on calls the probability that the leader stays is fitted, and the highest threshold is
    taken that keeps the budget; the limit with the best success wins, the lower one among equals.

    Parameters
    ----------
    count : votes counted to the end; of 10,000 questions or more every second, third, ... is learned from
    order : int (n, M), in which prompts are asked
    weights : float (n, P), of the votes
    budgets : mean calls per question
    """
    part = slice(None, None, max(len(order) // LEARNED_FROM, 1))
    count = Count(count.leader[part], count.right[part], count.lead[part], count.second[part])
    order, weights = order[part], weights[part]
    n, most = order.shape
    found: list[list[tuple[float, Stopping]]] = [[] for _ in budgets]
    for limit in range(1, most + 1):
        left = weight_left(order, weights, limit)
        coefficients = _fit_logistic(
            _state(count, left, limit).reshape(n * limit, -1),
            (count.leader[:, :limit] == count.leader[:, limit - 1, None]).ravel(),
        )
        stays = Stopping(limit, 1.0, coefficients).stays(count, left)
        thresholds = np.unique(np.quantile(stays, np.linspace(0, 1, 201)))
        # Every call after which `stays` has not yet reached the threshold is followed by another one.
        reached = np.sort(np.maximum.accumulate(stays[:, :-1], 1), 0)
        mean_calls = 1 + sum(np.searchsorted(column, thresholds) for column in reached.T) / n
        for budget, rules in zip(budgets, found):
            affordable = np.flatnonzero(mean_calls <= budget)
            if len(affordable):
                threshold = float(thresholds[affordable[-1]])
                made = calls_until(stays, threshold)
                success = float(count.right[np.arange(n), made - 1].mean())
                rules.append((success, Stopping(limit, threshold, coefficients)))
    return [max(rules, key=lambda rule: (round(rule[0], 9), -rule[1].max_calls))[1] for rules in found]


def _fit_logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients with the intercept last; a constant where all leaders stay, or none does.

    Newton's method on the sum of log losses, and of squares of slopes on standardised features times `RIDGE`
    / 2: scikit-learn's LogisticRegression(C=1 / RIDGE), which takes a second to import.
    """
    if y.all() or not y.any():
        rate = (y.sum() + 0.5) / (len(y) + 1)
        return np.append(np.zeros(x.shape[1]), np.log(rate / (1 - rate)))
    mean, scale = x.mean(0), x.std(0) + 1e-9
    design = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    ridge = np.append(np.full(x.shape[1], RIDGE), 1e-9)
    found = np.zeros(len(ridge))
    for _ in range(STEPS):
        p = sigmoid(design @ found)
        hessian = (design.T * (p * (1 - p))) @ design + np.diag(ridge)
        step = np.clip(np.linalg.solve(hessian, design.T @ (y - p) - ridge * found), -2, 2)
        found += step
        if np.abs(step).max() < 1e-8:
            break
    slope = found[:-1] / scale
    return np.append(slope, found[-1] - slope @ mean)
