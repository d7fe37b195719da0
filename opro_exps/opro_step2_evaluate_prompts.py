"""Step 2 of OPRO: measure any instructions on any part of any task, with intervals, paired against the first one.

    cd opro_exps
    python opro_step2_evaluate_prompts.py --task arith --scorer.ckpt_dir ../data/nano_llama \\
        --instructions ../results/opro/arith/default/winners.csv --run winners
    python opro_step2_evaluate_prompts.py --task svamp --scorer.ckpt_dir ... --instructions mine.txt --position before

Instructions: a CSV with a column text (and optionally prompt_id and position), or a text file with one per line. All tasks
but arith and your own need their questions: python ../scripts/fetch_data.py --datasets svamp, say. Parts are
those of step 1 for the same sizes and seed. What the log of step 1 holds is not asked again. Writes
results/opro/<task>/<run>/evaluation.csv.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.prompts import Prompt, load_instructions
from prompt_oirl.io.files import REPO_ROOT, Paths, on_one_line, sha256, write_csv, write_json
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms.generation import Decoding
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.opro import runs, tasks
from prompt_oirl.opro.scorers import BudgetSpent, LLMScorer, Score, SharedLog, Spending, once, run_key
from prompt_oirl.stats.metrics import ClusterBootstrap

SETTINGS = "evaluation.json"
GIVEN = -1  # the step of instructions that no loop proposed
COLUMNS = [
    "task", "part", "scorer", "grader", "prompt_id", "position", "accuracy", "ci_low", "ci_high", "gain_over_first",
    "gain_ci_low", "gain_ci_high", "n", "groups", "instruction",
]  # fmt: skip


@dataclass
class Args:
    instructions: Path
    """CSV with a column text, or a text file with one instruction per line."""
    task: str = "arith"
    """As in step 1."""
    questions: Path | None = None
    """Own questions, as in step 1."""
    part: Literal["test", "validation", "train"] = "test"
    """Which part of the questions."""
    position: Literal["after", "before", "system", "answer_start"] | None = None
    """Where the instructions go; default: the file's column position, else after."""
    top: int | None = None
    """Only the first so many instructions of the file, in its own order, which is not that of success."""
    grader: Literal["strict", "original", "opro"] = "strict"
    """opro is the published, lenient one: for comparison only."""
    train_size: int = 50
    """As in step 1: it fixes which questions are in which part."""
    validation_size: int = 50
    """As in step 1."""
    test_size: int = 200
    """As in step 1."""
    temperature: float = 0.0
    """Of the scorer; 0 is greedy."""
    max_gen_len: int | None = 256
    """Tokens of an answer."""
    llm: str | None = None
    """Name of the log; default: the model's name."""
    known_log: tuple[Path, ...] = ()
    """More logs, JSONL or Parquet, whose answers count if they are of the same llm and decoding."""
    run: str | None = None
    """Name of the folder for the table; default: that of the instructions' file, without its ending."""
    force: bool = False
    """Replace the table of another evaluation of that name."""
    seed: int = 0
    """Seed of the parts, as in step 1."""
    root: Path = REPO_ROOT
    """Folder that holds data/, opro_exps/ and results/."""
    scorer: ModelOptions = field(default_factory=ModelOptions)
    budget: BudgetOptions = field(default_factory=BudgetOptions)


def main(args: Args) -> None:
    run = args.instructions.stem if args.run is None else args.run
    runs.check_names(args.task, run, args.llm)
    if args.top is not None:
        runs.check_at_least(1, top=args.top)
    paths = Paths(args.root)
    prompts = load_instructions(args.instructions, args.position)[: args.top]
    task = tasks.load_task(args.task, paths, args.questions)
    parts = tasks.divide(task, args.train_size, args.validation_size, args.test_size, args.seed)
    asked = {"train": parts.train, "validation": parts.validation, "test": parts.test}[args.part]
    name = args.llm or args.scorer.name()
    folder = paths.opro_results(task.name, run)
    log = SharedLog(LogFiles(paths.opro_log(name), task.name), run_key(folder.resolve()))
    known = runs.read_logs("--known_log", args.known_log)
    decoding = Decoding(args.temperature, 1.0, args.max_gen_len, 0)
    about = settings_of(args, name)
    with runs.held_folder(folder), log.held():
        if not args.force:
            runs.check_settings(
                folder / SETTINGS, about, "give --run another name, or --force to replace its table"
            )
        runs.check_model(log.files, args.scorer)
        spending = Spending(None)
        scorer = LLMScorer(
            once(lambda: args.scorer.load("scorer.")),
            name,
            task,
            decoding,
            args.grader,
            log,
            args.budget.budget(prefix="budget."),
            spending,
            known,
        )
        try:
            scores = scorer.score(prompts, asked, GIVEN, args.part)
        except BudgetSpent as spent:
            print(f"stopped by {spent}: {scorer.owed(prompts, asked):,} answers are still owed")
            return
    rows = list(table_rows(args, name, prompts, scores, parts.clusters(asked)))
    path = folder / "evaluation.csv"
    write_csv(path, rows, COLUMNS)
    write_json(folder / SETTINGS, about)
    for row in rows:
        print(
            f"{row['accuracy']:6.1%}  ({row['ci_low']:.1%} to {row['ci_high']:.1%})  {on_one_line(row['instruction'], 500) or '(empty)'}"
        )
    print(
        f"{len(asked)} {args.part} questions, {spending.total('asked'):,} of {spending.total('needed'):,} answers asked for; {path}"
    )


def settings_of(args: Args, scorer: str) -> dict[str, Any]:
    """What decides the table."""
    names = ("task", "part", "position", "top", "grader", "train_size", "validation_size", "test_size", "temperature",
             "max_gen_len", "seed")  # fmt: skip
    own = sha256(args.questions) if args.questions else None
    files = {"instructions": sha256(args.instructions), "questions": own}
    return {**files, **{name: getattr(args, name) for name in names}, "scorer": scorer}


def table_rows(
    args: Args, name: str, prompts: Sequence[Prompt], scores: Sequence[Score | None], clusters: Any
) -> Iterator[dict[str, Any]]:
    """Accuracy and paired gain over the first instruction, each with its 95 % interval over groups."""
    bootstrap = ClusterBootstrap(clusters, 0)
    first = scores[0]
    for prompt, score in zip(prompts, scores):
        if score is None or first is None:
            continue
        value, low, high = bootstrap.mean(score.values[:, None])[0]
        gain, gain_low, gain_high = bootstrap.mean((score.values - first.values)[:, None])[0]
        yield {
            "task": args.task, "part": args.part, "scorer": name, "grader": args.grader, "prompt_id": prompt.id,
            "position": prompt.position, "accuracy": value, "ci_low": low, "ci_high": high, "gain_over_first": gain,
            "gain_ci_low": gain_low, "gain_ci_high": gain_high, "n": len(score.values), "groups": bootstrap.n_clusters,
            "instruction": prompt.text,
        }  # fmt: skip


if __name__ == "__main__":
    run_step(main, Args)
