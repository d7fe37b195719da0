"""The tables of results/reference/ on the released logs: collected from finished runs, and as markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, Paths, read_csv
from prompt_oirl.reports.readme import markdown
from prompt_oirl.reports.summary import read_summary
from prompt_oirl.reports.terminal import SHOWN, points_text, rate_text
from prompt_oirl.reward_models import MODELS

Row = dict[str, str]
INTERVAL = ["value", "ci_low", "ci_high"]
COUNTS = ["n", "n_questions", "n_clusters"]
SELECTOR_COLUMNS = ["dataset", "split", "k", "selector", "metric", *INTERVAL, *COUNTS]
RANKING_COLUMNS = ["model", "dataset", "split", "selector", "metric", *INTERVAL, *COUNTS]
SANITY_COLUMNS = ["dataset", "split", "features", "selector", "metric", *INTERVAL, *COUNTS]
REFERENCE = REPO_ROOT / "results" / "reference"


def summaries(paths: Paths, protocol: str, all_sizes: bool = False) -> Iterator[Row]:
    """Rows of summary.csv of every dataset that ran: all six prompts, or with `all_sizes` each K's mean."""
    for dataset in RELEASED:
        path = paths.results(LLM, dataset, protocol) / "summary.csv"
        if path.is_file():
            for row in read_summary(path):
                if row["split"] in ("paper", "crossfit") and (
                    row["k"] == "6" or (all_sizes and row["subset"] == "mean")
                ):
                    yield row


def selectors(paths: Paths) -> Iterator[Row]:
    """Success and gain of every selector under both protocols."""
    for protocol in ("paper", "crossfit"):
        for row in summaries(paths, protocol):
            if row["features"] == "both" and row["metric"] in ("success_rate", "gain_over_train_best"):
                yield {column: row[column] for column in SELECTOR_COLUMNS}


def reproduction(paths: Paths) -> Iterator[dict]:
    """Every released LLaMA-2 number beside ours, K = 1..6, means over subsets, ties as published.

    The released picks are not public as plain data, so the difference takes the released number as fixed.
    """
    released = {
        (r["dataset"], r["k"], r["selector"]): float(r["success_rate"])
        for r in read_csv(REFERENCE / "released_llama2.csv", remedy="restore it from git")
    }
    for row in summaries(paths, "paper", all_sizes=True):
        selector = row["selector"].removesuffix("_as_published")
        key = (row["dataset"], row["k"], selector)
        published = row["selector"].endswith("_as_published") or selector == "oracle"
        if (
            key not in released
            or not published
            or row["metric"] != "success_rate"
            or row["features"] != "both"
        ):
            continue
        value, low, high = (float(row[column]) for column in INTERVAL)
        yield {column: row[column] for column in ("dataset", "k", "selector", *COUNTS)} | {
            "released": released[key],
            **{column: row[column] for column in INTERVAL},
            "difference": value - released[key],
            "difference_low": low - released[key],
            "difference_high": high - released[key],
        }


def ranking(paths: Paths) -> Iterator[Row]:
    """How each reward model ranks, and what its picks gain."""
    for model in MODELS:
        for protocol in ("paper", "crossfit"):
            for row in summaries(paths, protocol + ("" if model == "xgboost" else f"_{model}")):
                wanted = row["selector"].startswith("reward_model_") or (row["selector"], row["metric"]) == (
                    "irl_0",
                    "gain_over_train_best",
                )
                if row["features"] == "both" and wanted:
                    yield {column: row[column] for column in RANKING_COLUMNS}


def sanity(paths: Paths) -> Iterator[Row]:
    """Gain and AUC with features left out or labels shuffled."""
    for protocol in ("paper", "crossfit"):
        for row in summaries(paths, protocol):
            gain = (row["selector"], row["metric"]) == ("irl_0", "gain_over_train_best")
            auc = row["selector"] == "reward_model_seen_prompts" and row["metric"].startswith("auc")
            if gain or auc:
                yield {column: row[column] for column in SANITY_COLUMNS}


def intervals(paths: Paths) -> Iterator[Row]:
    """Success, gain and AUC averaged over ten fold assignments."""
    for row in summaries(paths, "crossfit_x10"):
        if row["metric"] in ("success_rate", "gain_over_train_best") or row["metric"].startswith("auc"):
            yield {column: row[column] for column in SELECTOR_COLUMNS}


def cost(paths: Paths) -> Iterator[Row]:
    """What each selector pays per question."""
    for dataset in RELEASED:
        path = paths.results(LLM, dataset, "crossfit") / "cost.csv"
        if path.is_file():
            yield from read_csv(path, remedy="run step 5")


