"""Step 1 of OPRO: let an optimizer write instructions from the scored history of earlier ones.

    cd opro_exps
    python opro_step1_optimize_prompts.py --task gsm8k --scorer.ckpt_dir FOLDER_OR_HUB_ID \\
        --optimizer.backend openai --optimizer.model gpt-4
    python opro_step1_optimize_prompts.py --task arith --scorer.ckpt_dir ../data/nano_llama \\
        --proposer search --seeds 3
    python opro_step1_optimize_prompts.py --task mine --questions mine.jsonl --scorer.ckpt_dir ... \\
        --optimizer.ckpt_dir ... --meta.task_description "questions on tax law" \\
        --meta.solution_description "polite and at most 15 words" --dry_run
    python opro_step1_optimize_prompts.py --task arith --scorer.ckpt_dir ../data/nano_llama \\
        --proposer search --run hybrid --score_by hybrid --loop.samples 32 --loop.max_scored 41
    python opro_step1_optimize_prompts.py --preset paper --task gsm8k --scorer.ckpt_dir ... \\
        --optimizer.ckpt_dir ... --dry_run              # as published: 200 steps, 261 training questions

Stopped or killed at any moment, the same command resumes where it was and pays for nothing twice: answers lie
in opro_exps/LM<llm>/<task>_interactions.jsonl, outputs of the optimizer in proposals.jsonl. Writes
results/opro/<task>/<run>/seed<k>/ (report.md, candidates.csv, trajectory.csv, steps.csv, result.csv,
instructions.csv) and, over all seeds, result.csv, winners.csv and accuracy_per_step.png one level up.
`--proposer search` needs no second model: it is a stated search over phrases, and every output says so.
`--score_by hybrid` measures only what a reward model ranks best and some at random; `--score_by reward_model`
measures nothing in the search, and is refused where it cannot rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from prompt_oirl.io.files import InputError, write_json
from prompt_oirl.io.manifest import run_step
from prompt_oirl.io.tracking import Tracker, reporting
from prompt_oirl.opro import report, runs, tasks
from prompt_oirl.opro.loop import Run, optimise
from prompt_oirl.opro.options import SearchOptions
from prompt_oirl.opro.predicting_scorers import load_scorer
from prompt_oirl.opro.presets import Preset, published
from prompt_oirl.opro.prompt_rewards import PromptRewards, TextVectors
from prompt_oirl.opro.scorers import Scorer
from prompt_oirl.opro.search_proposer import SPACES
from prompt_oirl.opro.shared_log import Spending
from prompt_oirl.opro.tracked_steps import told_by


@dataclass(kw_only=True)
class Args(SearchOptions):
    preset: Preset | None = None
    """Published sizes, thresholds and limits as defaults of all other flags; paper: scorer and optimizer are
    chat models; paper-pretrained: the scorer is not. With --help the values are shown."""
    initial: tuple[str, ...] = ("Let's solve the problem.",)
    """Initial instructions; "" is none."""
    score_by: Literal["llm", "reward_model", "hybrid"] = "llm"
    """llm: every instruction is measured; reward_model: none is, predictions stand in, learned from
    --reward_log; hybrid: predictions choose which are measured."""
    judge: Literal["llm", "reward_model"] = "llm"
    """What chooses the winner and tests it; reward_model, with --score_by reward_model, needs no call at
    all."""
    reward_log: tuple[Path, ...] = ()
    """Logs, JSONL or Parquet, that predictions learn from; questions near validation or test are left out."""
    position: Literal["after", "before", "system", "answer_start"] = "after"
    """Where the instruction goes: behind the question, before it, in the system message, or opening the
    answer."""
    search_space: Literal["full", "small"] = "full"
    """What the search can write: up to six of forty clauses; small: one or two of twenty-two, 484
    instructions in all."""
    grader: Literal["strict", "original", "math", "opro"] = "strict"
    """math also compares formulas; opro is the published, lenient one: for comparison only."""
    temperature: float = 0.0
    """Of the scorer; 0 is greedy."""
    run: str = "default"
    """Name of the run's folder."""
    seed: int = 0
    """Seed of parts, exemplars and proposals; the scorer's own noise has seed 0."""
    parts_seed: int | None = None
    """Seed of the parts of all runs; default: each run's own."""
    seeds: int = 1
    """Do so many runs, with seeds counting up from --seed."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers that are told every step: tensorboard, wandb, mlflow, one or several; or none."""
    dry_run: bool = False
    """Print the most calls that the run can need, and stop."""


