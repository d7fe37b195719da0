"""Step 2 of OPRO: measure any instructions on any part of any task, with intervals, paired against the first
one.

    cd opro_exps
    python opro_step2_evaluate_prompts.py --task arith --scorer.ckpt_dir ../data/nano_llama \\
        --instructions ../results/opro/arith/default/winners.csv --run winners
    python opro_step2_evaluate_prompts.py --task svamp --scorer.ckpt_dir ... \\
        --instructions mine.txt --position before

Instructions: a CSV with a column text (and optionally prompt_id and position), or a text file with one per
line. All tasks but arith and your own need their questions: python ../scripts/fetch_data.py --datasets svamp,
say. Parts are those of step 1 for the same sizes and seed. What the log of step 1 holds is not asked again.
Writes results/opro/<task>/<run>/evaluation.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prompt_oirl.data.prompts import load_instructions
from prompt_oirl.io.files import InputError, on_one_line, write_csv, write_json
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms.options import BudgetOptions
from prompt_oirl.opro import evaluation, runs, tasks
from prompt_oirl.opro.options import StepOptions
from prompt_oirl.opro.scorers import BudgetSpent
from prompt_oirl.opro.shared_log import Spending


@dataclass(kw_only=True)
class Args(StepOptions):
    instructions: Path
    """CSV with a column text, or a text file with one instruction per line."""
    part: Literal["test", "validation", "train"] = "test"
    """Which part of the questions."""
    position: Literal["after", "before", "system", "answer_start"] | None = None
    """Where the instructions go; default: the file's column position, else after."""
    top: int | None = None
    """Only the first so many instructions of the file, in its own order, which is not that of success."""
    grader: Literal["strict", "original", "math", "opro"] = "strict"
    """math also compares formulas; opro is the published, lenient one: for comparison only."""
    train_size: int | float = 50
    """As in step 1: it fixes which questions are in which part."""
    temperature: float = 0.0
    """Of the scorer; 0 is greedy."""
    run: str | None = None
    """Name of the folder for the table; default: that of the instructions' file, without its ending."""
    force: bool = False
    """Replace the table of another evaluation of that name."""
    seed: int = 0
    """Seed of the parts, as in step 1."""
    budget: BudgetOptions = field(default_factory=BudgetOptions)


def main(args: Args) -> None:
    run = args.instructions.stem if args.run is None else args.run
    runs.check_names(args.task, run, args.llm)
    if args.top is not None:
        runs.check_at_least(1, top=args.top)
    prompts = load_instructions(args.instructions, args.position)[: args.top]
    task = args.load_task()
    parts = tasks.divide(task, args.train_size, args.validation_size, args.test_size, args.seed)
    asked = {"train": parts.train, "validation": parts.validation, "test": parts.test}[args.part]
    if not asked:
        raise InputError(f"--part {args.part} is empty: give --{args.part}_size")
    folder = args.results(run)
    settings_file, settings = folder / "evaluation.json", evaluation.evaluation_settings(args)
    with args.held_log(folder) as log:
        if not args.force:
            fix = "give --run another name, or --force to replace its table"
            runs.check_settings(settings_file, settings, fix)
        spending = Spending(None)
        budget = args.budget.budget(prefix="budget.")
        scorer = args.measuring_scorer(
            task, log, budget, spending, args.decoding(args.temperature), args.grader
        )
        try:
            scores = scorer.score(prompts, asked, evaluation.NO_STEP, args.part)
        except BudgetSpent as spent:
            print(f"stopped by {spent}: {scorer.count_pending(prompts, asked):,} answers are still pending")
            return
    about = {"task": args.task, "part": args.part, "scorer": args.scorer_name, "grader": args.grader}
    rows = list(evaluation.evaluation_rows(about, prompts, scores, parts.clusters(asked)))
    path = folder / "evaluation.csv"
    write_csv(path, rows)
    write_json(settings_file, settings)
    for row in rows:
        instruction = on_one_line(row["instruction"], 500) or "(empty)"
        print(f"{row['accuracy']:6.1%}  ({row['ci_low']:.1%} to {row['ci_high']:.1%})  {instruction}")
    print(
        f"{len(asked)} {args.part} questions, {spending.total('asked'):,} of {spending.total('needed'):,} "
        f"answers asked for; {path}"
    )


if __name__ == "__main__":
    run_step(main, Args)
