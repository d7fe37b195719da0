"""Do the off-policy intervals hold? Hide entries of the released logs, where the truth is known, and count.

    python scripts/measure_off_policy.py                # GSM8K and SVAMP, 200 logs each: minutes on one core

Each simulated log draws clusters of training questions (complete for six prompts), hides entries under a logging
policy, and estimates the value of four target policies, with true, estimated and wrong
propensities. Writes bias,
error and coverage to results/reference/off_policy.csv and the table of docs/off_policy.md. Needs steps 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from prompt_oirl.data.released import LLM
from prompt_oirl.features.surface import NAMES
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.stats.off_policy import (
    LoggedRewards,
    cross_fit,
    estimate_propensities,
    evaluate_policy,
    ridge_rewards,
)

FEATURES = ("characters", "sentences", "numbers", "largest", "decimals", "asked_length")
CLUSTERS = {
    "gsm8k": 400,
    "svamp": 200,
}  # of 8,397 and 1,909: small parts, so that logs are nearly independent
ESTIMATORS = {
    "naive": "mean of the logged answers",
    "dm": "direct method",
    "ips": "IPS",
    "snips": "self-normalised IPS",
    "dr": "doubly robust",
}
COLUMNS = [
    "dataset",
    "logging",
    "propensities",
    "target",
    "estimator",
    "logs",
    "truth",
    "bias",
    "rmse",
    "coverage",
    "half_width",
    "effective_answers",
]


@dataclass
class Args:
    dataset: str = "gsm8k,svamp"
    """Comma list of datasets."""
    logs: int = 200
    """Simulated logs per dataset."""
    seed: int = 0
    """Seed of the draws."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/ and embeddings/."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


def main(args: Args) -> None:
    paths = Paths(args.root)
    datasets = offline_dataset.parse_datasets(args.dataset, list(CLUSTERS), "run steps 2 and 3")
    if args.logs < 2:
        raise InputError(f"--logs {args.logs}: give 2 or more")
    rows = [row for name in datasets for row in summarise(Population.of(name, paths), args.logs, args.seed)]
    table = args.out / "results" / "reference" / "off_policy.csv"
    write_csv(table, rows, COLUMNS)
    fill_tables(args.out, {"off_policy": render(read_csv(table, remedy="run this script again"))})
    print(f"{table}: {len(rows)} rows")


@dataclass(frozen=True)
class Population:
    """The complete log that stands for the world: rewards (N, P), features (N, d), clusters (N,), target policies."""

    dataset: str
    rewards: np.ndarray
    features: np.ndarray
    clusters: np.ndarray
    targets: dict[str, np.ndarray]

    @classmethod
    def of(cls, dataset: str, paths: Paths) -> Population:
        data = offline_dataset.load(LLM, dataset, paths)
        names = data.names
        columns = [NAMES.index(name) for name in FEATURES]
        features = data.surface[names.train_index][:, columns].astype(np.float64)
        features[:, 0] = np.log1p(features[:, 0])
        rewards = data.train_labels.astype(np.float64)
        n_prompts = rewards.shape[1]
        one_hot = np.eye(n_prompts)
        best = int(rewards.mean(0).argmax())
        other = int(np.argsort(-rewards.mean(0))[1])
        long = features[:, 0] > np.median(features[:, 0])
        # A learned policy: a reward model of the test rows, which no simulated log holds.
        test = data.surface[names.test_index][:, columns].astype(np.float64)
        test[:, 0] = np.log1p(test[:, 0])
        both = np.concatenate([features, test])
        labels = np.concatenate([np.full_like(rewards, np.nan), data.test_labels[:, :n_prompts]])
        learned = ridge_rewards(both, labels)(np.arange(len(features), len(both)), np.arange(len(features)))
        return cls(
            dataset,
            rewards,
            features,
            names.train_clusters,
            {
                "best prompt": np.tile(one_hot[best], (len(rewards), 1)),
                "random prompt": np.full(rewards.shape, 1 / n_prompts),
                "rule by length": one_hot[np.where(long, best, other)],
                "softmax of a model": np.exp(10 * learned) / np.exp(10 * learned).sum(1, keepdims=True),
            },
        )

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
    """Rewards with NaN where a draw of the logging policy logged nothing."""
    if one_each:
        draw = (rng.random((len(rewards), 1)) > np.cumsum(propensities, 1)).sum(1)
        logged = np.arange(rewards.shape[1]) == np.minimum(draw, rewards.shape[1] - 1)[:, None]
    else:
        logged = rng.random(rewards.shape) < propensities
    return np.where(logged, rewards, np.nan)


def simulate(population: Population, logs: int, seed: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Per simulated log and estimator: its key, and value, low, high, effective answers."""
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


def summarise(population: Population, logs: int, seed: int) -> Iterator[dict]:
    collected: dict[tuple[str, ...], list[np.ndarray]] = {}
    for key, values in simulate(population, logs, seed):
        collected.setdefault(key, []).append(values)
    for (logging, propensities, target, estimator), found in collected.items():
        truth = float((population.targets[target] * population.rewards).sum(1).mean())
        value, low, high, answers = np.array(found).T
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
            "coverage": None
            if np.isnan(low).all()
            else float(((low.round(12) <= truth) & (truth <= high.round(12))).mean()),
            "half_width": float((high - low).mean() / 2),
            "effective_answers": float(answers.mean()),
        }


def render(rows: list[dict[str, str]]) -> str:
    """Bias, error and coverage of each estimator, the worst and the mean over everything that was tried."""
    out = []
    for estimator, label in ESTIMATORS.items():
        for propensities in ("none", "known", "estimated", "wrong"):
            found = [r for r in rows if (r["estimator"], r["propensities"]) == (estimator, propensities)]
            if not found:
                continue
            bias = max((float(r["bias"]) for r in found), key=abs)
            rmse = np.mean([float(r["rmse"]) for r in found])
            covered = [float(r["coverage"]) for r in found if r["coverage"]]
            out.append(
                [
                    label,
                    "" if propensities == "none" else propensities,
                    f"{100 * bias:+.1f}",
                    f"{100 * rmse:.1f}",
                    f"{min(covered):.3f} to {max(covered):.3f}" if covered else "",
                    f"{np.mean(covered):.3f}" if covered else "",
                ]
            )
    header = ["estimator", "propensities", "worst bias, points", "error (RMSE), points"]
    return markdown([*header, "coverage of 95 % intervals", "mean coverage"], out)


if __name__ == "__main__":
    run_step(main, Args)
