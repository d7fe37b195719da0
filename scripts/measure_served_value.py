"""Do the intervals of `prompt-oirl value` hold? Simulate servers' logs where the truth is known, and count.

    python scripts/measure_served_value.py         # 300 logs for each way to explore: half an hour on a core

The world is the tiny model's log (data/nano_log): 3,000 training questions with a verdict for each of six
prompts. A selector that learned from 200 test questions serves requests, drawn from the world with
replacement, and explores as `prompt-oirl serve` does; then policies and their differences to that selector
are valued. Writes results/reference/served_value.csv and the table of docs/off_policy.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from prompt_oirl import PromptSelector
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, require, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.selection.policy_value import ESTIMATORS, policy_values, target_of
from prompt_oirl.selection.traffic import Traffic
from prompt_oirl.serving.exploration import Exploration, ExploreBy

LEARNED = 200  # test questions, of the selector that serves, and of another one
LABELS = {
    "dr": "doubly robust",
    "snips": "self-normalised IPS",
    "ips": "IPS",
    "dm": "direct method",
}


@dataclass
class Args:
    logs: int = 300
    """Simulated logs for each way to explore."""
    requests: int = 2000
    """Requests in a log."""
    seed: int = 0
    """Seed of the draws."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


@dataclass(frozen=True)
class World:
    """Questions with known success (N, P) of every prompt, the chances by which each is asked (N, P), and
    policies: probabilities (N, P), or names that `prompt-oirl value` knows."""

    log: PromptLog
    success: np.ndarray
    chances: dict[str, np.ndarray]
    policies: dict[str, np.ndarray | str]


def main(args: Args) -> None:
    """Simulate, write the table and put it into the page."""
    if args.logs < 2:
        raise InputError(f"--logs {args.logs}: give 2 or more")
    table = args.out / "results" / "reference" / "served_value.csv"
    write_csv(table, coverage_rows(world(args.seed), args))
    fill_tables(args.out, {"served_value": render(read_csv(table, hint="run this script again"))})
    print(f"{table} is written")


def world(seed: int) -> World:
    """The tiny model's log, two selectors that learned from other questions, and policies."""
    table = pd.read_parquet(require(Paths().committed_log("nano", "arith"), "run make nano-log"))
    table = table[table["sample"] == 0]
    train = table[table.split == "train"]
    test = table[(table.split == "test") & table.prompt.isin(train.prompt.unique())]
    columns = ["question", "prompt", "prompt_id", "correct"]
    log = read_log(train[[*columns, "group"]])
    ids = np.random.default_rng(seed).permutation(test.question_id.unique())
    first, other = (
        PromptSelector(model=model, seed=seed).fit(test.loc[test.question_id.isin(part), columns])
        for model, part in (("interaction", ids[:LEARNED]), ("linear", ids[LEARNED : 2 * LEARNED]))
    )
    order, predicted = first.rank(log.questions, log.prompts)
    one_hot = np.eye(len(log.prompts))
    chances = {}
    by: ExploreBy
    for by in ("uniform", "uncertainty"):
        for share in (0.05, 0.2):
            explore = Exploration(share, by)
            drawn = np.stack([explore.chances(len(log.prompts), row) for row in predicted.astype(float)])
            chances[f"{by}, {share}"] = share * drawn + (1 - share) * one_hot[order[:, 0]]
    policies: dict[str, np.ndarray | str] = {
        "the selector that serves": one_hot[order[:, 0]],
        "another selector": one_hot[other.rank(log.questions, log.prompts)[0][:, 0]],
        "best": "best",
        "random": "random",
    }
    success = log.labels
    ranked = [log.names[int(j)] for j in np.argsort(-success.mean(0), kind="stable")]
    policies |= {"second best prompt": f"prompt:{ranked[1]}", "worst prompt": f"prompt:{ranked[-1]}"}
    return World(log, success, chances, policies)


