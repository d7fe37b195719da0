"""The committed tables on OPRO: how well predictions rank instructions never measured, and what the runs gave.

    python scripts/measure_opro.py

Reads data/nano_log/ and, where fetched, the released logs, then results/opro/ as `make opro` leaves it. Writes
results/reference/opro_*.csv and .png and the tables of README and docs/opro.md. In every ranking an instruction is predicted only by models
that never saw an answer to it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import Interaction
from prompt_oirl.data.prompts import load_prompts
from prompt_oirl.data.questions import RELEASED, load_questions
from prompt_oirl.data.released import read_released, to_interactions
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.opro import tasks
from prompt_oirl.opro.predicting_scorers import cells_for
from prompt_oirl.opro.prompt_rewards import (
    Measured,
    PromptRewards,
    RewardSettings,
    TextVectors,
    rank_correlation,
)
from prompt_oirl.opro.search_proposer import SMALL
from prompt_oirl.reports.readme import fill_tables, markdown

RANKING = [
    "log",
    "learned_from",
    "ranked",
    "model",
    "spearman",
    "ci_low",
    "ci_high",
    "instructions",
    "questions",
    "groups",
]
SAMPLE = 400  # questions of a released log's split that take part: an instruction's mean needs no more
Row = dict[str, str]


@dataclass
class Args:
    models: tuple[str, ...] = ("ridge", "linear")
    """Reward models to compare on arith; the released logs get the first."""
    ranking: bool = True
    """Measure the ranking anew; else only the runs are collected."""
    root: Path = REPO_ROOT
    """Folder that holds data/ and results/."""


def main(args: Args) -> None:
    paths = Paths(args.root)
    reference = args.root / "results" / "reference"
    if args.ranking:
        vectors = TextVectors.load("minilm")
        rows = [
            *arith_ranking(args.models, vectors, paths),
            *space_ranking(args.models[0], vectors, paths),
            *released_ranking(args.models[0], vectors, paths),
        ]
        write_csv(reference / "opro_ranking.csv", rows, RANKING)
    for name, source in TABLES.items():
        files = sorted((args.root / "results" / "opro").glob(source))
        if files:
            collect(files, reference / f"{name}.csv")
    for name, source in FIGURES.items():
        if (path := args.root / "results" / "opro" / source).is_file():
            shutil.copyfile(path, reference / f"{name}.png")
    known = {name: reference / f"{name}.csv" for name in RENDER if (reference / f"{name}.csv").is_file()}
    fill_tables(args.root, {n: RENDER[n](read_csv(p, remedy="run this script")) for n, p in known.items()})


# --- ranking ---------------------------------------------------------------------------------------------


def arith_ranking(models: Sequence[str], vectors: TextVectors, paths: Paths) -> Iterator[dict[str, Any]]:
    """The tiny model's validation answers to 76 instructions, sixty of them in no training row at all."""
    log = interactions.read(paths.committed_log("nano", "arith"), remedy="run make nano-log")
    role = {p.id: p.role for p in load_prompts(paths.root / "data" / "arith" / "prompts.csv")}
    validation = [row for row in log if row.split == "validation"]
    texts = {row.prompt: row.prompt_id for row in validation}
    group = {row.question: row.group or row.question_id for row in validation}
    measured = Measured.of((row.question, row.prompt, row.correct) for row in validation)
    clusters = np.array([group[q] for q in measured.questions])
    unseen = np.array([role[texts[p]] == "unseen" for p in measured.prompts])
    subsets = {"all 76": np.ones(len(unseen), bool), "the sixty in no training row": unseen}
    about = {"log": "nano on arith"}
    for model in models:
        predicted = PromptRewards(settings(model), vectors).fit(measured)
        for ranked, of in subsets.items():
            value = rank_correlation(measured.labels[:, of], predicted[:, of], clusters)
            learned = "other instructions, the same questions"
            yield line(about, learned, ranked, model, value, int(of.sum()), clusters)
        # As few questions as a run of OPRO scores instructions on.
        few = np.random.default_rng(0).permutation(len(measured.questions))[:40]
        part = Measured([measured.questions[i] for i in few], measured.prompts, measured.labels[few])
        predicted = PromptRewards(settings(model), vectors).fit(part)
        value = rank_correlation(part.labels, predicted, clusters[few])
        yield line(
            about, "other instructions, 40 questions", "all 76", model, value, len(unseen), clusters[few]
        )
    few_rows = sample([row for row in log if row.split == "train"])
    six = Measured.of((row.question, row.prompt, row.correct) for row in few_rows)
    rewards = PromptRewards(settings(models[0]), vectors)
    rewards.fit(six)
    predicted, _ = rewards.predict(measured.questions, measured.prompts)
    value = rank_correlation(measured.labels[:, unseen], predicted[:, unseen], clusters)
    learned = "six training prompts, training questions"
    yield line(about, learned, "the sixty in no training row", models[0], value, int(unseen.sum()), clusters)


