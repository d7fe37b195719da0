"""Train and evaluate every algorithm of A-LoL on several seeds, and write the tables that README quotes.

    python scripts/measure_alol.py --task toy
    python scripts/measure_alol.py --task arith --minutes 9      # stops after 9 minutes; goes on when run again

toy: five runs, each with rows, reference, value head and policies of its own. arith: one run (nano-LLaMA's log, the
nan prompt), five seeds of every policy, the baselines too; batch, updates and validation are the same for all, and a
baseline has the better of two learning rates on validation with a sixth seed. The
steps do the work (alol_exps/), so whatever is finished is skipped. Once nothing is left to do, writes
results/reference/alol_<task>.csv and alol_<task>_differences.csv, and fills the tables of docs/a_lol.md.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prompt_oirl.alol import aggregation
from prompt_oirl.alol.figures import draw_levels
from prompt_oirl.alol.losses import PRESETS
from prompt_oirl.alol.tasks import get_task
from prompt_oirl.artifacts import REPO_ROOT, read_csv, read_json, write_csv
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.steps import run_step

VALIDATION = ["algorithm", "seed", "step", "validation"]
LEARNS_FROM = {
    "dpo": "pairs",
    "dpo_ref_free": "pairs",
    "pro": "pairs",
    "ppo": "own answers",
    "rloo": "own answers",
}
BASELINES = ("dpo", "dpo_ref_free", "pro", "ppo", "rloo")
TUNING_SEED = 100


@dataclass
class Args:
    task: Literal["toy", "arith"] = "toy"
    """Which experiment."""
    seeds: int = 5
    """Repeats."""
    updates: int = 10
    """Of every arith policy; two validations."""
    batch_size: int = 8
    """Rows, pairs or answers per update of an arith policy."""
    learning_rate: float = 2e-3
    """Of every arith policy; a baseline takes a quarter of it if that does better on validation with another seed."""
    train_questions: int = 700
    """arith: questions of the training rows, six logged answers each."""
    validation_prompts: int = 24
    """arith: prompts of a validation."""
    test_prompts: int = 80
    """arith: test questions, one sampled answer each."""
    minutes: float = 600.0
    """No policy is begun after so many minutes."""
    tables_only: bool = False
    """Train nothing; tables of what is finished."""
    root: Path = REPO_ROOT
    """Folder that holds data/, alol_exps/ and results/."""


def main(args: Args) -> None:
    deadline = time.monotonic() + 60 * args.minutes
    jobs = toy_jobs(args) if args.task == "toy" else arith_jobs(args)
    for job in () if args.tables_only else jobs:
        if time.monotonic() > deadline:
            print("time is up; run the same command again to go on")
            return
        job()
    task = get_task(args.task)
    baselines = "wbc" if args.task == "toy" else "nll,wbc,dpo,reference"
    step(6, root=args.root, task_name=args.task, baselines=baselines)
    reference, made = args.root / "results" / "reference", args.root / "results" / "alol" / args.task
    tables = {}
    for ending, columns in (("", aggregation.LEVELS), ("_differences", aggregation.DIFFERENCES)):
        rows = read_csv(made / f"alol_{args.task}_test{ending}.csv", remedy="run step 6 again")
        tables[ending] = [row for row in rows if row["metric"] == task.metric]
        write_csv(reference / f"alol_{args.task}{ending}.csv", tables[ending], columns)
    if args.task == "toy":
        fill_tables(args.root, {"alol_toy": render_toy(tables[""], tables["_differences"])})
    else:
        validated = validations(args)
        write_csv(reference / "alol_arith_validation.csv", validated, VALIDATION)
        draw_levels(
            tables[""],
            "arith: sampled accuracy on test, 95 % over seeds and questions",
            reference / "alol_arith.png",
        )
        fill_tables(args.root, {"alol_arith": render_arith(tables[""], tables["_differences"], validated)})


def step(number: int | str, **flags: Any) -> None:
    """One step script in this process; starting Python anew each time would take longer than the work."""
    names = {1: "1_prepare_data", 2: "2_train_reference", 3: "3_estimate_advantage", 4: "4_train_policy",
             "4b": "4_train_baseline", 5: "5_evaluate", 6: "6_aggregate"}  # fmt: skip
    folder = str(REPO_ROOT / "alol_exps")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.import_module(f"alol_step{names[number]}")
    module.main(module.Args(**flags))


def toy_jobs(args: Args) -> Iterator[Callable[[], None]]:
    """A run per seed: rows, reference, value head; then every algorithm, all rows drawn evenly."""
    for seed in range(args.seeds):
        common: dict[str, Any] = {"root": args.root, "run": f"seed{seed}", "seed": seed}

        def prepare(common: dict[str, Any] = common) -> None:
            for number in (1, 2, 3):
                step(number, **common)

        yield prepare
        for algorithm in PRESETS:

            def policy(common: dict[str, Any] = common, algorithm: str = algorithm) -> None:
                beta = 0.05 if algorithm == "a_lol_kl" else 0.0
                step(4, **common, algorithm=algorithm, kl_beta=beta, policy=algorithm)
                step(5, **common, policies=algorithm)

            yield policy
        yield lambda common=common: step(5, **common, policies="reference")  # type: ignore[misc]


def arith_jobs(args: Args) -> Iterator[Callable[[], None]]:
    """Data and value head once, then seed by seed every algorithm."""
    common: dict[str, Any] = {"root": args.root, "task_name": "arith", "run": "one_prompt"}

    def prepare() -> None:
        step(1, **common, prompt="nan", train_rows=args.train_questions, validation_rows=300, test_rows=args.test_prompts)  # fmt: skip
        step(3, **common, value_samples=2)
        step(5, **common, policies="reference")

    yield prepare

    def train(algorithm: str, seed: int, rate: float, name: str) -> None:
        flags: dict[str, Any] = common | {
            "seed": seed,
            "algorithm": algorithm,
            "policy": name,
            "max_steps": args.updates,
            "eval_every": args.updates // 2,
            "batch_size": args.batch_size,
            "learning_rate": rate,
            "validation_prompts": args.validation_prompts,
        }
        if algorithm in PRESETS:
            flags["sampling_strategy"] = "none" if algorithm == "nll" else "good_priority"
            flags["kl_beta"] = 0.2 if algorithm == "a_lol_kl" else 0.0
        step(4 if algorithm in PRESETS else "4b", **flags)

    rates = (args.learning_rate, args.learning_rate / 4)

    def policy(algorithm: str, seed: int) -> None:
        rate = args.learning_rate
        if algorithm in BASELINES:
            rate = max(rates, key=lambda r: record(args, f"tune-{algorithm}-{r:g}")["validation"])
        train(algorithm, seed, rate, f"{algorithm}-seed{seed}")
        step(5, **common, seed=seed, policies=f"{algorithm}-seed{seed}")

    for group in (PRESETS, ("dpo", "ppo"), ("rloo", "pro", "dpo_ref_free")):
        for algorithm in group:
            for rate in rates if algorithm in BASELINES else ():
                yield lambda algorithm=algorithm, rate=rate: train(
                    algorithm, TUNING_SEED, rate, f"tune-{algorithm}-{rate:g}"
                )  # type: ignore[misc]
        for seed in range(args.seeds):
            for algorithm in group:
                yield lambda algorithm=algorithm, seed=seed: policy(algorithm, seed)  # type: ignore[misc]


def record(args: Args, name: str) -> dict[str, Any]:
    folder = args.root / "alol_exps" / "arith" / "one_prompt" / "policies" / name
    return read_json(folder / "policy.json", remedy="run step 4 again")


def validations(args: Args) -> list[dict[str, Any]]:
    """Every validation of every policy: what variant and update were chosen by."""
    rows = []
    for path in sorted((args.root / "alol_exps" / "arith" / "one_prompt" / "policies").glob("*/policy.json")):
        about = read_json(path, remedy="run step 4 again")
        if about["seed"] == TUNING_SEED:
            continue
        start = {"step": 0, "validation": about["validation_of_reference"]}
        curve = read_csv(path.with_name("curve.csv"), remedy="run step 4 again", columns=["step", "score"])
        scored = [{"step": line["step"], "validation": line["score"]} for line in curve if line["score"]]
        rows += [{"algorithm": about["algorithm"], "seed": about["seed"]} | row for row in [start, *scored]]
    return rows


def render_toy(levels: list[dict[str, str]], gaps: list[dict[str, str]]) -> str:
    """Share of letters copied on easy and hard prompts, and by how much that is more than wbc's with the same draws."""
    lines = []
    for algorithm in ("reference", *PRESETS):
        here = {row["segment"]: row for row in levels if row["algorithm"] == algorithm}
        over = {row["segment"]: row for row in gaps if row["algorithm"] == algorithm}
        cells = [shown(here[s]) for s in ("easy", "hard")]
        cells += [shown(over[s], "+") if s in over else "" for s in ("easy", "hard")]
        lines.append([algorithm, *cells])
    return markdown(
        ["algorithm", "easy prompts", "hard prompts", "easy, above wbc", "hard, above wbc"], lines
    )