def simulate(world: World, args: Args) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Serve and value.

    Parameters
    ----------
    world : see `World`
    args : how many logs and requests, and the seed

    Returns: per log, its key (exploration, policy, estimator, what), and truth, value, low, high and
    effective answers (5,).
    """
    mean = world.success.mean(0)
    for number in tqdm(range(args.logs), desc="logs", disable=None):
        for i, (exploration, chances) in enumerate(world.chances.items()):
            rng = np.random.default_rng([args.seed, number, i])
            traffic = Traffic.of(served(world, chances, args.requests, rng), args.seed)
            targets = {
                name: target_of(traffic, policy) if isinstance(policy, str) else policy[traffic.question]
                for name, policy in world.policies.items()
            }
            rows, _ = policy_values(traffic, list(targets.values()))
            truths = {
                # What is best is found anew on each part: its truth is that of what was found.
                name: float((targets[name] @ mean).mean())
                if isinstance(policy, str)
                else float((policy * world.success).sum(1).mean())
                for name, policy in world.policies.items()
            }
            first = truths[next(iter(truths))]
            for k, row in enumerate(rows):
                name = list(targets)[k // len(ESTIMATORS)]
                found = [truths[name], row["value"], row["low"], row["high"], row["effective_answers"]]
                yield (exploration, name, row["estimator"], "value"), np.array(found)
                if "difference" in row:
                    gap = [row["difference"], row["difference_low"], row["difference_high"]]
                    found = [truths[name] - first, *gap, row["effective_answers"]]
                    yield (exploration, name, row["estimator"], "difference"), np.array(found)


def served(world: World, chances: np.ndarray, requests: int, rng: np.random.Generator) -> PromptLog:
    """A log of requests with one prompt each, their questions drawn with replacement."""
    question = rng.integers(len(world.success), size=requests)
    bounds = chances[question].cumsum(1)
    prompt = (rng.random((requests, 1)) * bounds[:, -1:] >= bounds).sum(1)
    return replace(
        world.log,
        question=question,
        prompt=prompt,
        correct=world.success[question, prompt],
        propensity=chances[question, prompt],
    )


def coverage_rows(world: World, args: Args) -> Iterator[dict[str, Any]]:
    """Bias, error, coverage and width for each exploration, policy and estimator."""
    collected: dict[tuple[str, ...], list[np.ndarray]] = {}
    for key, values in simulate(world, args):
        collected.setdefault(key, []).append(values)
    for (exploration, policy, estimator, what), found in collected.items():
        truth, value, low, high, answers = np.array(found).T
        known = ~np.isnan(low)
        covered = (low.round(12) <= truth) & (truth <= high.round(12))
        yield {
            "exploration": exploration,
            "policy": policy,
            "what": what,
            "estimator": estimator,
            "logs": len(found),
            "truth": float(truth.mean()),
            "bias": float((value - truth).mean()),
            "rmse": float(np.sqrt(((value - truth) ** 2).mean())),
            "intervals": int(known.sum()),
            "coverage": float(covered[known].mean()) if known.any() else None,
            "half_width": float((high - low)[known].mean() / 2) if known.any() else None,
            "effective_answers": float(answers.mean()),
        }


def render(rows: list[dict[str, str]]) -> str:
    """The doubly robust values for each policy over the ways to explore in which at least half of the logs
    gave an interval, then the other estimators."""
    out = []
    for estimator, label in LABELS.items():
        for what in ("value", "difference"):
            found = [r for r in rows if (r["estimator"], r["what"]) == (estimator, what)]
            names = dict.fromkeys(r["policy"] for r in found) if estimator == "dr" else [None]
            for name in names:
                # A few intervals say nothing of how often they cover.
                given = [r for r in found if 2 * int(r["intervals"]) >= int(r["logs"])]
                mine = [r for r in given if name in (None, r["policy"])]
                covered = [float(r["coverage"]) for r in mine if r["coverage"]]
                widths = [float(r["half_width"]) for r in mine if r["half_width"]]
                bias = max((float(r["bias"]) for r in mine), key=abs)
                out.append(
                    [
                        label,
                        (name or "all") + (", difference" if what == "difference" else ""),
                        f"{100 * bias:+.1f}",
                        f"{100 * np.mean(widths):.1f}",
                        f"{min(covered):.3f} to {max(covered):.3f}",
                        f"{np.mean(covered):.3f}",
                    ]
                )
    header = ["estimator", "policy", "worst bias, points", "mean half width, points"]
    return markdown([*header, "coverage of 95 % intervals", "mean coverage"], out)


if __name__ == "__main__":
    run_step(main, Args)
