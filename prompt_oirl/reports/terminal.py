"""The short table that step 5 prints: who gained what over the best training prompt, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.reports.summary import read_summary
from prompt_oirl.stats.metrics import format_interval

SHOWN = {
    "random": "random prompt",
    "train_best": "best prompt (chosen on train)",
    "test_best_as_published": "best prompt (chosen on test)",
    "lookup": "lookup of the identical question",
    "knn": "nearest questions",
    "irl_0": "IRL-0",
    "irl_10": "IRL-10",
    "lmsc": "LLM self-critique (2K calls)",
    "vote_3": "vote of 3 prompts, by predicted reward",
    "vote_weighted": "vote of all K prompts",
    "vote_16_weighted": "vote of all prompts",
    "oracle": "oracle: any prompt right (K calls)",
}


def print_table(summary: Path, dataset: str, protocol: str) -> None:
    """Print success and gain of every selector with all training prompts, and what that says.

    Parameters
    ----------
    summary : the summary.csv of step 5
    protocol : paper or crossfit
    """
    rows = [r for r in read_summary(summary) if r["features"] == "both"]
    k = max((int(r["k"]) for r in rows), default=0)
    groups = ("paper",) if protocol == "paper" else ("crossfit", "crossfit2")
    group = next((name for name in groups if any(r["split"] == name for r in rows)), "")
    at = {
        (r["selector"], r["metric"]): r
        for r in rows
        if int(r["k"]) == k and r["split"] == group and (r["subset"] != "mean" or k == 0)
    }
    first = at.get(("train_best", "success_rate"))
    if first is None:
        return
    print(
        f"\n{dataset}, {protocol} protocol, K = {k}: {first['n']} test rows, "
        f"{first['n_questions']} questions, {first['n_clusters']} clusters"
    )
    print(f"  {'':36}{'success [95 %]':>24}   {'gain over train-best, points [95 %]':>36}")
    for selector, label in SHOWN.items():
        success, gain = at.get((selector, "success_rate")), at.get((selector, "gain_over_train_best"))
        if success:
            print(f"  {label:36}{rate_text(success):>24}   {points_text(gain) if gain else '':>36}")
    gain = at.get(("irl_0", "gain_over_train_best"))
    if gain:
        low, high = float(gain["ci_low"]), float(gain["ci_high"])
        verdict = (
            "a gain" if low > 0 else "a loss" if high < 0 else "no gain shown (the interval contains zero)"
        )
        print(f"  Picking per question with the reward model: {verdict}.")
        if gain["monte_carlo"]:
            error = 100 * float(gain["monte_carlo"])
            print(f"  Standard error of that gain from drawing folds and seeds: {error:.2f} points.")
    print(f"  Tables and figures: {summary.parent}")


def print_live(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Success of the picks as the log had it, beside what the LLM says when asked for the rest."""
    print(f"  {'':36}{'offline [95 %]':>24} {'n':>6}   {'live [95 %]':>24} {'n':>6}")
    for row in rows:
        cells = [
            format_interval(row[side], row[f"{side}_ci_low"], row[f"{side}_ci_high"])
            if row[side] is not None
            else "no answer"
            for side in ("offline", "live")
        ]
        label = SHOWN.get(row["selector"], row["selector"])
        print(f"  {label:36}{cells[0]:>24} {row['offline_n']:>6,}   {cells[1]:>24} {row['live_n']:>6,}")
    print(f"  Table: {path}")


def rate_text(row: Mapping[str, str]) -> str:
    """The success rate of a row of summary.csv with its interval: "0.412 [0.380, 0.443]"."""
    return format_interval(row["value"], row["ci_low"], row["ci_high"])


def points_text(row: Mapping[str, str]) -> str:
    """The gain of a row of summary.csv in points with its interval: "+1.2 [-0.3, +2.7]"."""
    return format_interval(row["value"], row["ci_low"], row["ci_high"], points=True)
