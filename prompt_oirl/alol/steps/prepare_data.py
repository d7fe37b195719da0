"""Step 1: the rows of a task, and what later steps reward with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prompt_oirl.alol.rows import Row, check_at_least, read_rows, write_rows
from prompt_oirl.alol.steps.options import SPLITS, RunOptions
from prompt_oirl.alol.tasks.registry import PUBLISHED_TASKS
from prompt_oirl.alol.tasks.task import Request, SourceOptions
from prompt_oirl.io.files import InputError


@dataclass
class PrepareOptions(RunOptions, SourceOptions):
    """Sizes of step 1, and what rows are made of."""

    train_rows: int | None = None
    """Training rows at most, drawn at random; by default 3000 (toy) or all there are."""
    validation_rows: int | None = None
    """Validation rows at most; by default 400 (toy), 500 (arith), 10000 (comet)."""
    test_rows: int | None = None
    """Test rows at most; by default 600 (toy), 1000 (arith, prompt_writer)."""


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
    check_at_least(1, **{f"{split}_rows": n for split, n in sizes.items()})
    task = args.task
    request = Request(
        task=task.name,
        root=args.root,
        folder=args.folder,
        sizes={split: n for split, n in sizes.items() if n is not None},
        seed=args.seed,
        **{flag: getattr(args, flag) for flag in TASKS_OF},
    )
    # What rewards are judged by is this step's own work.
    manifest = args.pending(
        args.folder / "step1.json", task.inputs(request), task.name, request.data, judged_by=None
    )
    if manifest is None:
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
