"""The committed tables on OPRO: how well predictions rank instructions never measured, and what the runs
gave.

    python scripts/measure_opro.py

Reads data/nano_log/ and, where fetched, the released logs, then results/opro/ as `make opro` leaves it.
Writes results/reference/opro_*.csv and .png and the tables of README and docs/opro.md; rankings of
logs that are not there stay as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.io.files import REPO_ROOT, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.opro.prompt_rewards import ModelName, TextVectors
from prompt_oirl.opro.ranking import arith_ranking, released_ranking, space_ranking
from prompt_oirl.opro.readme_tables import RENDER
from prompt_oirl.reports.readme import fill_tables, replace_rows

# Committed table -> tables of results/opro/ that it is put together from.
TABLES = {
    "opro_runs": "arith/nano/result.csv",
    "opro_steps": "arith/nano/seed*/steps.csv",
    "opro_ablations": "arith/ablations/ablations.csv",
    "opro_ablation_runs": "arith/ablations/runs.csv",
    "opro_hybrid": "arith/ablations/hybrid.csv",
    "opro_transfer": "*/transfer/evaluation.csv",
    "opro_selection": "arith/nano/seed*/selection.csv",
    "opro_regression": "linear_regression/pattern-search/summary.csv",
    "opro_tours": "traveling_salesman/two-opt-search/runs.csv",
}
FIGURES = {
    "opro_curve": "arith/nano/accuracy_per_step.png",
    "opro_ablations": "arith/ablations/ablations.png",
    "opro_regression": "linear_regression/pattern-search/path.png",
}


@dataclass
class Args:
    models: tuple[ModelName, ...] = ("ridge", "linear")
    """Reward models to compare on arith; the released logs get the first."""
    ranking: bool = True
    """Measure the ranking anew; else only the runs are collected."""
    root: Path = REPO_ROOT
    """Folder that holds data/ and results/."""


def main(args: Args) -> None:
    paths = Paths(args.root)
    reference, results = args.root / "results" / "reference", args.root / "results" / "opro"
    if args.ranking:
        vectors = TextVectors.load("minilm")
        rows = [
            *arith_ranking(args.models, vectors, paths),
            *space_ranking(args.models[0], vectors, paths),
            *released_ranking(args.models[0], vectors, paths),
        ]
        replace_rows(reference / "opro_ranking.csv", rows, ("log",))
    for name, source in TABLES.items():
        if files := sorted(results.glob(source)):
            collect(files, reference / f"{name}.csv")
    for name, source in FIGURES.items():
        if (path := results / source).is_file():
            shutil.copyfile(path, reference / f"{name}.png")
    known = {name: reference / f"{name}.csv" for name in RENDER if (reference / f"{name}.csv").is_file()}
    tables = {name: RENDER[name](read_csv(path, hint="run this script")) for name, path in known.items()}
    fill_tables(args.root, tables)


def collect(files: Sequence[Path], target: Path) -> None:
    """One table from several; those of seeds get a column seed if they lack one."""
    rows: list[dict[str, str]] = []
    for path in files:
        extra = {"seed": path.parent.name.removeprefix("seed")} if path.parent.name.startswith("seed") else {}
        rows += [{**extra, **row} for row in read_csv(path, hint="run make opro")]
    write_csv(target, rows)


if __name__ == "__main__":
    run_step(main, Args)
