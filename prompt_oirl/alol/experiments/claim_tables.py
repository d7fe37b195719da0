"""Table and figure of the claims: what was measured, compared as each claim needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prompt_oirl.alol.evaluation.aggregation import UNBOUNDED, interval
from prompt_oirl.alol.experiments.claim_figure import draw_claims
from prompt_oirl.alol.experiments.claims import (
    FAMILIES,
    NOISY,
    SHARES,
    STRATEGIES,
    TASKS,
    ClaimOptions,
    Found,
    select,
    strategy_of,
)
from prompt_oirl.alol.experiments.compare_algorithms import CompareOptions
from prompt_oirl.alol.experiments.measurement import HINT, TRAINED
from prompt_oirl.alol.tasks.registry import get_task
from prompt_oirl.io.files import InputError, write_csv
from prompt_oirl.io.json_files import read_json
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.stats.metrics import format_interval

COLUMNS = ["claim", "task", "algorithm", "strategy", "updates", "flipped", "quantity", "against"]
COLUMNS += ["value", "ci_low", "ci_high", "trainings"]


def claim_rows(args: ClaimOptions) -> tuple[Found, dict[str, Found]]:
    """Rows of alol_claims.csv, and by task the trainings whose spread over seeds is measured; a task that was
    not measured is left out.

    Raises: InputError if none was.
    """
    found = {task: of for task in TASKS if (of := read(args, task))["claims"]}
    if not found:
        raise InputError(f"nothing measured in {args.folder('toy').parent}: run without --tables_only")
    rows: Found = []
    for task, of in found.items():
        rows += steadiness(task, of["steady"])
        rows += efficiency(task, of["claims"]) + robustness(task, of["claims"])
    return rows, {task: of["steady"] for task, of in found.items()}


def write_claims(args: ClaimOptions) -> None:
    """alol_claims.csv, alol_claims.png and the tables of docs/a_lol.md."""
    folder, (rows, steady) = args.root / "results" / "reference", claim_rows(args)
    write_csv(folder / "alol_claims.csv", rows, COLUMNS)
    draw_claims(rows, steady, folder / "alol_claims.png")
    tables = {"alol_claims": render_comparisons(rows), "alol_flips": render_flips(rows)}
    fill_tables(args.root, tables)


def read(args: ClaimOptions, task: str) -> dict[str, Found]:
    """Records of a task: `claims` of this experiment, `steady` those whose spread over seeds is measured.

    For arith the latter are the compared algorithms, by their trained weights.
    """
    metric = get_task(task).metric
    compared = CompareOptions(task="arith", root=args.root)
    both = {"claims": [(path, metric) for path in sorted(args.folder(task).glob("*-seed*.json"))]}
    if task == "arith":
        both["steady"] = [(path, TRAINED) for path in sorted(compared.results.glob("*-seed*.json"))]
    found: dict[str, Found] = {}
    for kind, paths in both.items():
        records = [(read_json(path, hint=HINT), name) for path, name in paths]
        found[kind] = [r | {"groups": r["scores"]["all"][name]} for r, name in records]
    if task == "toy":
        usual = get_task(task).settings.steps
        found["steady"] = select(found["claims"], strategy="none", flipped=0.0, steps=usual)
    return found


def spread(records: Found) -> tuple[float, int]:
    """Pooled variance of the mean score over trainings of one run, and its degrees of freedom."""
    squares, freedom = 0.0, 0
    for run in sorted({r["run"] for r in records}):
        means = np.array([np.mean(list(r["groups"].values())) for r in select(records, run=run)])
        squares += float(((means - means.mean()) ** 2).sum())
        freedom += len(means) - 1
    return squares / max(1, freedom), freedom


def steadiness(task: str, records: Found) -> Found:
    """Standard deviation over trainings of every algorithm, and that of A-LoL's variants over that of others.

    Parameters
    ----------
    task : the task's name
    records : trainings of every algorithm

    Returns: rows of the table; intervals by the chi-squared and the F distribution, as for normal scores.
    """
    from scipy.stats import chi2, f

    rows, pooled = [], {}
    for family, names in FAMILIES.items():
        squares, freedom = 0.0, 0
        for name in names:
            here = select(records, algorithm=name)
            variance, degrees = spread(here)
            if not degrees:
                continue
            squares, freedom = squares + variance * degrees, freedom + degrees
            ends = [np.sqrt(variance * degrees / chi2.ppf(p, degrees)) for p in (0.975, 0.025)]
            about = {"algorithm": name, "strategy": here[0]["strategy"], "updates": here[0]["steps"]}
            measured = {"quantity": "sd", "value": np.sqrt(variance), "ci_low": ends[0], "ci_high": ends[1]}
            rows.append(about | measured | {"trainings": len(here)})
        if freedom:
            pooled[family] = (squares / freedom, freedom)
    if "A-LoL" in pooled:
        mine, degrees = pooled["A-LoL"]
        for family, (variance, freedom) in list(pooled.items())[1:]:
            ratio = mine / variance
            ends = [np.sqrt(ratio / f.ppf(p, degrees, freedom)) for p in (0.975, 0.025)]
            about = {"algorithm": "A-LoL", "quantity": "sd ratio", "against": family}
            measured = {"value": np.sqrt(ratio), "ci_low": ends[0], "ci_high": ends[1]}
            rows.append(about | measured | {"trainings": degrees + freedom})
    return [{"claim": "steady", "task": task, "flipped": 0.0} | row for row in rows]


def efficiency(task: str, records: Found) -> Found:
    """Score of a_lol by updates and strategy, and its gain over drawing all rows evenly."""
    rows = []
    of_a_lol = select(records, algorithm="a_lol", flipped=0.0)
    for steps in sorted({r["steps"] for r in of_a_lol}):
        here = {name: select(of_a_lol, steps=steps, strategy=name) for name in STRATEGIES}
        about = {"claim": "sparing", "task": task, "algorithm": "a_lol", "updates": steps, "flipped": 0.0}
        for name, those in here.items():
            rows += compared(
                about | {"strategy": name}, those, {"none": here["none"]} if name != "none" else {}
            )
    return rows


def robustness(task: str, records: Found) -> Found:
    """Score by share of flipped rewards, the change from none flipped, and the gain over nll and wbc."""
    rows = []
    usual = select(records, steps=max(r["steps"] for r in records))
    nll = select(usual, algorithm="nll")
    for name in ("nll", *NOISY[task]):
        mine = select(usual, algorithm=name, strategy=strategy_of(task, name))
        for share in SHARES[task] if name != "nll" else SHARES[task][:1]:
            about: dict[str, Any] = {"claim": "robust", "task": task, "algorithm": name}
            about |= {"strategy": strategy_of(task, name)}
            about |= {"updates": usual[0]["steps"], "flipped": share}
            others = {"no flips": select(mine, flipped=0.0)} if share else {}
            others |= {"nll": nll} if name != "nll" else {}
            if name.startswith("a_lol"):
                others["wbc"] = select(usual, algorithm="wbc", flipped=share)
            rows += compared(about, select(mine, flipped=share), others)
    return rows


def compared(about: dict[str, Any], records: Found, others: dict[str, Found]) -> Found:
    """The score of some trainings, and its difference from others, paired by run and seed.

    Parameters
    ----------
    about : what the rows hold besides
    records : one per training; without any there are no rows
    others : by name, the same trainings in other conditions
    """
    if not records:
        return []
    rows = [about | measured("score", "", records, [r["groups"] for r in records], (0.0, 1.0))]
    for name, those in others.items():
        known = {(r["run"], r["seed"]): r["groups"] for r in those}
        paired = [r for r in records if (r["run"], r["seed"]) in known]
        gaps = [gap(r["groups"], known[r["run"], r["seed"]]) for r in paired]
        rows += [about | measured("difference", name, paired, gaps, UNBOUNDED)] if paired else []
    return rows


def measured(
    quantity: str,
    against: str,
    records: Found,
    values: Sequence[dict[str, float]],
    bounds: tuple[float, float],
) -> dict[str, Any]:
    """What was measured, with its 95 % interval over trainings and question groups.

    Parameters
    ----------
    quantity, against : its name, and what a difference is from
    records : one per training
    values : of each of them, by group
    bounds : lowest and highest value there can be
    """
    value, low, high, n, _ = interval([r["run"] for r in records], values, bounds)
    found = {"quantity": quantity, "against": against, "value": value, "ci_low": low, "ci_high": high}
    return found | {"trainings": n}


def gap(mine: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Differences by group, of the groups that both have."""
    return {group: mine[group] - other[group] for group in mine if group in other}


