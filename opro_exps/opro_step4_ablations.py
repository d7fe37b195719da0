"""Step 4 of OPRO: what each setting of the loop is worth, at equal scorer calls and over several seeds.

    cd opro_exps
    python opro_step4_ablations.py --task arith --scorer.ckpt_dir ../data/nano_llama --llm nano --max_gen_len 96
    python opro_step4_ablations.py --task gsm8k --scorer.ckpt_dir ... --proposer llm --optimizer.backend openai \\
        --optimizer.model gpt-4 --arms default "order=descending" --seeds 3

With the phrase search all arms search a small space of instructions on one fixed set of questions, so that most answers
stand in the log after the first arms and the others replay them; the table tells how many were asked for. A known log
(--known_log) that holds the whole space makes every arm a replay. Stopped or killed, the same command goes on. Writes
results/opro/<task>/<run>/: ablations.csv (means, intervals), hybrid.csv, runs.csv, curves.csv and ablations.png.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, content_key, on_one_line, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms.generation import Decoding
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.opro import ablations, runs, search_proposer, tasks
from prompt_oirl.opro.ablations import Arm, Outcome
from prompt_oirl.opro.loop import LoopSettings, Run, optimise
from prompt_oirl.opro.meta_prompt import MetaPromptSettings
from prompt_oirl.opro.predicting_scorers import load_scorer
from prompt_oirl.opro.prompt_rewards import PromptRewards, RewardSettings, TextVectors
from prompt_oirl.opro.proposals import Proposer
from prompt_oirl.opro.scorers import LLMScorer, SharedLog, Spending, once, run_key


@dataclass
class Args:
    task: str = "arith"
    """As in step 1."""
    questions: Path | None = None
    """Own questions, as in step 1."""
    arms: tuple[str, ...] = ()
    """Only these arms; default: all."""
    seeds: int = 10
    """Runs per arm."""
    first_seed: int = 0
    """Seeds count up from here."""
    instructions: int = 160
    """Instructions that every arm scores, besides the initial one."""
    proposer: Literal["llm", "search"] = "search"
    """llm: --optimizer writes the instructions; search: a stated search over 484 instructions, no second model."""
    initial: str = "Let's solve the problem."
    """Initial instruction of the arms that do not vary it."""
    train_size: int = 32
    """Questions that score every instruction."""
    validation_size: int = 50
    """Questions that choose the winner."""
    test_size: int = 200
    """Questions that judge the winner."""
    parts_seed: int = 0
    """Seed of the parts, the same for all runs."""
    max_gen_len: int | None = 256
    """Tokens of a scorer's answer."""
    optimizer_max_gen_len: int = 512
    """Tokens of an optimizer's answer."""
    llm: str | None = None
    """Name of the scorer's log; default: the model's name."""
    known_log: tuple[Path, ...] = ()
    """More logs, JSONL or Parquet, whose answers count if they are of the same llm and decoding."""
    run: str = "ablations"
    """Name of the folder for tables."""
    root: Path = REPO_ROOT
    """Folder that holds data/, opro_exps/ and results/."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    meta: MetaPromptSettings = field(default_factory=MetaPromptSettings)
    reward: RewardSettings = field(default_factory=lambda: RewardSettings(threshold=0.0))
    scorer: ModelOptions = field(default_factory=ModelOptions)
    optimizer: ModelOptions = field(default_factory=lambda: ModelOptions(max_seq_len=4096))
    scorer_budget: BudgetOptions = field(default_factory=BudgetOptions)
    optimizer_budget: BudgetOptions = field(default_factory=BudgetOptions)


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
    paths = Paths(args.root)
    task = tasks.load_task(args.task, paths, args.questions)
    parts = tasks.divide(task, args.train_size, args.validation_size, args.test_size, args.parts_seed)
    name = args.llm or args.scorer.name()
    folder = paths.opro_results(task.name, args.run)
    log = SharedLog(LogFiles(paths.opro_log(name), task.name), run_key(folder.resolve()))
    known = runs.read_logs("--known_log", args.known_log)
    proposer_name = search_proposer.NAME if args.proposer == "search" else args.optimizer.name()
    with runs.held_folder(folder), log.held():
        runs.check_model(log.files, args.scorer)
        scorer = LLMScorer(
            once(lambda: args.scorer.load("scorer.")), name, task, Decoding(0.0, 1.0, args.max_gen_len, 0), "strict", log,
            args.scorer_budget.budget(prefix="scorer_budget."), Spending(None), known,
        )  # fmt: skip
        shared = Shared(
            args, task, parts, scorer, TextVectors.load(args.reward.embedder), proposer_name, folder
        )
        wanted = [arm for arm in known_arms.values() if not args.arms or arm.name in args.arms]
        outcomes: list[Outcome] = []
        for seed in tqdm(range(args.first_seed, args.first_seed + args.seeds), desc="seeds", disable=None):
            for arm in wanted:
                done = shared.one_run(arm, seed)
                if done is None:
                    break
                outcomes.append(done)
            else:
                continue
            break
    write(outcomes, parts, shared, folder)


@dataclass
class Shared:
    """What all runs have in common."""

    args: Args
    task: tasks.Task
    parts: tasks.Parts
    scorer: LLMScorer
    vectors: TextVectors
    proposer_name: str
    folder: Path
    asked: int = 0

    def one_run(self, arm: Arm, seed: int) -> Outcome | None:
        """One arm with one seed; None when a budget is spent."""
        args = self.args
        sizes = len(self.parts.train), len(self.parts.validation)
        loop, meta = arm.loop_settings(args.loop, args.instructions, sizes), arm.meta_settings(args.meta)
        initial = args.initial if arm.initial is None else arm.initial
        settings = content_key([str(loop), str(meta), str(args.reward), initial, sizes, args.parts_seed])[:8]
        spending = Spending(None)
        measure = self.scorer.with_spending(spending)
        rewards = PromptRewards(args.reward, self.vectors, seed)
        scorer = load_scorer(arm.score_by, measure, rewards, [], "", self.task, self.parts, seed)
        search = search_proposer.PhraseSearch(meta.layout, search_proposer.SMALL)
        proposer = Proposer(
            (lambda: search) if args.proposer == "search" else lambda: args.optimizer.load("optimizer."), self.proposer_name,
            self.folder / "proposals" / f"{settings}.seed{seed}.jsonl", seed, args.optimizer_budget.budget(prefix="optimizer_budget."),
            args.optimizer_max_gen_len,
        )  # fmt: skip
        run = Run(self.task, self.parts, loop, meta, "after", (initial,), proposer, scorer, measure, seed)
        optimise(run)
        self.asked += spending.total("asked")
        if run.stopped:
            print(f"stopped by {run.stopped}; the same command goes on")
            return None
        calls = sum(int(row["needed"]) for row in spending.rows.values() if row["part"] != "test")
        return Outcome.of(run, arm.name, calls)


def write(outcomes: Sequence[Outcome], parts: tasks.Parts, shared: Shared, folder: Path) -> None:
    if not outcomes:
        return
    clusters = parts.clusters(parts.test)
    scorer = shared.args.llm or shared.args.scorer.name()
    rows = list(ablations.table(outcomes, clusters, shared.proposer_name, scorer, shared.args.initial))
    write_csv(folder / "ablations.csv", rows, ablations.COLUMNS)
    write_csv(folder / "runs.csv", [o.row() for o in outcomes], ablations.RUNS)
    write_csv(folder / "curves.csv", ablations.curve_rows(outcomes), ablations.CURVE)
    title = f"{shared.args.task}: proposer {shared.proposer_name}, scorer {scorer}, {len({o.seed for o in outcomes})} seeds"
    ablations.draw(outcomes, title, folder / "ablations.png", shared.args.initial)
    for row in rows:
        print(
            f"{row['axis']:22} {on_one_line(row['value'], 24):24} best train {row['best_train']:6.1%}  test {row['test']:6.1%} "
            f"({row['test_ci_low']:.1%} to {row['test_ci_high']:.1%})  {row['search_calls']:,.0f} calls"
        )
    comparisons = list(ablations.hybrid_rows(outcomes, clusters))
    write_csv(folder / "hybrid.csv", comparisons, ablations.HYBRID)
    for row in comparisons:
        print(
            f"{row['comparison']}: {row['value']:+.1%} (90 % interval {row['ci90_low']:+.1%} to {row['ci90_high']:+.1%}), "
            f"{row['seeds']} seeds, {row['calls']:,.0f} against {row['calls_other']:,.0f} calls"
        )
    total = sum(o.search_calls + o.test.size + o.start_test.size for o in outcomes)
    print(f"{total:,} answers needed, {shared.asked:,} asked for, the others replayed from the log; {folder}")


if __name__ == "__main__":
    run_step(main, Args)
