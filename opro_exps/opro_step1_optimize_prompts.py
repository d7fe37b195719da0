"""Step 1 of OPRO: let an optimizer write instructions from the scored history of earlier ones.

    cd opro_exps
    python opro_step1_optimize_prompts.py --task gsm8k --scorer.ckpt_dir FOLDER_OR_HUB_ID \\
        --optimizer.backend openai --optimizer.model gpt-4
    python opro_step1_optimize_prompts.py --task arith --scorer.ckpt_dir ../data/nano_llama --proposer search --seeds 3
    python opro_step1_optimize_prompts.py --task mine --questions mine.jsonl --scorer.ckpt_dir ... --optimizer.ckpt_dir ... \\
        --meta.task_description "questions on tax law" --meta.solution_description "polite and at most 15 words" --dry_run
    python opro_step1_optimize_prompts.py --task arith --scorer.ckpt_dir ../data/nano_llama --proposer search --run hybrid \
        --score_by hybrid --loop.samples 32 --loop.max_scored 41

Stopped or killed at any moment, the same command goes on where it was and pays for nothing twice: answers lie in
opro_exps/LM<llm>/<task>_interactions.jsonl, outputs of the optimizer in proposals.jsonl. Writes
results/opro/<task>/<run>/seed<k>/ (report.md, candidates.csv, trajectory.csv, steps.csv, result.csv, instructions.csv)
and, over all seeds, result.csv, winners.csv and accuracy_per_step.png one level up. `--proposer search` needs no second model: it is a
stated search over phrases, and every output says so. `--score_by hybrid` measures only what a reward model ranks best and
some at random; `--score_by reward_model` measures nothing in the search, and is refused where it cannot rank.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, sha256, write_json
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms import LLM
from prompt_oirl.llms.generation import Decoding
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.opro import report, runs, search_proposer, tasks
from prompt_oirl.opro.loop import LoopSettings, Run, optimise
from prompt_oirl.opro.meta_prompt import MetaPromptSettings
from prompt_oirl.opro.predicting_scorers import load_scorer
from prompt_oirl.opro.prompt_rewards import PromptRewards, RewardSettings, TextVectors
from prompt_oirl.opro.proposals import Proposer
from prompt_oirl.opro.scorers import LLMScorer, Scorer, SharedLog, Spending, once, run_key


@dataclass
class Args:
    task: str = "arith"
    """gsm8k, svamp, mawps, arith, multiarith, aqua, bbh_<task>, mmlu_<category or subject>, or any name with --questions."""
    questions: Path | None = None
    """Own questions: JSONL or CSV with question and gold and optionally id, split, kind (number, choice, bool, text), group."""
    initial: tuple[str, ...] = ("Let's solve the problem.",)
    """Initial instructions; "" is none."""
    score_by: Literal["llm", "reward_model", "hybrid"] = "llm"
    """llm: every instruction is measured; reward_model: none is, predictions stand in, learned from --reward_log; hybrid:
    predictions choose which are measured."""
    judge: Literal["llm", "reward_model"] = "llm"
    """What chooses the winner and tests it; reward_model, with --score_by reward_model, needs no call at all."""
    reward_log: tuple[Path, ...] = ()
    """Logs, JSONL or Parquet, that predictions learn from; questions near validation or test are left out."""
    position: Literal["after", "before", "system", "answer_start"] = "after"
    """Where the instruction goes: behind the question, before it, in the system message, or opening the answer."""
    proposer: Literal["llm", "search"] = "llm"
    """llm: --optimizer writes the instructions; search: a stated search over phrases, no second model."""
    search_space: Literal["full", "small"] = "full"
    """What the search can write: up to six of forty clauses; small: one or two of twenty-two, 484 instructions in all."""
    grader: Literal["strict", "original", "opro"] = "strict"
    """opro is the published, lenient one: for comparison only."""
    train_size: int = 50
    """Questions that score every instruction."""
    validation_size: int = 50
    """Questions that choose the winner."""
    test_size: int = 200
    """Questions that judge the winner."""
    temperature: float = 0.0
    """Of the scorer; 0 is greedy."""
    max_gen_len: int | None = 256
    """Tokens of a scorer's answer."""
    optimizer_max_gen_len: int = 512
    """Tokens of an optimizer's answer."""
    llm: str | None = None
    """Name of the scorer's log; default: the model's name."""
    known_log: tuple[Path, ...] = ()
    """More logs, JSONL or Parquet, whose answers count if they are of the same llm and decoding."""
    run: str = "default"
    """Name of the run's folder."""
    seed: int = 0
    """Seed of parts, exemplars and proposals; the scorer's own noise has seed 0."""
    parts_seed: int | None = None
    """Seed of the parts of all runs; default: each run's own."""
    seeds: int = 1
    """Do so many runs, with seeds counting up from --seed."""
    dry_run: bool = False
    """Print the most calls that the run can need, and stop."""
    root: Path = REPO_ROOT
    """Folder that holds data/, opro_exps/ and results/."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    meta: MetaPromptSettings = field(default_factory=MetaPromptSettings)
    reward: RewardSettings = field(default_factory=RewardSettings)
    scorer: ModelOptions = field(default_factory=ModelOptions)
    optimizer: ModelOptions = field(default_factory=lambda: ModelOptions(max_seq_len=4096))
    scorer_budget: BudgetOptions = field(default_factory=BudgetOptions)
    optimizer_budget: BudgetOptions = field(default_factory=BudgetOptions)


def main(args: Args) -> None:
    runs.check_names(args.task, args.run, args.llm)
    runs.check_at_least(1, seeds=args.seeds, optimizer_max_gen_len=args.optimizer_max_gen_len)
    runs.check_at_least(0, seed=args.seed)
    if not args.initial:
        raise InputError('--initial: give at least one instruction; "" is none')
    if args.judge == "reward_model" and args.score_by != "reward_model":
        raise InputError("--judge reward_model needs --score_by reward_model")
    paths = Paths(args.root)
    task = tasks.load_task(args.task, paths, args.questions)
    if args.dry_run:
        print(worst_case(args, task))
        return
    scorer_name = args.llm or args.scorer.name()
    proposer_name = search_proposer.NAME if args.proposer == "search" else args.optimizer.name()
    scorer_llm, optimizer_llm = once(lambda: args.scorer.load("scorer.")), once(lambda: load_optimizer(args))
    decoding = Decoding(args.temperature, 1.0, args.max_gen_len, 0)
    known = runs.read_logs("--known_log", args.known_log)
    learned = runs.read_logs("--reward_log", args.reward_log)
    vectors = None if args.score_by == "llm" else TextVectors.load(args.reward.embedder)
    budgets = (
        args.scorer_budget.budget(prefix="scorer_budget."),
        args.optimizer_budget.budget(prefix="optimizer_budget."),
    )
    parent = paths.opro_results(task.name, args.run)
    for seed in range(args.seed, args.seed + args.seeds):
        parts = tasks.divide(
            task, args.train_size, args.validation_size, args.test_size, parts_seed(args, seed)
        )
        folder = parent / f"seed{seed}"
        log = SharedLog(LogFiles(paths.opro_log(scorer_name), task.name), run_key(folder.resolve()))
        with runs.held_folder(folder), log.held():
            runs.check_model(log.files, args.scorer)
            settings = settings_of(args, seed, scorer_name, proposer_name)
            runs.check_settings(folder / "run.json", settings)
            write_json(folder / "run.json", settings)
            spending = Spending(folder / "spent.jsonl")
            measure = LLMScorer(
                scorer_llm, scorer_name, task, decoding, args.grader, log, budgets[0],
                spending, known,
            )  # fmt: skip
            proposer = Proposer(
                optimizer_llm, proposer_name, folder / "proposals.jsonl", seed,
                budgets[1], args.optimizer_max_gen_len,
            )  # fmt: skip
            scorer: Scorer = measure
            if vectors is not None:
                rewards = PromptRewards(args.reward, vectors, seed)
                scorer = load_scorer(args.score_by, measure, rewards, learned, scorer_name, task, parts, seed)
            judge = scorer if args.judge == "reward_model" else measure
            run = Run(
                task, parts, args.loop, args.meta, args.position, args.initial, proposer, scorer, judge, seed
            )
            optimise(run)
            report.write_tables(run, folder, proposer_name, scorer_name)
            written = report.write_report(run, folder, proposer_name, scorer_name, spending)
        print(written.read_text(encoding="utf-8"))
        if run.stopped:
            print(f"stopped by {run.stopped}; the same command with a larger limit goes on")
            break
    runs.summarise(parent, f"{task.name}: proposer {proposer_name}, scorer {scorer_name}")
    print(
        f"reports and tables in {parent}/seed*; over all seeds {parent / 'result.csv'}, and for step 2 {parent / 'winners.csv'}"
    )


def parts_seed(args: Args, seed: int) -> int:
    return seed if args.parts_seed is None else args.parts_seed


def load_optimizer(args: Args) -> LLM:
    if args.proposer == "search":
        return search_proposer.PhraseSearch(args.meta.layout, search_proposer.SPACES[args.search_space])
    return args.optimizer.load("optimizer.")


def worst_case(args: Args, task: tasks.Task) -> str:
    """The most calls a run can need; rejected and logged ones come off."""
    parts = tasks.divide(
        task, args.train_size, args.validation_size, args.test_size, parts_seed(args, args.seed)
    )
    first, found = len(args.initial), args.loop.steps * args.loop.samples
    scored = {
        "llm": first + found, "reward_model": 0,
        "hybrid": first + args.loop.steps * (args.reward.top + args.reward.explore),
    }[args.score_by]  # fmt: skip
    train = len(parts.train) * min(scored, first + found, args.loop.max_scored or scored)
    validation = len(parts.validation) * (first + min(args.loop.finalists, found))
    test = len(parts.test) * (first + 1)
    calls = train + validation + test
    optimizer = "none (search)" if args.proposer == "search" else f"{found * args.seeds:,}"
    return (
        f"scorer calls, at most: {calls * args.seeds:,} ({train:,} train, {validation:,} validation, {test:,} test, "
        f"{args.seeds} run(s)); optimizer calls: {optimizer}"
    )


def settings_of(args: Args, seed: int, scorer: str, proposer: str) -> dict[str, Any]:
    """What decides a run's results: it must not change when the run goes on. Steps may, where nothing hangs on them."""
    loop = asdict(args.loop)
    if args.loop.end_temperature is None:
        loop.pop("steps")
    names = (
        "task", "position", "grader", "train_size", "validation_size", "test_size", "temperature", "max_gen_len",
        "optimizer_max_gen_len", "initial", "score_by", "judge", "search_space",
    )  # fmt: skip
    chosen: dict[str, Any] = {name: getattr(args, name) for name in names} | {"initial": list(args.initial)}
    own = sha256(args.questions) if args.questions else None
    return {
        **chosen,
        "questions": own,
        "loop": loop,
        "meta": asdict(args.meta),
        "reward": None if args.score_by == "llm" else asdict(args.reward),
        "reward_log": [sha256(path) for path in args.reward_log],
        "seed": seed,
        "parts_seed": parts_seed(args, seed),
        "scorer": scorer,
        "proposer": proposer,
    }


if __name__ == "__main__":
    run_step(main, Args)
