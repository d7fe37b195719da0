"""The course of a training run as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prompt_oirl.artifacts import atomic_write
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
        if len(lines) > 1:
            axes.legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    return path
