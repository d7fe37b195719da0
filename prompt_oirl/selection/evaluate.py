"""What a selector is worth on questions it has not seen: cross-fitted on one log, or from one log to another.

Groups of near-duplicate questions are dealt into five folds; each question is judged by a selector that saw
nothing of its group. Where the log lacks the picked answer, the doubly robust estimate stands in for it: the
model's prediction, corrected by the logged answers in inverse proportion to how often that prompt was logged.
On a complete log this is the logged answer itself. Intervals are 95 %, by bootstrap over groups.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from prompt_oirl.data.user_log import PromptLog, join_groups, read_log
from prompt_oirl.io.files import InputError
from prompt_oirl.selection.selector import PromptSelector, shared_embedder
from prompt_oirl.stats import metrics
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.splits import HEADLINE_FOLDS, assign_folds

BINS = 15
COVERAGES = tuple(round(0.05 * i, 2) for i in range(1, 21))
POLICY_COLUMNS = [
    "policy",
    "success",
    "success_low",
    "success_high",
    "gain",
    "gain_low",
    "gain_high",
    "cost",
    "picked_logged",
    "n",
    "groups",
]
COVERAGE_COLUMNS = ["coverage", "threshold", "success", "success_low", "success_high"]
CALIBRATION_COLUMNS = ["predicted", "success", "answers"]


@dataclass(frozen=True)
class Evaluation:
    """Out-of-fold predictions and picks on the questions of `log`, and the tables made from them.

    `probabilities` (n, K), `picks` and `best` (n,) index the log's prompts: the selector's choice and the
    prompt that was best on the training folds.
    """

    log: PromptLog
    probabilities: np.ndarray
    picks: np.ndarray
    best: np.ndarray
    policies: list[dict[str, Any]]
    calibration: list[dict[str, Any]]
    coverage: list[dict[str, Any]]
    measures: dict[str, float]

    @property
    def gain(self) -> tuple[float, float, float]:
        """Gain over the best single prompt in success, with its interval."""
        row = next(r for r in self.policies if r["policy"] == "selector")
        return row["gain"], row["gain_low"], row["gain_high"]


def evaluate(
    selector: PromptSelector,
    log: PromptLog | pd.DataFrame | str | Path,
    train: PromptLog | pd.DataFrame | str | Path | None = None,
    seed: int = 0,
) -> Evaluation:
    """Cross-fit `selector` on `log` (see `read_log`); with `train`, learn from that log and judge on `log`.

    Questions of `log` that `train` holds as well, or near-duplicates of them, are judged by selectors that did
    not see their group, so one set of questions asked of two LLMs can be used as it is.
    """
    log = read_log(log)
    source = log if train is None else read_log(train)
    groups, source_groups = (log.groups, log.groups) if train is None else _joint_groups(log, source)
    shared = np.isin(source_groups, groups)
    n_folds = min(HEADLINE_FOLDS, len(np.unique(groups))) if shared.any() else 1
    if train is None and n_folds < 2:
        raise InputError(
            "the log has one question only, near-duplicates counted once: log more different questions"
        )
    embedder = shared_embedder(selector)
    fold_of = (
        assign_folds(np.r_[groups, source_groups], n_folds, seed)
        if n_folds > 1
        else np.zeros(groups.max() + 1, dtype=int)
    )
    probabilities = np.empty((len(log.questions), len(log.prompts)), dtype=np.float32)
    picks, best = np.zeros(len(probabilities), dtype=np.int64), np.zeros(len(probabilities), dtype=np.int64)
    for fold in range(n_folds):
        test = np.flatnonzero(fold_of[groups] == fold)
        kept = (
            np.flatnonzero(fold_of[source_groups] != fold)
            if n_folds > 1
            else np.arange(len(source.questions))
        )
        if not len(test):
            continue
        fitted = clone(selector).set_params(embedder=embedder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted.fit(source.take(kept))
        order, scores = fitted.rank([log.questions[i] for i in test], log.prompts)
        probabilities[test], picks[test] = scores, order[:, 0]
        best[test] = _best_of(fitted, log.prompts)
        for warning in caught[:1] if fold == n_folds - 1 else ():
            warnings.warn(str(warning.message), stacklevel=2)
    return Evaluation(
        log,
        probabilities,
        picks,
        best,
        list(_policy_rows(log, groups, probabilities, picks, best, seed)),
        calibration_rows(log.labels, probabilities, log.counts),
        _coverage_rows(log, groups, probabilities, picks, seed),
        _measures(log, probabilities),
    )


def _joint_groups(log: PromptLog, source: PromptLog) -> tuple[np.ndarray, np.ndarray]:
    joint = join_groups(log, source)
    return joint[: len(log.questions)], joint[len(log.questions) :]


def _best_of(selector: PromptSelector, prompts: list[str]) -> int:
    """The best prompt of the training part, or if the judged log lacks it the one of most success that it has."""
    known = dict(zip(selector.prompts_, selector.success_)) | {selector.prompts_[selector.best_]: 1.0}
    return int(np.argmax([known.get(text, -1.0) for text in prompts]))


def policy_values(log: PromptLog, probabilities: np.ndarray, pick: np.ndarray) -> np.ndarray:
    """Doubly robust success of each question's pick, float64 (n,): the label itself where every cell is logged."""
    rows = np.arange(len(pick))
    logged = log.counts[rows, pick] > 0
    share = (log.counts > 0).mean(0)[pick]  # how often the picked prompt was logged
    predicted = probabilities[rows, pick].astype(np.float64)
    label = np.where(logged, np.nan_to_num(log.labels[rows, pick]), predicted).astype(np.float64)
    return np.where(share > 0, predicted + (label - predicted) / np.maximum(share, 1e-12), np.nan)