def space_ranking(model: str, vectors: TextVectors, paths: Paths) -> Iterator[dict[str, Any]]:
    """The small search space on the train questions of step 4, learned from each other or from data/nano_log/."""
    path = paths.committed_log("nano_opro", "arith")
    if not path.is_file():
        print(f"{path} is missing; run make opro-log")
        return
    arith = tasks.load_task("arith", paths)
    parts = tasks.divide(arith, 32, 50, 200, 0)
    train, space = {q.id for q in parts.train}, set(SMALL.instructions())
    rows = [
        row
        for row in interactions.read(path, remedy="run make opro-log")
        if row.question_id in train and row.prompt in space
    ]
    measured = Measured.of((row.question, row.prompt, row.correct) for row in rows)
    whole = ~np.isnan(measured.labels).any(0)  # a killed batch may have left an instruction half measured
    kept = [p for p, w in zip(measured.prompts, whole) if w]
    measured = Measured(measured.questions, kept, measured.labels[:, whole])
    group = {q.text: parts.groups[q.id] for q in parts.train}
    clusters = np.array([group[q] for q in measured.questions])
    about, ranked = {"log": "nano on arith"}, f"{len(kept)} of the small search space"
    value = rank_correlation(measured.labels, PromptRewards(settings(model), vectors).fit(measured), clusters)
    yield line(about, "other instructions, the same questions", ranked, model, value, len(kept), clusters)
    other = interactions.read(paths.committed_log("nano", "arith"), remedy="run make nano-log")
    rewards = PromptRewards(settings(model), vectors)
    rewards.fit(Measured.of(cells_for(parts, [r for r in other if r.split == "validation"], "nano")))
    predicted, _ = rewards.predict(measured.questions, measured.prompts)
    value = rank_correlation(measured.labels, predicted, clusters)
    yield line(about, "76 other phrasings, other questions", ranked, model, value, len(kept), clusters)


def released_ranking(model: str, vectors: TextVectors, paths: Paths) -> Iterator[dict[str, Any]]:
    """LLaMA-2's answers to ten held-out prompts, predicted from the six training prompts' training rows."""
    from prompt_oirl.data.near_duplicates import cluster_texts

    prompts = load_prompts()
    for dataset in RELEASED:
        try:
            questions = load_questions(dataset, paths)
            columns = read_released(dataset, questions, prompts, paths)
        except InputError as error:
            print(f"{dataset} is left out: {error}")
            continue
        rows = list(to_interactions(dataset, columns, questions))
        train = sample([row for row in rows if row.split == "train"])
        held_out = {p.id for p in prompts if p.role == "held_out"}
        test = sample([row for row in rows if row.split == "test" and row.prompt_id in held_out])
        rewards = PromptRewards(settings(model), vectors)
        rewards.fit(Measured.of((row.question, row.prompt, row.correct) for row in train))
        asked = Measured.of((row.question, row.prompt, row.correct) for row in test)
        predicted, _ = rewards.predict(asked.questions, asked.prompts)
        clusters = cluster_texts(asked.questions)
        value = rank_correlation(asked.labels, predicted, clusters)
        about = {"log": f"llama2 on {dataset}"}
        learned = "six training prompts, training questions"
        yield line(about, learned, "the ten held-out prompts", model, value, len(asked.prompts), clusters)


