"""Reward models of off-policy estimates, fitted across groups of clusters: no question's own answers predict
it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prompt_oirl.stats.splits import assign_folds

if TYPE_CHECKING:
    from prompt_oirl.stats.off_policy import LoggedRewards

GROUPS = 10  # of clusters: folds of the reward model and blocks of the direct method's jackknife
# Predicted rewards (len(wanted), P) of questions `wanted`, learned from the logged cells of questions
# `train`.
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class CrossFit:
    """Rewards predicted across groups of clusters: `held_out` (n, P) by models that did not see a question's
    cluster, `by_model` (G, n, P) by each of the G models for all questions, `group` (n,) the group of each
    question."""

    held_out: np.ndarray
    by_model: np.ndarray
    group: np.ndarray


def cross_fit(log: LoggedRewards, predict: Predict, seed: int = 0) -> CrossFit:
    """Fit `predict` once without each of ten groups of clusters.

    Parameters
    ----------
    log : its clusters are dealt into the groups; fewer clusters make fewer groups
    predict : reward model of this log, see `Predict`
    seed : of the dealing
    """
    _, cluster = np.unique(log.clusters, return_inverse=True)
    group = assign_folds(cluster, GROUPS, seed)[cluster]
    every = np.arange(len(group))
    by_model = np.stack([predict(every[group != g], every) for g in range(int(group.max()) + 1)])
    return CrossFit(by_model[group, every], by_model, group)


def ridge_rewards(features: np.ndarray, rewards: np.ndarray, penalty: float = 10.0) -> Predict:
    """A reward model in closed form: per prompt a ridge regression on standardised features, cut to 0..1.

    Parameters
    ----------
    features : float (n, d), of the questions
    rewards : float (n, P), NaN where not logged
    penalty : on the squared coefficients; the intercept goes almost without
    """
    x = (features - features.mean(0)) / (features.std(0) + 1e-9)
    x = np.column_stack([np.ones(len(x)), x])
    ridge = penalty * np.eye(x.shape[1])
    ridge[0, 0] = 1e-6

    def predict(train: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        y = rewards[train]
        overall = np.nanmean(y) if (~np.isnan(y)).any() else 0.5
        columns = []
        for j in range(y.shape[1]):
            known = train[~np.isnan(y[:, j])]
            gram = x[known].T @ x[known] + ridge
            beta = np.linalg.solve(gram, x[known].T @ (rewards[known, j] - overall))
            columns.append(overall + x[wanted] @ beta)
        return np.clip(np.stack(columns, 1), 0, 1)

    return predict
