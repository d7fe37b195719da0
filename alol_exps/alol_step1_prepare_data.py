"""Step 1 of A-LoL: a task's rows, each a prompt, a response and its reward.

    cd alol_exps
    python alol_step1_prepare_data.py                            # toy: rows and a tiny model to begin with
    python alol_step1_prepare_data.py --task_name arith          # from data/nano_log/arith.parquet
    python alol_step1_prepare_data.py --task_name arith --prompt nan --train_rows 700    # 700 questions, one prompt

Writes alol_exps/<task>/<run>/data/{train,validation,test}.jsonl (schema: prompt_oirl/alol/rows.py) and, for toy, the
untrained model/. Rewards of arith are strict correctness of the logged answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prompt_oirl.alol import arith_log, toy
from prompt_oirl.alol.options import SPLITS, RunOptions
from prompt_oirl.alol.rows import Row, read_rows, write_rows
from prompt_oirl.artifacts import InputError, Paths
from prompt_oirl.steps import Manifest, run_step


@dataclass
class Args(RunOptions):
    train_rows: int | None = None
    """Training rows at most, drawn at random; by default 3000 (toy) or all that are logged (arith)."""
    validation_rows: int | None = None
    """Validation rows at most; by default 400 (toy), 500 (arith)."""
    test_rows: int | None = None
    """Test rows at most; by default 600 (toy), 1000 (arith)."""
    log: Path | None = None
    """Interaction log of arith, JSONL or Parquet."""
    prompt: str | None = None
    """arith: put all logged answers to a question under this one prompt, nan say; sizes then count questions."""
    model_name_or_path: str | None = None
    """Model whose chat template writes arith's prompts; by default data/nano_llama."""


def main(args: Args) -> None:
    task, paths = args.task, Paths(args.root)
    for split in SPLITS:
        n = getattr(args, f"{split}_rows")
        if n is not None and n < 1:
            raise InputError(f"--{split}_rows {n}: give 1 or more")
    if task.name == "toy" and (args.log or args.model_name_or_path or args.prompt):
        raise InputError(
            "--log, --prompt and --model_name_or_path are for arith: toy makes its own rows and model"
        )
    log = args.log or arith_log.log_file(paths)
    inputs = [log] if task.name == "arith" else []
    manifest = Manifest(args.folder / "step1.json", args.arguments(), inputs, args.root)
    if manifest.is_current() and not args.force:
        print(f"{task.name}: up to date ({args.folder / 'data'})")
        return
    outputs = []
    if task.name == "toy":
        splits = toy.make_rows(sizes(args, toy.SIZES), args.seed)
        outputs += toy.write_model(args.folder / "model", args.seed)
    else:
        from prompt_oirl.alol.checkpoints import load_model

        _, tokenizer = load_model(args.model_name_or_path or str(arith_log.model_folder(paths)), "cpu")
        splits = arith_log.make_rows(log, tokenizer, sizes(args, arith_log.SIZES), args.seed, args.prompt)
    for split in SPLITS:
        path = args.data_file(split)
        write_rows(path, splits[split], task.name)
        report(split, read_rows(path, task.name, task.max_reward))
        outputs.append(path)
    manifest.finish(outputs)
    print(f"rows in {args.folder / 'data'}")


def sizes(args: Args, defaults: dict[str, int]) -> dict[str, int]:
    given = {split: getattr(args, f"{split}_rows") for split in SPLITS}
    return defaults | {split: n for split, n in given.items() if n is not None}


def report(split: str, rows: list[Row]) -> None:
    rewards = np.array([row.reward for row in rows])
    groups = len({row.cluster for row in rows})
    cut = sum(not row.ended for row in rows)
    print(
        f"  {split:10} {len(rows):7,} rows, {groups:6,} groups, mean reward {rewards.mean():.3f}, {cut:,} responses cut off"
    )


if __name__ == "__main__":
    run_step(main, Args)