def settings(model: str) -> RewardSettings:
    return RewardSettings(model=model)  # type: ignore[arg-type]


def sample(rows: Sequence[Interaction]) -> list[Interaction]:
    """All rows of SAMPLE questions drawn at random."""
    texts = list(dict.fromkeys(row.question for row in rows))
    drawn = np.random.default_rng(0).permutation(len(texts))[:SAMPLE]
    kept = {texts[i] for i in drawn}
    return [row for row in rows if row.question in kept]


def line(
    about: dict[str, str], learned: str, ranked: str, model: str, value: tuple[float, float, float], n: int, clusters: np.ndarray
) -> dict[str, Any]:  # fmt: skip
    row = {
        **about, "learned_from": learned, "ranked": ranked, "model": model, "spearman": value[0], "ci_low": value[1],
        "ci_high": value[2], "instructions": n, "questions": len(clusters), "groups": len(np.unique(clusters)),
    }  # fmt: skip
    print(f"{row['log']}, {ranked}, {learned}, {model}: {value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})")
    return row


# --- runs ------------------------------------------------------------------------------------------------

# Committed table -> tables of results/opro/ that it is put together from.
TABLES = {
    "opro_runs": "arith/nano/result.csv",
    "opro_steps": "arith/nano/seed*/steps.csv",
    "opro_ablations": "arith/ablations/ablations.csv",
    "opro_ablation_runs": "arith/ablations/runs.csv",
    "opro_hybrid": "arith/ablations/hybrid.csv",
    "opro_transfer": "*/transfer/evaluation.csv",
    "opro_selection": "arith/nano/seed*/selection.csv",
    "opro_regression": "linear_regression/pattern-search/summary.csv",
    "opro_tours": "traveling_salesman/two-opt-search/runs.csv",
}
FIGURES = {
    "opro_curve": "arith/nano/accuracy_per_step.png",
    "opro_ablations": "arith/ablations/ablations.png",
    "opro_regression": "linear_regression/pattern-search/path.png",
    "opro_tour": "traveling_salesman/two-opt-search/tour_n20.png",
}


def collect(files: Sequence[Path], target: Path) -> None:
    """One table from several; those of seeds get a column seed if they lack one."""
    rows: list[Row] = []
    for path in files:
        extra = {"seed": path.parent.name.removeprefix("seed")} if path.parent.name.startswith("seed") else {}
        rows += [{**extra, **row} for row in read_csv(path, remedy="run make opro")]
    write_csv(target, rows, list(rows[0]))


def share(row: Row, value: str = "value", low: str = "ci_low", high: str = "ci_high") -> str:
    v, a, b = (100 * float(row[c]) for c in (value, low, high))
    return f"{v:.1f} [{a:.1f}, {b:.1f}]"


def points(row: Row, value: str = "value", low: str = "ci_low", high: str = "ci_high") -> str:
    if not row[value]:
        return ""
    v, a, b = (100 * float(row[c]) for c in (value, low, high))
    return f"{v:+.1f} [{a:+.1f}, {b:+.1f}]"


def render_ranking(rows: Sequence[Row]) -> str:
    lines = [
        [
            r["log"], r["ranked"], r["learned_from"], r["model"],
            f"{float(r['spearman']):.2f} [{float(r['ci_low']):.2f}, {float(r['ci_high']):.2f}]",
        ]
        for r in rows
    ]  # fmt: skip
    return markdown(["log", "instructions ranked", "learned from", "model", "Spearman [95 %]"], lines)


def render_runs(rows: Sequence[Row]) -> str:
    lines = []
    for r in rows:
        gain = "gain" in r["what"]
        text = f"`{r['instruction']}`" if r["instruction"] and not gain else ""
        lines.append([r["seed"], r["what"], points(r) if gain else share(r), r["n"], text])
    return markdown(["seed", "what", "% or points [95 %]", "questions", "instruction"], lines)


