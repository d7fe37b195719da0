"""Train and evaluate every algorithm of A-LoL on several seeds, and write the tables that docs/a_lol.md quotes.

    python scripts/measure_alol.py --task toy
    python scripts/measure_alol.py --task arith --minutes 9      # stops after 9 minutes; goes on when run again
    python scripts/measure_alol.py --task arith --tables_only    # tables of what is finished

toy: one run per seed, each with rows, reference, value head and policies of its own, the task's settings. arith: one run
(nano-LLaMA's log, all answers under the prompt nan), and every policy and baseline with several seeds; rows, batch,
updates, learning rate and validation are the same for all, but a baseline may take a quarter of the rate if that does
better on validation with one seed more. Steps 1 to 3 prepare; then rows and reference are held in memory, for steps 4 and
5 would read them again for each of the policies. Writes results/reference/alol_<task>*.csv.
"""

from __future__ import annotations

import copy
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import numpy as np
from prompt_oirl.alol.steps.policies import validation_score

from prompt_oirl.alol.baselines.pairs import Pair, make_pairs
from prompt_oirl.alol.baselines.ppo import PPORecipe, train_ppo
from prompt_oirl.alol.baselines.pro import train_pro
from prompt_oirl.alol.baselines.trl import train_trl
from prompt_oirl.alol.evaluation import aggregation
from prompt_oirl.alol.evaluation import responses as evaluation
from prompt_oirl.alol.models.checkpoints import ModelSource
from prompt_oirl.alol.rows import FINAL, Limits, Row, encode_rows, rows_hash
from prompt_oirl.alol.steps.options import RunOptions
from prompt_oirl.alol.tasks.registry import get_task
from prompt_oirl.alol.training import advantages
from prompt_oirl.alol.training.best_weights import BestWeights
from prompt_oirl.alol.training.loop import TrainingRecipe, TrainingRows, train
from prompt_oirl.alol.training.losses import PRESETS, choose_loss
from prompt_oirl.alol.training.sampling import make_sampler
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_json, sha256, write_csv, write_json
from prompt_oirl.io.manifest import run_step
from prompt_oirl.reports.readme import fill_tables, markdown

BASELINES = ("dpo", "ppo", "rloo", "pro", "dpo_ref_free")
LEARNS_FROM = {
    "dpo": "pairs",
    "dpo_ref_free": "pairs",
    "pro": "pairs",
    "ppo": "own answers",
    "rloo": "own answers",
}
VALIDATION = ["algorithm", "seed", "step", "validation"]
TUNING_SEED = 100


@dataclass
class Args:
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
        known = (*PRESETS, *(BASELINES if self.task == "arith" else ()))
        asked = known if self.algorithms == "all" else tuple(self.algorithms.split(","))
        if unknown := set(asked) - set(known):
            raise InputError(f"--algorithms {','.join(sorted(unknown))}: choose from {', '.join(known)}")
        return asked

    @property
    def results(self) -> Path:
        return self.root / "results" / "alol" / f"measured_{self.task}"


@dataclass
class Run:
    """A prepared run in memory: what steps 4 and 5 would read."""

    options: RunOptions
    limits: Limits
    model: Any
    tokenizer: Any
    rows: list[Row]
    tokens: list[Any]
    cached: advantages.Advantages
    validation: list[Row]
    test: list[Row]
    start_scores: dict[int, float] = field(default_factory=dict)


def main(args: Args) -> None:
    deadline = time.monotonic() + 60 * args.minutes
    if not args.tables_only and not (toy if args.task == "toy" else arith)(args, deadline):
        print("time is up; run the same command again to go on")
        return
    write_tables(args)