def main(args: Args) -> None:
    runs.check_names(args.task, args.run, args.llm)
    runs.check_at_least(1, seeds=args.seeds, optimizer_max_gen_len=args.optimizer_max_gen_len)
    runs.check_at_least(0, seed=args.seed)
    if not args.initial:
        raise InputError('--initial: give at least one instruction; "" is none')
    if args.judge == "reward_model" and args.score_by != "reward_model":
        raise InputError("--judge reward_model needs --score_by reward_model")
    task = args.load_task()
    sizes = args.train_size, args.validation_size, args.test_size
    if args.dry_run:
        parts = tasks.divide(task, *sizes, args.seed if args.parts_seed is None else args.parts_seed)
        calls = runs.most_calls(parts, len(args.initial), args.loop, args.reward, args.score_by)
        optimizer_calls = args.loop.steps * args.loop.samples * args.seeds
        by_part = ", ".join(f"{n:,} {part}" for part, n in calls.items())
        print(
            f"scorer calls, at most: {sum(calls.values()) * args.seeds:,} ({by_part}, {args.seeds} run(s)); "
            f"optimizer calls: {'none (search)' if args.proposer == 'search' else f'{optimizer_calls:,}'}"
        )
        return
    make_proposer = args.proposers(SPACES[args.search_space])
    decoding = args.decoding(args.temperature)
    learned = runs.read_logs("--reward_log", args.reward_log)
    vectors = None if args.score_by == "llm" else TextVectors.load(args.reward.embedder)
    scorer_budget = args.scorer_budget.budget(prefix="scorer_budget.")
    optimizer_budget = args.optimizer_budget.budget(prefix="optimizer_budget.")
    parent = args.results(args.run)
    for seed in range(args.seed, args.seed + args.seeds):
        parts_seed = seed if args.parts_seed is None else args.parts_seed
        parts = tasks.divide(task, *sizes, parts_seed)
        folder = parent / f"seed{seed}"
        with args.held_log(folder) as log:
            proposer = make_proposer(folder / "proposals.jsonl", seed, optimizer_budget)
            about = {"seed": seed, "parts_seed": parts_seed, "scorer": args.scorer_name}
            settings = runs.search_settings(args) | about | {"proposer": proposer.name}
            runs.check_settings(folder / "run.json", settings)
            write_json(folder / "run.json", settings | ({"preset": args.preset} if args.preset else {}))
            spending = Spending(folder / "spent.jsonl")
            measure = args.measuring_scorer(task, log, scorer_budget, spending, decoding, args.grader)
            scorer: Scorer = measure
            if vectors is not None:
                rewards = PromptRewards(args.reward, vectors, seed)
                scorer = load_scorer(
                    args.score_by, measure, rewards, learned, args.scorer_name, task, parts, seed
                )
            final = scorer if args.judge == "reward_model" else measure
            search = (args.loop, args.meta, args.position, args.initial)
            name = f"{task.name} {args.run} seed {seed}"
            with reporting(args.report_to, folder, name, settings) as tell:
                run = Run(task, parts, *search, proposer, scorer, final, seed)
                run.after_step = told_by(tell, spending)
                optimise(run)
            report.write_tables(run, folder, args.scorer_name)
            written = report.write_report(run, folder, args.scorer_name, spending)
        print(written.read_text(encoding="utf-8"))
        if run.stopped:
            print(f"stopped by {run.stopped}; {runs.HOW_TO_RESUME}")
            break
    runs.summarise(parent, f"{task.name}: proposer {proposer.name}, scorer {args.scorer_name}")
    print(
        f"reports and tables in {parent}/seed*; over all seeds {parent / 'result.csv'}, "
        f"and for step 2 {parent / 'winners.csv'}"
    )


def defaults(arguments: type, flags: list[str]) -> Args | None:
    """What --preset puts in place of the usual defaults."""
    given = dict(zip(flags, flags[1:])) | dict(f.split("=", 1) for f in flags if "=" in f)
    if (preset := given.get("--preset", "")) not in get_args(Preset):
        return None
    return Args(**published(preset, given.get("--task", Args.task)))


if __name__ == "__main__":
    run_step(main, Args, defaults)
