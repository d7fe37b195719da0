"""Step 4 of OPRO: what each setting of the loop is worth, at equal scorer calls and over several seeds.

    cd opro_exps
    python opro_step4_ablations.py --task arith --scorer.ckpt_dir ../data/nano_llama \\
        --llm nano --max_gen_len 96
    python opro_step4_ablations.py --task gsm8k --scorer.ckpt_dir ... --proposer llm \\
        --optimizer.backend openai --optimizer.model gpt-4 --arms default "order=descending" --seeds 3

With the phrase search all arms search a small space of instructions on one fixed set of questions, so that
most answers stand in the log after the first arms and the others replay them; the table tells how many were
asked for. A known log (--known_log) that holds the whole space makes every arm a replay. Stopped or killed,
the same command resumes. Writes results/opro/<task>/<run>/: ablations.csv (means, intervals), hybrid.csv,
runs.csv, curves.csv and ablations.png.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tqdm import tqdm

from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.manifest import run_step
from prompt_oirl.opro import ablation_tables, ablations, runs, search_proposer, tasks
from prompt_oirl.opro.ablation_tables import ArmResult
from prompt_oirl.opro.options import SearchOptions
from prompt_oirl.opro.prompt_rewards import RewardSettings, TextVectors
from prompt_oirl.opro.shared_log import Spending


@dataclass(kw_only=True)
class Args(SearchOptions):
    arms: tuple[str, ...] = ()
    """Only these arms; default: all."""
    seeds: int = 10
    """Runs per arm."""
    first_seed: int = 0
    """Seeds count up from here."""
    instructions: int = 160
    """Instructions that every arm scores, besides the initial one."""
    proposer: Literal["llm", "search"] = "search"
    """llm: --optimizer writes the instructions; search: a stated search over 484 instructions, no second
    model."""
    initial: str = ablations.INITIAL
    """Initial instruction of the arms that do not vary it."""
    train_size: int = 32
    """Questions that score every instruction."""
    parts_seed: int = 0
    """Seed of the parts, the same for all runs."""
    run: str = "ablations"
    """Name of the folder for tables."""
    reward: RewardSettings = field(default_factory=lambda: RewardSettings(threshold=0.0))


def main(args: Args) -> None:
    runs.check_names(args.task, args.run, args.llm)
    runs.check_at_least(
        1, seeds=args.seeds, instructions=args.instructions, optimizer_max_gen_len=args.optimizer_max_gen_len
    )
    runs.check_at_least(0, first_seed=args.first_seed)
    ablations.check_base(args.loop, args.meta)
    known_arms = ablations.arms(args.instructions)
    unknown = sorted(set(args.arms) - set(known_arms))
    if unknown:
        raise InputError(f"--arms {', '.join(unknown)}: choose from {', '.join(known_arms)}")
    wanted = [arm for arm in known_arms.values() if not args.arms or arm.name in args.arms]
    task = args.load_task()
    parts = tasks.divide(task, args.train_size, args.validation_size, args.test_size, args.parts_seed)
    proposer = search_proposer.NAME if args.proposer == "search" else args.optimizer.name()
    folder = args.results(args.run)
    results: list[ArmResult] = []
    with args.held_log(folder) as log:
        scorer_budget = args.scorer_budget.budget(prefix="scorer_budget.")
        shared = ablations.Ablation(
            args,
            task,
            parts,
            args.parts_seed,
            args.instructions,
            args.initial,
            TextVectors.load(args.reward.embedder),
            args.measuring_scorer(task, log, scorer_budget, Spending(None), args.decoding()),
            folder,
        )
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        todo = [(arm, seed) for seed in seeds for arm in wanted]
        for arm, seed in tqdm(todo, desc="runs", disable=None):
            run, search_calls = shared.run_arm(arm, seed)
            if run.stopped:
                print(f"stopped by {run.stopped}; {runs.HOW_TO_RESUME}")
                break
            results.append(ArmResult.of(run, arm.name, search_calls))
    if results:
        report(args, results, parts, proposer)
        total = sum(r.search_calls + r.test.size + r.start_test.size for r in results)
        print(
            f"{total:,} answers needed, {shared.asked:,} asked for, the others replayed from the log; "
            f"{folder}"
        )


def report(args: Args, results: list[ArmResult], parts: tasks.Parts, proposer: str) -> None:
    """Write and print the tables."""
    folder, clusters = args.results(args.run), parts.clusters(parts.test)
    rows = list(ablation_tables.table(results, clusters, proposer, args.scorer_name, args.initial))
    comparisons = list(ablation_tables.hybrid_rows(results, clusters))
    ablation_tables.write_tables(rows, comparisons, results, folder)
    ablation_tables.draw(rows, folder / "ablations.png")
    for row in rows:
        print(
            f"{row['axis']:22} {on_one_line(row['value'], 24):24} best train {row['best_train']:6.1%}  "
            f"test {row['test']:6.1%} ({row['test_ci_low']:.1%} to {row['test_ci_high']:.1%})  "
            f"{row['search_calls']:,.0f} calls"
        )
    for row in comparisons:
        print(
            f"{row['comparison']}: {row['value']:+.1%} (90 % interval {row['ci90_low']:+.1%} to "
            f"{row['ci90_high']:+.1%}), {row['seeds']} seeds, "
            f"{row['calls']:,.0f} against {row['calls_other']:,.0f} calls"
        )


if __name__ == "__main__":
    run_step(main, Args)