def toy(args: Args, deadline: float) -> bool:
    """All policies of every seed's run; False if time was up."""
    for seed in range(args.seeds):
        owed = [name for name in ("reference", *args.names) if not result_file(args, name, seed).is_file()]
        if not owed:
            continue
        options = RunOptions(root=args.root, run=f"seed{seed}", seed=seed)
        for number in (1, 2, 3):
            step(number, root=args.root, run=options.run, seed=seed)
        run = load_run(options, ModelSource(str(options.folder / "reference")))
        settings = options.task.settings
        recipe = TrainingRecipe(
            steps=settings.steps, batch_size=settings.batch_size, learning_rate=settings.rate, seed=seed
        )
        for name in owed:
            if time.monotonic() > deadline:
                return False
            beta = 0.05 if name == "a_lol_kl" else 0.0
            measure(args, run, name, seed, recipe, "none", beta, result_file(args, name, seed))
    return True


def arith(args: Args, deadline: float) -> bool:
    """The losses with every seed, then the baselines; False if time was up."""
    options = RunOptions(root=args.root, task_name="arith", run="one_prompt")
    common: dict[str, Any] = {"root": args.root, "task_name": "arith", "run": options.run}
    step(
        1,
        **common,
        prompt="nan",
        train_rows=args.train_questions,
        validation_rows=300,
        test_rows=args.test_prompts,
    )
    step(3, **common, value_samples=2)
    run = load_run(options, ModelSource(str(Paths(args.root).root / "data" / "nano_llama")))
    recipe = TrainingRecipe(
        args.updates, args.batch_size, learning_rate=args.learning_rate, eval_every=args.updates // 2
    )
    jobs: list[Callable[[], None]] = [partial(measure, args, run, "reference", 0, recipe, "none", 0.0, result_file(args, "reference", 0))]  # fmt: skip
    losses = [name for name in args.names if name in PRESETS]
    for seed in range(args.seeds):
        for name in losses:
            strategy, beta = "none" if name == "nll" else "good_priority", 0.2 if name == "a_lol_kl" else 0.0
            jobs.append(partial(measure, args, run, name, seed, replace(recipe, seed=seed), strategy, beta, result_file(args, name, seed)))  # fmt: skip
    for name in (name for name in args.names if name in BASELINES):
        rates = (args.learning_rate, args.learning_rate / 4)
        tried = [args.results / "tuning" / f"{name}-{rate:g}.json" for rate in rates]
        for rate, path in zip(rates, tried):
            slower = replace(recipe, seed=TUNING_SEED, learning_rate=rate)
            jobs.append(partial(measure, args, run, name, TUNING_SEED, slower, "none", 0.0, path))
        for seed in range(args.seeds):
            jobs.append(partial(measure_at_the_better_rate, args, run, name, seed, recipe, rates, tried))
    for job in jobs:
        if time.monotonic() > deadline:
            return False
        job()
    return True


def measure_at_the_better_rate(
    args: Args,
    run: Run,
    name: str,
    seed: int,
    recipe: TrainingRecipe,
    rates: Sequence[float],
    tried: Sequence[Path],
) -> None:
    scores = [best(read_json(path, remedy="run the same command again")["validation"]) for path in tried]
    recipe = replace(recipe, seed=seed, learning_rate=rates[int(np.argmax(scores))])
    measure(args, run, name, seed, recipe, "none", 0.0, result_file(args, name, seed))


def step(number: int, **flags: Any) -> None:
    """One of the step scripts, in this process."""
    names = {1: "1_prepare_data", 2: "2_train_reference", 3: "3_estimate_advantage"}
    folder = str(REPO_ROOT / "alol_exps")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.import_module(f"alol_step{names[number]}")
    module.main(module.Args(**flags))


def load_run(options: RunOptions, source: ModelSource) -> Run:
    task = options.task
    limits = Limits(task.max_prompt_length, task.max_response_length)
    model, tokenizer = source.load("cpu")
    rows = options.rows("train")
    tokens = encode_rows(rows, tokenizer, limits)
    head = options.folder / "advantages" / "value_head.safetensors"
    key = advantages.cache_key(source.hash, sha256(head), rows_hash(rows), limits, "fp32")
    cached = advantages.load(head.with_name(f"advantages.{key}.safetensors"), key, tokens)
    return Run(
        options,
        limits,
        model,
        tokenizer,
        rows,
        tokens,
        cached,
        options.rows("validation"),
        options.rows("test"),
    )


