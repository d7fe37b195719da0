"""The figure of step 1: train accuracy per step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prompt_oirl.io.files import InputError, atomic_write
from prompt_oirl.opro.loop import START
from prompt_oirl.reports.figures import BLUE, GREY, ORANGE


def draw_steps(tables: Sequence[Sequence[dict[str, str]]], title: str, path: Path) -> Path:
    """Train accuracy per step of one or several runs: best so far, mean over runs and spread; mean of the new
    ones."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not tables:
        raise InputError("no run to draw; run opro_step1_optimize_prompts.py")
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    last = max(int(table[-1]["step"]) for table in tables)
    x = np.arange(START, last + 1) + 1  # shown from 0, the initial instruction
    for column, label, colour in (
        ("best_so_far", "Best so far", BLUE),
        ("mean", "New instructions of the step", ORANGE),
    ):
        curves = np.array([_curve(table, column, last) for table in tables])
        known = ~np.isnan(curves).all(axis=0)
        mean, low, high = np.full(len(x), np.nan), np.full(len(x), np.nan), np.full(len(x), np.nan)
        mean[known] = np.nanmean(curves[:, known], axis=0)
        spread = np.nanstd(curves[:, known], axis=0)
        if len(tables) == 1 and column == "mean":  # one run: the spread among the step's instructions
            spread = _curve(tables[0], "sd", last)[known]
        low[known], high[known] = mean[known] - spread, mean[known] + spread
        axes.plot(x, 100 * mean, color=colour, label=label, marker="o", markersize=3)
        axes.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlabel("Step (0: initial instruction)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("Train accuracy, %")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})
    return path


def _curve(table: Sequence[dict[str, str]], column: str, last: int) -> np.ndarray:
    """One column by step from START to `last`; after early stopping the best so far stays what it was."""
    by_step = {int(row["step"]): float(row[column]) if row[column] else np.nan for row in table}
    curve = np.array([by_step.get(step, np.nan) for step in range(START, last + 1)])
    if column == "best_so_far":
        curve[np.isnan(curve)] = curve[~np.isnan(curve)][-1]
    return curve
