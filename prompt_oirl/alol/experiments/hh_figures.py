"""Figures of the hh experiment: the learning rates on dev with the result on test, and the claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.alol.evaluation.figures import ALGORITHM_NAMES
from prompt_oirl.alol.experiments.hh_claims import A_LOL, Rows
from prompt_oirl.alol.experiments.hh_settings import ALGORITHMS, NOISY
from prompt_oirl.reports.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, save_figure, style_axes

LINES = dict(zip(NOISY, (ORANGE, BLUE, GREEN, PURPLE)))


def draw_curves(dev: Rows, gains: Rows, path: Path) -> Path:
    """Dev score against updates at the chosen rates, and the gain over the reference on test.

    Parameters
    ----------
    dev : rows of alol_hh_curves.csv
    gains : rows of alol_hh_differences.csv over the reference, of the score that is shown
    path : the PNG to write
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.4, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    labelled: dict[str, str] = {}
    for name in ALGORITHMS:
        here = [r for r in dev if r["algorithm"] == name and r["chosen"] and r["dev_reward"] is not None]
        family = "A-LoL's variants" if name in A_LOL else "others"
        label = None if family in labelled.values() else family
        labelled[name] = family
        places, values = [r["update"] for r in here], [r["dev_reward"] for r in here]
        left.plot(places, values, color=_colour(name), marker="o", markersize=3, linewidth=1.2, label=label)
        if here:
            left.annotate(name, (places[-1], values[-1]), fontsize=7, color=_colour(name))
    left.set_xlabel("Updates")
    left.set_ylabel("Reweighted reward, dev")
    left.set_title("At the learning rate that dev chose, seed 0", fontsize=10)
    left.legend(fontsize=8, frameon=False)
    _draw_gains(right, gains)
    style_axes(left, "y")
    return save_figure(figure, path, dpi=120)


def _draw_gains(axes: Any, gains: Sequence[dict[str, Any]]) -> None:
    ordered = sorted(gains, key=lambda row: row["value"])
    for place, row in enumerate(ordered):
        colour = _colour(row["algorithm"])
        axes.plot([row["ci_low"], row["ci_high"]], [place, place], color=colour, linewidth=1.6)
        axes.plot([row["value"]], [place], color=colour, marker="o", markersize=5)
    names = [ALGORITHM_NAMES[r["algorithm"]] + _drawn(r, ordered) for r in ordered]
    axes.set_yticks(range(len(ordered)), names, fontsize=8)
    axes.axvline(0, color=GREY, linewidth=1, linestyle="--", zorder=0)
    axes.set_xlabel("Gain in reweighted reward on test (95 %)")
    axes.set_title("Above the reference that all began as", fontsize=10)
    style_axes(axes, "x")


def _drawn(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    twice = sum(other["algorithm"] == row["algorithm"] for other in rows) > 1
    return " on all rows" if twice and row["sampling_strategy"] == "none" else ""


def draw_claims(rows: Rows, path: Path) -> Path:
    """Spread over seeds, and the gain over the reference by share of flipped rewards.

    Parameters
    ----------
    rows : of alol_hh_claims.csv
    path : the PNG to write
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    spreads = [r for r in rows if r["quantity"] == "sd"][::-1]
    for place, row in enumerate(spreads):
        left.plot([row["ci_low"], row["ci_high"]], [place, place], color=_colour(row["algorithm"]))
        left.plot([row["value"]], [place], color=_colour(row["algorithm"]), marker="o", markersize=5)
    left.set_yticks(range(len(spreads)), [ALGORITHM_NAMES[r["algorithm"]] for r in spreads], fontsize=8)
    left.set_xlabel("Standard deviation of the reweighted reward over seeds")
    left.set_title("Spread over seeds (A-LoL in blue)", fontsize=10)
    for i, (name, colour) in enumerate(LINES.items()):
        here = [
            r for r in rows if (r["algorithm"], r["claim"], r["against"]) == (name, "robust", "reference")
        ]
        places = [r["flipped"] + 0.006 * i for r in here]
        values = [r["value"] for r in here]
        ends = [[r["value"] - r["ci_low"] for r in here], [r["ci_high"] - r["value"] for r in here]]
        right.errorbar(places, values, yerr=ends, color=colour, marker="o", label=name, linewidth=1.2)
    right.axhline(0, color=GREY, linewidth=1, linestyle="--", zorder=0)
    right.set_xlabel("Share of training pairs with exchanged rewards (one seed)")
    right.set_ylabel("Reweighted reward above the reference's")
    right.set_title("Wrong rewards", fontsize=10)
    right.legend(fontsize=8, frameon=False)
    style_axes(left, "x")
    style_axes(right, "y")
    return save_figure(figure, path, dpi=120)


def _colour(algorithm: str) -> str:
    return BLUE if algorithm in A_LOL else GREY
