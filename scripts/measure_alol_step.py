"""What one training step of A-LoL costs beside one of nll on the same rows: time and peak memory, in one run.

    python scripts/measure_alol_step.py

Model, optimiser and rows are the same (nano-LLaMA, rows of random tokens, the reference's log-probabilities
cached as step 3 leaves them). Time: processor time of the step, the algorithms taking turns, medians with the
quartiles of the ratio to the nll step before. Memory: the largest resident size of a process of its own per
algorithm, after five steps, less what it was before the first. Writes results/reference/alol_cost.csv.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from prompt_oirl.io.files import REPO_ROOT, InputError, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.io.peak_memory import peak_megabytes, restart_peak

ALGORITHMS = ("nll", "a_lol", "a_lol_seq")


@dataclass
class Args:
    """The model and the size of the measurement."""

    model_name_or_path: str = str(REPO_ROOT / "data" / "nano_llama")
    """Model, a folder or hub id."""
    batch_size: int = 16
    """Rows of 60 prompt tokens and 30 to 95 response tokens."""
    steps: int = 30
    """Timed steps of each algorithm."""
    output: Path = REPO_ROOT / "results" / "reference" / "alol_cost.csv"
    """The table."""


def main(args: Args) -> None:
    """Time and memory of every algorithm, as a table."""
    if args.steps < 4 or args.batch_size < 1:
        raise InputError("--steps: give 4 or more, --batch_size 1 or more")
    seconds = timed(args)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        measured = pool.map(grown_megabytes, [(args, name) for name in ALGORITHMS], chunksize=1)
    peaks = dict(zip(ALGORITHMS, measured))
    rows = []
    for name in ALGORITHMS:
        ratios = np.array(seconds[name]) / np.array(seconds["nll"])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        row = {"algorithm": name, "seconds": float(np.median(seconds[name]))}
        row |= {"ratio_to_nll": float(middle), "ratio_low": float(low), "ratio_high": float(high)}
        row |= {"peak_mb": peaks[name], "memory_ratio_to_nll": peaks[name] / peaks["nll"]}
        rows.append(row | {"batch_size": args.batch_size, "steps": args.steps})
        print(
            f"{name:16} {row['seconds']:.4f} s, {middle:.3f} times nll [{low:.3f}, {high:.3f}], "
            f"{peaks[name]:.0f} MB"
        )
    write_csv(args.output, rows)


def timed(args: Args) -> dict[str, list[float]]:
    """Processor seconds of every step by algorithm; two steps of each warm up."""
    step = stepper(args)
    seconds: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
    for number in range(args.steps + 2):
        for name in ALGORITHMS:
            begun = time.process_time()
            step(name, number)
            if number >= 2:
                seconds[name].append(time.process_time() - begun)
    return seconds


def grown_megabytes(task: tuple[Args, str]) -> float:
    """Growth of the resident size over five steps, of a process that does nothing else."""
    args, name = task
    step = stepper(args)
    restart_peak()
    before = psutil.Process().memory_info().rss / 2**20
    for number in range(5):
        step(name, number)
    return peak_megabytes() - before


def stepper(args: Args) -> Any:
    """A function (algorithm, number) -> one update on the rows of that number."""
    import torch

    from prompt_oirl.alol.models.adapters import trained_weights
    from prompt_oirl.alol.models.checkpoints import ModelSource
    from prompt_oirl.alol.models.log_probabilities import Tokens
    from prompt_oirl.alol.training import advantages
    from prompt_oirl.alol.training import loop as training
    from prompt_oirl.alol.training.losses import choose_loss
    from prompt_oirl.alol.training.recipe import TrainingRecipe
    from prompt_oirl.alol.training.sampling import RowSampler
    from prompt_oirl.alol.training.value_estimate import ValueHead

    torch.set_num_threads(1)
    model, tokenizer = ModelSource(args.model_name_or_path).load("cpu")
    config = model.config.get_text_config()
    rng = np.random.default_rng(0)
    lengths = rng.integers(30, 96, 4 * args.batch_size)

    def words(n: int) -> list[int]:
        return rng.integers(2, config.vocab_size, n).tolist()

    rows = [Tokens(words(60), words(n)) for n in lengths.tolist()]
    head = ValueHead(config.hidden_size, 1.0)
    rewards = np.ones(len(rows))
    reference = advantages.compute(model, head, rows, rewards, tokenizer.pad_token_id, "cpu", args.batch_size)
    weights = trained_weights(model)
    recipe = TrainingRecipe(steps=1_000_000, batch_size=args.batch_size, learning_rate=1e-6)
    optimiser = training.make_optimiser(weights, recipe)
    sampler = RowSampler(np.arange(len(rows)), None, 0)
    ones = np.ones(len(rows), dtype=np.float32)

    def step(algorithm: str, number: int) -> None:
        loss = choose_loss(algorithm)
        given = training.TrainingRows(
            rows, None if loss.weight == "none" else ones, reference if loss.needs_reference else None
        )
        objective = training.LoggedRows(given, loss, sampler, recipe, tokenizer.pad_token_id)
        training.one_step(model, weights, objective, optimiser, number)

    return step


if __name__ == "__main__":
    run_step(main, Args)
