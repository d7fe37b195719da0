"""Evaluations of many policies as two tables: levels, and differences from a baseline, with intervals over
seeds.

Policies of one algorithm and settings are repeats. Where a task's data belong to the run (toy), a run is one
repeat and brings its own questions. Where repeats share one run's questions (arith), the standard error adds
up both sources, seeds and question groups:

    se^2 = var over seeds / S  +  var over groups / G,   interval = mean +- t(S - 1) se

so it speaks about new seeds and new questions; those of shares are cut at 0 and 1. (A bootstrap over five
seeds would be too narrow.) One seed alone is resampled by groups; step 5 has that from the same function.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.io.files import InputError, read_csv
from prompt_oirl.io.json_files import read_json, read_jsonl
from prompt_oirl.io.manifest import check_finished
from prompt_oirl.stats.metrics import ClusterBootstrap

STEP5 = "run alol_step5_evaluate.py again"
SETTINGS = ["algorithm", "sampling_strategy", "ppo_clip", "kl_beta", "learning_rate", "steps"]
LEVELS = [*SETTINGS, "segment", "metric", "value", "ci_low", "ci_high", "seeds", "groups"]
COUNTS = ("length_words", "perplexity_of_data")  # metrics that are no shares, whatever their values
UNBOUNDED = (-np.inf, np.inf)
DIFFERENCES = [*SETTINGS, "baseline", *LEVELS[len(SETTINGS) :]]


@dataclass(frozen=True)
class Evaluated:
    """One policy's evaluation. `scores`: segment -> metric -> group -> mean over the group's responses."""

    settings: tuple[Any, ...]
    run: str
    seed: int
    scores: dict[str, dict[str, dict[str, float]]]
    # segment -> metric -> (value, low, high) by step 5, of those that are no rewards of responses
    others: dict[str, dict[str, tuple[float, float, float]]]
    policy: str = ""

    @property
    def repeat(self) -> tuple[str, int]:
        """Run and seed: what policies of one algorithm differ by."""
        return (self.run, self.seed)


def read_evaluations(folder: Path, split: str, root: Path) -> list[Evaluated]:
    """All finished evaluations of a task's policies, as step 5 left them.

    Parameters
    ----------
    folder : results/alol/<task>/
    split : whose evaluations, validation or test
    root : folder that paths in the manifests of step 5 are relative to

    Raises: InputError if there is none, if one is on rows that step 1 has replaced since, or if two policies
        of a run have the same settings and seed.
    """
    found = []
    for path in sorted(folder.glob(f"*/*/{split}/policy.json")):
        manifest = path.with_name("manifest.json")
        if manifest.is_file():
            check_finished(manifest, root, f"{STEP5}, or remove {path.parents[1]}")
            found.append(_read(path.parent))
    if not found:
        raise InputError(f"no evaluations of the {split} split below {folder}: run alol_step5_evaluate.py")
    seen: dict[tuple, Evaluated] = {}
    for one in found:
        if (one.settings, one.repeat) in seen:
            other = seen[one.settings, one.repeat]
            raise InputError(
                f"{folder / one.run}: {other.policy} and {one.policy} have the same settings and seed "
                f"({one.settings[0]}, {one.seed}); remove one of the two"
            )
        seen[one.settings, one.repeat] = one
    return found


def _read(folder: Path) -> Evaluated:
    try:
        return _evaluated(folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder}: not what step 5 wrote ({error!r}); {STEP5}") from error


def _evaluated(folder: Path) -> Evaluated:
    about = read_json(folder / "policy.json", hint=STEP5)
    recipe = about.get("recipe") or {}
    values = about | {"learning_rate": recipe.get("learning_rate"), "steps": recipe.get("steps")}
    sums: dict[str, dict[str, dict[str, list[float]]]] = {}
    described = ("id", "group", "segment", "sample", "response")
    for row in read_jsonl(folder / "predictions.jsonl", hint=STEP5):
        for metric, value in row.items():
            if metric not in described:
                for segment in dict.fromkeys(("all", row["segment"] or "all")):
                    of_metric = sums.setdefault(segment, {}).setdefault(metric, {})
                    of_metric.setdefault(row["group"], []).append(float(value))
    scores = {s: {m: group_means(of) for m, of in metrics.items()} for s, metrics in sums.items()}
    others: dict[str, dict[str, tuple[float, float, float]]] = defaultdict(dict)
    columns = ["value", "ci_low", "ci_high"]
    for line in read_csv(folder / "metrics.csv", hint=STEP5, columns=["segment", "metric", *columns]):
        if line["metric"] not in scores["all"]:
            value, low, high = (float(line[name] or "nan") for name in columns)
            others[line["segment"]][line["metric"]] = value, low, high
    settings, run, policy = (
        tuple(values.get(name) for name in SETTINGS),
        str(about["run"]),
        folder.parent.name,
    )
    return Evaluated(settings, run, int(about["seed"]), scores, dict(others), policy)


def group_means(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Mean of each group's values."""
    return {group: float(np.mean(of)) for group, of in values.items()}


