"""Trains the toy model, in full by nll (stopped once and resumed) and an adapter by DPO: in two processes
that share the weights, below FOLDER/two, and in one, below FOLDER/one. Run by test_alol_sharding.py.

    python sharded_training.py FOLDER

The two are forked, so that libraries are loaded once.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import numpy as np
import torch

from prompt_oirl.alol.baselines.pair_losses import PairLoss
from prompt_oirl.alol.baselines.runs import Pair
from prompt_oirl.alol.evaluation.responses import answer, row_nll
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.adapters import make_trainable, weights_at_start
from prompt_oirl.alol.models.checkpoints import save_model
from prompt_oirl.alol.rows import Limits, encode_rows
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.training.loop import LoggedRows, Objective, TrainingRows, train
from prompt_oirl.alol.training.losses import choose_loss
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import RowSampler

LIMITS = Limits(8, 5)


def run(folder: Path, tuning: str) -> None:
    rows = toy.make_rows({"train": 24}, 0)["train"]
    tokenizer = toy.make_model(0)[1]
    tokens = encode_rows(rows, tokenizer, LIMITS)
    recipe = TrainingRecipe(
        steps=4, batch_size=7, accumulation=2, learning_rate=1e-3, eval_every=2, gradient_checkpointing=True
    )

    def score(model) -> float:  # a validation samples and reads
        answer(toy.TASK, model, tokenizer, rows[:3], LIMITS, 2, 0)
        return -float(row_nll(model, tokens[:6], 0, str(model.device), 4)[0].sum())

    for stop_at in (3, None) if tuning == "full" else (None,):
        model = make_trainable(toy.make_model(0)[0], tuning, 4, 8.0)
        with processes.sharded(model):
            lies_in_shares = any(hasattr(p, "full_tensor") for p in model.parameters())
            assert lies_in_shares == processes.shards()
            sampler = RowSampler(np.arange(len(tokens)), None, 0)
            objective: Objective = LoggedRows(TrainingRows(tokens), choose_loss("nll"), sampler, recipe, 0)
            if tuning == "lora":
                pairs = [Pair(i, i + 12, 1.0) for i in range(12)]
                sampler = RowSampler(np.arange(len(pairs)), None, 0)
                start = weights_at_start(model)
                objective = PairLoss("dpo", 0.1, tokens, pairs, sampler, recipe, 0, start)
            done = train(model, objective, folder / f"{tuning}_training", "toy", score, stop_at=stop_at)
        assert done.step == (stop_at or recipe.steps)
    if processes.is_main():
        save_model(folder / tuning, model, tokenizer)
    processes.wait()


def run_both(folder: Path) -> None:
    for kind in ("full", "lora"):
        run(folder, kind)


def one_of_two(rank: int, folder: Path, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_FSDP": "true"}
    run_both(folder)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_trainable(toy.make_model(0)[0], "lora", 4, 8.0)  # loads what the forked ones need
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        given = Path(sys.argv[1]) / "two", free.getsockname()[1]
    torch.multiprocessing.start_processes(one_of_two, given, nprocs=2, start_method="fork")
    run_both(Path(sys.argv[1]) / "one")
