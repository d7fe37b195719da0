"""The tables of an evaluation: what policies gain, how good probabilities are, what abstaining buys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.selection.notebook_cell import as_html
from prompt_oirl.stats import metrics
from prompt_oirl.stats.metrics import ClusterBootstrap, format_interval
from prompt_oirl.stats.off_policy import cell_values

BINS = 15
ORACLE = "oracle (any prompt right)"
COVERAGES = tuple(round(0.05 * i, 2) for i in range(1, 21))


@dataclass(frozen=True)
class Evaluation:
    """Held-out predictions and picks on the questions of `log`, and the tables made from them.

    `probabilities` (n, K) are means over A fold assignments; `picks` and `best` (A, n) index the log's
    prompts: the selector's choice and the prompt that was best on the training folds.
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

    def sentence(self) -> str:
        """The gain in words."""
        gain = format_interval(*self.gain, points=True, unit=" points")
        return f"choosing per question brings {gain} over the best single prompt"

    def to_frame(self) -> pd.DataFrame:
        """A row per policy: success, gain over the best single prompt and cost."""
        return pd.DataFrame(self.policies)

    def _lines(self) -> list[str]:
        said, size = self.sentence(), f"{len(self.log):,} questions ({self.policies[0]['groups']:,} groups)"
        rates = [f"{row['policy']} {_interval(row, 'success')}" for row in self.policies[:2]]
        return [f"{said[0].upper()}{said[1:]}.", f"Right on {size} not learned from: {', '.join(rates)}."]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        rows = [
            {
                "policy": row["policy"],
                "success": _interval(row, "success"),
                "gain, points": _interval(row, "gain", points=True),
            }
            for row in self.policies
        ]
        return as_html(self._lines(), pd.DataFrame(rows))


def _interval(row: dict[str, Any], column: str, points: bool = False) -> str:
    value, low, high = row[column], row[f"{column}_low"], row[f"{column}_high"]
    return format_interval(value, low, high, points=points)


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
    probabilities : float (A, n, K), predicted success in each of A fold assignments
    picks, best : int (A, n), prompts that the selector chose and that was best on the training folds
    seed : of the bootstrap
    """
    values = np.stack([cell_values(log.labels, log.counts, p) for p in probabilities])
    mean = probabilities.mean(0).astype(np.float32)
    return Evaluation(
        log,
        mean,
        picks,
        best,
        list(_policy_rows(log, groups, values, picks, best, seed)),
        calibration_rows(log.labels, mean, log.counts),
        _coverage_rows(groups, _chosen(values, picks).mean(0), _chosen(probabilities, picks).mean(0), seed),
        _measures(log, mean),
    )


def _chosen(values: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Entries (A, n) of values (A, n, K) at choice (A, n) or (n,)."""
    choice = np.broadcast_to(choice, values.shape[:2])
    return np.take_along_axis(values, choice[:, :, None], 2)[:, :, 0]


def _policy_rows(
    log: PromptLog, groups: np.ndarray, cells: np.ndarray, picks: np.ndarray, best: np.ndarray, seed: int
) -> Iterator[dict[str, Any]]:
    n, n_prompts = log.labels.shape
    fixed = {f"always {name}": np.full(n, j) for j, name in enumerate(log.names)}
    chosen = {"best prompt": best, "selector": picks, "random prompt": None, **fixed}
    base = _chosen(cells, best)
    values, gains = {}, {}
    for name, pick in chosen.items():
        value = cells.mean(2) if pick is None else _chosen(cells, pick)
        # The same choice gains nothing, logged or not.
        gain = value - base if pick is None else np.where(pick == best, 0.0, value - base)
        values[name], gains[name] = value.mean(0), gain.mean(0)
    complete = (log.counts > 0).all(1)
    if complete.any() and n_prompts > 1:
        top = np.where(complete, np.nan_to_num(log.labels, nan=-1).max(1), np.nan)
        values[ORACLE], gains[ORACLE] = top, top - base.mean(0)
    bootstrap = ClusterBootstrap(groups, seed)
    # An estimate with missing cells may leave 0..1; a success rate cannot.
    success = np.clip(bootstrap.mean(np.stack(list(values.values()), 1)), 0, 1)
    gain = bootstrap.mean(np.stack([gains[name] for name in values], 1))
    cost = log.prompt_cost
    costs = {name: float(cost.mean() if pick is None else cost[pick].mean()) for name, pick in chosen.items()}
    costs[ORACLE] = float(cost.sum())
    logged = np.broadcast_to(log.counts > 0, cells.shape)
    for name, s, g in zip(values, success, gain):
        known, pick = ~np.isnan(values[name]), chosen.get(name)
        yield {
            "policy": name,
            "success": s[0],
            "success_low": s[1],
            "success_high": s[2],
            "gain": g[0],
            "gain_low": g[1],
            "gain_high": g[2],
            "cost": costs[name],
            "picked_logged": None if pick is None else float(_chosen(logged, pick).mean()),
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
    groups: np.ndarray, values: np.ndarray, sure: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """Success on the share of questions of which the selector is surest: what abstaining on the rest buys.

    Parameters
    ----------
    values, sure : float (n,), success of the picks and its prediction
    """
    order = np.argsort(-sure, kind="stable")
    bootstrap = ClusterBootstrap(groups, seed)
    masked = np.full((len(values), len(COVERAGES)), np.nan)
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
