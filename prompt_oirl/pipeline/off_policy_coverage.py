"""Do the off-policy intervals hold? Hide entries of a complete log, where the truth is known, and count.

Each simulated log draws clusters of training questions (complete for all training prompts), hides entries
under a logging policy, and estimates the value of four target policies, with true, estimated and wrong
propensities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from prompt_oirl.features.surface import NAMES
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.stats.off_policy import (
    LoggedRewards,
    estimate_propensities,
    evaluate_policy,
)
from prompt_oirl.stats.off_policy_rewards import cross_fit, ridge_rewards

FEATURES = ("characters", "sentences", "numbers", "largest", "decimals", "asked_length")
# Clusters per simulated log, of 8,397 and 1,909: small parts, so that logs are nearly independent.
CLUSTERS = {"gsm8k": 400, "svamp": 200}


@dataclass(frozen=True)
class Population:
    """The complete log that stands for the world.

    Attributes
    ----------
    rewards : float64 (N, P)
    features : float64 (N, d)
    clusters : int (N,), near-duplicates
    targets : probabilities (N, P) of each target policy, by its name
    """

    dataset: str
    rewards: np.ndarray
    features: np.ndarray
    clusters: np.ndarray
    targets: dict[str, np.ndarray]

    @classmethod
    def of(cls, data: OfflineDataset) -> Population:
        """The training rows of a log; the test rows, which no draw holds, teach the learned target policy."""
        names = data.names
        rewards = data.train_labels.astype(np.float64)
        n, n_prompts = rewards.shape
        columns = [NAMES.index(name) for name in FEATURES]
        both = data.surface[np.r_[names.train_index, names.test_index]][:, columns].astype(np.float64)
        both[:, 0] = np.log1p(both[:, 0])
        features = both[:n]
        best, other = np.argsort(-rewards.mean(0), kind="stable")[:2]
        long = features[:, 0] > np.median(features[:, 0])
        labels = np.concatenate([np.full_like(rewards, np.nan), data.test_labels[:, :n_prompts]])
        learned = ridge_rewards(both, labels)(np.arange(n, len(both)), np.arange(n))
        one_hot = np.eye(n_prompts)
        targets = {
            "best prompt": np.tile(one_hot[best], (n, 1)),
            "random prompt": np.full(rewards.shape, 1 / n_prompts),
            "rule by length": one_hot[np.where(long, best, other)],
            "softmax of a model": np.exp(10 * learned) / np.exp(10 * learned).sum(1, keepdims=True),
        }
        return cls(names.dataset, rewards, features, names.train_clusters, targets)

    def part(self, rng: np.random.Generator) -> np.ndarray:
        """Rows of randomly drawn clusters."""
        ids = np.unique(self.clusters)
        drawn = rng.choice(ids, min(CLUSTERS[self.dataset], len(ids) // 2), replace=False)
        return np.flatnonzero(np.isin(self.clusters, drawn))


def loggings(population: Population) -> dict[str, tuple[np.ndarray, bool]]:
    """Logging policies: propensities (N, P), and whether exactly one prompt is logged per question."""
    rewards, shape = population.rewards, population.rewards.shape
    best = int(rewards.mean(0).argmax())
    z = (population.features[:, 0] - population.features[:, 0].mean()) / population.features[:, 0].std()
    favourite = np.full(shape, 0.5 / (shape[1] - 1))
    favourite[:, best] = 0.5
    # Long questions go to some prompts more often than short ones do, or are logged less often at all.
    lean = np.exp(0.7 * np.outer(z, np.linspace(-1, 1, shape[1])))
    rarely_long = np.repeat(1 / (1 + np.exp(1.0 * z))[:, None], shape[1], axis=1).clip(0.1, 0.9)
    return {
        "one prompt at random": (np.full(shape, 1 / shape[1]), True),
        "one prompt, half of them the best": (favourite, True),
        "one prompt, chosen by length": (lean / lean.sum(1, keepdims=True), True),
        "half of the cells": (np.full(shape, 0.5), False),
        "cells of long questions rarely": (rarely_long, False),
    }


def hide(
    rewards: np.ndarray, propensities: np.ndarray, one_each: bool, rng: np.random.Generator
) -> np.ndarray:
    """Rewards with NaN where a draw of the logging policy logged nothing.

    Parameters
    ----------
    rewards, propensities : float64 (n, P)
    one_each : log exactly one prompt per question
    """
    if one_each:
        draw = (rng.random((len(rewards), 1)) > np.cumsum(propensities, 1)).sum(1)
        logged = np.arange(rewards.shape[1]) == np.minimum(draw, rewards.shape[1] - 1)[:, None]
    else:
        logged = rng.random(rewards.shape) < propensities
    return np.where(logged, rewards, np.nan)


def simulate(population: Population, logs: int, seed: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Draw logs, hide entries, and estimate the value of every target policy from what is left.

    Parameters
    ----------
    population : the complete log to draw from
    logs : simulated logs per logging policy
    seed : of the draws and of the reward model's folds

    Returns: per simulated log and estimator its key (logging policy, propensities, target policy, estimator)
    and float64 (4,): value, low, high, effective answers; the naive mean has a value only, the rest is NaN.
    """
    for number in tqdm(range(logs), desc=population.dataset, disable=None):
        for i, (logging, (chances, one_each)) in enumerate(loggings(population).items()):
            rng = np.random.default_rng([seed, number, i])
            rows = population.part(rng)
            rewards = hide(population.rewards[rows], chances[rows], one_each, rng)
            features, clusters = population.features[rows], population.clusters[rows]
            known = LoggedRewards(rewards, chances[rows], clusters)
            predicted = cross_fit(known, ridge_rewards(features, rewards), seed)
            logs_of = {"known": known, "estimated": estimate_propensities(rewards, features, clusters)}
            if "long" in logging or "length" in logging:  # as if nobody knew what decided over logging
                share = np.broadcast_to((~np.isnan(rewards)).mean(0), rewards.shape)
                logs_of["wrong"] = LoggedRewards(rewards, share, clusters)
            for target, policy in population.targets.items():
                chosen = policy[rows]
                naive = np.nansum(rewards * chosen) / chosen[~np.isnan(rewards)].sum()
                yield (logging, "none", target, "naive"), np.array([naive, np.nan, np.nan, np.nan])
                for name, log in logs_of.items():
                    for estimator, e in evaluate_policy(log, chosen, predicted).items():
                        if estimator == "dm" and name != "known":
                            continue  # needs no propensities: counted once
                        label = "none" if estimator == "dm" else name
                        found = np.array([e.value, e.low, e.high, e.answers])
                        yield (logging, label, target, estimator), found


def coverage_rows(population: Population, logs: int, seed: int) -> Iterator[dict[str, Any]]:
    """Bias, error, coverage and width of every estimator, one row per logging and target policy.

    Parameters
    ----------
    logs : simulated logs per logging policy
    seed : of the draws
    """
    collected: dict[tuple[str, ...], list[np.ndarray]] = {}
    for key, values in simulate(population, logs, seed):
        collected.setdefault(key, []).append(values)
    for (logging, propensities, target, estimator), found in collected.items():
        truth = float((population.targets[target] * population.rewards).sum(1).mean())
        value, low, high, answers = np.array(found).T
        covered = (low.round(12) <= truth) & (truth <= high.round(12))
        yield {
            "dataset": population.dataset,
            "logging": logging,
            "propensities": propensities,
            "target": target,
            "estimator": estimator,
            "logs": len(found),
            "truth": truth,
            "bias": float((value - truth).mean()),
            "rmse": float(np.sqrt(((value - truth) ** 2).mean())),
            "coverage": None if np.isnan(low).all() else float(covered.mean()),
            "half_width": float((high - low).mean() / 2),
            "effective_answers": float(answers.mean()),
        }
