"""Tables and the figure of the compared algorithms: CSVs in results/reference/ and what docs/a_lol.md quotes
of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prompt_oirl.alol.evaluation import aggregation
from prompt_oirl.alol.evaluation.figures import draw_levels
from prompt_oirl.alol.experiments.compare_algorithms import CompareOptions
from prompt_oirl.alol.experiments.measurement import HINT, REFERENCE, TRAINED, best_score, evaluated
from prompt_oirl.alol.policies import LEARNS_FROM
from prompt_oirl.alol.tasks.registry import get_task
from prompt_oirl.alol.training.losses import PRESETS
from prompt_oirl.io.files import InputError, write_csv
from prompt_oirl.io.json_files import read_json
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.stats.metrics import format_interval

VALIDATION = ["algorithm", "learning_rate", "seed", "step", "validation"]


def write_tables(args: CompareOptions) -> None:
    """The committed CSVs, the figure (arith) and the tables of docs/a_lol.md."""
    reference = args.root / "results" / "reference"
    records = [read_json(path, hint=HINT) for path in sorted(args.results.glob("*-seed*.json"))]
    if not records:
        raise InputError(f"nothing measured in {args.results}: run without --tables_only")
    found = [evaluated(record) for record in records]
    done = {r["algorithm"] for r in records}
    levels = aggregation.levels(found)
    baselines = [b for b in ("nll", "wbc", "dpo", "pro", REFERENCE) if b in done]
    gaps = aggregation.differences(found, baselines)
    write_csv(reference / f"alol_{args.task}.csv", levels, aggregation.LEVELS)
    write_csv(reference / f"alol_{args.task}_differences.csv", gaps, aggregation.DIFFERENCES)
    if args.task == "toy":
        fill_tables(args.root, {"alol_toy": render_toy(levels, gaps)})
        return
    tuning = [read_json(path, hint=HINT) for path in sorted((args.results / "tuning").glob("*.json"))]
    write_csv(reference / "alol_arith_validation.csv", validation_rows([*tuning, *records]), VALIDATION)
    metric = get_task(args.task).metric
    draw_levels([row for row in levels if row["metric"] == metric], reference / "alol_arith.png")
    tables = {"alol_arith": render_arith(levels, gaps, records, metric)}
    fill_tables(args.root, tables | {"alol_arith_findings": findings(levels, gaps, records, metric)})


def validation_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every validation of every training, one row each; step 0 is the untrained reference."""
    rows = []
    for r in records:
        if r["validation"]:
            about = {name: r[name] for name in VALIDATION[:3]}
            for step, score in [(0, r["validation_of_reference"]), *r["validation"]]:
                rows.append(about | {"step": int(step), "validation": score})
    return rows


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
    levels: list[dict[str, Any]],
    gaps: list[dict[str, Any]],
    records: Sequence[dict[str, Any]],
    metric: str,
) -> str:
    """Sampled accuracy on test, best first, with what validation chose.

    Parameters
    ----------
    levels, gaps : rows of `aggregation.levels` and `aggregation.differences`
    records : one per policy, as `measure` keeps it
    metric : name of the accuracy of what is kept; that of the trained weights is `trained`

    Returns: a Markdown table.
    """
    alone = {row["algorithm"]: row for row in levels if row["metric"] == TRAINED}
    over = {(row["algorithm"], row["baseline"]): row for row in gaps if row["metric"] == metric}
    lines = []
    for row in sorted((r for r in levels if r["metric"] == metric), key=lambda row: -row["value"]):
        name = row["algorithm"]
        here = [r for r in records if r["algorithm"] == name]
        trained = name != REFERENCE
        source = LEARNS_FROM.get(name, "rows") if trained else ""
        rate = f"{row['learning_rate']:g}" if trained else ""
        kept = f"{sum(r['keeps_reference'] for r in here)} of {len(here)}" if trained else ""
        cells = [format_interval(*bounds(row)), format_interval(*bounds(alone[name])) if trained else ""]
        for baseline in ("nll", REFERENCE):
            found = over.get((name, baseline))
            cells.append(format_interval(*bounds(found), signed=True) if found else "")
        lines.append([name, source, rate, cells[0], *cells[2:], kept, cells[1]])
    header = ["algorithm", "learns from", "rate", "test accuracy", "above nll", "above the reference"]
    return markdown([*header, "keeps the reference", "trained weights alone"], lines)


def findings(
    levels: list[dict[str, Any]],
    gaps: list[dict[str, Any]],
    records: Sequence[dict[str, Any]],
    metric: str,
) -> str:
    """Who is above and below whom beyond noise, as a Markdown list; parameters as in `render_arith`."""
    over = {(row["algorithm"], row["baseline"], row["metric"]): row for row in gaps}
    names = [row["algorithm"] for row in levels if row["metric"] == metric]

    def told(baseline: str, of: str, sign: int) -> str:
        """The algorithms whose whole interval is above (1) or below (-1) the baseline, largest gap first."""
        known = [over[name, baseline, of] for name in names if (name, baseline, of) in over]
        beyond = [row for row in known if min(sign * row["ci_low"], sign * row["ci_high"]) > 0]
        beyond.sort(key=lambda row: -sign * row["value"])
        return ", ".join(f"`{row['algorithm']}`" for row in beyond) or "none"

    lines = [
        f"above the reference: {told(REFERENCE, metric, 1)}; below it: {told(REFERENCE, metric, -1)}",
        f"trained weights alone below the reference: {told(REFERENCE, TRAINED, -1)}",
        f"above `nll`: {told('nll', metric, 1)}; below it: {told('nll', metric, -1)}",
    ]
    scores = {
        name: [best_score(r["validation"]) for r in records if r["algorithm"] == name]
        for name in names
        if name.startswith("a_lol")
    }
    if scores:
        best = max(scores, key=lambda name: sum(scores[name]) / len(scores[name]))
        others = [REFERENCE, "nll", "wbc", "dpo", "pro"]
        pairs = [(other, over[best, other, metric]) for other in others if (best, other, metric) in over]
        against = [f"{format_interval(*bounds(row), signed=True)} from `{other}`" for other, row in pairs]
        lines.append(
            f"of A-LoL's variants validation prefers `{best}`; it differs by {', by '.join(against)}"
        )
    return "".join(f"- {line}\n" for line in lines)


def bounds(row: dict[str, Any]) -> tuple[float, float, float]:
    """Value and ends of a row's interval."""
    return row["value"], row["ci_low"], row["ci_high"]
