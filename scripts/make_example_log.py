"""A log as a user may have it: 300 questions, 4 prompts, 30 % of the answers missing, as CSV.

    python scripts/make_example_log.py --out my_log.csv --questions my_questions.csv

The answers are real ones, of the tiny model in data/nano_llama (data/nano_log); which cells are missing is
drawn by the seed. `--served` writes a log such as `prompt-oirl serve --explore 0.4` leaves it: 1,500 other
questions, one prompt each, CoT or at random. `--questions` also writes 20 questions that are not in the log,
to choose prompts for.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from prompt_oirl.examples import LOG, QUESTIONS
from prompt_oirl.io.files import Paths, atomic_write, require
from prompt_oirl.io.manifest import run_step

SERVED, EXPLORE = 1500, 0.4
PROMPTS = ("nan", "CoT", "APE", "Decomp")


@dataclass
class Args:
    out: Path = Path("my_log.csv")
    """The log; packed where it ends in .gz."""
    questions: Path | None = None
    """New questions."""
    served: Path | None = None
    """Folder for a server's log."""
    shipped: bool = False
    """Write the log and the questions that come with the package, prompt_oirl/examples, made anew."""
    rendered: bool = False
    """Write as prompts the texts that were sent, with the question in them."""
    size: int = 300
    """How many questions are logged."""
    missing: float = 0.3
    """Share of (question, prompt) cells that were never asked."""
    seed: int = 0
    """Which questions and cells."""


def main(args: Args) -> None:
    if args.shipped:
        args = replace(args, out=LOG, questions=QUESTIONS)
    log = pd.read_parquet(require(Paths().committed_log("nano", "arith"), "run make nano-log"))
    rng = np.random.default_rng(args.seed)
    train = log[(log.split == "train") & log.prompt_id.isin(PROMPTS)]
    chosen = rng.choice(train.question_id.unique(), args.size, replace=False)
    rows = train[train.question_id.isin(chosen)]
    kept = pd.Series(rng.random(len(rows)) >= args.missing, rows.index)
    nothing_left = ~kept.groupby(rows.question_id).transform("any")
    rows = rows[kept | (nothing_left & ~rows.question_id.duplicated())]
    if args.rendered:
        rows = rows.assign(prompt=rows.question + "\n" + rows.prompt)
    columns = ["question", "prompt", "correct", "answer"]
    table = rows.to_csv(columns=columns, index=False, lineterminator="\n").encode()
    with atomic_write(args.out) as temporary:
        temporary.write_bytes(gzip.compress(table, mtime=0) if args.out.suffix == ".gz" else table)
    print(
        f"{args.out}: {rows.question.nunique()} questions, {rows.prompt.nunique()} prompts, {len(rows)} "
        "answers"
    )
    if args.served:
        left = train[~train.question_id.isin(chosen)]
        write_served(left[left.question_id.isin(left.question_id.unique()[:SERVED])], args.served, rng)
    if args.questions:
        new = log[log.split == "test"].drop_duplicates("question")[["question"]].iloc[:20]
        with atomic_write(args.questions) as temporary:
            new.to_csv(temporary, index=False)


def write_served(rows: pd.DataFrame, folder: Path, rng: np.random.Generator) -> None:
    """One prompt a question: CoT, or with the chance EXPLORE one at random; and its verdict as feedback."""
    lines = []
    for number, (_, cells) in enumerate(rows.groupby("question_id", sort=False)):
        chances = EXPLORE / len(cells) + (1 - EXPLORE) * (cells.prompt_id == "CoT").to_numpy()
        j = int(rng.choice(len(cells), p=chances))
        cell, key = cells.iloc[j], f"{number:032x}"
        row = {"schema": 1, "id": key, "status": 200, "policy": "0" * 16, "propensity": float(chances[j])}
        row |= {name: cell[name] for name in ("question", "prompt", "prompt_id", "llm", "answer")}
        lines += [row, {"feedback": key, "correct": float(cell.correct)}]
    with atomic_write(folder / "served-20261129T120000Z-1.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    run_step(main, Args)
