"""Tables and figure of step 4: what each arm of the ablations gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.io.files import write_csv
from prompt_oirl.opro.ablations import AXES, DEFAULT, INITIAL
from prompt_oirl.opro.loop import Run
from prompt_oirl.reports.figures import BLUE, GREY, save_figure
from prompt_oirl.stats.metrics import interval

EARLY_INSTRUCTIONS = 40  # scored ones, after which the curves are mostly flat on easy tasks


@dataclass(frozen=True)
class ArmResult:
    """What one run of an arm gave; `test` and `start_test` hold a value per test question, float64 (n,)."""

    arm: str
    seed: int
    search_calls: int
    curve: list[float]
    winner: str
    winner_validation: float
    test: np.ndarray
    start_test: np.ndarray

    @classmethod
    def of(cls, run: Run, arm: str, search_calls: int) -> ArmResult:
        """From a finished run.

        Parameters
        ----------
        run : its winner is chosen and measured on test
        arm : name of the setting
        search_calls : answers that the search needed on train and validation, those in the log included
        """
        in_order = sorted(
            (c for c in run.scored if c.train and c.scored_at is not None), key=lambda c: c.scored_at or 0
        )
        best = np.maximum.accumulate([c.train.mean for c in in_order if c.train])
        first, winner = run.candidates[0], run.winner
        assert winner and winner.prompt and winner.test and winner.validation and first.test
        return cls(
            arm,
            run.seed,
            search_calls,
            best.tolist(),
            winner.prompt.text,
            winner.validation.mean,
            winner.test.values,
            first.test.values,
        )

    @property
    def early(self) -> float:
        """Mean over the first EARLY_INSTRUCTIONS scored instructions of the best train accuracy so far: how
        soon it was found."""
        shown = self.curve[1 : EARLY_INSTRUCTIONS + 1] or self.curve
        return float(np.mean(shown + [shown[-1]] * (EARLY_INSTRUCTIONS - len(shown))))

    def row(self) -> dict[str, Any]:
        """The run as a row of runs.csv."""
        return {
            "arm": self.arm,
            "seed": self.seed,
            "scored": len(self.curve),
            "search_calls": self.search_calls,
            "start_train": self.curve[0],
            "best_train": self.curve[-1],
            "winner_validation": self.winner_validation,
            "start_test": self.start_test.mean(),
            "test": self.test.mean(),
            "winner": self.winner,
        }


def mean_over_runs(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of one value per run with its 95 % interval over runs."""
    rng = np.random.default_rng(seed)
    draws = values[rng.integers(0, len(values), size=(2000, len(values)))].mean(1)
    low, high = interval(draws[:, None])
    return float(values.mean().round(12)), float(low[0].round(12)), float(high[0].round(12))


