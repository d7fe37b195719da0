"""What a selector is worth on questions it has not seen: cross-fitted on one log, or from one log to another.

Groups of near-duplicate questions are dealt into five folds; each question is evaluated by a selector that
saw nothing of its group. Where the log lacks the picked answer, the doubly robust estimate stands in for it:
the model's prediction, corrected by the logged answers in inverse proportion to how often that prompt was
logged. On a complete log this is the logged answer itself. Intervals are 95 %, by bootstrap over groups.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from prompt_oirl.data.arms import Choices
from prompt_oirl.data.user_log import PromptLog, join_groups, read_log
from prompt_oirl.features.cache import shared_embedder
from prompt_oirl.io.files import InputError
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.stats import metrics
from prompt_oirl.stats.crossfit import crossfit
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.off_policy import cell_values
from prompt_oirl.stats.splits import HEADLINE_FOLDS, Split, assign_folds, crossfit_splits

BINS = 15
ORACLE = "oracle (any prompt right)"
COVERAGES = tuple(round(0.05 * i, 2) for i in range(1, 21))


def _fit(selector: PromptSelector, log: PromptLog) -> PromptSelector:
    return selector.fit(log)


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
    groups: np.ndarray | None = None,
    learn: Callable[[PromptSelector, PromptLog], PromptSelector] = _fit,
) -> Evaluation:
    """Cross-fit `selector` on `log`, or with `train` learn from that log and evaluate on `log`.

    Groups of near-duplicates are dealt into five folds, and each question is evaluated by a selector that
    learned from the other four: the protocol of step 5, and one set of questions asked of two LLMs can be
    used as it is.

    Parameters
    ----------
    selector : unfitted; its settings are used, it is not changed
    log, train : see `read_log`
    seed : of the folds and the bootstrap
    groups : int (questions of `train`, then of `log`), near-duplicates known beforehand; default: found in
    the texts
    learn : fits the selector to a part of a log: `PromptSelector.fit`, or `equal_cost.fit_at_equal_cost`

    Raises: InputError on a log that cannot be used.
    """
    log = read_log(log)
    source = log if train is None else read_log(train)
    source_groups, log_groups = _groups(log, source, groups)
    source = replace(source, known_groups=source_groups)  # inner folds keep the same near-duplicates together
    folds = assign_folds(np.r_[source_groups, log_groups], HEADLINE_FOLDS, seed)
    if folds.max() < 1:
        raise InputError(
            f"the log has one different question only ({log.counted_once}): log more different questions"
        )
    splits = crossfit_splits(source_groups, log_groups, folds, "crossfit", seed)
    embedder = shared_embedder(selector.embedder, selector.seed)
    said: dict[str, None] = {}

    def fit(split: Split) -> dict[str, np.ndarray]:
        fresh = clone(selector).set_params(embedder=embedder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted = learn(fresh, source.select(split.learned))
        said.update(dict.fromkeys(str(warning.message) for warning in caught))
        order, scores = fitted.rank([log.questions[i] for i in split.test], log.arms)
        best = np.full(len(split.test), _best_of(fitted, log.arms))
        return {"scores": scores, "pick": order[:, 0], "best": best}

    held_out = crossfit(splits, fit)
    for message in said:
        warnings.warn(message, stacklevel=2)
    return evaluation_of(log, log_groups, held_out["scores"], held_out["pick"], held_out["best"], seed)


def evaluation_of(
    log: PromptLog,
    groups: np.ndarray,
    probabilities: np.ndarray,
    picks: np.ndarray,
    best: np.ndarray,
    seed: int = 0,
) -> Evaluation:
    """The tables of predictions and picks made on questions not learned from.

    Parameters
    ----------
    log : what was answered
    groups : int (n,), near-duplicates among its questions
    probabilities : float32 (n, K), predicted success
    picks, best : int (n,), prompts that the selector chose and that was best on the training folds
    seed : of the bootstrap
    """
    values = cell_values(log.labels, log.counts, probabilities)
    return Evaluation(
        log,
        probabilities,
        picks,
        best,
        list(_policy_rows(log, groups, values, picks, best, seed)),
        calibration_rows(log.labels, probabilities, log.counts),
        _coverage_rows(groups, values, probabilities, picks, seed),
        _measures(log, probabilities),
    )


def _groups(log: PromptLog, source: PromptLog, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Groups of the questions of the log that is learned from and of the one that is evaluated on."""
    if known is None:
        known = np.r_[log.groups, log.groups] if source is log else join_groups(source, log)
    known = np.unique(known, return_inverse=True)[1]
    return known[: len(source.questions)], known[len(source.questions) :]


