"""What several answers and a vote bring on the logs with stored answers: success against calls, cross-fitted.

    python scripts/measure_voting.py                                 # GSM8K, MAWPS, SVAMP of LLaMA-2
    python scripts/measure_voting.py --llm nano --dataset arith      # the tiny model's log
    python scripts/measure_voting.py --dataset gsm8k --grader original

Needs steps 2 and 3. Puts what it measured into results/reference/voting.csv, in place of the rows of that log
and grader; all other rows stay. Draws voting.png and rewrites the table of docs/voting.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prompt_oirl.data import interactions
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, Paths, read_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.plan import prepared_datasets
from prompt_oirl.reports.figures import draw_voting
from prompt_oirl.reports.readme import fill_tables, markdown, replace_rows
from prompt_oirl.stats import splits
from prompt_oirl.stats.cells import column_means, mean_labels
from prompt_oirl.stats.metrics import ClusterBootstrap, format_interval
from prompt_oirl.voting import evaluate, votes

SHOWN_BUDGETS = (1, 3, 5, 7, 10, 16)
SHOWN = ("random", "best", "decided", "predicted", "adaptive_predicted")
STOPPING = ("decided", "adaptive_predicted")
DRAWN = ("random", "decided", "predicted", "adaptive_predicted")


@dataclass
class Args:
    llm: str = LLM
    """Whose log."""
    dataset: str = "gsm8k,mawps,svamp"
    """Comma list of datasets."""
    grader: Literal["strict", "original"] = "strict"
    """Reads the answers' numbers and grades them."""
    model: str = "interaction"
    """Reward model of the predicted rewards."""
    assignments: int = 3
    """Random fold assignments, averaged question by question."""
    seed: int = 0
    """Seed of random orders and of the bootstrap."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/, embeddings/ and results/."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


def main(args: Args) -> None:
    """Measure each dataset and bring table, figure and page up to date."""
    paths = Paths(args.root)
    table = args.out / "results" / "reference" / "voting.csv"
    for dataset in prepared_datasets(args.llm, args.dataset, paths, offline_dataset.STEP3):
        rows = list(measure(args, dataset, paths))
        print(render(rows, args.grader))
        replace_rows(table, rows, ("llm", "dataset", "grader"))
    draw_voting(table, table.with_suffix(".png"), DRAWN)
    collected = read_csv(table, hint="run this script again")
    fill_tables(args.out, {"voting": render(collected, "strict")})


def measure(args: Args, dataset: str, paths: Paths) -> Iterator[dict[str, Any]]:
    """Rows of voting.csv of one dataset."""
    data = offline_dataset.load(args.llm, dataset, paths)
    names = data.names
    log = paths.labels(args.llm) / f"{dataset}_interactions.jsonl"
    if not log.is_file():
        log = paths.committed_log(args.llm, dataset)
    rows = [row for row in interactions.read(log, hint=offline_dataset.STEP2) if row.split == "test"]
    prompt_ids = [p.id for p in names.prompts]
    cells = list(votes.vote_cells(rows, names.test_question_ids, prompt_ids, args.grader))
    shape = len(names.test_question_ids), len(prompt_ids)
    tables = votes.vote_tables(cells, shape, "number" if args.grader == "strict" else args.grader)
    columns = np.flatnonzero(tables[0].logged.any(0))
    tables = [table.columns(columns) for table in tables]
    row, column, _, _, verdict = (np.array(part) for part in zip(*cells))
    single = mean_labels(row, column, verdict, shape)[0][:, columns]
    vectors, prompts, size = data.features(names.paper_split().name)
    questions = np.asarray(vectors)
    if data.embedder.fitted:
        questions, size = data.surface, 0  # vectors fitted to other folds' texts would know too much
    predict = evaluate.reward_predictor(
        args.model,
        questions,
        prompts[columns],
        size,
        names.test_index,
        single,
        names.test_clusters,
        args.seed,
    )
    folds = [
        split
        for a in range(args.assignments)
        for split in splits.crossfit_splits(
            names.test_clusters,
            names.test_clusters,
            names.folds[offline_dataset.fold_column(splits.HEADLINE_FOLDS, a)],
            "voting",
            assignment=a,
        )
        if len(split.test)
    ]
    clusters = names.test_clusters
    success = [np.nan_to_num(column_means(single[split.learned])) for split in folds]
    learned = evaluate.learn(predict, folds, clusters, success)
    curves = evaluate.evaluate_voting(tables, single, clusters, folds, learned, seed=args.seed)
    about = {
        "llm": args.llm,
        "dataset": dataset,
        "grader": args.grader,
        "model": args.model,
        "assignments": args.assignments,
        "prompts": len(columns),
        "n": len(single),
        "n_clusters": len(np.unique(clusters)),
    }
    for curve_row in evaluate.curve_rows(curves, ClusterBootstrap(clusters, args.seed)):
        yield about | curve_row


def render(rows: Sequence[Mapping[str, Any]], grader: str) -> str:
    """Success at some budgets; where asking may stop earlier, the mean calls that were really made."""
    out = []
    for dataset in dict.fromkeys(r["dataset"] for r in rows if r["grader"] == grader):
        for policy in SHOWN:
            found = {
                int(r["budget"]): r
                for r in rows
                if (r["dataset"], r["policy"], r["grader"]) == (dataset, policy, grader)
            }
            cells = []
            for budget in SHOWN_BUDGETS:
                row = found.get(budget)
                if row is None:
                    cells.append("")
                    continue
                calls = f" ({float(row['calls']):.1f})" if policy in STOPPING else ""
                cells.append(format_interval(row["success"], row["low"], row["high"]) + calls)
            if found:
                prompts = next(iter(found.values()))["prompts"]
                label = f"{dataset.upper()}, {prompts} prompts: " if policy == SHOWN[0] else ""
                out.append([label + evaluate.POLICIES[policy], *cells])
    return markdown(["calls", *map(str, SHOWN_BUDGETS)], out)


if __name__ == "__main__":
    run_step(main, Args)
