"""Figures drawn from result tables: the five published ones against K, gains, and voting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from prompt_oirl.io.files import atomic_write, read_csv
from prompt_oirl.reports.terminal import points_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe-Ito colours: told apart by colour-blind readers and in print.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666"
LLM_NAMES = {"llama2": "LLaMA-2 7B", "nano": "tiny LLaMA"}


def style_axes(axes: Axes, grid: Literal["x", "y"]) -> None:
    """No frame at the top and right, and faint grid lines across the axis `grid`."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.25)


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> Path:
    """Write a PNG whose bytes depend on the drawing alone: matplotlib's version stamp is left out.

    Parameters
    ----------
    figure : finished drawing
    path : the PNG to write
    dpi : pixels per inch of the figure's size

    Returns: `path`.
    """
    from matplotlib.text import Text

    axes = [axis for part in figure.axes for axis in (part.xaxis, part.yaxis)]
    powers = [axis.get_ticklabels(which="both") for axis in axes if axis.get_scale() == "log"]
    for text in set(figure.findobj(Text)).difference(*powers):  # a name with dollar signs is no formula
        text.set_parse_math(False)  # type: ignore[attr-defined]
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png", metadata={"Software": None})
    return path


def draw_performance(table: Path, title: str) -> Path:
    """Success rate against K, mean and standard deviation over subsets, self-critique as dashed lines."""
    lines = [
        ("Training Best", "Best prompt (chosen on test)", GREY),
        ("IRL 0", "IRL-0", BLUE),
        ("IRL 10", "IRL-10", ORANGE),
        ("All Mixed", "All mixed", GREEN),
    ]
    dashed = [
        ("LLM Confidence Train Prompts", "Self-critique, training prompts", PURPLE),
        ("LLM Confidence w/ Test Prompts", "Self-critique, all prompts", RED),
    ]
    return _draw(table, title, "Success rate", lines, dashed)


def draw_metric(table: Path, title: str, metric: str) -> Path:
    """One label-prediction metric against K, for training and held-out prompts.

    Parameters
    ----------
    table : CSV of step 5 on this metric
    title : stands over the drawing
    metric : its name as the columns of `table` and the y axis have it

    Returns: the PNG, beside the table.
    """
    lines = [
        (f"Train {metric}", "Reward model, training prompts", BLUE),
        (f"Test {metric}", "Reward model, held-out prompts", ORANGE),
    ]
    dashed = [
        ("LLM Train Metric", "Self-critique, training prompts", PURPLE),
        ("LLM Test Metric", "Self-critique, held-out prompts", RED),
    ]
    return _draw(table, title, metric, lines, dashed)


def _draw(
    table: Path,
    title: str,
    ylabel: str,
    lines: Sequence[tuple[str, str, str]],
    dashed: Sequence[tuple[str, str, str]],
) -> Path:
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    frame = pd.DataFrame(read_csv(table, hint="run llama_step5_offline_optimization.py again"))
    frame = frame.apply(pd.to_numeric)
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for column, label, colour in lines:
        known = frame[frame[f"{column} Mean"].notna()]
        x, mean, spread = known["X"], known[f"{column} Mean"], known[f"{column} Std"]
        if len(known):
            axes.plot(x, mean, marker="o", markersize=4, color=colour, label=label)
            axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    for column, label, colour in dashed:
        if frame[column].notna().any():
            axes.axhline(frame[column][0], linestyle="--", linewidth=1.2, color=colour, label=label)
    axes.set_xticks(frame["X"])
    axes.set_xlabel("Number of training prompts K")
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    style_axes(axes, "y")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save_figure(figure, table.with_suffix(".png"))


