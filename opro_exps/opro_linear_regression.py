"""OPRO as an optimiser of two numbers: find the slope and intercept of noisy points from losses alone (Section 3.1).

    cd opro_exps
    python opro_linear_regression.py                                   # the stated pattern search, all published problems
    python opro_linear_regression.py --truth 15 14 --optimizer.backend openai --optimizer.model gpt-4 --proposer llm

Starts, losses and noise are the published ones. Outputs of the optimizer are kept and replayed. Writes to
results/opro/linear_regression/<proposer>/: runs.csv (steps to the optimum and explored pairs of every repetition),
summary.csv (mean and standard deviation, beside the paper's), pairs.csv and path.png.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, atomic_write, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms import LLM
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.opro import runs
from prompt_oirl.opro.minimise import Path as Found
from prompt_oirl.opro.minimise import minimise
from prompt_oirl.opro.proposals import Proposer
from prompt_oirl.opro.regression import LIMIT, PUBLISHED_TRUTHS, SEARCH_NAME, PatternSearch, Regression
from prompt_oirl.opro.scorers import once
from prompt_oirl.reports.figures import BLUE, GREY, ORANGE, RED

RUNS = [
    "w",
    "b",
    "rep",
    "proposer",
    "steps",
    "explored",
    "rejected",
    "best_w",
    "best_b",
    "best_loss",
    "loss_at_truth",
]
SUMMARY = ["w", "b", "proposer", "reps", "solved", "steps_mean", "steps_sd", "explored_mean", "explored_sd", "paper_gpt4_steps", "paper_gpt4_explored"]  # fmt: skip
PAIRS = ["w", "b", "rep", "step", "solution", "value", "best_so_far"]
# Table 2 of the paper, gpt-4: steps and unique pairs, mean of five repetitions.
PAPER = dict(
    zip(
        PUBLISHED_TRUTHS,
        ((4.0, 17.2), (6.0, 26.0), (6.2, 24.2), (12.2, 33.0), (12.2, 44.2), (38.0, 99.0), (50.4, 116.4)),
    )
)


@dataclass
class Args:
    truth: tuple[int, int] | None = None
    """Slope and intercept to be found; default: the paper's seven."""
    proposer: Literal["search", "llm"] = "search"
    """search: a stated pattern search that reads the meta-prompt; llm: --optimizer."""
    reps: int = 5
    """Repetitions, each with its own noise and starts."""
    steps: int = 500
    """Steps at most."""
    samples: int = 8
    """Pairs asked for in each step."""
    temperature: float = 1.0
    """Of the optimizer."""
    max_gen_len: int = 1024
    """Tokens of an optimizer's answer."""
    seed: int = 0
    """Seed of the proposals."""
    root: Path = REPO_ROOT
    """Folder that holds results/."""
    optimizer: ModelOptions = field(default_factory=lambda: ModelOptions(max_seq_len=4096))
    budget: BudgetOptions = field(default_factory=BudgetOptions)


def main(args: Args) -> None:
    runs.check_at_least(
        1, reps=args.reps, steps=args.steps, samples=args.samples, max_gen_len=args.max_gen_len
    )
    if args.truth and max(map(abs, args.truth)) > LIMIT:
        raise InputError(f"--truth {args.truth[0]} {args.truth[1]}: give numbers up to {LIMIT:,}")
    runs.check_temperature("--temperature", args.temperature)
    name = SEARCH_NAME if args.proposer == "search" else args.optimizer.name()
    llm = once(load_optimizer(args))
    folder = Paths(args.root).opro_results("linear_regression", name)
    truths = [args.truth] if args.truth else PUBLISHED_TRUTHS
    budget = args.budget.budget(prefix="budget.")
    found: list[tuple[Regression, Found[tuple[int, int]]]] = []
    with runs.held_folder(folder):
        for truth in truths:
            for rep in range(args.reps):
                problem = Regression(truth, rep)
                kept = folder / "proposals" / f"w{truth[0]}_b{truth[1]}_rep{rep}_seed{args.seed}.jsonl"
                proposer = Proposer(llm, name, kept, args.seed, budget, args.max_gen_len)
                path = minimise(
                    problem, problem.starts(), proposer, args.steps, args.samples, args.temperature
                )
                found.append((problem, path))
                if path.stopped:
                    print(f"stopped by {path.stopped}; the same command with a larger limit goes on")
                    break
        write_csv(folder / "runs.csv", [run_row(problem, path, name) for problem, path in found], RUNS)
        summary = summary_rows(found, name)
        write_csv(folder / "summary.csv", summary, SUMMARY)
        pairs = [
            {"w": p.truth[0], "b": p.truth[1], "rep": p.rep, **row}
            for p, path in found
            for row in path.rows()
        ]
        write_csv(folder / "pairs.csv", pairs, PAIRS)
        draw_path(*found[0], f"{name}, w={truths[0][0]}, b={truths[0][1]}, repetition 1", folder / "path.png")
    for row in summary:
        print(
            f"w={row['w']:3} b={row['b']:3}  {row['solved']} of {row['reps']} solved  steps {row['steps_mean'] or float('nan'):6.1f}  pairs {row['explored_mean']:6.1f}"
        )
    print(folder)


