"""Every algorithm on several seeds of the toy and the arith task: one JSON per policy, so a stopped run
resumes.

Steps 1 to 3 prepare a run; then rows and reference are held in memory, for steps 4 and 5 would read them
again for each of the policies.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import numpy as np

from prompt_oirl.alol.evaluation.aggregation import group_means
from prompt_oirl.alol.evaluation.responses import answer, reward_responses
from prompt_oirl.alol.policies import LEARNS_FROM, Baseline, Evaluate, LossAlgorithm, PolicyData, train_policy
from prompt_oirl.alol.rows import Row
from prompt_oirl.alol.steps.estimate_advantage import AdvantageOptions, estimate_advantage
from prompt_oirl.alol.steps.prepare_data import PrepareOptions, prepare_data
from prompt_oirl.alol.steps.train_policy import (
    PolicyOptions,
    ReferenceOptions,
    advantages_file,
    load_data,
    train_reference,
)
from prompt_oirl.alol.training.losses import PRESETS, choose_loss
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.io.files import REPO_ROOT, InputError, write_json
from prompt_oirl.io.json_files import read_json

TUNING_SEED = 100
HINT = "run the same command again"


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
    learning_rate: float = 2e-3
    """arith: falls straight to zero."""
    train_questions: int = 700
    """arith: questions of the training rows, six logged answers each."""
    validation_prompts: int = 64
    """arith: prompts of a validation."""
    test_prompts: int = 250
    """arith: test questions, one sampled answer each."""
    minutes: float = 600.0
    """No policy is begun after so many minutes."""
    tables_only: bool = False
    """Train nothing; tables of what is finished."""
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

    def result_file(self, name: str, seed: int) -> Path:
        """What is kept of one policy."""
        return self.results / f"{name}-seed{seed}.json"


@dataclass
class PreparedRun:
    """A prepared run in memory: what steps 4 and 5 would read. `start_scores`: the reference's validation by
    seed."""

    options: PolicyOptions
    model: Any
    data: PolicyData
    test: list[Row]
    start_scores: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One policy to train and evaluate, and the file that its scores go to."""

    algorithm: str
    seed: int
    recipe: TrainingRecipe
    path: Path
    strategy: str = "none"
    kl_beta: float = 0.0


def compare(args: CompareOptions) -> bool:
    """Measure whatever is not finished; False if time was up."""
    deadline = time.monotonic() + 60 * args.minutes
    for run, one in (toy if args.task == "toy" else arith)(args):
        if time.monotonic() > deadline:
            return False
        measure(args, run, one)
    return True


def toy(args: CompareOptions) -> Iterator[tuple[PreparedRun, Measurement]]:
    """All policies of every seed's run, which has rows, reference and value head of its own."""
    for seed in range(args.seeds):
        pending = [name for name in ("reference", *args.names) if not args.result_file(name, seed).is_file()]
        if not pending:
            continue
        flags: dict[str, Any] = {"root": args.root, "run": f"seed{seed}", "seed": seed}
        prepare_data(PrepareOptions(**flags))
        train_reference(ReferenceOptions(**flags))
        estimate_advantage(AdvantageOptions(**flags))
        run = load_run(PolicyOptions(**flags))
        recipe = run.options.recipe_for(len(run.data.rows))
        for name in pending:
            beta = 0.05 if name == "a_lol_kl" else 0.0
            yield run, Measurement(name, seed, recipe, args.result_file(name, seed), kl_beta=beta)


def arith(args: CompareOptions) -> Iterator[tuple[PreparedRun, Measurement]]:
    """The losses with every seed, then the baselines, each at the better of two learning rates."""
    flags: dict[str, Any] = {"root": args.root, "task_name": "arith", "run": "one_prompt"}
    sizes: dict[str, Any] = {"train_rows": args.train_questions, "test_rows": args.test_prompts}
    prepare_data(PrepareOptions(**flags, **sizes, validation_rows=300, prompt="nan"))
    estimate_advantage(AdvantageOptions(**flags, value_samples=2))
    run = load_run(PolicyOptions(**flags, validation_prompts=args.validation_prompts))
    recipe = TrainingRecipe(
        args.updates, args.batch_size, learning_rate=args.learning_rate, eval_every=args.updates // 2
    )
    yield run, Measurement("reference", 0, recipe, args.result_file("reference", 0))
    for seed in range(args.seeds):
        for name in (name for name in args.names if name in PRESETS):
            strategy, beta = "none" if name == "nll" else "good_priority", 0.2 if name == "a_lol_kl" else 0.0
            path = args.result_file(name, seed)
            yield run, Measurement(name, seed, replace(recipe, seed=seed), path, strategy, beta)
    for name in (name for name in args.names if name in LEARNS_FROM):
        rates = (args.learning_rate, args.learning_rate / 4)
        tried = [args.results / "tuning" / f"{name}-{rate:g}.json" for rate in rates]
        for rate, path in zip(rates, tried):
            slower = replace(recipe, seed=TUNING_SEED, learning_rate=rate)
            yield run, Measurement(name, TUNING_SEED, slower, path)
        scores = [best_score(read_json(path, hint=HINT)["validation"]) for path in tried]
        better = rates[int(np.argmax(scores))]
        for seed in range(args.seeds):
            chosen = replace(recipe, seed=seed, learning_rate=better)
            yield run, Measurement(name, seed, chosen, args.result_file(name, seed))


