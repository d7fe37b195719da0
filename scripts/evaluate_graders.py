"""How often do the graders err? Draw released answers to be labelled by reading, then score both graders.

    python scripts/evaluate_graders.py --draw sheet.jsonl   # 300 answers with question and gold, no verdict
    python scripts/evaluate_graders.py                         # score data/grader_labels.csv

The draw (fixed seed) takes 120 of all stored answers uniformly and 180 of those on which the graders
disagreed when it was made, so errors are weighted back to all answers by stratum. Half of it, chosen by a
seed, was for improving the strict grader; the figures are those of the other half. Only ids and labels are
committed, never texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.grading import numbers
from prompt_oirl.io.files import REPO_ROOT, Paths, read_csv, write_csv, write_jsonl
from prompt_oirl.io.manifest import run_step

UNIFORM, DISAGREEING, SEED = 120, 180, 0
LABELS = REPO_ROOT / "data" / "grader_labels.csv"
LABEL_COLUMNS = ["dataset", "question_id", "prompt_id", "stratum", "stratum_size", "half", "label"]
COLUMNS = ["grader", "half", "n", "error_rate", "ci_low", "ci_high", "wrongly_right", "wrongly_wrong"]


@dataclass
class Args:
    root: Path = REPO_ROOT
    """Folder whose llama_exps/LMllama2 step 2 has filled."""
    draw: Path | None = None
    """Write the answers to be labelled here instead of scoring."""
    out: Path = REPO_ROOT / "results" / "reference" / "graders.csv"
    """Table to write."""


def main(args: Args) -> None:
    stored = [row for dataset in RELEASED for row in stored_answers(dataset, Paths(args.root))]
    if args.draw:
        write_jsonl(
            args.draw, (sheet_row(stored[i], stratum, size, half) for i, stratum, size, half in drawn(stored))
        )
        print(f"{UNIFORM + DISAGREEING} answers to read in {args.draw}")
        return
    found = {(row.dataset, row.question_id, row.prompt_id): row for row in stored}
    labels = read_csv(LABELS, hint="restore it from git", columns=LABEL_COLUMNS)
    rows = [row for half in ("development", "held_out") for row in error_rows(half, labels, found)]
    write_csv(args.out, rows, COLUMNS)
    for row in rows:
        print(
            f"{row['half']:12} {row['grader']:9} {row['error_rate']:.2%} [{row['ci_low']:.2%}, "
            f"{row['ci_high']:.2%}] of answers, n = {row['n']}"
        )


def stored_answers(dataset: str, paths: Paths) -> list[LogRow]:
    """The rows of a released log that hold an answer."""
    log = paths.labels(LLM) / f"{dataset}_interactions.jsonl"
    rows = interactions.read(log, hint="run llama_step2_reorg_data.py first")
    return [row for row in rows if row.answer is not None]


def drawn(stored: Sequence[LogRow]) -> list[tuple[int, str, int, str]]:
    """(place, stratum, stratum size, half) of every drawn answer, in random order."""
    disagree = np.array(
        [numbers.original(r.answer or "", r.gold) != numbers.strict(r.answer or "", r.gold) for r in stored]
    )
    rng = np.random.default_rng(SEED)
    uniform = rng.choice(len(stored), UNIFORM, replace=False)
    more = rng.choice(np.setdiff1d(np.flatnonzero(disagree), uniform), DISAGREEING, replace=False)
    places = rng.permutation(np.concatenate([uniform, more]))
    halves = rng.permutation(np.arange(len(places)) % 2)
    sizes = {True: int(disagree.sum()), False: int((~disagree).sum())}
    names = {True: "disagree", False: "agree"}
    return [
        (int(i), names[bool(disagree[i])], sizes[bool(disagree[i])], ("development", "held_out")[h])
        for i, h in zip(places, halves)
    ]


def sheet_row(row: LogRow, stratum: str, size: int, half: str) -> dict[str, object]:
    """One answer to be labelled by reading; no verdict stands there."""
    ids = {"dataset": row.dataset, "question_id": row.question_id, "prompt_id": row.prompt_id}
    return ids | {
        "stratum": stratum,
        "stratum_size": size,
        "half": half,
        "question": row.question,
        "gold": row.gold,
        "answer": row.answer,
    }


def error_rows(
    half: str, labels: Sequence[dict[str, str]], found: dict[tuple[str, str, str], LogRow]
) -> Iterator[dict[str, object]]:
    """Weighted error rates on one half with bootstrap intervals within strata, and the paired difference."""
    kept = [r for r in labels if r["half"] == half]
    answers = [found[r["dataset"], r["question_id"], r["prompt_id"]] for r in kept]
    label = np.array([r["label"] == "1" for r in kept])
    verdicts = {
        name: np.array([grade(r.answer or "", r.gold) for r in answers])
        for name, grade in numbers.GRADERS.items()
    }
    strata = [np.flatnonzero([r["stratum"] == s for r in kept]) for s in ("agree", "disagree")]
    sizes = np.array([int(kept[members[0]]["stratum_size"]) for members in strata])
    share = sizes / sizes.sum()

    def row(grader: str, errors: np.ndarray) -> dict[str, object]:
        rng = np.random.default_rng(SEED)
        draws = [
            sum(w * errors[rng.choice(m, len(m))].mean() for w, m in zip(share, strata)) for _ in range(4000)
        ]
        low, high = np.quantile(draws, [0.025, 0.975])
        rate = sum(w * errors[m].mean() for w, m in zip(share, strata))
        return {
            "grader": grader,
            "half": half,
            "n": len(kept),
            "error_rate": float(rate),
            "ci_low": float(low),
            "ci_high": float(high),
        }

    errors = {name: (verdict != label).astype(float) for name, verdict in verdicts.items()}
    for name, verdict in verdicts.items():
        kinds = {"wrongly_right": verdict & ~label, "wrongly_wrong": ~verdict & label}
        parts = {
            kind: float(sum(w * wrong[m].mean() for w, m in zip(share, strata)))
            for kind, wrong in kinds.items()
        }
        yield row(name, errors[name]) | parts
    yield row("strict minus original", errors["strict"] - errors["original"])


if __name__ == "__main__":
    run_step(main, Args)
