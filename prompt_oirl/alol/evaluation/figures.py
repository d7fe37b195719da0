"""Figures: the course of a training run, and algorithms compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.reports.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, save_figure, style_axes


def draw_curve(curve: Sequence[dict[str, float]], title: str, path: Path) -> Path:
    """Loss, NLL, ratios, log ratio and validation scores against updates; returns `path`.

    Parameters
    ----------
    curve : one dict per update, with `step` and any of loss, nll, ratio, clipped_low, clipped_high, kl, score
    title : of the figure
    path : the PNG to write
    """
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    ratios = [("ratio", "mean", BLUE), ("clipped_low", "share below", ORANGE)]
    ratios.append(("clipped_high", "share above", RED))
    panels = [
        ("Loss per response", [("loss", "loss", BLUE), ("nll", "NLL", GREY)]),
        ("Ratio to the reference", ratios),
        ("Log ratio to the reference", [("kl", "sum over tokens", PURPLE)]),
        ("Validation score", [("score", "score", GREEN)]),
    ]
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    for axes, (label, lines) in zip(figure.subplots(2, 2).flat, panels):
        for name, line, colour in lines:
            points = [(row["step"], row[name]) for row in curve if name in row]
            if points:
                marker = "o" if name == "score" else None
                axes.plot(*zip(*points), color=colour, label=line, linewidth=1.2, marker=marker)
        axes.set_title(label, fontsize=10)
        axes.set_xlabel("Updates")
        style_axes(axes, "y")
        if len(lines) > 1 and axes.lines:
            axes.legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    return save_figure(figure, path, dpi=120)


# Names as the figure shows them, for a reader who does not know the commands.
ALGORITHM_NAMES = {
    "reference": "reference (not trained)",
    "nll": "plain fine-tuning (nll)",
    "wbc": "weighted by reward (wbc)",
    "r_gold": "reward GOLD (r_gold)",
    "r_lol": "reward LoL (r_lol)",
    "a_lol": "A-LoL",
    "a_lol_ref_free": "A-LoL, reference-free",
    "a_lol_seq": "A-LoL, ratio per token (seq)",
    "a_lol_kl": "A-LoL with KL penalty",
    "dpo": "DPO",
    "dpo_ref_free": "DPO, reference-free",
    "pro": "PRO",
    "ppo": "PPO",
    "rloo": "RLOO",
}


def draw_levels(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Accuracy of arith's algorithms below each other, best on top, with 95 % intervals.

    Parameters
    ----------
    rows : rows of alol_arith.csv: algorithm, value, ci_low, ci_high, seeds.
    """
    from matplotlib.figure import Figure

    ordered = sorted(rows, key=lambda row: float(row["value"]))
    figure = Figure(figsize=(7.6, 0.32 * len(ordered) + 1.3), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(ordered):
        value, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
        colour = BLUE if row["algorithm"].startswith("a_lol") else GREY
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6)
        axes.plot([value], [place], color=colour, marker="o", markersize=5)
        if row["algorithm"] == "reference":
            axes.axvline(value, color=GREY, linewidth=1, linestyle="--", zorder=0)
            edge = axes.get_xaxis_transform()
            axes.text(value, 1, " reference", transform=edge, va="bottom", fontsize=8, color=GREY)
    axes.set_yticks(
        range(len(ordered)), [ALGORITHM_NAMES.get(r["algorithm"], r["algorithm"]) for r in ordered]
    )
    axes.tick_params(axis="y", labelsize=9)
    axes.set_xlabel("Share of test questions answered right (95 % over seeds and questions)")
    axes.set_title(
        "arith: policies after training from the same reference; A-LoL in blue", fontsize=10, pad=14
    )
    style_axes(axes, "x")
    return save_figure(figure, path, dpi=120)
