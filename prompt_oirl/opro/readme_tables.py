"""The tables of docs/opro.md, drawn up from the committed CSVs; every row is a dict of CSV cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from prompt_oirl.reports.readme import markdown
from prompt_oirl.stats.metrics import format_interval

Row = dict[str, str]
INTERVAL = ("value", "ci_low", "ci_high")


def percent(row: Row, columns: Sequence[str] = INTERVAL) -> str:
    """A share and its interval in percent; `columns` name value, low and high."""
    return format_interval(*(row[c] for c in columns), points=True, signed=False)


def points(row: Row, columns: Sequence[str] = INTERVAL) -> str:
    """A difference of shares and its interval in points, nothing where there is none."""
    return format_interval(*(row[c] for c in columns), points=True) if row[columns[0]] else ""


def mean_and_sd(row: Row, name: str) -> str:
    """Mean and standard deviation of a column over repetitions."""
    return f"{float(row[f'{name}_mean']):.1f} ± {float(row[f'{name}_sd']):.1f}"


def ranking(rows: Sequence[Row]) -> str:
    """How well predictions rank instructions."""
    lines = [
        [r["log"], r["ranked"], r["learned_from"], r["model"]]
        + [format_interval(r["spearman"], r["ci_low"], r["ci_high"], digits=2)]
        for r in rows
    ]
    return markdown(["log", "instructions ranked", "learned from", "model", "Spearman [95 %]"], lines)


def runs(rows: Sequence[Row]) -> str:
    """What three runs of step 1 gave."""
    lines = []
    for r in rows:
        gain = "gain" in r["what"]
        text = f"`{r['instruction']}`" if r["instruction"] and not gain else ""
        lines.append([r["seed"], r["what"], points(r) if gain else percent(r), r["n"], text])
    return markdown(["seed", "what", "% or points [95 %]", "questions", "instruction"], lines)


def ablations(rows: Sequence[Row]) -> str:
    """What every setting of the loop gave."""
    lines = [
        [r["axis"], r["value"], f"{float(r['search_calls']):,.0f}", f"{100 * float(r['best_train']):.1f}"]
        + [percent(r, ("early", "early_ci_low", "early_ci_high"))]
        + [percent(r, ("test", "test_ci_low", "test_ci_high"))]
        + [points(r, ("over_default", "over_default_ci_low", "over_default_ci_high"))]
        for r in rows
    ]
    head = ["axis", "value", "search calls", "best train, %", "best so far, mean of the first 40"]
    return markdown([*head, "test of the winner, % [95 %]", "over the default, points"], lines)


def transfer(rows: Sequence[Row]) -> str:
    """The winners on other tasks."""
    lines = []
    for r in rows:
        first = not float(r["gain_over_first"]) and r["gain_ci_low"] == r["gain_ci_high"]
        gain = "" if first else points(r, ("gain_over_first", "gain_ci_low", "gain_ci_high"))
        text = f"`{r['instruction']}`" if r["instruction"] else "(empty)"
        lines.append([r["task"], text, percent(r, ("accuracy", "ci_low", "ci_high")), gain, r["n"]])
    return markdown(["task", "instruction", "test, % [95 %]", "over the first, points", "questions"], lines)


def selection(rows: Sequence[Row]) -> str:
    """Picking an instruction per question."""
    lines = [
        [
            r["seed"],
            r["what"],
            points(r) if "gain" in r["what"] else format_interval(*(r[c] for c in INTERVAL)),
        ]
        for r in rows
    ]
    return markdown(["seed", "what", "value [95 %]"], lines)


def hybrid(rows: Sequence[Row]) -> str:
    """Measuring what predictions choose, against measuring everything."""
    lines = [
        [r["comparison"], points(r, ("value", "ci90_low", "ci90_high")), r["seeds"]]
        + [f"{float(r[c]):,.0f}" for c in ("calls", "calls_other")]
        for r in rows
    ]
    return markdown(["test accuracy", "points [90 %]", "seeds", "search calls, hybrid", "the other"], lines)


def regression(rows: Sequence[Row]) -> str:
    """Linear regression beside the paper's."""
    lines = [
        [f"{r['w']}, {r['b']}", f"{r['solved']} of {r['reps']}", mean_and_sd(r, "steps")]
        + [mean_and_sd(r, "explored"), r["paper_gpt4_steps"], r["paper_gpt4_explored"]]
        for r in rows
    ]
    head = ["w, b", "solved", "steps to the optimum", "explored pairs", "paper's gpt-4: steps", "pairs"]
    return markdown(head, lines)


def tours(rows: Sequence[Row]) -> str:
    """Gaps of the tours by number of points."""
    lines = []
    for n in dict.fromkeys(r["n"] for r in rows):
        of_n = [r for r in rows if r["n"] == n]
        gaps, library = (np.array([float(r[c]) for r in of_n]) for c in ("gap", "gap_to_library"))
        explored = np.mean([float(r["explored"]) for r in of_n])
        cells = [f"{100 * gaps.mean():.1f}", f"{100 * gaps.max():.1f}", f"{100 * library.mean():+.1f}"]
        lines.append([n, str(len(of_n)), of_n[0]["reference_kind"], *cells, f"{explored:.0f}"])
    head = ["points", "problems", "gap against", "mean gap, %", "largest, %", "against networkx, %"]
    return markdown([*head, "explored tours"], lines)


def smollm(rows: Sequence[Row]) -> str:
    """Right and readable answers of a real small model under the initial instruction and the winner."""
    lines = []
    for run in _runs(rows):
        of_run = [r for r in rows if _run(r) == run]
        values = {(r["measure"], r["what"]): r for r in of_run}
        instruction = values["right", "winner"]["instruction"]
        common = f"{100 * float(of_run[0]['most_common']):.0f}"
        for measure in dict.fromkeys(r["measure"] for r in of_run):
            first = [*run, f"`{instruction}`", common] if measure == "right" else [""] * 5
            gain = values[measure, "gain"]
            both = (values[measure, what] for what in ("initial", "winner"))
            shares = [percent(row) if row["value"] else "" for row in both]
            lines.append([*first, measure, *shares, points(gain), gain["n"]])
    head = ["task", "proposer", "winner chosen on", "winner", "most common answer, %", "answers that are"]
    return markdown([*head, "initial, %", "winner, %", "gain, points [95 %]", "questions"], lines)


def smollm_proposals(rows: Sequence[Row]) -> str:
    """What became of the proposals of a real small model, counted."""
    lines = []
    for run in _runs(rows):
        fates = Counter(r["verdict"] for r in rows if _run(r) == run and r["verdict"] != "initial")
        counts = ", ".join(f"{n} {fate}" for fate, n in fates.most_common())
        lines.append([*run, str(fates.total()), counts])
    return markdown(["task", "proposer", "winner chosen on", "proposals", "what became of them"], lines)


def _run(row: Row) -> tuple[str, ...]:
    return row["task"], row["proposer"], row["chosen_on"]


def _runs(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(_run(r) for r in rows))


RENDER = {
    "opro_hybrid": hybrid,
    "opro_regression": regression,
    "opro_tours": tours,
    "opro_ranking": ranking,
    "opro_runs": runs,
    "opro_ablations": ablations,
    "opro_transfer": transfer,
    "opro_selection": selection,
    "opro_smollm": smollm,
    "opro_smollm_proposals": smollm_proposals,
}
