"""Tables and figures of the hh experiment: CSVs in results/reference/ and what docs/alol_hh.md quotes of
them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prompt_oirl.alol.evaluation import aggregation
from prompt_oirl.alol.experiments import hh_claims
from prompt_oirl.alol.experiments.hh_figures import draw_claims, draw_curves
from prompt_oirl.alol.experiments.hh_policies import CHOOSES, chosen_rate
from prompt_oirl.alol.experiments.hh_results import (
    POLICIES,
    VALUE,
    dev_curves,
    policy_rows,
    read_results,
    value_rows,
)
from prompt_oirl.alol.experiments.hh_settings import HHOptions
from prompt_oirl.alol.experiments.hh_setup import HINT
from prompt_oirl.io.files import write_csv
from prompt_oirl.io.json_files import read_json
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.stats.metrics import format_interval, format_number

BASELINES = ("nll", "wbc", "dpo", "reference")
BY_SEGMENT = (CHOOSES, "gain_accuracy")  # compared within every segment, the other metrics over all pairs
CURVES = ["algorithm", "learning_rate", "chosen", "update", "dev_reward"]
COUNTS = ["split", "read", "apart", "whole", "used", "prompts_cut", "length_rule_before_balancing"]
CURVES_SHOW = "dev reward by updates, and the gain over the reference on test"
CLAIMS_SHOW = "spread over seeds, and reward by share of exchanged rewards"
Rows = list[dict[str, Any]]


def write_tables(options: HHOptions) -> None:
    """All CSVs, both figures, and the tables of the docs (of the full form)."""
    results, folder = read_results(options), options.tables
    done = {one.settings[0] for one in results.evaluated}
    levels = aggregation.levels(results.main(), few_seeds=True)
    gaps = aggregation.differences(results.main(), [b for b in BASELINES if b in done], few_seeds=True)
    gaps = [r for r in gaps if r["segment"] == "all" or r["metric"] in BY_SEGMENT]
    policies, value, claims = policy_rows(results), value_rows(options), hh_claims.claim_rows(results)
    curves = [r | {"chosen": _is_chosen(options, r)} for r in dev_curves(results)]
    counts = read_json(options.folder / "rows" / "counts.json", hint=HINT)
    splits = [{"split": name} | found for name, found in counts.items()]
    write_csv(folder / "alol_hh.csv", levels, aggregation.LEVELS)
    write_csv(folder / "alol_hh_differences.csv", gaps, aggregation.DIFFERENCES)
    write_csv(folder / "alol_hh_policies.csv", policies, POLICIES)
    write_csv(folder / "alol_hh_value.csv", value, VALUE)
    write_csv(folder / "alol_hh_claims.csv", claims, hh_claims.COLUMNS)
    write_csv(folder / "alol_hh_curves.csv", curves, CURVES)
    write_csv(folder / "alol_hh_rows.csv", splits, COUNTS)
    over_reference = select(gaps, baseline="reference", metric=CHOOSES, segment="all")
    draw_curves(curves, over_reference, folder / "alol_hh.png")
    draw_claims(claims, folder / "alol_hh_claims.png")
    tables = {
        "alol_hh": render_policies(levels, gaps),
        "alol_hh_differences": render_differences(gaps),
        "alol_hh_lengths": render_segments(levels),
        "alol_hh_cost": render_cost(policies),
        "alol_hh_value": render_value(value),
        "alol_hh_rows": render_counts(splits),
        "alol_hh_claims": hh_claims.render_claims(claims),
        "alol_hh_flips": hh_claims.render_flips(claims),
        "alol_hh_figure": f"![{CURVES_SHOW}](../results/reference/alol_hh.png)",
        "alol_hh_claims_figure": f"![{CLAIMS_SHOW}](../results/reference/alol_hh_claims.png)",
    }
    print(f"{len(results.records)} policies; {folder}\n\n{tables['alol_hh']}\n\n{tables['alol_hh_claims']}")
    if not options.small:
        fill_tables(options.root, tables)


def _is_chosen(options: HHOptions, row: dict[str, Any]) -> bool:
    return row["learning_rate"] == chosen_rate(options, row["algorithm"])


def select(rows: Rows, **wanted: Any) -> Rows:
    """The rows that have these values."""
    return [r for r in rows if all(r[name] == value for name, value in wanted.items())]


def named(row: dict[str, Any]) -> str:
    """The algorithm; a_lol on all chosen rows is told from a_lol."""
    every = row["sampling_strategy"] == "none" and row["algorithm"] == "a_lol"
    return f"`{row['algorithm']}`" + (" on all rows" if every else "")


def shown(rows: Rows, signed: bool = False) -> str:
    """Value and interval of the first row; empty without one."""
    return (
        format_interval(*(rows[0][n] for n in ("value", "ci_low", "ci_high")), signed=signed) if rows else ""
    )


def render_policies(levels: Rows, gaps: Rows) -> str:
    """Reward, ranking and likelihood on test, best first.

    Parameters
    ----------
    levels, gaps : rows of alol_hh.csv and alol_hh_differences.csv
    """
    lines = []
    for row in sorted(select(levels, segment="all", metric=CHOOSES), key=lambda r: -r["value"]):
        settings = {name: row[name] for name in aggregation.SETTINGS}
        here = select(levels, segment="all", **settings)
        above = select(gaps, segment="all", metric=CHOOSES, baseline="reference", **settings)
        cells = [shown([row]), shown(above, True), shown(select(here, metric="gain_accuracy"))]
        cells += [shown(select(here, metric=name)) for name in ("accuracy_per_token", "nats_better")]
        rate = "" if row["learning_rate"] is None else f"{row['learning_rate']:g}"
        lines.append([named(row), rate, *cells, str(row["seeds"])])
    header = ["policy", "rate", "reweighted reward", "above the reference", "pair accuracy of the gain"]
    return markdown([*header, "pair accuracy per token", "nats per token, better response", "seeds"], lines)


def render_differences(gaps: Rows) -> str:
    """What every policy gains in reweighted reward over nll, wbc and dpo, pair by pair, and who is ahead."""
    lines = []
    here = select(gaps, segment="all", metric=CHOOSES)
    for settings in dict.fromkeys(tuple(r[name] for name in aggregation.SETTINGS) for r in here):
        of_one = select(here, **dict(zip(aggregation.SETTINGS, settings)))
        if settings[0] != "reference":
            by = {r["baseline"]: r for r in of_one}
            ahead = [name for name, r in by.items() if r["ci_low"] > 0]
            behind = [name for name, r in by.items() if r["ci_high"] < 0]
            cells = [shown([by[name]] if name in by else [], True) for name in BASELINES[:3]]
            lines.append([named(of_one[0]), *cells, ", ".join(ahead), ", ".join(behind)])
    header = ["policy", "above nll", "above wbc", "above dpo"]
    return markdown([*header, "beyond noise above", "beyond noise below"], lines)


def render_segments(levels: Rows) -> str:
    """Pair accuracy of the gain by length and by margin of the logged rewards."""
    here = select(levels, metric="gain_accuracy")
    segments = [s for s in dict.fromkeys(r["segment"] for r in here) if s != "all"]
    lines = []
    for row in select(here, segment="all"):
        if row["algorithm"] != "reference":
            of_one = select(here, **{name: row[name] for name in aggregation.SETTINGS})
            lines.append([named(row), *(shown(select(of_one, segment=segment)) for segment in segments)])
    return markdown(["policy", *segments], lines)


def render_cost(policies: Sequence[dict[str, Any]]) -> str:
    """Processor seconds, memory, and how sampled responses look."""
    lines = []
    for row in policies:
        numbers = [row["seconds_per_update"], row["peak_mb"], row["words"]]
        cells = ["" if n is None else f"{n:.1f}" for n in numbers[:1]]
        cells += ["" if n is None else f"{n:,.0f}" for n in numbers[1:]]
        cells += [f"{row[f'distinct_{n}']:.3f}" for n in (1, 2)]
        lines.append([f"`{row['algorithm']}`", *cells])
    header = ["policy", "processor s per update", "peak MB", "words of a sample", "distinct words"]
    return markdown([*header, "distinct pairs of words"], lines)


def render_value(value: Rows) -> str:
    """How V foresees logged rewards of other dialogues."""
    by = {(r["split"], r["quantity"]): r for r in value}
    lines = []
    for quantity in dict.fromkeys(r["quantity"] for r in value):
        cells = []
        for split in ("train", "test"):
            row = by.get((split, quantity))
            cells.append("" if row is None else format_number(row["value"], 3))
            if row and row["ci_low"] is not None:
                cells[-1] = shown([row])
        lines.append([quantity.replace("_", " "), *cells])
    return markdown(["quantity", "training dialogues", "test dialogues"], lines)


def render_counts(splits: Rows) -> str:
    """Pairs read, kept apart, short enough, drawn; prompts cut."""
    header = ["split", "pairs", "no near-duplicate elsewhere", "short enough", "drawn", "prompts cut"]
    lines = [[str(r[name]) for name in COUNTS[:6]] for r in splits]
    rule = [f"{r['length_rule_before_balancing']:.3f}" for r in splits]
    return markdown([*header, "better is longer"], [[*line, share] for line, share in zip(lines, rule)])