def shown(row: dict[str, Any], signed: bool = False) -> str:
    """Value and interval of a row as text; empty without a row."""
    return format_interval(row["value"], row["ci_low"], row["ci_high"], signed=signed) if row else ""


def verdict(row: dict[str, Any], even: float, words: tuple[str, str]) -> str:
    """Which of two words the row's interval shows, below or above `even`; neither if it holds that."""
    if row["ci_low"] <= even <= row["ci_high"]:
        return "not shown"
    return words[1] if row["value"] > even else words[0]


def render_comparisons(rows: Found) -> str:
    """Spread and updates, as docs/a_lol.md quotes them."""
    lines = []
    for row in rows:
        if row["quantity"] == "sd ratio":
            what = f"spread over seeds: A-LoL's variants / {row['against']}"
            shows = verdict(row, 1.0, ("steadier", "less steady"))
            lines.append([row["task"], what, shown(row), str(row["trainings"]), shows])
    for row in rows:
        if (row["claim"], row["quantity"]) == ("sparing", "difference"):
            what = f"`a_lol` after {row['updates']} updates: `{row['strategy']}` - `none`"
            shows = verdict(row, 0.0, ("worse", "better"))
            lines.append([row["task"], what, shown(row, signed=True), str(row["trainings"]), shows])
    return markdown(["task", "what is compared", "value", "trainings", "shown"], lines)


def render_flips(rows: Found) -> str:
    """Scores by share of flipped rewards, as docs/a_lol.md quotes them."""
    lines, shares = [], SHARES["toy"]
    here = [r for r in rows if r["claim"] == "robust"]
    for task in TASKS:
        for name in ("nll", *NOISY[task]):
            of_name = [r for r in here if (r["task"], r["algorithm"]) == (task, name)]
            by = {(r["flipped"], r["quantity"], r["against"]): r for r in of_name}
            if not by:
                continue
            cells = [shown(by.get((share, "score", ""), {})) for share in shares]
            cells += [shown(by.get((0.3, "difference", b), {}), signed=True) for b in ("nll", "wbc")]
            lines.append([task, f"`{name}`", *cells])
    header = [f"{100 * share:.0f} % flipped" for share in shares]
    return markdown(["task", "algorithm", *header, "at 30 %, above nll", "at 30 %, above wbc"], lines)
