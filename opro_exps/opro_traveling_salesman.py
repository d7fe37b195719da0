"""OPRO as an optimiser of tours: shorter round trips from earlier ones (Section 3.2).

    cd opro_exps
    python opro_traveling_salesman.py                         # the stated 2-opt search, n = 10, 12, 15, 20
    python opro_traveling_salesman.py --n 10 --proposer llm --optimizer.ckpt_dir FOLDER_OR_HUB_ID

Gaps are against the exact optimum (Held-Karp) up to 12 points, beyond that against the best known tour: the
shortest of networkx's heuristic, the published yardsticks improved by 2-opt and Or-opt, and the run's own.
Outputs of the optimizer are kept and replayed. Writes runs.csv and tours.csv to
results/opro/traveling_salesman/<proposer>/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_oirl.io.files import InputError, Paths, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.opro import runs, tours
from prompt_oirl.opro.minimise import MinimiseOptions, minimise
from prompt_oirl.opro.proposals import Proposer, choose_optimizer


@dataclass(kw_only=True)
class Args(MinimiseOptions):
    n: tuple[int, ...] = (10, 12, 15, 20)
    """Numbers of points."""
    problems: int = 5
    """Problems for each n, with seeds counting up from --seed."""
    steps: int = 30
    """Steps at most (published: 500); a run ends at a proven optimum."""
    attempts: int = 5
    """A step samples at most so many times as often as it needs valid tours."""


def main(args: Args) -> None:
    args.check(problems=args.problems, attempts=args.attempts)
    runs.check_at_least(0, seed=args.seed)
    if not args.n or not all(2 <= n <= 200 for n in args.n):
        raise InputError(f"--n {' '.join(map(str, args.n))}: give numbers from 2 to 200")
    name, optimizer = choose_optimizer(args.proposer, tours.TwoOptSearch(), args.optimizer)
    folder = Paths(args.root).opro_results("traveling_salesman", name)
    budget = args.budget.budget(prefix="budget.")
    rows: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    with runs.held_folder(folder):
        for n in args.n:
            for seed in range(args.seed, args.seed + args.problems):
                problem = tours.draw_problem(n, seed)
                kept = folder / "proposals" / f"n{n}_problem{seed}.jsonl"
                proposer = Proposer(optimizer, name, kept, seed, budget, args.max_gen_len)
                starts, sampling = problem.starts(seed), (args.samples, args.temperature, args.attempts)
                path = minimise(problem, starts, proposer, args.steps, *sampling)
                rows.append(tours.run_row(problem, path, seed, name))
                steps += [{"n": n, "problem": seed, **row} for row in path.rows()]
                if path.stopped:
                    print(f"stopped by {path.stopped}; {runs.HOW_TO_RESUME}")
                    break
        write_csv(folder / "runs.csv", rows)
        write_csv(folder / "tours.csv", steps)
    for n in args.n:
        of_n = [row for row in rows if row["n"] == n]
        gap = np.mean([row["gap"] for row in of_n])
        print(f"n={n:3}  {len(of_n)} problems  gap to {of_n[0]['reference_kind']}: {gap:.2%}")
    print(folder)


if __name__ == "__main__":
    run_step(main, Args)