def levels(found: Sequence[Evaluated], few_seeds: bool = False) -> list[dict[str, Any]]:
    """One row per settings, segment and metric; `few_seeds` as in `interval`."""
    rows = []
    for settings, repeats in _by_settings(found).items():
        for segment, metric in _names(repeats[0]):
            values = [_values(one, segment, metric) for one in repeats]
            bounds = (0, 1) if _shares(metric, values) else UNBOUNDED
            of_metric = interval([one.run for one in repeats], values, bounds, few_seeds)
            if len(repeats) == 1 and metric not in repeats[0].scores[segment]:
                of_metric = (*repeats[0].others[segment][metric], *of_metric[3:])
            rows.append(_row(settings, segment, metric, of_metric))
    return rows


def differences(
    found: Sequence[Evaluated], baselines: Sequence[str], few_seeds: bool = False
) -> list[dict[str, Any]]:
    """Every settings minus each baseline, paired by run and seed, question by question; the reference by run
    where it was not evaluated with the policy's seed.

    A baseline is an algorithm, with its sampling strategy behind a colon where it was tried with several;
    `few_seeds` as in `interval`.
    """
    rows = []
    by_settings = _by_settings(found)
    for baseline in baselines:
        bases = [s for s in by_settings if baseline in (s[0], f"{s[0]}:{s[1]}")]
        if len(bases) != 1:
            known = sorted({f"{settings[0]}:{settings[1]}" for settings in by_settings})
            raise InputError(
                f"--baselines {baseline}: evaluated with {len(bases)} different settings, exactly one is "
                f"needed of {', '.join(known)}"
            )
        by_repeat: dict[Any, Evaluated] = {one.repeat: one for one in by_settings[bases[0]]}
        if baseline == "reference":  # one model per run, whatever the seed of the policies
            by_repeat |= {one.run: one for one in by_settings[bases[0]]}
        for settings, repeats in by_settings.items():
            others = [by_repeat.get(one.repeat) or by_repeat.get(one.run) for one in repeats]
            pairs = [(one, other) for one, other in zip(repeats, others) if other is not None]
            if settings == bases[0] or not pairs:
                continue
            for segment, metric in _names(pairs[0][0]):
                both = [
                    (_values(one, segment, metric), _values(other, segment, metric)) for one, other in pairs
                ]
                gaps = [_gap(a, b) for a, b in both]
                bounds = (-1, 1) if _shares(metric, [v for pair in both for v in pair]) else UNBOUNDED
                of_gap = interval([one.run for one, _ in pairs], gaps, bounds, few_seeds)
                row = _row(settings, segment, metric, of_gap)
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
    return known if known is not None else {"": one.others.get(segment, {}).get(metric, (float("nan"),))[0]}


def _shares(metric: str, values: Sequence[dict[str, float]]) -> bool:
    return metric not in COUNTS and all(0 <= v <= 1 for of in values for v in of.values())


def _gap(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    return {group: a[group] - b[group] for group in a if group in b}


def _row(settings: tuple[Any, ...], segment: str, metric: str, found: tuple) -> dict[str, Any]:
    measured = dict(zip(LEVELS[len(SETTINGS) :], (segment, metric, *found)))
    return dict(zip(SETTINGS, settings)) | measured


def interval(
    runs: Sequence[str],
    values: Sequence[dict[str, float]],
    bounds: tuple[float, float] = UNBOUNDED,
    few_seeds: bool = False,
) -> tuple[float, float, float, int, int]:
    """Mean with its 95 % interval over repeats, and how many repeats and question groups are behind it.

    Several runs count alike, whatever the number of their repeats. Repeats of one run share its questions, so
    the standard error adds up seeds and groups, as the module says. A single repeat is resampled by groups.

    Parameters
    ----------
    runs : run of each repeat
    values : of each repeat, the score of each question group; groups count alike
    bounds : lowest and highest value that the mean can have; an interval over several repeats is cut there.
        Default: it is not cut.
    few_seeds : t has Satterthwaite's degrees of freedom, of seeds and groups together; default: S - 1, too
        careful with two or three seeds

    Returns: mean, low, high, repeats, groups; low and high are NaN for one repeat with a single group.
    """
    from scipy.stats import t

    groups = len({(run, group) for run, of in zip(runs, values) for group in of})
    means = np.array([np.mean(list(of.values())) for of in values])
    names = sorted(set(runs))
    if len(values) == 1:
        (of,) = values
        found = np.array([of[group] for group in sorted(of)])
        if len(found) < 2:
            return float(means[0]), float("nan"), float("nan"), 1, groups
        value, low, high = _bootstrap(len(found)).mean(found[:, None])[0]
        return float(value), float(low), float(high), 1, groups
    if len(names) > 1:  # runs with data of their own are the repeats
        means = np.array([means[[run == name for run in runs]].mean() for name in names])
        squared, degrees = means.var(ddof=1) / len(means), len(means) - 1.0
    else:
        shared = sorted(set.intersection(*(set(of) for of in values)))
        by_group = np.array([[of[group] for group in shared] for of in values]).mean(0)
        across = by_group.var(ddof=1) / len(shared) if len(shared) > 1 else 0.0
        seeds, degrees = means.var(ddof=1) / len(means), len(means) - 1.0
        squared = across + seeds
        if few_seeds and squared > 0:
            degrees = squared**2 / (across**2 / max(1, len(shared) - 1) + seeds**2 / degrees)
    value = float(means.mean())
    half = float(t.ppf(0.975, degrees) * np.sqrt(squared))
    return value, max(value - half, bounds[0]), min(value + half, bounds[1]), len(values), groups


@lru_cache(maxsize=4)
def _bootstrap(groups: int) -> ClusterBootstrap:
    return ClusterBootstrap(np.arange(groups), 0)
