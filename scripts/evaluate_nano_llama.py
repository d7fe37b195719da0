"""Measure the tiny language model on the validation questions; the test questions are not read.

    python scripts/evaluate_nano_llama.py
    python scripts/evaluate_nano_llama.py --limit 50 --train_questions 100 --out /tmp/quick

Writes validation.csv (accuracy, share cut by the token limit and tokens, per prompt and number of steps),
validation_families.csv and validation_unseen.csv to data/nano_llama/, and prints what choosing per question can bring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from prompt_oirl.arith import benchmark, evaluation
from prompt_oirl.arith.evaluation import Answers
from prompt_oirl.artifacts import REPO_ROOT, write_csv
from prompt_oirl.metrics import ClusterBootstrap
from prompt_oirl.near_duplicates import in_order_of_appearance
from prompt_oirl.prompts import Prompt, load_prompts
from prompt_oirl.steps import run_step

COLUMNS = ["prompt_id", "steps", "n", "accuracy", "cut", "tokens"]


@dataclass
class Args:
    model: Path = REPO_ROOT / "data" / "nano_llama"
    """folder of the model"""
    arith: Path = REPO_ROOT / "data" / "arith"
    """folder of questions and prompts"""
    out: Path | None = None
    """folder of the tables; default: the model's"""
    limit: int | None = None
    """only so many validation questions"""
    unseen_questions: int = 120
    """validation questions asked with the 60 unseen phrasings; 0 leaves them out"""
    train_questions: int = 600
    """train questions that the simple selector learns from, one answer per prompt"""
    threads: int = 2
    """processor threads"""


def main(args: Args) -> None:
    import torch

    from prompt_oirl.llms.transformers_llm import TransformersLLM

    torch.set_num_threads(args.threads)
    llm = TransformersLLM(str(args.model), max_batch_size=256)
    out = args.out or args.model
    rows = benchmark.read_rows("validation", args.arith)[: args.limit]
    train = benchmark.read_rows("train", args.arith)[: args.train_questions]
    prompts = load_prompts(args.arith / "prompts.csv")
    published, unseen = prompts[:16], prompts[16:]
    few = rows[: args.unseen_questions]
    n = 2 * len(rows) * len(published) + 2 * len(few) * len(unseen) + 6 * len(train)
    with tqdm(total=n, unit="answer", disable=None) as bar:
        answers = evaluation.ask(llm, rows, published, 2, report=bar.update)
        learned = evaluation.ask(llm, train, prompts[:6], 1, report=bar.update)
        spread = evaluation.ask(llm, few, unseen, 2, report=bar.update)
    write_csv(out / "validation.csv", by_steps(rows, published, answers), COLUMNS)
    write_csv(
        out / "validation_families.csv",
        by_family(rows, published, answers.right),
        ["family", "n", *(p.id for p in published)],
    )
    write_csv(
        out / "validation_unseen.csv",
        (
            {"prompt_id": p.id, "n": len(few), "accuracy": spread.right[:, j].mean(), "text": p.text}
            for j, p in enumerate(unseen)
        ),
        ["prompt_id", "n", "accuracy", "text"],
    )
    for name, value in evaluation.headroom(answers.right[:, :6]).items():
        print(f"{name:28} {value:.3f}")
    success = answers.right[:, :6].mean(2)
    picked, best = evaluation.learned_pick(
        [r["question"] for r in train], learned.right[:, :, 0], [r["question"] for r in rows], success
    )
    groups = in_order_of_appearance([row["group"] for row in rows])
    gain, low, high = ClusterBootstrap(groups).mean((picked - success[:, best])[:, None])[0]
    print(f"{'simple selector':28} {picked.mean():.3f}")
    print(
        f"{'gain over the train-best':28} {gain:+.3f} ({low:+.3f} to {high:+.3f}), train-best is {published[best].id}"
    )
    if few:
        print(f"{'spread of unseen phrasings':28} {evaluation.spread_beyond_noise(spread.right):.3f}")


def by_steps(
    rows: Sequence[dict[str, Any]], prompts: Sequence[Prompt], answers: Answers
) -> list[dict[str, Any]]:
    """One line per prompt and number of steps, then one for all steps."""
    steps = np.array([row["steps"] for row in rows])
    found = []
    for j, prompt in enumerate(prompts):
        for which in (*sorted(set(steps.tolist())), "all"):
            of = np.ones(len(rows), bool) if which == "all" else steps == which
            found.append(
                {
                    "prompt_id": prompt.id,
                    "steps": which,
                    "n": int(of.sum()),
                    "accuracy": answers.right[of, j].mean(),
                    "cut": answers.cut[of, j].mean(),
                    "tokens": answers.tokens[of, j].mean(),
                }
            )
    return found


def by_family(
    rows: Sequence[dict[str, Any]], prompts: Sequence[Prompt], right: np.ndarray
) -> list[dict[str, Any]]:
    """Accuracy of every prompt on every family."""
    families = np.array([row["family"] for row in rows])
    return [
        {"family": name, "n": int((families == name).sum())}
        | {p.id: right[families == name, j].mean() for j, p in enumerate(prompts)}
        for name in dict.fromkeys(families.tolist())
    ]


if __name__ == "__main__":
    run_step(main, Args)
