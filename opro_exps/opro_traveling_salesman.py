"""OPRO as an optimiser of tours: shorter round trips from earlier ones (Section 3.2).

    cd opro_exps
    python opro_traveling_salesman.py                                  # the stated 2-opt search, n = 10, 12, 15, 20
    python opro_traveling_salesman.py --n 10 --proposer llm --optimizer.ckpt_dir FOLDER_OR_HUB_ID

Gaps are against the exact optimum (Held-Karp) up to 12 points, beyond that against the best known tour: the shortest of
networkx's heuristic, the published yardsticks improved by 2-opt and Or-opt, and the run's own. Outputs of the optimizer are
kept and replayed. Writes to results/opro/traveling_salesman/<proposer>/: runs.csv, tours.csv and one figure per n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, atomic_write, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms import LLM
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.opro import runs, tours
from prompt_oirl.opro.minimise import Path as Found
from prompt_oirl.opro.minimise import minimise
from prompt_oirl.opro.proposals import Proposer
from prompt_oirl.opro.scorers import once
from prompt_oirl.opro.tours import EXACT_UP_TO, SEARCH_NAME, Tour, TourProblem, TwoOptSearch
from prompt_oirl.reports.figures import BLUE, GREY, ORANGE

RUNS = [
    "n", "problem", "proposer", "steps", "explored", "rejected", "start", "best", "reference", "reference_kind", "gap",
    "nearest_neighbour", "farthest_insertion", "library", "gap_to_library",
]  # fmt: skip
TOURS = ["n", "problem", "step", "solution", "value", "best_so_far"]


@dataclass
class Args:
    n: tuple[int, ...] = (10, 12, 15, 20)
    """Numbers of points."""
    proposer: Literal["search", "llm"] = "search"
    """search: a stated 2-opt search that reads the meta-prompt; llm: --optimizer."""
    problems: int = 5
    """Problems for each n, with seeds counting up from --seed."""
    steps: int = 30
    """Steps at most (published: 500); a run ends at a proven optimum."""
    samples: int = 8
    """Valid tours asked for in each step."""
    attempts: int = 5
    """A step samples at most so many times as often as it needs valid tours."""
    temperature: float = 1.0
    """Of the optimizer."""
    max_gen_len: int = 1024
    """Tokens of an optimizer's answer."""
    seed: int = 0
    """Seed of points, starts and proposals."""
    root: Path = REPO_ROOT
    """Folder that holds results/."""
    optimizer: ModelOptions = field(default_factory=lambda: ModelOptions(max_seq_len=4096))
    budget: BudgetOptions = field(default_factory=BudgetOptions)


def main(args: Args) -> None:
    runs.check_at_least(
        1, problems=args.problems, steps=args.steps, samples=args.samples, attempts=args.attempts,
        max_gen_len=args.max_gen_len,
    )  # fmt: skip
    runs.check_at_least(0, seed=args.seed)
    runs.check_temperature("--temperature", args.temperature)
    if not args.n or not all(2 <= n <= 200 for n in args.n):
        raise InputError(f"--n {' '.join(map(str, args.n))}: give numbers from 2 to 200")
    name = SEARCH_NAME if args.proposer == "search" else args.optimizer.name()
    llm = once(optimizer_loader(args))
    folder = Paths(args.root).opro_results("traveling_salesman", name)
    budget = args.budget.budget(prefix="budget.")
    rows: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    with runs.held_folder(folder):
        for n in args.n:
            for seed in range(args.seed, args.seed + args.problems):
                points = tours.draw_points(n, seed)
                optimum = tours.held_karp(tours.distances(points))[1] if n <= EXACT_UP_TO else None
                problem = TourProblem(points, optimum)
                kept = folder / "proposals" / f"n{n}_problem{seed}.jsonl"
                proposer = Proposer(llm, name, kept, seed, budget, args.max_gen_len)
                path = minimise(
                    problem,
                    problem.starts(seed),
                    proposer,
                    args.steps,
                    args.samples,
                    args.temperature,
                    args.attempts,
                )
                rows.append(run_row(problem, path, n, seed, name))
                steps += [{"n": n, "problem": seed, **row} for row in path.rows()]
                if seed == args.seed:
                    draw_tour(
                        problem,
                        path,
                        f"{name}, {n} points: {rows[-1]['gap']:.1%} above {rows[-1]['reference_kind']}",
                        folder / f"tour_n{n}.png",
                    )
                if path.stopped:
                    print(f"stopped by {path.stopped}; the same command with a larger limit goes on")
                    break
        write_csv(folder / "runs.csv", rows, RUNS)
        write_csv(folder / "tours.csv", steps, TOURS)
    for n in args.n:
        of_n = [row for row in rows if row["n"] == n]
        if of_n:
            gap = np.mean([row["gap"] for row in of_n])
            print(f"n={n:3}  {len(of_n)} problems  gap to {of_n[0]['reference_kind']}: {gap:.2%}")
    print(folder)


def optimizer_loader(args: Args) -> Callable[[], LLM]:
    def load() -> LLM:
        return TwoOptSearch() if args.proposer == "search" else args.optimizer.load("optimizer.")

    return load


def run_row(problem: TourProblem, path: Found[Tour], n: int, seed: int, name: str) -> dict[str, Any]:
    """Lengths of all tours to be compared; gap = (length - reference) / reference, 0 where both are 0."""
    d = problem.d
    yardsticks = {
        "nearest_neighbour": tours.nearest_neighbour(d),
        "farthest_insertion": tours.farthest_insertion(d),
        "library": tours.library_heuristic(d, seed),
    }
    lengths = {key: tours.length(tour, d) for key, tour in yardsticks.items()}
    best = path.best()[1]
    known = problem.optimum
    if known is None:
        known = min(
            [best, *lengths.values(), *(tours.length(tours.descend(t, d), d) for t in yardsticks.values())]
        )
    return {
        "n": n, "problem": seed, "proposer": name, "steps": path.steps, "explored": len(path.found),
        "rejected": len(path.rejected), "start": min(v for step, _, v in path.found if step < 0), "best": best,
        "reference": known, "reference_kind": "best known" if problem.optimum is None else "optimum",
        "gap": gap(best, known), **lengths, "gap_to_library": gap(best, lengths["library"]),
    }  # fmt: skip


def gap(value: float, reference: float) -> float:
    return round((value - reference) / reference, 12) if reference > 0 else 0.0


def draw_tour(problem: TourProblem, path: Found[Tour], title: str, file: Path) -> None:
    """The best tour, and the shortest length so far by step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    tour, _ = path.best()
    x, y = problem.points[[*tour, tour[0]]].T
    left.plot(x, y, color=BLUE, marker="o", markersize=4)
    left.plot(*problem.points[0], color=ORANGE, marker="s", markersize=7, linestyle="")
    left.set_aspect("equal")
    rows = list(path.rows())
    right.step([row["step"] for row in rows], [row["best_so_far"] for row in rows], color=BLUE, where="post")
    if problem.optimum is not None:
        right.axhline(problem.optimum, color=GREY, linestyle="--", linewidth=1)
    right.set_xlabel("step")
    right.set_ylabel("shortest length so far")
    figure.suptitle(title, fontsize=10)
    with atomic_write(file) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})


if __name__ == "__main__":
    run_step(main, Args)
