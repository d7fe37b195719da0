"""Step 3 of OPRO: does choosing among the found instructions per question beat the single best of them?

    cd opro_exps
    python opro_step3_select_per_query.py --task arith --scorer.ckpt_dir ../data/nano_llama --llm nano \\
        --run default --seed 0

Takes the `--pool` best instructions on train of a run of step 1 with that seed, measures each on `--fit_size`
training questions and on the test questions (what the log holds is not asked again), trains Prompt-OIRL's
reward model on the former, and lets it pick one instruction per test question (best of N). The single best is
chosen on the same training questions. Writes selection.csv and picks.csv beside the run's tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prompt_oirl.io.files import write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms.options import BudgetOptions
from prompt_oirl.opro import evaluation, runs, tasks
from prompt_oirl.opro.options import StepOptions
from prompt_oirl.opro.scorers import BudgetSpent
from prompt_oirl.opro.shared_log import Spending
from prompt_oirl.reward_models import ModelName
from prompt_oirl.stats import policies


@dataclass(kw_only=True)
class Args(StepOptions):
    run: str = "default"
    """Name of the run of step 1."""
    seed: int = 0
    """Seed of the run of step 1."""
    pool: int = 6
    """So many of the best instructions on train."""
    model: ModelName = "xgboost"
    """Reward model, as in step 4 of Prompt-OIRL."""
    embedder: str = "minilm"
    """As in step 3 of Prompt-OIRL: minilm, tfidf, openai:MODEL or a sentence-transformers folder."""
    fit_size: int = 300
    """Training questions on which every instruction of the pool is measured."""
    test_size: int = 400
    """Questions that evaluate the picks."""
    temperature: float = 0.0
    """Of the scorer; 0 is greedy."""
    budget: BudgetOptions = field(default_factory=BudgetOptions)


def main(args: Args) -> None:
    runs.check_names(args.task, args.run, args.llm)
    runs.check_at_least(2, pool=args.pool)
    runs.check_at_least(10, fit_size=args.fit_size)
    task = args.load_task()
    folder = args.results(args.run) / f"seed{args.seed}"
    parts_seed = runs.read_settings(folder / "run.json")["parts_seed"]
    parts = tasks.divide(task, args.fit_size, args.validation_size, args.test_size, parts_seed)
    pool = evaluation.best_instructions(folder / "trajectory.csv", args.pool)
    with args.held_log(folder, "select") as log:
        budget = args.budget.budget(prefix="budget.")
        scorer = args.measuring_scorer(task, log, budget, Spending(None), args.decoding(args.temperature))
        try:
            train, test = (evaluation.measure(scorer, pool, asked) for asked in (parts.train, parts.test))
        except BudgetSpent as spent:
            print(f"stopped by {spent}; {runs.HOW_TO_RESUME}")
            return
    scores = evaluation.predict(args.model, args.embedder, args.seed, parts, pool, train)
    best = int(train.mean(0).argmax())
    pick = policies.argmax_sound(scores, train.mean(0), args.seed)
    about = {"task": args.task, "seed": args.seed, "model": args.model, "pool": len(pool)}
    rows = list(evaluation.selection_rows(about, test, scores, pick, best, parts.clusters(parts.test)))
    write_csv(folder / "selection.csv", rows)
    picks = list(evaluation.pick_rows(parts, pool, test, pick, best))
    write_csv(folder / "picks.csv", picks)
    for row in rows:
        print(f"{row['what']:36} {row['value']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})")
    print(f"{len(pool)} instructions, {len(train)} training and {len(test)} test questions; {folder}")


if __name__ == "__main__":
    run_step(main, Args)
