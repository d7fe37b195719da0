"""Tables and the figure of the compared algorithms: CSVs in results/reference/ and what docs/a_lol.md quotes
of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prompt_oirl.alol.evaluation import aggregation
from prompt_oirl.alol.evaluation.figures import draw_levels
from prompt_oirl.alol.experiments.compare_algorithms import HINT, CompareOptions, best_score
from prompt_oirl.alol.policies import LEARNS_FROM
from prompt_oirl.alol.tasks.registry import get_task
from prompt_oirl.alol.training.losses import PRESETS
from prompt_oirl.io.files import InputError, write_csv
from prompt_oirl.io.json_files import read_json
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.stats.metrics import format_interval

VALIDATION = ["algorithm", "seed", "step", "validation"]


def write_tables(args: CompareOptions) -> None:
    """The committed CSVs, the figure (arith) and the tables of docs/a_lol.md."""
    metric, reference = get_task(args.task).metric, args.root / "results" / "reference"
    records = [read_json(path, hint=HINT) for path in sorted(args.results.glob("*-seed*.json"))]
    if not records:
        raise InputError(f"nothing measured in {args.results}: run without --tables_only")
    found = [
        aggregation.Evaluated(
            (r["algorithm"], r["strategy"], 0.9, r["kl_beta"], r["learning_rate"], r["steps"]),
            r["run"],
            r["seed"],
            {segment: {metric: groups} for segment, groups in r["scores"].items()},
            {},
        )
        for r in records
    ]
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
    draw_levels(levels, reference / "alol_arith.png")
    fill_tables(args.root, {"alol_arith": render_arith(levels, gaps, records)})


def render_toy(levels: list[dict[str, Any]], gaps: list[dict[str, Any]]) -> str:
    """Share of letters copied on easy and hard prompts, and by how much that is more than wbc's."""
    lines = []
    for algorithm in ("reference", *PRESETS):
        here = {row["segment"]: row for row in levels if row["algorithm"] == algorithm}
        over = {r["segment"]: r for r in gaps if (r["algorithm"], r["baseline"]) == (algorithm, "wbc")}
        if here:
            cells = [format_interval(*bounds(here[s])) for s in ("easy", "hard")]
            cells += [
                format_interval(*bounds(over[s]), signed=True) if s in over else "" for s in ("easy", "hard")
            ]
            lines.append([algorithm, *cells, str(here["all"]["seeds"])])
    return markdown(
        ["algorithm", "easy prompts", "hard prompts", "easy, above wbc", "hard, above wbc", "seeds"], lines
    )


def render_arith(
    levels: list[dict[str, Any]], gaps: list[dict[str, Any]], records: Sequence[dict[str, Any]]
) -> str:
    """Sampled accuracy on test, best first, with the mean validation score of the updates chosen.

    Parameters
    ----------
    levels, gaps : rows of `aggregation.levels` and `aggregation.differences`; of the latter, those over nll
        are shown
    records : one per policy, as `measure` keeps it

    Returns: a Markdown table.
    """
    over = {row["algorithm"]: row for row in gaps if row["baseline"] == "nll"}
    lines = []
    for row in sorted(levels, key=lambda row: -row["value"]):
        name = row["algorithm"]
        scores = [best_score(r["validation"]) for r in records if r["algorithm"] == name and r["validation"]]
        source = "" if name == "reference" else LEARNS_FROM.get(name, "rows")
        validation = f"{np.mean(scores):.3f}" if scores else ""
        above = format_interval(*bounds(over[name]), signed=True) if name in over else ""
        lines.append([name, source, validation, format_interval(*bounds(row)), above, str(row["seeds"])])
    return markdown(["algorithm", "learns from", "validation", "test accuracy", "above nll", "seeds"], lines)


def bounds(row: dict[str, Any]) -> tuple[float, float, float]:
    """Value and ends of a row's interval."""
    return row["value"], row["ci_low"], row["ci_high"]
