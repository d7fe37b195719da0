"""The measured policies of the hh experiment, read back: scores of every pair by segment, metric and cluster,
and what was noted beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_oirl.alol.evaluation.aggregation import Evaluated
from prompt_oirl.alol.evaluation.responses import distinct
from prompt_oirl.alol.experiments.hh_measures import pair_metrics, segments_of
from prompt_oirl.alol.experiments.hh_policies import Job, algorithm_of
from prompt_oirl.alol.experiments.hh_rows import read_split
from prompt_oirl.alol.experiments.hh_settings import ALGORITHMS, KL_BETA, HHOptions
from prompt_oirl.alol.experiments.hh_setup import HINT
from prompt_oirl.alol.models.checkpoints import read_tensors
from prompt_oirl.alol.rows import Row
from prompt_oirl.io.files import InputError
from prompt_oirl.io.json_files import read_json
from prompt_oirl.stats.metrics import ClusterBootstrap

POLICIES = ["algorithm", "learning_rate", "seeds", "seconds_per_update", "peak_mb", "words", "distinct_1"]
POLICIES += ["distinct_2", "samples"]
VALUE = ["split", "quantity", "value", "ci_low", "ci_high", "n"]


@dataclass(frozen=True)
class Results:
    """All that is finished. `records`: the policies' JSON files; `evaluated`: their scores, in the same
    order."""

    options: HHOptions
    rows: list[Row]
    records: list[dict[str, Any]]
    evaluated: list[Evaluated]

    def main(self) -> list[Evaluated]:
        """Those trained on the rewards as logged, the reference first."""
        return [one for one, r in zip(self.evaluated, self.records) if not r["flipped"]]

    def of(self, algorithm: str, flipped: float = 0.0, variant: str = "") -> list[Evaluated]:
        """The seeds of one policy."""
        wanted = (algorithm, flipped, variant)
        return [
            one
            for one, r in zip(self.evaluated, self.records)
            if (r["algorithm"], r["flipped"], r["variant"]) == wanted
        ]


def read_results(options: HHOptions) -> Results:
    """Every measured policy; InputError if there is none, or the reference is missing."""
    rows, files = read_split(options, "test"), sorted(options.measured_file("x").parent.glob("*.json"))
    records = [read_json(path, hint=HINT) for path in files]
    records.sort(key=lambda r: [*("reference", *ALGORITHMS)].index(r["algorithm"]))
    if not records or records[0]["algorithm"] != "reference":
        raise InputError(f"nothing measured in {options.folder}: run without --tables_only")
    reference = np.array(records[0]["log_probs"])
    lengths = np.array(records[0]["lengths"])
    return Results(options, rows, records, [_evaluated(r, reference, rows, lengths) for r in records])


def _evaluated(
    record: dict[str, Any], reference: np.ndarray, rows: Sequence[Row], lengths: np.ndarray
) -> Evaluated:
    metrics = pair_metrics(np.array(record["log_probs"]), reference, rows, lengths)
    clusters = [row.cluster for row in rows[::2]]  # one pair of each
    scores = {
        segment: {
            name: {c: float(v) for c, v, here in zip(clusters, values, inside) if here}
            for name, values in metrics.items()
        }
        for segment, inside in segments_of(rows, lengths).items()
    }
    name, strategy = record["algorithm"], ""
    if name != "reference":
        strategy = algorithm_of(Job(name, variant=record["variant"])).settings["sampling_strategy"]
    if record["flipped"]:
        strategy += f", {record['flipped']:.0%} flipped"
    beta = KL_BETA if name == "a_lol_kl" else 0.0
    settings = (name, strategy, 0.9, beta, record.get("rate"), len(record.get("curve", [])))
    return Evaluated(settings, "hh", record["seed"], scores, {})


def policy_rows(results: Results) -> list[dict[str, Any]]:
    """Rows of alol_hh_policies.csv: learning rate, cost, and what samples look like (words, distinct n-grams
    over the samples of a seed; means over seeds)."""
    found = []
    for name in ("reference", *ALGORITHMS):
        records = [
            r for r in results.records if (r["algorithm"], r["flipped"], r["variant"]) == (name, 0, "")
        ]
        if not records:
            continue
        row: dict[str, Any] = {"algorithm": name, "learning_rate": records[0].get("rate")}
        row |= {"seeds": len(records), "samples": len(records[0]["samples"])}
        for column in ("seconds_per_update", "peak_mb"):
            known = [r[column] for r in records if column in r]
            row[column] = float(np.mean(known)) if known else None
        texts = [r["samples"] for r in records]
        row["words"] = float(np.mean([len(text.split()) for of in texts for text in of]))
        row |= {f"distinct_{n}": float(np.mean([distinct(of, n) for of in texts])) for n in (1, 2)}
        found.append(row)
    return found


def value_rows(options: HHOptions) -> list[dict[str, Any]]:
    """Rows of alol_hh_value.csv: how V, fitted on dev, foresees the mean logged reward of other dialogues.

    mse, mse of the mean of the dev rewards, correlation, the mean V and the mean reward of each fifth by V;
    of training rows also the share of advantages above 0, of chosen ones and of all.
    """
    train, test = read_split(options, "train"), read_split(options, "test")
    tensors, _ = read_tensors(options.folder / "advantages.safetensors", HINT)
    value = read_json(options.folder / "value.json", hint=HINT)
    known = float(np.mean([row.reward for row in read_split(options, "value")]))
    found: list[dict[str, Any]] = []
    for split, rows, v in (("train", train, tensors["values"].numpy()[::2]), ("test", test, value["test"])):
        v = np.asarray(v, dtype=float)
        logged = np.array([row.reward for row in rows]).reshape(-1, 2).mean(1)
        boot = ClusterBootstrap(np.array([row.cluster for row in rows[::2]]))
        columns = {"mse": (v - logged) ** 2, "mse_of_the_mean": (known - logged) ** 2}
        columns["mse_saved"] = columns["mse_of_the_mean"] - columns["mse"]
        fifths = np.searchsorted(np.quantile(v, [0.2, 0.4, 0.6, 0.8]), v)
        for fifth in range(5):
            here = np.where(fifths == fifth, 1.0, np.nan)
            columns |= {f"mean_v_fifth_{fifth + 1}": v * here, f"reward_fifth_{fifth + 1}": logged * here}
        if split == "train":
            chosen = np.array([row.chosen for row in rows]).reshape(-1, 2)
            positive = (tensors["advantages"].numpy() > 0).reshape(-1, 2)
            columns["positive_advantage_chosen"] = positive[chosen].astype(float)
            columns["positive_advantage_all"] = positive.mean(1)
        for (name, values), (point, low, high) in zip(
            columns.items(), boot.mean(np.array([*columns.values()]).T)
        ):
            n = int((~np.isnan(values)).sum())
            found.append(dict(zip(VALUE, (split, name, point, low, high, n))))
        correlation = float(np.corrcoef(v, logged)[0, 1])
        found.append(dict(zip(VALUE, (split, "correlation", correlation, None, None, len(v)))))
    return found


def dev_curves(results: Results) -> list[dict[str, Any]]:
    """Rows of alol_hh_curves.csv: the dev score of every rate after so many updates, seed 0."""
    found = []
    for path in sorted((results.options.folder / "trained").glob("*-rate*/training.json")):
        about = read_json(path, hint=HINT)
        for update, score in about["dev"]:
            row = {"algorithm": about["algorithm"], "learning_rate": about["rate"], "update": update}
            found.append(row | {"dev_reward": score})
    return found