def draw_gains(table: Path, path: Path) -> Path:
    """Draw what a reward model and a plain lookup gain over the best training prompt, under both protocols.

    Parameters
    ----------
    table : results/reference/selectors.csv
    path : the PNG to write
    """
    from matplotlib.figure import Figure

    rows = {
        (r["dataset"], r["split"], r["selector"]): r
        for r in read_csv(table, hint="run step 5")
        if r["metric"] == "gain_over_train_best"
    }
    lines = [
        ("paper", "irl_0", "Reward model (IRL-0), published split", BLUE, BLUE),
        ("paper", "lookup", "Lookup of the identical question, published split", ORANGE, ORANGE),
        ("crossfit", "irl_0", "Reward model (IRL-0), unseen problems", BLUE, "white"),
        ("crossfit", "lookup", "Lookup of the identical question, unseen problems", ORANGE, "white"),
    ]
    datasets = [d for d in ("gsm8k", "svamp", "mawps") if (d, "paper", "irl_0") in rows]
    figure = Figure(figsize=(8.4, 1.6 + 1.05 * len(datasets)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color=GREY, linewidth=1)
    shown = [rows[dataset, line[0], line[1]] for dataset in datasets for line in lines]
    right = max((100 * float(r["ci_high"]) for r in shown), default=0) + 0.5
    for i, (split, selector, label, colour, face) in enumerate(lines):
        for n, dataset in enumerate(datasets):
            row = rows[dataset, split, selector]
            value, low, high = (100 * float(row[c]) for c in ("value", "ci_low", "ci_high"))
            y = -(n * (len(lines) + 1) + i)
            axes.plot([low, high], [y, y], color=colour, linewidth=2)
            name = label if n == 0 else None
            axes.plot(value, y, "o", markersize=6, color=colour, markerfacecolor=face, label=name)
            text = "0: no question repeats" if low == high == 0 else points_text(row)
            axes.text(right, y, text, fontsize=8, va="center", color="#333333")
    centres = [-(n * (len(lines) + 1) + (len(lines) - 1) / 2) for n in range(len(datasets))]
    axes.set_yticks(centres, [d.upper() for d in datasets])
    axes.tick_params(axis="y", length=0)
    left, _ = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if left < tick < right])
    axes.set_xlim(left, right + 2.6)  # room for the numbers
    axes.set_xlabel("Gain over the best single prompt, points of success (95 % intervals)")
    style_axes(axes, "x")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return save_figure(figure, path)


def draw_voting(table: Path, path: Path, policies: Sequence[str]) -> Path:
    """Draw what votes gain over asking the best single prompt, against the mean number of calls.

    One panel per dataset graded strictly, one line and 95 % band per policy, the same y range everywhere.

    Parameters
    ----------
    table : results/reference/voting.csv
    path : the PNG to write
    policies : keys of voting.evaluate.POLICIES, at most four
    """
    from matplotlib.figure import Figure

    from prompt_oirl.voting.evaluate import POLICIES

    rows = [r for r in read_csv(table, hint="run scripts/measure_voting.py") if r["grader"] == "strict"]
    panels = list(dict.fromkeys((r["llm"], r["dataset"]) for r in rows))
    lines = max(-(-len(panels) // 2), 1)
    figure = Figure(figsize=(8.8, 1 + 3 * lines), layout="constrained")
    grid = list(figure.subplots(lines, 2, squeeze=False, sharey=True).flat)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes, (llm, dataset) in zip(grid, panels):
        axes.axhline(0, color=GREY, linewidth=0.8)
        for policy, colour in zip(policies, (GREY, ORANGE, BLUE, GREEN)):
            points = sorted(
                (float(r["calls"]), *(100 * float(r[c]) for c in ("gain", "gain_low", "gain_high")))
                for r in rows
                if (r["llm"], r["dataset"], r["policy"]) == (llm, dataset, policy)
            )
            if points:
                x, y, low, high = zip(*points)
                axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
                axes.plot(x, y, marker="o", markersize=3, linewidth=1.5, color=colour, label=POLICIES[policy])
        axes.set_title(f"{dataset.upper()}, {LLM_NAMES.get(llm, llm)}", fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True)
        style_axes(axes, "y")
    figure.supxlabel("Calls per question (mean)", fontsize=10)
    figure.supylabel("Gain over the best single prompt asked once, points (bands: 95 %)", fontsize=10)
    if panels:
        handles = figure.axes[0].get_legend_handles_labels()
        figure.legend(*handles, fontsize=9, frameon=False, loc="outside upper center", ncols=2)
    return save_figure(figure, path)