def _best_of(selector: PromptSelector, prompts: Choices) -> int:
    """The train-best prompt, or if the evaluated log lacks it the one of highest standing that it has."""
    known = dict(zip(selector.arms_, selector.standing_)) | {selector.arms_[selector.best_]: 1.0}
    return int(np.argmax([known.get(choice, -1.0) for choice in prompts]))


def _policy_rows(
    log: PromptLog, groups: np.ndarray, cells: np.ndarray, picks: np.ndarray, best: np.ndarray, seed: int
) -> Iterator[dict[str, Any]]:
    n, n_prompts = log.labels.shape
    everyone = np.arange(n)
    chosen = {"best prompt": best, "selector": picks}
    fixed = {f"always {name}": np.full(n, j) for j, name in enumerate(log.names)}
    values = {name: cells[everyone, pick] for name, pick in chosen.items()}
    values["random prompt"] = cells.mean(1)
    values |= {name: cells[everyone, pick] for name, pick in fixed.items()}
    chosen |= fixed
    base = values["best prompt"]
    # The same choice gains nothing, logged or not.
    gains = {
        name: np.where(chosen[name] == best, 0.0, value - base) if name in chosen else value - base
        for name, value in values.items()
    }
    complete = (log.counts > 0).all(1)
    if complete.any() and n_prompts > 1:
        top = np.where(complete, np.nan_to_num(log.labels, nan=-1).max(1), np.nan)
        values[ORACLE], gains[ORACLE] = top, top - base
    bootstrap = ClusterBootstrap(groups, seed)
    # An estimate with missing cells may leave 0..1; a success rate cannot.
    success = np.clip(bootstrap.mean(np.stack(list(values.values()), 1)), 0, 1)
    gain = bootstrap.mean(np.stack([gains[name] for name in values], 1))
    cost = log.prompt_cost
    costs = {name: float(cost[pick].mean()) for name, pick in chosen.items()}
    costs |= {"random prompt": float(cost.mean()), ORACLE: float(cost.sum())}
    for name, s, g in zip(values, success, gain):
        known = ~np.isnan(values[name])
        yield {
            "policy": name,
            "success": s[0],
            "success_low": s[1],
            "success_high": s[2],
            "gain": g[0],
            "gain_low": g[1],
            "gain_high": g[2],
            "cost": costs[name],
            "picked_logged": float((log.counts[everyone, chosen[name]] > 0).mean())
            if name in chosen
            else None,
            "n": int(known.sum()),
            "groups": len(np.unique(groups[known])),
        }


def calibration_rows(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> list[dict[str, Any]]:
    """Reliability curve: mean prediction and success in bins of equal mass of the logged cells.

    Parameters
    ----------
    labels : float (n, P), mean success of each logged cell
    scores : float (n, P), predicted success
    weights : float (n, P), answers behind each cell; those with 0 are left out

    Returns: at most 15 rows by rising prediction: predicted and success in 0..1, and the answers in the bin.
    """
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
    groups: np.ndarray, cells: np.ndarray, probabilities: np.ndarray, picks: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """Success on the share of questions of which the selector is surest: what abstaining on the rest buys."""
    rows_of = np.arange(len(picks))
    sure = probabilities[rows_of, picks]
    values = cells[rows_of, picks]
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
    known = log.labels
    return {
        "log_loss": metrics.log_loss(known, probabilities, log.counts),
        "auc": metrics.auc(known, probabilities),
        "auc_within_prompt": metrics.auc_within_prompt(known, probabilities),
        "auc_within_question": metrics.auc_within_question(known, probabilities),
        "expected_calibration_error": expected_calibration_error(
            calibration_rows(log.labels, probabilities, log.counts)
        ),
    }
