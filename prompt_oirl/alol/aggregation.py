"""Evaluations of many policies as two tables: levels, and differences from a baseline, with intervals over seeds.

Policies of one algorithm and settings are repeats. Where a task's data belong to the run (toy), a run is one
repeat and brings its own questions. Where repeats share one run's questions (arith), the standard error adds up both
sources, seeds and question groups:

    se^2 = var over seeds / S  +  var over groups / G,   interval = mean +- t(S - 1) se

so it speaks about new seeds and new questions. One seed alone leaves the second term, with t(G - 1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.artifacts import InputError, read_csv, read_json, read_jsonl

STEP5 = "run alol_step5_evaluate.py again"
SETTINGS = ["algorithm", "sampling_strategy", "ppo_clip", "kl_beta", "learning_rate", "steps"]
LEVELS = [*SETTINGS, "segment", "metric", "value", "ci_low", "ci_high", "seeds", "groups"]
DIFFERENCES = [*SETTINGS, "baseline", *LEVELS[len(SETTINGS) :]]


@dataclass(frozen=True)
class Evaluated:
    """One policy's evaluation. `scores`: segment -> metric -> group -> mean over the group's responses."""

    settings: tuple[Any, ...]
    run: str
    seed: int
    scores: dict[str, dict[str, dict[str, float]]]
    others: dict[
        str, dict[str, float]
    ]  # segment -> metric -> value, of those that are no means over responses

    @property
    def repeat(self) -> tuple[str, int]:
        return (self.run, self.seed)


def read_evaluations(folder: Path, split: str) -> list[Evaluated]:
    """All finished evaluations below results/alol/<task>/."""
    found = [
        _read(path.parent)
        for path in sorted(folder.glob(f"*/*/{split}/policy.json"))
        if (path.parent / "manifest.json").is_file()
    ]
    if not found:
        raise InputError(f"no evaluations of the {split} split below {folder}: run alol_step5_evaluate.py")
    seen: dict[tuple, Evaluated] = {}
    for one in found:
        if (one.settings, one.repeat) in seen:
            raise InputError(
                f"{folder / one.run}: two policies of the same settings and seed ({one.settings[0]}, {one.seed}); remove one"
            )
        seen[one.settings, one.repeat] = one
    return found


def _read(folder: Path) -> Evaluated:
    about = read_json(folder / "policy.json", remedy=STEP5)
    recipe = about.get("recipe") or {}
    values = about | {"learning_rate": recipe.get("learning_rate"), "steps": recipe.get("steps")}
    sums: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    described = ("id", "group", "segment", "sample", "response")
    for row in read_jsonl(folder / "predictions.jsonl", remedy=STEP5):
        for metric, value in row.items():
            if metric not in described:
                for segment in dict.fromkeys(("all", row["segment"] or "all")):
                    sums[segment][metric][row["group"]].append(float(value))
    scores = {
        s: {m: {g: float(np.mean(v)) for g, v in groups.items()} for m, groups in metrics.items()}
        for s, metrics in sums.items()
    }
    others: dict[str, dict[str, float]] = defaultdict(dict)
    for line in read_csv(folder / "metrics.csv", remedy=STEP5, columns=["segment", "metric", "value"]):
        if line["metric"] not in scores["all"]:
            others[line["segment"]][line["metric"]] = float(line["value"] or "nan")
    settings = tuple(values.get(name) for name in SETTINGS)
    return Evaluated(settings, str(about["run"]), int(about["seed"]), scores, dict(others))


def levels(found: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """One row per settings, segment and metric."""
    rows = []
    for settings, repeats in _by_settings(found).items():
        for segment, metric in _names(repeats[0]):
            values = [_values(one, segment, metric) for one in repeats]
            rows.append(_row(settings, segment, metric, interval([one.run for one in repeats], values)))
    return rows


def differences(found: Sequence[Evaluated], baselines: Sequence[str]) -> list[dict[str, Any]]:
    """Every settings minus each baseline, paired by run and seed, question by question.

    A baseline is an algorithm, with its sampling strategy behind a colon where it was tried with several.
    """
    rows = []
    for baseline in baselines:
        bases = {
            settings: of
            for settings, of in _by_settings(found).items()
            if baseline in (settings[0], f"{settings[0]}:{settings[1]}")
        }
        if len(bases) != 1:
            known = sorted({f"{settings[0]}:{settings[1]}" for settings in _by_settings(found)})
            raise InputError(
                f"--baselines {baseline}: evaluated with {len(bases)} different settings, exactly one is needed of {', '.join(known)}"
            )
        ((base_settings, base),) = bases.items()
        # The reference is one model per run, whatever the seed of the policies.
        by_repeat = {one.run if baseline == "reference" else one.repeat: one for one in base}
        for settings, repeats in _by_settings(found).items():
            pairs = [
                (one, by_repeat[key])
                for one in repeats
                if (key := one.run if baseline == "reference" else one.repeat) in by_repeat
            ]
            if settings == base_settings or not pairs:
                continue
            for segment, metric in _names(pairs[0][0]):
                gaps = [
                    _gap(_values(one, segment, metric), _values(other, segment, metric))
                    for one, other in pairs
                ]
                row = _row(settings, segment, metric, interval([one.run for one, _ in pairs], gaps))
                rows.append(row | {"baseline": baseline})
    return rows


def _by_settings(found: Sequence[Evaluated]) -> dict[tuple[Any, ...], list[Evaluated]]:
    groups: dict[tuple[Any, ...], list[Evaluated]] = defaultdict(list)
    for one in found:
        groups[one.settings].append(one)
    return dict(groups)


def _names(one: Evaluated) -> list[tuple[str, str]]:
    return [(s, m) for s in one.scores for m in (*one.scores[s], *one.others.get(s, {}))]


def _values(one: Evaluated, segment: str, metric: str) -> dict[str, float]:
    """Scores by group; a metric that is no mean over responses is one group without a name."""
    known = one.scores.get(segment, {}).get(metric)
    return known if known is not None else {"": one.others.get(segment, {}).get(metric, float("nan"))}


def _gap(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    return {group: a[group] - b[group] for group in a if group in b}


def _row(settings: tuple[Any, ...], segment: str, metric: str, found: tuple) -> dict[str, Any]:
    value, low, high, seeds, groups = found
    return dict(zip(SETTINGS, settings)) | {
        "segment": segment,
        "metric": metric,
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "seeds": seeds,
        "groups": groups,
    }


def interval(runs: Sequence[str], values: Sequence[dict[str, float]]) -> tuple[float, float, float, int, int]:
    """Mean, low, high (95 %), repeats and groups; `values` hold one score per question group for each repeat."""
    from scipy.stats import t

    groups = len({(run, group) for run, of in zip(runs, values) for group in of})
    means = np.array([np.mean(list(of.values())) for of in values])
    names = sorted(set(runs))
    if len(names) > 1:  # runs with data of their own are the repeats
        means = np.array([means[[run == name for run in runs]].mean() for name in names])
        squared, freedom = means.var(ddof=1) / len(means), len(means) - 1
    else:
        shared = sorted(set.intersection(*(set(of) for of in values)))
        by_group = np.array([[of[group] for group in shared] for of in values]).mean(0)
        across = by_group.var(ddof=1) / len(shared) if len(shared) > 1 else 0.0
        seeds = means.var(ddof=1) / len(means) if len(means) > 1 else 0.0
        squared, freedom = across + seeds, (len(means) if len(means) > 1 else len(shared)) - 1
    value = float(means.mean())
    if freedom < 1 or not np.isfinite(squared):
        return value, float("nan"), float("nan"), len(values), groups
    half = float(t.ppf(0.975, freedom) * np.sqrt(squared))
    return value, value - half, value + half, len(values), groups