def best_score(validation: Sequence[Sequence[float]]) -> float:
    """The best score of (update, score) pairs."""
    return max(score for _, score in validation)


def load_run(options: PolicyOptions) -> PreparedRun:
    """What steps 1 to 3 left, in memory."""
    source, rows = options.reference, options.rows("train")
    key, cache = advantages_file(options, source, rows, options.limits(options.task))
    model, tokenizer = source.load("cpu")
    return PreparedRun(options, model, load_data(options, tokenizer, rows, key, cache), options.rows("test"))


def measure(args: CompareOptions, run: PreparedRun, one: Measurement) -> None:
    """Train one policy, answer the test prompts, and keep its rewards by group of questions.

    Parameters
    ----------
    args : the experiment, whose folder of results holds the checkpoint while the policy is trained
    run : what steps 1 to 3 prepared; its model is copied, not changed
    one : the policy; if its file is there already, nothing is done
    """
    if one.path.is_file():
        return
    model, task = copy.deepcopy(run.model), run.data.task
    curve = [] if one.algorithm == "reference" else trained(args, run, model, one)
    prompts = list({row.prompt: row for row in run.test}.values())
    data = run.data
    said = answer(task, model, data.tokenizer, prompts, data.limits, data.eval_batch_size, one.seed)
    components = reward_responses(task, prompts, said)
    scores: dict[str, dict[str, list[float]]] = {}
    for row, found in zip(prompts, components):
        for segment in dict.fromkeys(("all", row.segment or "all")):
            scores.setdefault(segment, {}).setdefault(row.cluster, []).append(found[0][task.metric])
    validation = [[row["step"], row["score"]] for row in curve if "score" in row]
    means = {segment: group_means(groups) for segment, groups in scores.items()}
    about = {"algorithm": one.algorithm, "seed": one.seed, "run": run.options.run, "strategy": one.strategy}
    about |= {"kl_beta": one.kl_beta, "learning_rate": one.recipe.learning_rate, "steps": one.recipe.steps}
    about |= {"validation": validation, "scores": means}
    write_json(one.path, about)
    score = np.mean(list(means["all"].values()))
    print(f"{one.path.stem:24} {task.metric} {score:.3f}  {validation}", flush=True)


def trained(args: CompareOptions, run: PreparedRun, model: Any, one: Measurement) -> list[dict[str, float]]:
    """Train `model` in place; returns the curve.

    Parameters
    ----------
    args : the experiment, whose folder of results holds the checkpoint in the meantime
    run : what steps 1 to 3 prepared
    model : a copy of the reference
    one : algorithm, sampling strategy, recipe
    """
    if one.algorithm in PRESETS:
        loss = choose_loss(one.algorithm, kl_beta=one.kl_beta)
        algorithm: LossAlgorithm | Baseline = LossAlgorithm(one.algorithm, loss, one.strategy)
    else:
        algorithm = Baseline(one.algorithm)
    checkpoint, seed = args.results / "checkpoint", one.recipe.seed
    rmtree(checkpoint, ignore_errors=True)
    evaluate = known_at_start(run, seed)
    found = train_policy(model, run.data, algorithm, lambda rows: one.recipe, seed, checkpoint, {}, evaluate)
    rmtree(checkpoint, ignore_errors=True)
    return found.curve


def known_at_start(run: PreparedRun, seed: int) -> Evaluate:
    """Validation scores of a training; the reference's own, which comes first, is computed once per seed."""
    begun = False

    def score(model: Any) -> float:
        nonlocal begun
        if begun:
            return run.data.score(model, seed)
        begun = True
        if seed not in run.start_scores:
            run.start_scores[seed] = run.data.score(model, seed)
        return run.start_scores[seed]

    return score
