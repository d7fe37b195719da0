"""Step 1: the rows of a task, and what later steps reward with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tyro.conf import arg

from prompt_oirl.alol.rows import Row, read_rows, write_rows
from prompt_oirl.alol.steps.options import SPLITS, RunOptions
from prompt_oirl.alol.tasks.registry import PUBLISHED_TASKS
from prompt_oirl.alol.tasks.task import Request
from prompt_oirl.io.files import InputError
from prompt_oirl.io.manifest import Manifest


@dataclass
class PrepareOptions(RunOptions):
    """Sizes, files and reward models of step 1."""

    train_rows: int | None = None
    """Training rows at most, drawn at random; by default 3000 (toy) or all there are."""
    validation_rows: int | None = None
    """Validation rows at most; by default 400 (toy), 500 (arith), 10000 (comet)."""
    test_rows: int | None = None
    """Test rows at most; by default 600 (toy), 1000 (arith, prompt_writer)."""
    input_dir: Annotated[Path | None, arg(aliases=["-i"])] = None
    """Published tasks: folder of the raw files; by default data/fetched/."""
    log: Path | None = None
    """arith, prompt_writer: the interaction log, JSONL or Parquet; by default data/nano_log/arith.parquet."""
    prompt: str | None = None
    """arith: put all logged answers to a question under this one prompt, nan say; sizes then count
    questions."""
    model_name_or_path: Annotated[str | None, arg(aliases=["-m"])] = None
    """Model whose chat template (arith) or tokenizer (reddit, wow, faithdial) is needed; by default the
    task's."""
    reward_models: str | None = None
    """Published tasks: other reward models, as component=FOLDER_OR_HUB_ID,...; later steps use them too."""
    reward_model: Literal["linear", "xgboost", "lightgbm", "mlp", "knn"] = "linear"
    """prompt_writer, arith: the reward model of Prompt-OIRL that is learned from the log."""
    embedder: str = "minilm"
    """Its embedder: minilm, a sentence-transformers folder or hub id, or openai:MODEL."""
    train_reward: Literal["correct", "model"] = "correct"
    """prompt_writer: a training row's reward, the logged verdict or its cross-fitted expectation."""
    expected_reward: bool = False
    """arith: note what each row deserved to expect by that reward model, for step 3 --value reward_model."""


PUBLISHED = tuple(task.name for task in PUBLISHED_TASKS)
LOGGED = ("arith", "prompt_writer")
TASKS_OF = {
    "input_dir": PUBLISHED,
    "log": LOGGED,
    "prompt": ("arith",),
    "model_name_or_path": ("arith", *PUBLISHED),
    "reward_models": PUBLISHED,
    "reward_model": LOGGED,
    "embedder": LOGGED,
    "train_reward": ("prompt_writer",),
    "expected_reward": ("arith",),
}


def prepare_data(args: PrepareOptions) -> None:
    """Write the rows of every split, unless they are up to date."""
    for flag, tasks in TASKS_OF.items():
        if getattr(args, flag) != getattr(PrepareOptions, flag) and args.task.name not in tasks:
            raise InputError(f"--{flag} is for {', '.join(tasks)}, not for {args.task_name}: leave it out")
    sizes = {split: getattr(args, f"{split}_rows") for split in SPLITS}
    for split, n in sizes.items():
        if n is not None and n < 1:
            raise InputError(f"--{split}_rows {n}: give 1 or more")
    task = args.task
    request = Request(
        task=task.name,
        root=args.root,
        folder=args.folder,
        sizes={split: n for split, n in sizes.items() if n is not None},
        seed=args.seed,
        input_dir=args.input_dir,
        log=args.log,
        prompt=args.prompt,
        model=args.model_name_or_path,
        reward_models=args.reward_models,
        reward_model=args.reward_model,
        embedder=args.embedder,
        train_reward=args.train_reward,
        expected_reward=args.expected_reward,
    )
    arguments = args.arguments(judged_by=None)  # that is this step's own work
    manifest = Manifest(args.folder / "step1.json", arguments, task.inputs(request), args.root)
    if manifest.is_current() and not args.force:
        print(f"{task.name}: up to date ({args.folder / 'data'})")
        return
    prepared = task.prepare(request)
    if prepared.note:
        print(prepared.note)
    outputs = list(prepared.files)
    for split in SPLITS:
        path = args.data_file(split)
        write_rows(path, prepared.splits[split], task.name)
        report(split, read_rows(path, task.name, task.max_reward))
        outputs.append(path)
    manifest.finish(outputs)
    print(f"rows in {args.folder / 'data'}")


def report(split: str, rows: list[Row]) -> None:
    """Print what a split holds."""
    rewards = np.array([row.reward for row in rows])
    groups = len({row.cluster for row in rows})
    cut = sum(not row.ended for row in rows)
    print(
        f"  {split:10} {len(rows):7,} rows, {groups:6,} groups, mean reward {rewards.mean():.3f}, {cut:,} "
        "responses cut off"
    )
