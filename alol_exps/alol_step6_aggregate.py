"""Step 6 of A-LoL: all evaluations of a task as tables over algorithms and seeds.

    cd alol_exps
    python alol_step6_aggregate.py
    python alol_step6_aggregate.py --task_name arith --baselines nll,wbc,reference

Reads results/alol/<task>/*/*/<split>/ and writes results/alol/<task>/alol_<task>_<split>.csv (every metric
per algorithm and segment, mean over seeds; docs/a_lol.md says what each is) and ..._differences.csv (minus
each baseline, paired by seed and question), with 95 % intervals over seeds and questions
(prompt_oirl/alol/evaluation/aggregation.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from prompt_oirl.alol.evaluation import aggregation
from prompt_oirl.alol.steps import published_flags
from prompt_oirl.alol.tasks.registry import get_task
from prompt_oirl.io.files import REPO_ROOT, write_csv


@dataclass
class Args:
    """Which task, and what it is compared with."""

    task_name: Annotated[str, arg(aliases=["-tn"])] = "toy"
    """toy or arith."""
    split: Literal["validation", "test"] = "test"
    """Whose evaluations."""
    baselines: str = "wbc"
    """Algorithms, or `reference`, that the others are compared with; a comma list. nll:good_random names a
    strategy."""
    baseline_model_prefixes: Annotated[str | None, arg(aliases=["-bmps"])] = None
    """Published spelling of --baselines reference: a dictionary of what policies began as."""
    output_csv: Annotated[Path | None, arg(aliases=["-o", "--output_file"])] = None
    """Where the first table goes; the second gets the ending _differences.csv."""
    root: Path = REPO_ROOT
    """Folder that holds results/."""


def main(args: Args) -> None:
    """Write the two tables."""
    task = get_task(args.task_name)
    folder = args.root / "results" / "alol" / task.name
    table = args.output_csv or folder / f"alol_{task.name}_{args.split}.csv"
    found = aggregation.read_evaluations(folder, args.split, args.root)
    if args.baseline_model_prefixes is not None:
        args = replace(args, baselines="reference")
    baselines = [name.strip() for name in args.baselines.split(",") if name.strip()]
    rows, gaps = aggregation.levels(found), aggregation.differences(found, baselines)
    write_csv(table, rows, aggregation.LEVELS)
    other = table.with_name(f"{table.stem}_differences.csv")
    write_csv(other, gaps, aggregation.DIFFERENCES)
    for row in rows:
        if row["metric"] == task.metric:
            print(
                f"{row['algorithm']:16} {row['sampling_strategy'] or '':14} {row['segment']:8} "
                f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]  {row['seeds']} seed(s)"
            )
    print(f"tables in {table} and {other.name}")


if __name__ == "__main__":
    published_flags.run(main, Args)