def render_ablations(rows: Sequence[Row]) -> str:
    lines = [
        [
            r["axis"], r["value"], f"{float(r['search_calls']):,.0f}", f"{100 * float(r['best_train']):.1f}",
            share(r, "early", "early_ci_low", "early_ci_high"),
            share(r, "test", "test_ci_low", "test_ci_high"),
            points(r, "over_default", "over_default_ci_low", "over_default_ci_high"),
        ]
        for r in rows
    ]  # fmt: skip
    head = [
        "axis",
        "value",
        "search calls",
        "best train, %",
        "best so far, mean of the first 40",
        "test of the winner, % [95 %]",
        "over the default, points",
    ]
    return markdown(head, lines)


def render_transfer(rows: Sequence[Row]) -> str:
    lines = [
        [r["task"], f"`{r['instruction']}`" if r["instruction"] else "(empty)", share(r, "accuracy"),
         points(r, "gain_over_first", "gain_ci_low", "gain_ci_high") if float(r["gain_over_first"]) or r["gain_ci_low"] != r["gain_ci_high"] else "", r["n"]]
        for r in rows
    ]  # fmt: skip
    return markdown(["task", "instruction", "test, % [95 %]", "over the first, points", "questions"], lines)


def render_selection(rows: Sequence[Row]) -> str:
    lines = [
        [
            r["seed"], r["what"],
            points(r) if "gain" in r["what"] else f"{float(r['value']):.3f} [{float(r['ci_low']):.3f}, {float(r['ci_high']):.3f}]",
        ]
        for r in rows
    ]  # fmt: skip
    return markdown(["seed", "what", "value [95 %]"], lines)


def render_hybrid(rows: Sequence[Row]) -> str:
    lines = [
        [
            r["comparison"], points(r, "value", "ci90_low", "ci90_high"), r["seeds"],
            f"{float(r['calls']):,.0f}", f"{float(r['calls_other']):,.0f}",
        ]
        for r in rows
    ]  # fmt: skip
    return markdown(["test accuracy", "points [90 %]", "seeds", "search calls, hybrid", "the other"], lines)


def render_regression(rows: Sequence[Row]) -> str:
    lines = [
        [
            f"{r['w']}, {r['b']}", f"{r['solved']} of {r['reps']}", f"{float(r['steps_mean']):.1f} ± {float(r['steps_sd']):.1f}",
            f"{float(r['explored_mean']):.1f} ± {float(r['explored_sd']):.1f}", r["paper_gpt4_steps"], r["paper_gpt4_explored"],
        ]
        for r in rows
    ]  # fmt: skip
    head = ["w, b", "solved", "steps to the optimum", "explored pairs", "paper's gpt-4: steps", "pairs"]
    return markdown(head, lines)


def render_tours(rows: Sequence[Row]) -> str:
    lines = []
    for n in dict.fromkeys(r["n"] for r in rows):
        of_n = [r for r in rows if r["n"] == n]
        gaps, library = (np.array([float(r[c]) for r in of_n]) for c in ("gap", "gap_to_library"))
        explored = np.mean([float(r["explored"]) for r in of_n])
        cells = [f"{100 * gaps.mean():.1f}", f"{100 * gaps.max():.1f}", f"{100 * library.mean():+.1f}"]
        lines.append([n, str(len(of_n)), of_n[0]["reference_kind"], *cells, f"{explored:.0f}"])
    head = [
        "points",
        "problems",
        "gap against",
        "mean gap, %",
        "largest, %",
        "against networkx, %",
        "explored tours",
    ]
    return markdown(head, lines)


RENDER = {
    "opro_hybrid": render_hybrid,
    "opro_regression": render_regression,
    "opro_tours": render_tours,
    "opro_ranking": render_ranking,
    "opro_runs": render_runs,
    "opro_ablations": render_ablations,
    "opro_transfer": render_transfer,
    "opro_selection": render_selection,
}


if __name__ == "__main__":
    run_step(main, Args)
