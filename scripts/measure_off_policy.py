"""Do the off-policy intervals hold? Hide entries of the released logs, where the truth is known, and count.

    python scripts/measure_off_policy.py                # GSM8K and SVAMP, 200 logs each: minutes on one core

See prompt_oirl/pipeline/off_policy_coverage.py for what is simulated. Writes bias, error and coverage to
results/reference/off_policy.csv and the table of docs/off_policy.md. Needs steps 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.off_policy_coverage import CLUSTERS, Population, coverage_rows
from prompt_oirl.reports.readme import fill_tables, markdown

ESTIMATORS = {
    "naive": "mean of the logged answers",
    "dm": "direct method",
    "ips": "IPS",
    "snips": "self-normalised IPS",
    "dr": "doubly robust",
}


@dataclass
class Args:
    dataset: str = "gsm8k,svamp"
    """Comma list of datasets."""
    logs: int = 200
    """Simulated logs per dataset."""
    seed: int = 0
    """Seed of the draws."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/ and embeddings/."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


def main(args: Args) -> None:
    """Simulate, write the table and put it into the page."""
    paths = Paths(args.root)
    datasets = offline_dataset.parse_datasets(args.dataset, list(CLUSTERS), "run steps 2 and 3")
    if args.logs < 2:
        raise InputError(f"--logs {args.logs}: give 2 or more")
    populations = (Population.of(offline_dataset.load(LLM, name, paths)) for name in datasets)
    rows = [row for population in populations for row in coverage_rows(population, args.logs, args.seed)]
    table = args.out / "results" / "reference" / "off_policy.csv"
    write_csv(table, rows)
    fill_tables(args.out, {"off_policy": render(read_csv(table, hint="run this script again"))})
    print(f"{table}: {len(rows)} rows")


def render(rows: list[dict[str, str]]) -> str:
    """Bias, error and coverage of each estimator, the worst and the mean over everything that was tried."""
    out = []
    for estimator, label in ESTIMATORS.items():
        for propensities in ("none", "known", "estimated", "wrong"):
            found = [r for r in rows if (r["estimator"], r["propensities"]) == (estimator, propensities)]
            if not found:
                continue
            bias = max((float(r["bias"]) for r in found), key=abs)
            rmse = np.mean([float(r["rmse"]) for r in found])
            covered = [float(r["coverage"]) for r in found if r["coverage"]]
            out.append(
                [
                    label,
                    "" if propensities == "none" else propensities,
                    f"{100 * bias:+.1f}",
                    f"{100 * rmse:.1f}",
                    f"{min(covered):.3f} to {max(covered):.3f}" if covered else "",
                    f"{np.mean(covered):.3f}" if covered else "",
                ]
            )
    header = ["estimator", "propensities", "worst bias, points", "error (RMSE), points"]
    return markdown([*header, "coverage of 95 % intervals", "mean coverage"], out)


if __name__ == "__main__":
    run_step(main, Args)
