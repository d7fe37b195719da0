"""The five published figures, drawn from the CSVs: a line per selector or metric against K."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prompt_oirl.io.files import atomic_write, read_csv

# Okabe-Ito colours: told apart by colour-blind readers and in print.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666"


def draw_performance(table: Path, title: str) -> Path:
    """Success rate against K, mean and standard deviation over subsets, self-critique as dashed lines."""
    lines = [
        ("Training Best", "Best prompt (chosen on test)", GREY),
        ("IRL 0", "IRL-0", BLUE),
        ("IRL 10", "IRL-10", ORANGE),
    ]
    lines.append(("All Mixed", "All mixed", GREEN))
    dashed = [
        ("LLM Confidence Train Prompts", "Self-critique, training prompts", PURPLE),
        ("LLM Confidence w/ Test Prompts", "Self-critique, all prompts", RED),
    ]
    return _draw(table, title, "Success rate", lines, dashed)


def draw_metric(table: Path, title: str, metric: str) -> Path:
    """One label-prediction metric against K, for training and held-out prompts."""
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

    rows = read_csv(table, remedy="run llama_step5_offline_optimization.py again")
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for column, label, colour in lines:
        points = [
            (int(r["X"]), float(r[f"{column} Mean"]), float(r[f"{column} Std"]))
            for r in rows
            if r[f"{column} Mean"]
        ]
        if points:
            x, mean, std = zip(*points)
            axes.plot(x, mean, marker="o", markersize=4, color=colour, label=label)
            axes.fill_between(
                x,
                [m - s for m, s in zip(mean, std)],
                [m + s for m, s in zip(mean, std)],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
    for column, label, colour in dashed:
        if rows and rows[0][column]:
            axes.axhline(float(rows[0][column]), linestyle="--", linewidth=1.2, color=colour, label=label)
    axes.set_xticks([int(r["X"]) for r in rows])
    axes.set_xlabel("Number of training prompts K")
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path = table.with_suffix(".png")
    with atomic_write(path) as temporary:
        # Without the version stamp the same numbers give the same bytes.
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})
    return path


def draw_gains(table: Path, path: Path) -> Path:
    """What the leak is worth: gain over the train-best prompt under both protocols, with 95 % intervals."""
    from matplotlib.figure import Figure

    rows = {
        (r["dataset"], r["split"], r["selector"]): r
        for r in read_csv(table, remedy="run step 5")
        if r["metric"] == "gain_over_train_best"
    }
    selectors = (
        ("irl_0", "Prompt-OIRL (IRL-0)", BLUE),
        ("lookup", "Lookup of the identical question", ORANGE),
    )
    datasets = [d for d in ("gsm8k", "svamp", "mawps") if (d, "paper", "irl_0") in rows]
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    titles = {
        "paper": "Published split: test questions stand in train",
        "crossfit": "Crossfit: unseen problems only",
    }
    for axes, (split, title) in zip(panels, titles.items()):
        axes.axvline(0, color=GREY, linewidth=1)
        for i, (selector, label, colour) in enumerate(selectors):
            shown = [rows[d, split, selector] for d in datasets]
            value, low, high = ([100 * float(r[c]) for r in shown] for c in ("value", "ci_low", "ci_high"))
            y = [len(datasets) - 1 - n + 0.14 - 0.28 * i for n in range(len(datasets))]
            error = [[v - a for v, a in zip(value, low)], [b - v for v, b in zip(value, high)]]
            axes.errorbar(value, y, xerr=error, fmt="o", markersize=5, capsize=3, color=colour, label=label)
        axes.set_yticks(range(len(datasets)), [d.upper() for d in reversed(datasets)])
        axes.set_ylim(-0.6, len(datasets) - 0.4)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("Gain over the best single prompt, points")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9, frameon=False
    )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})
    return path


def draw_voting(table: Path, path: Path, policies: Sequence[str]) -> Path:
    """Success against mean calls, one panel per dataset graded strictly, a line per way of voting, 95 % bands."""
    from matplotlib.figure import Figure

    from prompt_oirl.voting.evaluate import POLICIES

    rows = [r for r in read_csv(table, remedy="run scripts/measure_voting.py") if r["grader"] == "strict"]
    datasets = list(dict.fromkeys(r["dataset"] for r in rows))
    figure = Figure(figsize=(3.3 * max(len(datasets), 1) + 0.6, 3.6), layout="constrained")
    panels = figure.subplots(1, max(len(datasets), 1), squeeze=False)[0]
    for axes, dataset in zip(panels, datasets):
        for policy, colour in zip(policies, (GREY, ORANGE, BLUE, GREEN)):
            found = [r for r in rows if (r["dataset"], r["policy"]) == (dataset, policy)]
            points = sorted(tuple(float(r[c]) for c in ("calls", "success", "low", "high")) for r in found)
            if not points:
                continue
            x, y, low, high = zip(*points)
            axes.plot(x, y, marker="o", markersize=3, linewidth=1.4, color=colour, label=POLICIES[policy])
            if policy == policies[-1]:
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_title(dataset.upper(), fontsize=10)
        axes.set_xlabel("Calls per question")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    panels[0].set_ylabel("Success rate")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        fontsize=8,
        frameon=False,
        loc="outside lower center",
        ncols=max(len(datasets), 1),
    )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})
    return path