def load_optimizer(args: Args) -> Any:
    def load() -> LLM:
        return PatternSearch() if args.proposer == "search" else args.optimizer.load("optimizer.")

    return load


def run_row(problem: Regression, path: Found[tuple[int, int]], name: str) -> dict[str, Any]:
    (w, b), loss = path.best()
    return {
        "w": problem.truth[0], "b": problem.truth[1], "rep": problem.rep, "proposer": name, "steps": path.steps,
        "explored": len(path.found), "rejected": len(path.rejected), "best_w": w, "best_b": b, "best_loss": loss,
        "loss_at_truth": problem.value(problem.truth),
    }  # fmt: skip


def summary_rows(
    found: Sequence[tuple[Regression, Found[tuple[int, int]]]], name: str
) -> list[dict[str, Any]]:
    """Mean and standard deviation over the repetitions; steps only of those that reached the optimum."""
    rows = []
    for truth in dict.fromkeys(problem.truth for problem, _ in found):
        paths = [path for problem, path in found if problem.truth == truth]
        steps = [path.steps for path in paths if path.steps is not None]
        explored = [len(path.found) for path in paths]
        paper = PAPER.get(truth, (None, None))
        rows.append({
            "w": truth[0], "b": truth[1], "proposer": name, "reps": len(paths), "solved": len(steps),
            "steps_mean": float(np.mean(steps)) if steps else None, "steps_sd": float(np.std(steps)) if steps else None,
            "explored_mean": float(np.mean(explored)), "explored_sd": float(np.std(explored)),
            "paper_gpt4_steps": paper[0], "paper_gpt4_explored": paper[1],
        })  # fmt: skip
    return rows


def draw_path(problem: Regression, path: Found[tuple[int, int]], title: str, file: Path) -> None:
    """Explored pairs in the plane, coloured by step, and the best loss so far."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    w, b = np.array([solution for _, solution, _ in path.found]).T
    steps = np.array([step for step, _, _ in path.found])
    dots = left.scatter(w, b, c=steps, cmap="viridis", s=14)
    left.plot(*problem.truth, marker="*", markersize=14, color=RED, linestyle="", label="truth")
    left.scatter(w[steps < 0], b[steps < 0], facecolors="none", edgecolors=ORANGE, s=60, label="starts")
    left.set_xlabel("w")
    left.set_ylabel("b")
    left.legend(fontsize=8, frameon=False)
    figure.colorbar(dots, ax=left, label="step")
    rows = list(path.rows())
    right.step([row["step"] for row in rows], [row["best_so_far"] for row in rows], color=BLUE, where="post")
    right.axhline(problem.value(problem.truth), color=GREY, linestyle="--", linewidth=1)
    right.set_yscale("log")
    right.set_xlabel("step")
    right.set_ylabel("best loss so far (dashed: at the truth)")
    figure.suptitle(title, fontsize=10)
    with atomic_write(file) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})


if __name__ == "__main__":
    run_step(main, Args)
