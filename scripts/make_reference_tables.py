"""Collect the committed tables of results/reference/ from finished runs and put them into README and docs/.

    make reproduce intervals models     # the runs
    python scripts/make_reference_tables.py

Reads results/llama2/*/*/summary.csv, writes results/reference/*.csv and gains.png, and rewrites README.md
and docs/ between their `<!-- table: NAME -->` and `<!-- end -->` lines. What belongs to
runs that are not there is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.io.files import REPO_ROOT, Paths, read_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.reports.figures import draw_gains
from prompt_oirl.reports.readme import fill_tables, replace_rows
from prompt_oirl.reports.reference_tables import TABLES


@dataclass
class Args:
    root: Path = REPO_ROOT
    """Folder that holds results/."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/, README.md and docs/ are written."""


def main(args: Args) -> None:
    """Write the tables whose runs are there, the figure, and the pages that quote them."""
    reference = args.out / "results" / "reference"
    rendered = {}
    for name, (collect, render) in TABLES.items():
        path = reference / f"{name}.csv"
        rows = list(collect(Paths(args.root)))
        if rows:
            replace_rows(path, rows, [c for c in ("model", "dataset", "split") if c in rows[0]])
            print(f"{name}: {len(rows)} rows")
        if path.is_file():
            rendered[name] = render
    draw_gains(reference / "selectors.csv", reference / "gains.png")
    tables = {
        name: render(read_csv(reference / f"{name}.csv", hint="run this script"))
        for name, render in rendered.items()
    }
    fill_tables(args.out, tables)


if __name__ == "__main__":
    run_step(main, Args)
