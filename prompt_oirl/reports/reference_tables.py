"""The tables of results/reference/ on the released logs: collected from finished runs, and as markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, Paths, read_csv
from prompt_oirl.pipeline.offline_dataset import ASSIGNMENTS
from prompt_oirl.reports.readme import markdown
from prompt_oirl.reports.summary import read_summary
from prompt_oirl.reports.terminal import SHOWN, points_text, rate_text
from prompt_oirl.reward_models import MODELS

Row = dict[str, str]
INTERVAL = ["value", "ci_low", "ci_high"]
COUNTS = ["n", "n_questions", "n_clusters"]
SELECTOR_COLUMNS = ["dataset", "split", "k", "selector", "metric", *INTERVAL, "monte_carlo", *COUNTS]
RANKING_COLUMNS = ["model", "dataset", "split", "selector", "metric", *INTERVAL, *COUNTS]
SANITY_COLUMNS = ["dataset", "split", "features", "selector", "metric", *INTERVAL, *COUNTS]
DIFFERENCE = ["difference", "difference_low", "difference_high"]
REPRODUCTION_HEADER = [
    "",
    "best single prompt",
    "lookup table, paper split",
    "IRL-0 released",
    "IRL-0 ours, paper split",
    "difference, points",
    "IRL-0 ours, crossfit",
    "gain over best prompt, crossfit, points",
    "its Monte Carlo error",
]
PROTOCOLS = ("paper", "crossfit")
# Quoted for each selector: the published split once, crossfit as the mean of all draws (make intervals).
HEADLINE = ("paper", f"crossfit_x{ASSIGNMENTS}")
ABOUT_PICKS = ("success_rate", "gain_over_train_best")
REFERENCE = REPO_ROOT / "results" / "reference"


def summaries(paths: Paths, protocol: str, all_sizes: bool = False) -> Iterator[Row]:
    """Rows of summary.csv of every released dataset that ran, under the splits paper and crossfit.

    Parameters
    ----------
    paths : folders of the pipeline
    protocol : folder of the results, such as paper, crossfit or crossfit_x50
    all_sizes : give the mean over subsets of each smaller K as well; default: all six prompts only
    """
    for dataset in RELEASED:
        path = paths.results(LLM, dataset, protocol) / "summary.csv"
        if path.is_file():
            for row in read_summary(path):
                if row["split"] in ("paper", "crossfit") and (
                    row["k"] == "6" or (all_sizes and row["subset"] == "mean")
                ):
                    yield row


def wanted(
    paths: Paths, columns: list[str], folders: Sequence[str], keep: Callable[[Row], bool]
) -> Iterator[Row]:
    """Some columns of those rows of the folders' summaries that `keep` says yes to.

    Parameters
    ----------
    paths : folders of the pipeline
    columns : to keep, in this order
    folders : of the results, see `summaries`
    keep : whether a row is wanted
    """
    for folder in folders:
        for row in summaries(paths, folder):
            if keep(row):
                yield {column: row[column] for column in columns}


def is_gain(row: Row) -> bool:
    """Whether it is the gain of picking by the reward model."""
    return (row["selector"], row["metric"]) == ("irl_0", "gain_over_train_best")


def selectors(paths: Paths) -> Iterator[Row]:
    """Success and gain of every selector under both protocols."""

    def keep(row: Row) -> bool:
        return row["features"] == "both" and row["metric"] in ABOUT_PICKS

    return wanted(paths, SELECTOR_COLUMNS, HEADLINE, keep)


def reproduction(paths: Paths) -> Iterator[dict]:
    """Every released LLaMA-2 number beside ours, K = 1..6, means over subsets, ties as published.

    The released picks are not public as plain data, so the difference takes the released number as fixed.
    """
    released = {
        (r["dataset"], r["k"], r["selector"]): float(r["success_rate"])
        for r in read_csv(REFERENCE / "released_llama2.csv", hint="restore it from git")
    }
    for row in summaries(paths, "paper", all_sizes=True):
        selector = row["selector"].removesuffix("_as_published")
        there = released.get((row["dataset"], row["k"], selector))
        published = row["selector"].endswith("_as_published") or selector == "oracle"
        if published and there is not None and (row["metric"], row["features"]) == ("success_rate", "both"):
            differences = (float(row[column]) - there for column in INTERVAL)
            yield {column: row[column] for column in ("dataset", "k", "selector", *COUNTS)} | {
                "released": there,
                **{column: row[column] for column in INTERVAL},
                **dict(zip(DIFFERENCE, differences)),
            }


def ranking(paths: Paths) -> Iterator[Row]:
    """How each reward model ranks, and what its picks gain."""
    for model in MODELS:
        folders = [protocol + ("" if model == "xgboost" else f"_{model}") for protocol in PROTOCOLS]

        def keep(row: Row) -> bool:
            return row["features"] == "both" and (row["selector"].startswith("reward_model_") or is_gain(row))

        yield from wanted(paths, RANKING_COLUMNS, folders, keep)


def sanity(paths: Paths) -> Iterator[Row]:
    """Gain and AUC with features left out or labels shuffled."""

    def keep(row: Row) -> bool:
        auc = row["selector"] == "reward_model_seen_prompts" and row["metric"].startswith("auc")
        return auc or is_gain(row)

    return wanted(paths, SANITY_COLUMNS, PROTOCOLS, keep)


def cost(paths: Paths) -> Iterator[Row]:
    """What each selector pays per question."""
    for dataset in RELEASED:
        path = paths.results(LLM, dataset, "crossfit") / "cost.csv"
        if path.is_file():
            yield from read_csv(path, hint="run step 5")


def by(rows: list[Row], *columns: str) -> dict[tuple[str, ...], Row]:
    """The rows by what stands in some of their columns."""
    return {tuple(row[column] for column in columns): row for row in rows}


def dataset_table(header: list[str], lines: Iterable[tuple[list[str], Callable[[str], str]]]) -> str:
    """A markdown table with a column per dataset; lines of empty cells are left out.

    Parameters
    ----------
    header : of the columns before the datasets
    lines : cells under `header`, and what gives the cell of a dataset
    """
    rows = [[*first, *map(cell, RELEASED)] for first, cell in lines]
    filled = [row for row in rows if any(row[len(header) :])]
    return markdown([*header, *(dataset.upper() for dataset in RELEASED)], filled)


def points_if_there(row: Row | None) -> str:
    """The gain of a row in points; nothing where there is no row."""
    return points_text(row) if row else ""


def error_text(row: Row) -> str:
    """The Monte Carlo error of a row in points: "0.09"."""
    return f"{100 * float(row['monte_carlo']):.2f}"


def render_reproduction(rows: list[Row]) -> str:
    """Released and own success of IRL-0 with all six prompts, and what it gains on unseen problems."""
    others = read_csv(REFERENCE / "selectors.csv", hint="run this script")
    find = by(others, "dataset", "split", "selector", "metric")
    out = [
        [
            row["dataset"].upper(),
            f"{float(find[row['dataset'], 'paper', 'train_best', 'success_rate']['value']):.3f}",
            f"{float(find[row['dataset'], 'paper', 'lookup', 'success_rate']['value']):.3f}",
            f"{float(row['released']):.3f}",
            rate_text(row),
            points_text({column: row[name] for column, name in zip(INTERVAL, DIFFERENCE)}),
            rate_text(find[row["dataset"], "crossfit", "irl_0", "success_rate"]),
            points_text(find[row["dataset"], "crossfit", "irl_0", "gain_over_train_best"]),
            error_text(find[row["dataset"], "crossfit", "irl_0", "gain_over_train_best"]),
        ]
        for row in rows
        if (row["k"], row["selector"]) == ("6", "irl_0_as_published")
    ]
    return markdown(REPRODUCTION_HEADER, out)


def render_selectors(rows: list[Row]) -> str:
    """Gain of every selector on unseen problems, and the Monte Carlo error of its mean over draws."""
    find = by(rows, "selector", "dataset", "split", "metric")

    def cell(selector: str, dataset: str) -> str:
        alone = selector == "train_best"
        row = find.get((selector, dataset, "crossfit", "success_rate" if alone else "gain_over_train_best"))
        if not row or alone:
            return rate_text(row) if row else ""
        return f"{points_text(row)} ± {error_text(row)}"

    return dataset_table(
        ["crossfit, K = 6"], (([label], partial(cell, name)) for name, label in SHOWN.items())
    )


def render_ranking(rows: list[Row]) -> str:
    """AUCs of every reward model: pooled, within prompt, within question."""
    find = by(rows, "model", "split", "dataset", "selector", "metric")

    def cell(model: str, split: str, dataset: str) -> str:
        kinds = ("auc_pooled", "auc_within_prompt", "auc_within_question")
        found = [find.get((model, split, dataset, "reward_model_seen_prompts", kind)) for kind in kinds]
        return " / ".join(f"{float(row['value']):.3f}" for row in found if row)

    lines = (([m, protocol], partial(cell, m, protocol)) for m in MODELS for protocol in PROTOCOLS)
    return dataset_table(["reward model", "protocol"], lines)


def render_sanity(rows: list[Row]) -> str:
    """Gain with features left out or labels shuffled."""
    find = by(rows, "features", "split", "dataset", "metric")

    def cell(features: str, split: str, dataset: str) -> str:
        return points_if_there(find.get((features, split, dataset, "gain_over_train_best")))

    lines = (
        ([features.replace("_", " "), protocol], partial(cell, features, protocol))
        for features in ("both", "question_only", "prompt_only", "shuffled_labels")
        for protocol in PROTOCOLS
    )
    return dataset_table(["features", "protocol"], lines)


def render_cost(rows: list[Row]) -> str:
    """Right answers per dollar."""
    find = by(rows, "selector", "dataset")

    def cell(selector: str, dataset: str) -> str:
        return f"{float(find[selector, dataset]['successes_per_dollar']):,.0f}"

    lines = (
        ([SHOWN[name], find[name, RELEASED[0]]["calls_per_question"]], partial(cell, name))
        for name in ("train_best", "irl_0", "lmsc", "oracle")
    )
    return dataset_table(["right answers per dollar", "calls per question"], lines)


# name -> rows of the CSV, markdown of the page
TABLES: dict[str, tuple[Callable[[Paths], Iterator[dict]], Callable[[list[Row]], str]]] = {
    "selectors": (selectors, render_selectors),
    "reproduction": (reproduction, render_reproduction),
    "ranking": (ranking, render_ranking),
    "sanity": (sanity, render_sanity),
    "cost": (cost, render_cost),
}
