"""OPRO as an optimiser of two numbers: find the slope and intercept of noisy points from losses.

    cd opro_exps
    python opro_linear_regression.py                     # the stated pattern search, all published problems
    python opro_linear_regression.py --truth 15 14 --proposer llm \\
        --optimizer.backend openai --optimizer.model gpt-4

Section 3.1 of the paper. Starts, losses and noise are the published ones. Outputs of the optimizer are kept
and replayed. Writes to results/opro/linear_regression/<proposer>/: runs.csv (steps to the optimum and
explored pairs of every repetition), summary.csv (mean and standard deviation, beside the paper's),
pairs.csv and path.png.
"""

from __future__ import annotations

from dataclasses import dataclass

from prompt_oirl.io.files import InputError, Paths, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.opro import regression, runs
from prompt_oirl.opro.minimise import MinimiseOptions, minimise
from prompt_oirl.opro.proposals import Proposer, choose_optimizer
from prompt_oirl.opro.regression import LIMIT, PUBLISHED_TRUTHS, PatternSearch, Regression


@dataclass(kw_only=True)
class Args(MinimiseOptions):
    truth: tuple[int, int] | None = None
    """Slope and intercept to be found; default: the paper's seven."""
    reps: int = 5
    """Repetitions, each with its own noise and starts."""


def main(args: Args) -> None:
    args.check(reps=args.reps)
    if args.truth and max(map(abs, args.truth)) > LIMIT:
        raise InputError(f"--truth {args.truth[0]} {args.truth[1]}: give numbers up to {LIMIT:,}")
    name, optimizer = choose_optimizer(args.proposer, PatternSearch(), args.optimizer)
    folder = Paths(args.root).opro_results("linear_regression", name)
    budget = args.budget.budget(prefix="budget.")
    found = []
    with runs.held_folder(folder):
        for truth in [args.truth] if args.truth else PUBLISHED_TRUTHS:
            for rep in range(args.reps):
                problem = Regression(truth, rep)
                kept = folder / "proposals" / f"w{truth[0]}_b{truth[1]}_rep{rep}_seed{args.seed}.jsonl"
                proposer = Proposer(optimizer, name, kept, args.seed, budget, args.max_gen_len)
                path = minimise(
                    problem, problem.starts(), proposer, args.steps, args.samples, args.temperature
                )
                found.append((problem, path))
                if path.stopped:
                    print(f"stopped by {path.stopped}; {runs.HOW_TO_RESUME}")
                    break
        rows = [regression.run_row(problem, path, name) for problem, path in found]
        write_csv(folder / "runs.csv", rows)
        summary = list(regression.summary_rows(found, name))
        write_csv(folder / "summary.csv", summary)
        pairs = [
            {"w": problem.truth[0], "b": problem.truth[1], "rep": problem.rep, **row}
            for problem, path in found
            for row in path.rows()
        ]
        write_csv(folder / "pairs.csv", pairs)
        (w, b), (problem, path) = found[0][0].truth, found[0]
        regression.draw_path(problem, path, f"{name}, w={w}, b={b}, repetition 1", folder / "path.png")
    for row in summary:
        print(
            f"w={row['w']:3} b={row['b']:3}  {row['solved']} of {row['reps']} solved  "
            f"steps {row['steps_mean'] or float('nan'):6.1f}  pairs {row['explored_mean']:6.1f}"
        )
    print(folder)


if __name__ == "__main__":
    run_step(main, Args)