def mean_over_runs_and_groups(
    values: np.ndarray, clusters: np.ndarray, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean with an interval that resamples runs and groups of questions, both.

    Parameters
    ----------
    values : float64 (runs, n)
    clusters : int (n,), group of every question
    level : coverage of the interval

    Returns: mean, low, high.
    """
    _, group = np.unique(clusters, return_inverse=True)
    n_runs, n_groups = len(values), int(group.max()) + 1
    sums = np.zeros((n_runs, n_groups))
    np.add.at(sums.T, group, values.T)
    size = np.bincount(group)
    rng = np.random.default_rng(seed)
    of_runs = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=2000)
    of_groups = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=2000)
    draws = ((of_runs @ sums) * of_groups).sum(1) / n_runs / (of_groups @ size)
    low, high = interval(draws[:, None], level)
    return float(values.mean().round(12)), float(low[0].round(12)), float(high[0].round(12))


def table(
    results: Sequence[ArmResult], clusters: np.ndarray, proposer: str, scorer: str, initial: str = INITIAL
) -> Iterator[dict[str, Any]]:
    """One row per value of each axis, means over seeds; differences from the default are paired by seed and
    question.

    Parameters
    ----------
    results : runs of any arms and seeds, all tested on the same n questions
    clusters : int64 (n,), group of every test question
    proposer, scorer : names of what proposes and of what answers
    initial : initial instruction of the arms that do not vary it; default: `INITIAL`

    Returns: rows of ablations.csv, shares in 0..1; a value without a run has no row.
    """
    by_arm = group_by_arm(results)
    for axis, values in AXES.items():
        for value, name in values.items():
            runs = by_arm.get(name, [])
            if not runs:
                continue
            test = np.array([r.test for r in runs])
            over_default = paired(by_arm, name, DEFAULT) if name != DEFAULT else None
            yield {
                "axis": axis,
                "value": label(value, initial),
                "arm": name,
                "seeds": len(runs),
                "scored": np.mean([len(r.curve) for r in runs]),
                "search_calls": np.mean([r.search_calls for r in runs]),
                "start_train": np.mean([r.curve[0] for r in runs]),
                "best_train": np.mean([r.curve[-1] for r in runs]),
                **_with_interval("early", mean_over_runs(np.array([r.early for r in runs]))),
                "start_test": np.mean([r.start_test.mean() for r in runs]),
                **_with_interval("test", mean_over_runs_and_groups(test, clusters)),
                **_with_interval(
                    "over_default",
                    (None, None, None)
                    if over_default is None
                    else mean_over_runs_and_groups(over_default, clusters),
                ),
                "proposer": proposer,
                "scorer": scorer,
            }


def _with_interval(name: str, value: Sequence[float | None]) -> dict[str, float | None]:
    """The three columns of a value and its interval."""
    return dict(zip((name, f"{name}_ci_low", f"{name}_ci_high"), value))


def group_by_arm(results: Sequence[ArmResult]) -> dict[str, list[ArmResult]]:
    """The runs of every arm."""
    return {name: [r for r in results if r.arm == name] for name in {r.arm for r in results}}


def label(value: str, initial: str) -> str:
    """A value of an axis as tables show it; the default start is the one that was given."""
    return (initial or "(empty)") if value == INITIAL else value


def paired(by_arm: dict[str, list[ArmResult]], a: str, b: str) -> np.ndarray | None:
    """Test values of arm a minus those of b for the seeds that both have, (seeds, questions).

    Parameters
    ----------
    by_arm : runs of every arm, as `group_by_arm` gives them
    a, b : names of arms

    Returns: float64, in -1..1; None if the arms share no seed.
    """
    of_b = {o.seed: o for o in by_arm.get(b, [])}
    rows = [o.test - of_b[o.seed].test for o in by_arm.get(a, []) if o.seed in of_b]
    return np.array(rows) if rows else None


def hybrid_rows(results: Sequence[ArmResult], clusters: np.ndarray) -> Iterator[dict[str, Any]]:
    """Test accuracy of the hybrid's winners against those of other arms, 90 % intervals; calls are of the
    search alone."""
    by_arm = group_by_arm(results)
    for other, description in ((DEFAULT, "all measured"), ("quarter", "all measured at as many calls")):
        difference = paired(by_arm, "hybrid", other)
        if difference is None:
            continue
        value, low, high = mean_over_runs_and_groups(difference, clusters, level=0.9)
        calls = [np.mean([o.search_calls for o in by_arm[name]]) for name in ("hybrid", other)]
        yield {
            "comparison": f"hybrid - {description}",
            "value": value,
            "ci90_low": low,
            "ci90_high": high,
            "seeds": len(difference),
            "calls": calls[0],
            "calls_other": calls[1],
        }


def curve_rows(results: Sequence[ArmResult]) -> Iterator[dict[str, Any]]:
    """The best train accuracy after so many scored instructions, wherever it rises, and at the end."""
    for o in results:
        for i, best in enumerate(o.curve):
            if i == 0 or best > o.curve[i - 1] or i == len(o.curve) - 1:
                yield {"arm": o.arm, "seed": o.seed, "scored": i + 1, "best_train": best}


def write_tables(
    rows: Sequence[dict[str, Any]],
    comparisons: Sequence[dict[str, Any]],
    results: Sequence[ArmResult],
    folder: Path,
) -> None:
    """Write ablations.csv, hybrid.csv, runs.csv and curves.csv.

    Parameters
    ----------
    rows : of `table`
    comparisons : of `hybrid_rows`; may be empty
    results : the runs that both are made from
    folder : where the files go; made if it is missing
    """
    hybrid = ["comparison", "value", "ci90_low", "ci90_high", "seeds", "calls", "calls_other"]
    write_csv(folder / "ablations.csv", rows)
    write_csv(folder / "hybrid.csv", comparisons, hybrid)
    write_csv(folder / "runs.csv", [r.row() for r in results])
    write_csv(folder / "curves.csv", curve_rows(results))


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Test accuracy of each value of each axis with its 95 % interval; `rows` as `table` or ablations.csv has
    them."""
    from matplotlib.figure import Figure

    height = len(rows) + 0.9 * len({row["axis"] for row in rows})
    figure = Figure(figsize=(7.6, 0.22 * height + 1.3), layout="constrained")
    axes = figure.add_subplot()
    default = next((100 * float(row["test"]) for row in rows if row["arm"] == DEFAULT), None)
    if default is not None:
        axes.axvline(default, color=GREY, linewidth=1, linestyle="--", label="Default setting")
    y, ticks, labels = 0.0, [], []
    for i, row in enumerate(rows):
        if i == 0 or row["axis"] != rows[i - 1]["axis"]:
            ticks.append(y)
            labels.append(f"{row['axis'][0].upper()}{row['axis'][1:]}")
            y += 0.9
        value, low, high = (100 * float(row[column]) for column in ("test", "test_ci_low", "test_ci_high"))
        axes.errorbar(
            value,
            y,
            xerr=[[value - low], [high - value]],
            fmt="o",
            markersize=4.5,
            capsize=2.5,
            color=BLUE,
            markerfacecolor="white" if row["arm"] == DEFAULT else BLUE,
        )
        ticks.append(y)
        labels.append(str(row["value"]))
        y += 1
    axes.set_yticks(ticks, labels, fontsize=8)
    values = {str(row["value"]) for row in rows}
    for text in axes.get_yticklabels():
        if text.get_text() not in values:
            text.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y - 0.4, -0.6)
    axes.set_xlabel("Test accuracy of the winner, % (95 % interval over runs and questions)", fontsize=9)
    seeds, proposer, scorer = rows[0]["seeds"], rows[0]["proposer"], rows[0]["scorer"]
    axes.set_title(
        f"{proposer} proposes, {scorer} answers, {seeds} runs per setting; open dot: default", fontsize=9
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    return save_figure(figure, path, dpi=130)
