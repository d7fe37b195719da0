"""Figures and reference tables: drawn from the committed tables, collected from finished runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prompt_oirl.alol.evaluation.figures import draw_levels
from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, Paths, read_csv, write_csv
from prompt_oirl.opro import ablation_tables
from prompt_oirl.reports import figures
from prompt_oirl.reports.reference_tables import HEADLINE, TABLES

REFERENCE = REPO_ROOT / "results" / "reference"
VOTES = ("random", "best", "predicted", "adaptive_predicted")


def ablations(table: Path, path: Path) -> Path:
    return ablation_tables.draw(read_csv(table, hint="restore it from git"), path)


def levels(table: Path, path: Path) -> Path:
    rows = read_csv(table, hint="restore it from git")
    kept = [row for row in rows if (row["segment"], row["metric"]) == ("all", "final_reward")]
    assert kept
    return draw_levels(kept, path)


@pytest.mark.parametrize(
    ("table", "draw"),
    [
        ("selectors.csv", figures.draw_gains),
        ("voting.csv", lambda table, path: figures.draw_voting(table, path, VOTES)),
        ("alol_arith.csv", levels),
        ("opro_ablations.csv", ablations),
    ],
)
def test_a_figure_depends_on_its_table_alone(table: str, draw: Callable, tmp_path: Path) -> None:
    first, second = (draw(REFERENCE / table, tmp_path / f"{name}.png").read_bytes() for name in "ab")
    assert first == second and first.startswith(b"\x89PNG") and len(first) > 10_000


def summary_row(**known: str) -> dict[str, str]:
    weighting = "row" if known["split"] == "paper" else "question"
    return {
        **{"llm": LLM, "dataset": "", "split": "", "k": "6", "subset": "0-5", "selector": "", "metric": ""},
        **{"weighting": weighting, "model": "xgboost", "features": "both", **known},
    }


def test_a_name_with_dollar_signs_is_no_formula_and_powers_on_a_log_axis_are(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2], [1, 1000], label=r"$\mathdefault{")
    axes.set_yscale("log")
    axes.set_xticks([1, 2], ["costs $5", r"$\frac$"])
    axes.set_title(r"$\left")
    axes.legend()
    assert figures.save_figure(figure, tmp_path / "figure.png").stat().st_size
    assert any(label.get_text() and label.get_parse_math() for label in axes.get_yticklabels())
    assert not any(label.get_parse_math() for label in axes.get_xticklabels())


def test_reference_tables_are_collected_from_the_summaries_of_finished_runs(tmp_path: Path) -> None:
    """The rows of the committed tables, put back into summaries, come out again as they were."""
    paths = Paths(tmp_path)
    selectors, ranking, sanity = (
        read_csv(REFERENCE / f"{name}.csv", hint="restore it from git")
        for name in ("selectors", "ranking", "sanity")
    )
    for dataset in RELEASED:
        for split in ("paper", "crossfit"):
            for model in {row["model"] for row in ranking}:
                parts = [r for r in ranking if r["model"] == model]
                if model == "xgboost":  # selectors has the gain on the paper split
                    parts += [r for r in sanity if r["features"] != "both"]
                    if split == "paper":
                        parts = [
                            *selectors,
                            *(r for r in parts if r["selector"] != "irl_0" or "features" in r),
                        ]
                here = [summary_row(**r) for r in parts if (r["dataset"], r["split"]) == (dataset, split)]
                folder = split if model == "xgboost" else f"{split}_{model}"
                if here:
                    write_csv(paths.results(LLM, dataset, folder) / "summary.csv", here)
        drawn = [summary_row(**r) for r in selectors if (r["dataset"], r["split"]) == (dataset, "crossfit")]
        write_csv(paths.results(LLM, dataset, HEADLINE[1]) / "summary.csv", drawn)

    def numbers(rows: list[dict[str, str]]) -> set[tuple[str, ...]]:
        return {tuple(row.values()) for row in rows}

    for name, expected in (("selectors", selectors), ("ranking", ranking), ("sanity", sanity)):
        assert numbers(list(TABLES[name][0](paths))) == numbers(expected), name
    released = read_csv(REFERENCE / "reproduction.csv", hint="restore it from git")
    collected = list(TABLES["reproduction"][0](paths))
    assert len(collected) == len(RELEASED) * len({row["selector"] for row in released})
    for row in collected:
        key = {"k": "6", "dataset": row["dataset"], "selector": row["selector"]}
        (expected,) = (r for r in released if key.items() <= r.items())
        assert row["difference"] == pytest.approx(float(expected["difference"]), abs=2e-6)
    assert not list(TABLES["cost"][0](paths))
