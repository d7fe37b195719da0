"""Train and evaluate every algorithm of A-LoL on several seeds, and write the tables that README quotes.

    python scripts/measure_alol.py --task toy
    python scripts/measure_alol.py --task arith --minutes 9      # stops after 9 minutes; goes on when run again

toy: five runs, each with rows, reference, value head and policies of its own. arith: one run (nano-LLaMA's log, the
nan prompt), five seeds of every policy, the baselines too; batch, updates and validation are the same for all. The
steps do the work (alol_exps/), so whatever is finished is skipped. Writes results/reference/alol_<task>.csv and
alol_<task>_differences.csv once nothing is left to do.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prompt_oirl.alol.losses import PRESETS
from prompt_oirl.artifacts import REPO_ROOT, read_csv, read_json, write_csv
from prompt_oirl.steps import run_step

BASELINES = ("dpo", "dpo_ref_free", "pro", "ppo", "rloo")
TOY_STRATEGIES = ("none", "good_priority")


@dataclass
class Args:
    task: Literal["toy", "arith"] = "toy"
    """Which experiment."""
    seeds: int = 5
    """Repeats."""
    updates: int = 20
    """Of every arith policy; two validations."""
    batch_size: int = 12
    """Rows, pairs or answers per update of an arith policy."""
    learning_rate: float = 2e-3
    """Of every arith policy."""
    train_questions: int = 700
    """arith: questions of the training rows, six logged answers each."""
    validation_prompts: int = 64
    """arith: prompts of a validation."""
    test_prompts: int = 160
    """arith: test questions, one sampled answer each."""
    minutes: float = 600.0
    """No policy is begun after so many minutes."""
    root: Path = REPO_ROOT
    """Folder that holds data/, alol_exps/ and results/."""


def main(args: Args) -> None:
    deadline = time.monotonic() + 60 * args.minutes
    for job in toy_jobs(args) if args.task == "toy" else arith_jobs(args):
        if time.monotonic() > deadline:
            print("time is up; run the same command again to go on")
            return
        job()
    reference = args.root / "results" / "reference"
    table = reference / f"alol_{args.task}.csv"
    baselines = "wbc:none,wbc:good_priority" if args.task == "toy" else "nll,wbc,dpo,reference"
    step(6, root=args.root, task_name=args.task, output_csv=table, baselines=baselines)
    if args.task == "arith":
        write_csv(reference / "alol_arith_validation.csv", validations(args), ["algorithm", "seed", "step", "validation"])  # fmt: skip


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
    """A run per seed: rows, reference, value head; then every algorithm with both strategies."""
    for seed in range(args.seeds):
        common: dict[str, Any] = {"root": args.root, "run": f"seed{seed}", "seed": seed}

        def prepare(common: dict[str, Any] = common) -> None:
            for number in (1, 2, 3):
                step(number, **common)

        yield prepare
        for algorithm in PRESETS:
            for strategy in TOY_STRATEGIES:
                if algorithm == "nll" and strategy != "none":
                    continue

                def policy(common: dict[str, Any] = common, algorithm: str = algorithm, strategy: str = strategy) -> None:  # fmt: skip
                    name = f"{algorithm}-{strategy}"
                    beta = 0.05 if algorithm == "a_lol_kl" else 0.0
                    step(
                        4,
                        **common,
                        algorithm=algorithm,
                        sampling_strategy=strategy,
                        kl_beta=beta,
                        policy=name,
                    )
                    step(5, **common, policies=name)

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
    for seed in range(args.seeds):
        for algorithm in (*PRESETS, *BASELINES):
            flags = common | {"seed": seed, "algorithm": algorithm, "policy": f"{algorithm}-seed{seed}"}
            flags |= {"max_steps": args.updates, "eval_every": args.updates // 2, "batch_size": args.batch_size,
                      "learning_rate": args.learning_rate, "validation_prompts": args.validation_prompts}  # fmt: skip
            if algorithm in PRESETS:
                flags["sampling_strategy"] = "none" if algorithm == "nll" else "good_priority"
                flags["kl_beta"] = 0.2 if algorithm == "a_lol_kl" else 0.0

            def policy(flags: dict[str, Any] = flags) -> None:
                step(4 if flags["algorithm"] in PRESETS else "4b", **flags)
                step(5, **common, seed=flags["seed"], policies=flags["policy"])

            yield policy


def validations(args: Args) -> list[dict[str, Any]]:
    """Every validation of every policy: what variant and update were chosen by."""
    rows = []
    for path in sorted((args.root / "alol_exps" / "arith" / "one_prompt" / "policies").glob("*/policy.json")):
        about = read_json(path, remedy="run step 4 again")
        start = {"step": 0, "validation": about["validation_of_reference"]}
        curve = read_csv(path.with_name("curve.csv"), remedy="run step 4 again", columns=["step", "score"])
        scored = [{"step": line["step"], "validation": line["score"]} for line in curve if line["score"]]
        rows += [{"algorithm": about["algorithm"], "seed": about["seed"]} | row for row in [start, *scored]]
    return rows


if __name__ == "__main__":
    run_step(main, Args)
