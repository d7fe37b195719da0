"""Every algorithm on several seeds of the toy and the arith task: one JSON per policy, so a stopped run
resumes.

Steps 1 to 3 prepare a run; then rows and reference are held in memory, for steps 4 and 5 would read them
again for each of the policies.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prompt_oirl.alol.experiments.measurement import (
    HINT,
    REFERENCE,
    Measurement,
    PreparedRun,
    best_score,
    load_run,
    measure,
)
from prompt_oirl.alol.steps.estimate_advantage import AdvantageOptions, estimate_advantage
from prompt_oirl.alol.steps.prepare_data import PrepareOptions, prepare_data
from prompt_oirl.alol.steps.train_policy import PolicyOptions, ReferenceOptions, train_reference
from prompt_oirl.alol.training.losses import PRESETS
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.tracking import Tracker

TUNING_SEEDS = (100, 101)


@dataclass
class CompareOptions:
    """Which experiment, and how large."""

    task: Literal["toy", "arith"] = "toy"
    """Which experiment."""
    algorithms: str = "all"
    """A comma list, or all: the eight losses, and for arith the baselines."""
    seeds: int = 5
    """Repeats."""
    updates: int = 30
    """arith: of every policy; validated at half of them and at the end."""
    batch_size: int = 8
    """arith: rows, pairs or answers per update."""
    learning_rates: tuple[float, ...] = (2.5e-4, 5e-4, 1e-3, 2e-3)
    """arith: tried for every algorithm, the best on validation is taken; falls straight to zero."""
    train_questions: int = 700
    """arith: questions of the training rows, six logged answers each."""
    validation_prompts: int = 128
    """arith: prompts of a validation."""
    test_prompts: int = 250
    """arith: test questions, one sampled answer each."""
    minutes: float = 600.0
    """No policy is begun after so many minutes."""
    tables_only: bool = False
    """Train nothing; tables of what is finished."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers that are told every update: tensorboard, wandb, mlflow, one or several; or none."""
    root: Path = REPO_ROOT
    """Folder that holds data/, alol_exps/ and results/."""

    @property
    def names(self) -> tuple[str, ...]:
        """The algorithms asked for."""
        baselines = ("dpo", "ppo", "rloo", "pro", "dpo_ref_free") if self.task == "arith" else ()
        known = (*PRESETS, *baselines)
        asked = known if self.algorithms == "all" else tuple(self.algorithms.split(","))
        if unknown := set(asked) - set(known):
            raise InputError(f"--algorithms {','.join(sorted(unknown))}: choose from {', '.join(known)}")
        return asked

    @property
    def results(self) -> Path:
        """Folder of the policies' JSON files."""
        return self.root / "results" / "alol" / f"measured_{self.task}"

    @property
    def arith_recipe(self) -> TrainingRecipe:
        """What all of arith's algorithms share; rate and seed are filled in."""
        return TrainingRecipe(self.updates, self.batch_size, eval_every=max(1, self.updates // 2))

    def result_file(self, name: str, seed: int) -> Path:
        """What is kept of one policy."""
        return self.results / f"{name}-seed{seed}.json"


def compare(args: CompareOptions) -> bool:
    """Measure whatever is not finished; False if time was up."""
    deadline = time.monotonic() + 60 * args.minutes
    for run, one in (toy if args.task == "toy" else arith)(args):
        if time.monotonic() > deadline:
            return False
        measure(run, one)
    return True


def toy(args: CompareOptions) -> Iterator[tuple[PreparedRun, Measurement]]:
    """All policies of every seed's run, which has rows, reference and value head of its own."""
    for seed in range(args.seeds):
        pending = [name for name in (REFERENCE, *args.names) if not args.result_file(name, seed).is_file()]
        if not pending:
            continue
        run = toy_run(args.root, seed, args.report_to)
        for name in pending:
            yield run, toy_policy(run, name, seed, args.result_file(name, seed))


def toy_run(root: Path, seed: int, report_to: tuple[Tracker, ...] = ()) -> PreparedRun:
    """Steps 1 to 3 of the toy task with rows, reference and value head of this seed."""
    flags: dict[str, Any] = {"root": root, "run": f"seed{seed}", "seed": seed}
    prepare_data(PrepareOptions(**flags))
    train_reference(ReferenceOptions(**flags))
    estimate_advantage(AdvantageOptions(**flags))
    return load_run(PolicyOptions(**flags, report_to=report_to))


def toy_policy(run: PreparedRun, name: str, seed: int, path: Path, **others: Any) -> Measurement:
    """A loss on the toy task, at the task's settings.

    Parameters
    ----------
    run : of `toy_run`
    name : the loss
    seed : of the training
    path, others : as in `Measurement`; `steps` is the number of updates
    """
    recipe = replace(run.options.recipe_for(len(run.data.rows)), seed=seed)
    recipe = replace(recipe, steps=others.pop("steps", recipe.steps))
    return Measurement(name, recipe, path, kl_beta=0.05 * (name == "a_lol_kl"), **others)


def arith_run(args: CompareOptions) -> PreparedRun:
    """Steps 1 and 3 of arith's one run."""
    flags: dict[str, Any] = {"root": args.root, "task_name": "arith", "run": "one_prompt"}
    sizes: dict[str, Any] = {"train_rows": args.train_questions, "test_rows": args.test_prompts}
    prepare_data(PrepareOptions(**flags, **sizes, validation_rows=300, prompt="nan"))
    estimate_advantage(AdvantageOptions(**flags, value_samples=2))
    told = args.report_to
    return load_run(PolicyOptions(**flags, validation_prompts=args.validation_prompts, report_to=told))


def arith(args: CompareOptions) -> Iterator[tuple[PreparedRun, Measurement]]:
    """The rate of every algorithm, then all of them at their rates, seed by seed."""
    run = arith_run(args)
    for seed in range(args.seeds):
        recipe = replace(args.arith_recipe, seed=seed)
        yield run, Measurement(REFERENCE, recipe, args.result_file(REFERENCE, seed))
    rates = {}
    for name in args.names:
        rates[name] = yield from tune(args, run, name)
    for seed in range(args.seeds):
        for name, rate in rates.items():
            recipe = replace(args.arith_recipe, seed=seed, learning_rate=rate)
            yield run, arith_policy(name, recipe, args.result_file(name, seed))


def arith_policy(name: str, recipe: TrainingRecipe, path: Path, **others: Any) -> Measurement:
    """An algorithm on arith: all losses but nll draw rows in proportion to their weight.

    Parameters
    ----------
    name : a loss or a baseline
    recipe, path, others : as in `Measurement`
    """
    weighted = name in PRESETS and name != "nll"
    usual = {"strategy": "good_priority" if weighted else "none", "kl_beta": 0.2 * (name == "a_lol_kl")}
    return Measurement(name, recipe, path, **(usual | others))


def tune(
    args: CompareOptions, run: PreparedRun, name: str
) -> Generator[tuple[PreparedRun, Measurement], None, float]:
    """The learning rate of an algorithm: all are tried with one seed, the best two with another, and the best
    mean counts.

    Parameters
    ----------
    args : the rates; where results are kept
    run : the prepared run
    name : the algorithm
    """
    left, scores = list(args.learning_rates), defaultdict(list)
    for seed in TUNING_SEEDS:
        for rate in left:
            path = args.results / "tuning" / f"{name}-{rate:g}-seed{seed}.json"
            recipe = replace(args.arith_recipe, seed=seed, learning_rate=rate)
            yield run, arith_policy(name, recipe, path, tested=False)
            scores[rate].append(best_score(read_json(path, hint=HINT)["validation"]))
        left = sorted(left, key=lambda rate: -float(np.mean(scores[rate])))[:2]
    return left[0]
