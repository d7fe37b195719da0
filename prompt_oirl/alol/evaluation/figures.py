"""Figures: the course of a training run, and algorithms compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prompt_oirl.io.files import atomic_write
from prompt_oirl.reports.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED


def draw_curve(curve: Sequence[dict[str, float]], title: str, path: Path) -> Path:
    """Loss, NLL, the ratios (mean and share clipped) and validation scores against updates."""
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    panels = [
        ("Loss per response", [("loss", "loss", BLUE), ("nll", "NLL", GREY)]),
        ("Ratio to the reference", [("ratio", "mean", BLUE), ("clipped_low", "share below", ORANGE), ("clipped_high", "share above", RED)]),
        ("Log ratio to the reference", [("kl", "sum over tokens", PURPLE)]),
        ("Validation score", [("score", "score", GREEN)]),
    ]  # fmt: skip
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    for axes, (label, lines) in zip(figure.subplots(2, 2).flat, panels):
        for name, line, colour in lines:
            points = [(row["step"], row[name]) for row in curve if name in row]
            if points:
                axes.plot(
                    *zip(*points),
                    color=colour,
                    label=line,
                    linewidth=1.2,
                    marker="o" if name == "score" else None,
                )
        axes.set_title(label, fontsize=10)
        axes.set_xlabel("Updates")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        if len(lines) > 1 and axes.lines:
            axes.legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    return path


def draw_levels(rows: Sequence[dict[str, str]], title: str, path: Path) -> Path:
    """Algorithms below each other, best on top: value and 95 % interval; the a_lol family in blue."""
    from matplotlib.figure import Figure

    ordered = sorted(rows, key=lambda row: float(row["value"]))
    figure = Figure(figsize=(7.2, 0.32 * len(ordered) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(ordered):
        value, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
        colour = BLUE if row["algorithm"].startswith("a_lol") else GREY
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6)
        axes.plot([value], [place], color=colour, marker="o", markersize=5)
    axes.set_yticks(range(len(ordered)), [row["algorithm"] for row in ordered], fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    return path