def render_arith(
    levels: list[dict[str, str]], gaps: list[dict[str, str]], validated: list[dict[str, Any]]
) -> str:
    """Sampled accuracy on test, best first, with the validation score that each algorithm's update was chosen by."""
    chosen: dict[str, list[float]] = {}
    for algorithm in (*PRESETS, *BASELINES):
        seeds: dict[int, list[float]] = {}
        for row in validated:
            if row["algorithm"] == algorithm and row["step"] not in (0, "0"):
                seeds.setdefault(int(row["seed"]), []).append(float(row["validation"]))
        if seeds:
            chosen[algorithm] = [max(scores) for scores in seeds.values()]
    over = {row["algorithm"]: row for row in gaps if row["baseline"] == "nll"}
    lines = []
    for row in sorted(levels, key=lambda row: -float(row["value"])):
        name = row["algorithm"]
        scores = chosen.get(name)
        lines.append(
            [
                name,
                LEARNS_FROM.get(name, "" if name == "reference" else "rows"),
                f"{sum(scores) / len(scores):.3f}" if scores else "",
                shown(row),
                shown(over[name], "+") if name in over else "",
                row["seeds"],
            ]
        )
    return markdown(["algorithm", "learns from", "validation", "test accuracy", "above nll", "seeds"], lines)


def shown(row: dict[str, str], sign: str = "") -> str:
    value, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


if __name__ == "__main__":
    run_step(main, Args)
