"""The paper's claims about A-LoL at a small size: steady over seeds, sparing with data, robust.

Every policy keeps its last weights: nothing is validated. toy: five runs with rows, reference and value head
of their own. arith: one run, at the learning rates that `compare_algorithms` chose. Wrong rewards are flips:
r becomes 1 - r in a share of the logged rows, so at half of them its mean is the same for all rows. Values of
the prompts stay, for they were learned from the reference's own responses and not from the log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prompt_oirl.alol.experiments.compare_algorithms import (
    CompareOptions,
    arith_policy,
    arith_run,
    toy_policy,
    toy_run,
)
from prompt_oirl.alol.experiments.measurement import Measurement, PreparedRun, measure
from prompt_oirl.alol.training.losses import PRESETS
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.io.json_files import read_json

TASKS = ("toy", "arith")
SHARES = {"toy": (0.0, 0.1, 0.3, 0.5), "arith": (0.0, 0.3)}  # of the logged rewards, flipped
STRATEGIES = ("none", "good_random", "good_priority")
UPDATES = (5, 10, 20, 40, 80)  # of toy, whose own number is the last
FAMILIES = {
    "A-LoL": ("a_lol", "a_lol_ref_free", "a_lol_seq", "a_lol_kl"),
    "reward-weighted": ("wbc", "r_gold", "r_lol"),
    "pairs": ("dpo", "dpo_ref_free", "pro"),
    "own answers": ("ppo", "rloo"),
}
NOISY = {  # trained on flipped rewards
    "toy": ("wbc", "r_lol", "a_lol", "a_lol_ref_free"),
    "arith": ("wbc", "a_lol", "a_lol_ref_free", "pro"),
}
Found = list[dict[str, Any]]  # records or rows
STABLE_SEEDS = 3  # trainings of every algorithm in each of toy's runs


@dataclass
class ClaimOptions:
    """How many repeats, and where."""

    seeds: int = 5
    """toy: runs; arith: trainings."""
    test_prompts: int = 125
    """arith: test questions, one sampled answer each."""
    minutes: float = 600.0
    """No policy is begun after so many minutes."""
    tables_only: bool = False
    """Train nothing; table and figure of what is finished."""
    root: Path = REPO_ROOT
    """Folder that holds data/, alol_exps/ and results/."""

    def folder(self, task: str) -> Path:
        """Folder of a task's JSON files."""
        return self.root / "results" / "alol" / "claims" / task


@dataclass(frozen=True)
class Arm:
    """What a policy of a claim differs by; `steps` is None for the task's own number of updates."""

    algorithm: str
    strategy: str
    steps: int | None = None
    flipped: float = 0.0

    @property
    def name(self) -> str:
        """Of its files."""
        steps = f"-{self.steps}" if self.steps else ""
        return f"{self.algorithm}-{self.strategy}{steps}-flip{100 * self.flipped:.0f}"


def strategy_of(task: str, name: str) -> str:
    """How an algorithm draws rows where that is not what is compared."""
    return "good_priority" if task == "arith" and name in PRESETS and name != "nll" else "none"


def toy_arms() -> list[Arm]:
    """Of toy: all losses, wrong rewards for four of them, and fewer updates by every strategy."""
    arms = [Arm(name, "none") for name in PRESETS]
    arms += [Arm(name, "none", flipped=share) for name in NOISY["toy"] for share in SHARES["toy"][1:]]
    arms += [Arm("a_lol", strategy) for strategy in STRATEGIES[1:]]
    return arms + [Arm("a_lol", strategy, steps) for strategy in STRATEGIES for steps in UPDATES[:-1]]


def arith_arms() -> list[Arm]:
    """Of arith: wrong rewards for all but nll, which reads none, and a_lol by every strategy."""
    arms = [Arm("nll", "none")]
    for name in NOISY["arith"]:
        arms += [Arm(name, strategy_of("arith", name), flipped=share) for share in SHARES["arith"]]
    return arms + [Arm("a_lol", strategy) for strategy in STRATEGIES[:-1]]


def check_claims(args: ClaimOptions) -> bool:
    """Measure whatever is not finished; False if time was up."""
    deadline = time.monotonic() + 60 * args.minutes
    for policies in (toy, arith):
        for run, one in policies(args):
            if time.monotonic() > deadline:
                return False
            measure(run, one)
    return True


def toy(args: ClaimOptions) -> Iterator[tuple[PreparedRun, Measurement]]:
    """All arms in every run; all losses with several seeds, for their spread."""
    for number in range(args.seeds):
        asked = [
            (arm, seed, args.folder("toy") / f"{arm.name}-run{number}-seed{seed}.json")
            for arm in toy_arms()
            for seed in range(STABLE_SEEDS if arm in toy_arms()[: len(PRESETS)] else 1)
        ]
        pending = [one for one in asked if not one[2].is_file()]
        if not pending:
            continue
        run = toy_run(args.root, number)
        for arm, seed, path in pending:
            steps = {"steps": arm.steps} if arm.steps else {}
            about = {"strategy": arm.strategy, "flipped": arm.flipped} | steps
            yield run, toy_policy(run, arm.algorithm, seed, path, **about)


def arith(args: ClaimOptions) -> Iterator[tuple[PreparedRun, Measurement]]:
    """All arms with every seed, at the rates of the comparison."""
    compared = CompareOptions(task="arith", root=args.root)
    rates = {arm.algorithm: rate_of(compared, arm.algorithm) for arm in arith_arms()}
    run = arith_run(compared)
    run = replace(run, test=run.test[: args.test_prompts])
    for seed in range(args.seeds):
        for arm in arith_arms():
            path = args.folder("arith") / f"{arm.name}-seed{seed}.json"
            recipe = replace(compared.arith_recipe, eval_every=0, seed=seed)
            recipe = replace(recipe, learning_rate=rates[arm.algorithm])
            others = {"strategy": arm.strategy, "flipped": arm.flipped}
            yield run, arith_policy(arm.algorithm, recipe, path, **others)


def rate_of(compared: CompareOptions, name: str) -> float:
    """The learning rate that the comparison chose for an algorithm.

    Raises: InputError if it has not come so far.
    """
    path = compared.result_file(name, 0)
    if not path.is_file():
        raise InputError(f"missing {path}: run scripts/measure_alol.py --task arith first")
    return read_json(path, hint="remove it")["learning_rate"]


def select(records: Found, **wanted: Any) -> Found:
    """The records or rows that have these values."""
    return [r for r in records if all(r[name] == value for name, value in wanted.items())]