def render_reproduction(rows: list[Row]) -> str:
    """Released and own success of IRL-0 with all six prompts, and what it gains on unseen problems."""
    others = read_csv(REFERENCE / "selectors.csv", remedy="run this script")
    find = {(r["dataset"], r["split"], r["selector"], r["metric"]): r for r in others}
    out = []
    for row in rows:
        if (row["k"], row["selector"]) != ("6", "irl_0_as_published"):
            continue
        d = row["dataset"]
        difference = {
            "value": row["difference"],
            "ci_low": row["difference_low"],
            "ci_high": row["difference_high"],
        }
        out.append(
            [
                d.upper(),
                f"{float(find[d, 'paper', 'train_best', 'success_rate']['value']):.3f}",
                f"{float(find[d, 'paper', 'lookup', 'success_rate']['value']):.3f}",
                f"{float(row['released']):.3f}",
                rate_text(row),
                points_text(difference),
                rate_text(find[d, "crossfit", "irl_0", "success_rate"]),
                points_text(find[d, "crossfit", "irl_0", "gain_over_train_best"]),
            ]
        )
    header = [
        "",
        "best single prompt",
        "lookup table, paper split",
        "IRL-0 released",
        "IRL-0 ours, paper split",
        "difference, points",
    ]
    return markdown([*header, "IRL-0 ours, crossfit", "gain over best prompt, crossfit, points"], out)


def render_selectors(rows: list[Row]) -> str:
    """Gain of every selector on unseen problems."""
    find = {(r["dataset"], r["split"], r["selector"], r["metric"]): r for r in rows}
    out = []
    for selector, label in SHOWN.items():
        cells = []
        for dataset in RELEASED:
            metric = "success_rate" if selector == "train_best" else "gain_over_train_best"
            row = find.get((dataset, "crossfit", selector, metric))
            cells.append(
                "" if row is None else rate_text(row) if selector == "train_best" else points_text(row)
            )
        if any(cells):
            out.append([label, *cells])
    return markdown(["crossfit, K = 6", *(d.upper() for d in RELEASED)], out)


def render_ranking(rows: list[Row]) -> str:
    """AUCs of every reward model: pooled, within prompt, within question."""
    find = {(r["model"], r["dataset"], r["split"], r["selector"], r["metric"]): r for r in rows}
    out = []
    for model in MODELS:
        for split in ("paper", "crossfit"):
            cells = []
            for dataset in RELEASED:
                found = [
                    find.get((model, dataset, split, "reward_model_seen_prompts", f"auc_{m}"))
                    for m in ("pooled", "within_prompt", "within_question")
                ]
                cells.append(" / ".join(f"{float(r['value']):.3f}" for r in found if r))
            if any(cells):
                out.append([model, split, *cells])
    return markdown(["reward model", "protocol", *(d.upper() for d in RELEASED)], out)


def render_sanity(rows: list[Row]) -> str:
    """Gain with features left out or labels shuffled."""
    find = {
        (r["dataset"], r["split"], r["features"]): r for r in rows if r["metric"] == "gain_over_train_best"
    }
    out = [
        [
            features.replace("_", " "),
            split,
            *(
                points_text(find[d, split, features]) if (d, split, features) in find else ""
                for d in RELEASED
            ),
        ]
        for features in ("both", "question_only", "prompt_only", "shuffled_labels")
        for split in ("paper", "crossfit")
    ]
    return markdown(["features", "protocol", *(d.upper() for d in RELEASED)], out)


def render_intervals(rows: list[Row]) -> str:
    """Gain of some selectors over ten fold assignments."""
    find = {(r["dataset"], r["selector"], r["metric"]): r for r in rows}
    shown = [(s, SHOWN[s]) for s in ("knn", "irl_0", "irl_10", "lmsc", "oracle")]
    out = [
        [label, *(points_text(find[d, s, "gain_over_train_best"]) for d in RELEASED)] for s, label in shown
    ]
    return markdown(["gain over best prompt, ten fold assignments", *(d.upper() for d in RELEASED)], out)


def render_cost(rows: list[Row]) -> str:
    """Right answers per dollar."""
    find = {(r["dataset"], r["selector"]): r for r in rows}
    out = []
    for selector in ("train_best", "irl_0", "lmsc", "oracle"):
        calls = find[RELEASED[0], selector]["calls_per_question"]
        out.append(
            [
                SHOWN[selector],
                calls,
                *(f"{float(find[d, selector]['successes_per_dollar']):,.0f}" for d in RELEASED),
            ]
        )
    return markdown(["right answers per dollar", "calls per question", *(d.upper() for d in RELEASED)], out)


# name -> rows of the CSV, markdown of the page
TABLES: dict[str, tuple[Callable[[Paths], Iterator[dict]], Callable[[list[Row]], str]]] = {
    "selectors": (selectors, render_selectors),
    "reproduction": (reproduction, render_reproduction),
    "ranking": (ranking, render_ranking),
    "sanity": (sanity, render_sanity),
    "intervals": (intervals, render_intervals),
    "cost": (cost, render_cost),
}