def measure(
    args: Args, run: Run, name: str, seed: int, recipe: TrainingRecipe, strategy: str, beta: float, path: Path
) -> None:
    """Train one policy, answer the test prompts, and keep its rewards by group of questions."""
    if path.is_file():
        return
    model = copy.deepcopy(run.model)
    curve = [] if name == "reference" else trained(args, run, model, name, recipe, strategy, beta)
    task = run.options.task
    prompts = list({row.prompt: row for row in run.test}.values())
    limits = replace(run.limits, long_responses="cut")
    llm = evaluation.llm_of(model, run.tokenizer, limits, 128)
    tokens = encode_rows(prompts, run.tokenizer, limits)
    decoding = task.decoding(seed, limits.max_response_length)
    components = evaluation.reward_responses(
        task, prompts, evaluation.respond(llm, prompts, tokens, decoding)
    )
    scores: dict[str, dict[str, list[float]]] = {}
    for row, found in zip(prompts, components):
        for segment in dict.fromkeys(("all", row.segment or "all")):
            scores.setdefault(segment, {}).setdefault(row.cluster, []).append(found[0][task.metric])
    validation = [[row["step"], row["score"]] for row in curve if "score" in row]
    about = {"algorithm": name, "seed": seed, "run": run.options.run, "strategy": strategy, "kl_beta": beta}
    about |= {"learning_rate": recipe.learning_rate, "steps": recipe.steps, "validation": validation}
    means = {s: {g: float(np.mean(v)) for g, v in groups.items()} for s, groups in scores.items()}
    write_json(path, about | {"scores": means})
    print(
        f"{path.stem:24} {task.metric} {np.mean(list(means['all'].values())):.3f}  {validation}", flush=True
    )


def trained(
    args: Args, run: Run, model: Any, name: str, recipe: TrainingRecipe, strategy: str, beta: float
) -> list[dict[str, float]]:
    """Train `model` in place; returns the curve. The reference's own validation is computed once per seed."""
    task = run.options.task

    def score(policy: Any) -> float:
        return validation_score(task, policy, run.tokenizer, run.validation, run.limits, args.validation_prompts, recipe.seed, 128)  # fmt: skip

    asked = 0

    def validate(policy: Any) -> float:
        nonlocal asked
        asked += 1
        if asked > 1:
            return score(policy)
        if recipe.seed not in run.start_scores:
            run.start_scores[recipe.seed] = score(policy)
        return run.start_scores[recipe.seed]

    pad = run.tokenizer.pad_token_id
    if name in PRESETS:
        loss = choose_loss(name, kl_beta=beta)
        rewards = np.array([row.reward for row in run.rows], dtype=np.float32)
        weights = rewards if loss.weight == "reward" else run.cached.advantages
        chosen = np.array([row.chosen for row in run.rows])
        sampler = make_sampler(strategy, weights, chosen, recipe.seed)
        rows = TrainingRows(run.tokens, None if loss.weight == "none" else weights, run.cached if loss.needs_reference else None)  # fmt: skip
        folder = args.results / "checkpoint"
        rmtree(folder, ignore_errors=True)
        outcome = train(
            model, rows, loss, sampler, recipe, folder, pad, {}, validate if recipe.eval_every else None
        )
        rmtree(folder, ignore_errors=True)
        return outcome.curve
    selection = BestWeights(validate, recipe.eval_every)
    pairs: list[Pair] = make_pairs(run.rows, recipe.seed) if LEARNS_FROM[name] == "pairs" else []

    def reward(places: Sequence[int], texts: Sequence[str]) -> np.ndarray:
        found = task.reward([run.rows[i] for i in places], texts)
        return np.array([components[FINAL] for components in found], dtype=np.float32)

    if name == "pro":
        return train_pro(model, run.tokens, pairs, recipe, pad, selection)
    if name == "ppo":
        return train_ppo(model, run.tokenizer, run.tokens, reward, run.limits.max_response_length, recipe, PPORecipe(), selection)  # fmt: skip
    kl = 0.05 if name == "rloo" else 0.1
    return train_trl(name, model, run.tokenizer, run.rows, pairs, reward, run.limits, recipe, kl, selection)  # type: ignore[arg-type]


