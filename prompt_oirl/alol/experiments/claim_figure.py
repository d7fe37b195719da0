"""Figure of the claims: spread over seeds, score by updates, score by share of flipped rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.alol.evaluation.figures import ALGORITHM_NAMES
from prompt_oirl.alol.experiments.claims import FAMILIES, STRATEGIES, Found, select
from prompt_oirl.reports.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, save_figure, style_axes

COLOURS = {"nll": GREY, "wbc": ORANGE, "a_lol": BLUE, "a_lol_ref_free": GREEN, "pro": RED}
COLOURS |= {"r_lol": PURPLE} | dict(zip(STRATEGIES, (GREY, PURPLE, BLUE)))


def draw_claims(rows: Found, steady: dict[str, Found], path: Path) -> Path:
    """Spread over trainings, score by updates and score by share of flipped rewards, a row per task.

    Parameters
    ----------
    rows : of alol_claims.csv
    steady : by task, the trainings behind the spreads
    path : the PNG to write
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 3.7 * len(steady)), layout="constrained")
    panels = figure.subplots(len(steady), 3, width_ratios=(1.25, 1, 1), squeeze=False)
    for row, task in zip(panels, steady):
        names = [n for family in FAMILIES.values() for n in family if select(steady[task], algorithm=n)]
        for place, name in enumerate(reversed(names)):
            here = select(steady[task], algorithm=name)
            off: list[float] = []
            for run in sorted({r["run"] for r in here}):
                means = [float(np.mean(list(r["groups"].values()))) for r in select(here, run=run)]
                off += [mean - float(np.mean(means)) for mean in means]
            colour = BLUE if name in FAMILIES["A-LoL"] else GREY
            row[0].plot(off, [place] * len(off), "o", color=colour, alpha=0.5, markersize=4)
        row[0].set_yticks(range(len(names)), [ALGORITHM_NAMES[n] for n in reversed(names)], fontsize=8)
        row[0].set_xlabel("Score of a training minus the mean of its run")
        row[0].set_title(f"{task}: spread over seeds (A-LoL in blue)", fontsize=10)
        scores = [r for r in rows if (r["task"], r["quantity"]) == (task, "score")]
        for axes, claim, x, kind in (
            (row[1], "sparing", "updates", "strategy"),
            (row[2], "robust", "flipped", "algorithm"),
        ):
            here = [r for r in scores if r["claim"] == claim]
            kinds = list(dict.fromkeys(r[kind] for r in here))
            widest = max(float(r[x]) for r in here)
            for i, name in enumerate(kinds):
                shift = (i - len(kinds) / 2) * widest / 80
                draw_line(axes, select(here, **{kind: name}), x, name, shift)
            axes.set_ylabel("Letters copied" if task == "toy" else "Questions answered right")
            axes.legend(fontsize=8, frameon=False)
        row[1].set_xlabel("Updates")
        row[1].set_title(f"{task}: a_lol by how rows are drawn", fontsize=10)
        row[2].set_xlabel("Share of logged rewards flipped")
        row[2].set_title(f"{task}: wrong rewards", fontsize=10)
        style_axes(row[0], "x")
        style_axes(row[1], "y")
        style_axes(row[2], "y")
    return save_figure(figure, path, dpi=120)


def draw_line(axes: Any, rows: Found, x: str, name: str, shift: float) -> None:
    """Scores with their intervals against a column; one point alone is also a dashed line across.

    Parameters
    ----------
    axes : where to draw
    rows : score rows of one line
    x : the column
    name : of the line
    shift : to the right, so that intervals don't hide each other
    """
    places, values = [float(r[x]) + shift for r in rows], [r["value"] for r in rows]
    ends = [[r["value"] - r["ci_low"] for r in rows], [r["ci_high"] - r["value"] for r in rows]]
    style = {"color": COLOURS[name], "marker": "o", "markersize": 4, "linewidth": 1.4, "elinewidth": 1}
    axes.errorbar(places, values, yerr=ends, label=name, **style)
    if name == "nll":
        axes.axhline(values[0], color=COLOURS[name], linewidth=1, linestyle="--", zorder=0)