def _policy_rows(
    log: PromptLog,
    groups: np.ndarray,
    probabilities: np.ndarray,
    picks: np.ndarray,
    best: np.ndarray,
    seed: int,
) -> Iterator[dict[str, Any]]:
    n, n_prompts = log.labels.shape
    fixed = {name: np.full(n, j) for j, name in enumerate(log.names)}
    policies = {
        "best prompt": best,
        "selector": picks,
        **{f"always {name}": pick for name, pick in fixed.items()},
    }
    values = {name: policy_values(log, probabilities, pick) for name, pick in policies.items()}
    values["random prompt"] = np.mean([values[f"always {name}"] for name in log.names], 0)
    names = ["best prompt", "selector", "random prompt", *(f"always {name}" for name in log.names)]
    base = values["best prompt"]
    gains = {name: values[name] - base for name in names}
    for name, pick in policies.items():  # the same choice gains nothing, logged or not
        gains[name] = np.where(pick == best, 0.0, gains[name])
    complete = (log.counts > 0).all(1)
    if complete.any() and n_prompts > 1:
        names.append("oracle (any prompt right)")
        top = np.where(complete, np.where(np.isnan(log.labels), -1, log.labels).max(1), np.nan)
        values[names[-1]], gains[names[-1]] = top, top - base
    bootstrap = ClusterBootstrap(groups, seed)
    # An estimate with missing cells may leave 0..1; a success rate cannot.
    success = np.clip(bootstrap.mean(np.stack([values[name] for name in names], 1)), 0, 1)
    gain = bootstrap.mean(np.stack([gains[name] for name in names], 1))
    cost = log.prompt_cost
    for name, s, g in zip(names, success, gain):
        chosen = policies.get(name)
        known = ~np.isnan(values[name])
        yield {
            "policy": name,
            "success": s[0],
            "success_low": s[1],
            "success_high": s[2],
            "gain": g[0],
            "gain_low": g[1],
            "gain_high": g[2],
            "cost": float(np.mean(cost[chosen]))
            if chosen is not None
            else float(np.mean(cost))
            if name == "random prompt"
            else float(np.sum(cost)),
            "picked_logged": float((log.counts[np.arange(n), chosen] > 0).mean())
            if chosen is not None
            else None,
            "n": int(known.sum()),
            "groups": len(np.unique(groups[known])),
        }


def calibration_rows(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> list[dict[str, Any]]:
    """Reliability curve: mean prediction and success in bins of equal mass of the logged cells."""
    known = weights > 0
    p, y, w = (
        scores[known].astype(np.float64),
        labels[known].astype(np.float64),
        weights[known].astype(np.float64),
    )
    order = np.argsort(p, kind="stable")
    p, y, w = p[order], y[order], w[order]
    edges = np.searchsorted(np.cumsum(w), np.linspace(0, w.sum(), BINS + 1)[1:-1])
    rows = []
    for part in np.split(np.arange(len(p)), edges):
        mass = w[part].sum()
        if mass > 0:
            rows.append(
                {
                    "predicted": float((p[part] * w[part]).sum() / mass),
                    "success": float((y[part] * w[part]).sum() / mass),
                    "answers": float(mass),
                }
            )
    return rows


def expected_calibration_error(rows: list[dict[str, Any]]) -> float:
    """Mean distance between prediction and success over the bins, weighted by answers."""
    mass = sum(r["answers"] for r in rows)
    return sum(r["answers"] * abs(r["predicted"] - r["success"]) for r in rows) / mass


def _coverage_rows(
    log: PromptLog, groups: np.ndarray, probabilities: np.ndarray, picks: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """Success on the share of questions of which the selector is surest: what abstaining on the rest buys."""
    rows_of = np.arange(len(picks))
    sure = probabilities[rows_of, picks]
    values = policy_values(log, probabilities, picks)
    order = np.argsort(-sure, kind="stable")
    bootstrap = ClusterBootstrap(groups, seed)
    masked = np.full((len(picks), len(COVERAGES)), np.nan)
    thresholds = []
    for column, share in enumerate(COVERAGES):
        kept = order[: max(1, round(share * len(order)))]
        masked[kept, column] = values[kept]
        thresholds.append(float(sure[kept[-1]]))
    means = np.clip(bootstrap.mean(masked), 0, 1)
    return [
        {"coverage": share, "threshold": t, "success": m[0], "success_low": m[1], "success_high": m[2]}
        for share, t, m in zip(COVERAGES, thresholds, means)
    ]


def _measures(log: PromptLog, probabilities: np.ndarray) -> dict[str, float]:
    known = np.where(log.counts > 0, log.labels, np.nan)
    return {
        "log_loss": metrics.log_loss(known, probabilities, log.counts),
        "auc": metrics.auc(known, probabilities),
        "auc_within_prompt": metrics.auc_within_prompt(known, probabilities),
        "auc_within_question": metrics.auc_within_question(known, probabilities),
        "expected_calibration_error": expected_calibration_error(
            calibration_rows(log.labels, probabilities, log.counts)
        ),
    }