def result_file(args: Args, name: str, seed: int) -> Path:
    return args.results / f"{name}-seed{seed}.json"


def best(validation: Sequence[Sequence[float]]) -> float:
    return max(score for _, score in validation)


def write_tables(args: Args) -> None:
    """The committed CSVs and the tables of docs/a_lol.md."""
    metric, reference = get_task(args.task).metric, args.root / "results" / "reference"
    records = [
        read_json(path, remedy="run the same command again")
        for path in sorted(args.results.glob("*-seed*.json"))
    ]
    found = [
        aggregation.Evaluated(
            (r["algorithm"], r["strategy"], 0.9, r["kl_beta"], r["learning_rate"], r["steps"]), r["run"], r["seed"],
            {segment: {metric: groups} for segment, groups in r["scores"].items()}, {},
        )
        for r in records
    ]  # fmt: skip
    if not found:
        raise InputError(f"nothing measured in {args.results}: run without --tables_only")
    done = {r["algorithm"] for r in records}
    levels = aggregation.levels(found)
    gaps = aggregation.differences(found, [b for b in ("nll", "wbc", "dpo", "reference") if b in done])
    write_csv(reference / f"alol_{args.task}.csv", levels, aggregation.LEVELS)
    write_csv(reference / f"alol_{args.task}_differences.csv", gaps, aggregation.DIFFERENCES)
    if args.task == "toy":
        fill_tables(args.root, {"alol_toy": render_toy(levels, gaps)})
        return
    validated = [
        {"algorithm": r["algorithm"], "seed": r["seed"], "step": int(at), "validation": score}
        for r in records
        for at, score in r["validation"]
    ]
    write_csv(reference / "alol_arith_validation.csv", validated, VALIDATION)
    from prompt_oirl.alol.evaluation.figures import draw_levels

    draw_levels(
        levels, "arith: sampled accuracy on test, 95 % over seeds and questions", reference / "alol_arith.png"
    )
    fill_tables(args.root, {"alol_arith": render_arith(levels, gaps, records)})


def render_toy(levels: list[dict[str, Any]], gaps: list[dict[str, Any]]) -> str:
    """Share of letters copied on easy and hard prompts, and by how much that is more than wbc's."""
    lines = []
    for algorithm in ("reference", *PRESETS):
        here = {row["segment"]: row for row in levels if row["algorithm"] == algorithm}
        over = {r["segment"]: r for r in gaps if (r["algorithm"], r["baseline"]) == (algorithm, "wbc")}
        if here:
            cells = [shown(here[s]) for s in ("easy", "hard")]
            cells += [shown(over[s], "+") if s in over else "" for s in ("easy", "hard")]
            lines.append([algorithm, *cells, str(here["all"]["seeds"])])
    return markdown(
        ["algorithm", "easy prompts", "hard prompts", "easy, above wbc", "hard, above wbc", "seeds"], lines
    )


def render_arith(
    levels: list[dict[str, Any]], gaps: list[dict[str, Any]], records: Sequence[dict[str, Any]]
) -> str:
    """Sampled accuracy on test, best first, with the mean validation score of the updates chosen."""
    over = {row["algorithm"]: row for row in gaps if row["baseline"] == "nll"}
    lines = []
    for row in sorted(levels, key=lambda row: -row["value"]):
        name = row["algorithm"]
        scores = [best(r["validation"]) for r in records if r["algorithm"] == name and r["validation"]]
        source = "" if name == "reference" else LEARNS_FROM.get(name, "rows")
        validation = f"{np.mean(scores):.3f}" if scores else ""
        above = shown(over[name], "+") if name in over else ""
        lines.append([name, source, validation, shown(row), above, str(row["seeds"])])
    return markdown(["algorithm", "learns from", "validation", "test accuracy", "above nll", "seeds"], lines)


def shown(row: dict[str, Any], sign: str = "") -> str:
    return f"{row['value']:{sign}.3f} [{row['ci_low']:{sign}.3f}, {row['ci_high']:{sign}.3f}]"


if __name__ == "__main__":
    run_step(main, Args)
