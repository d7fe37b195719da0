"""Trains the toy model in full and by LoRA, each stopped once and resumed: run by test_alol_sharding.py, alone
and under `accelerate launch --config_file configs/fsdp.yaml`.

    python sharded_training.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from prompt_oirl.alol.evaluation.responses import answer, row_nll
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.checkpoints import make_trainable, save_model
from prompt_oirl.alol.rows import Limits, encode_rows
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.training.loop import TrainingRecipe, TrainingRows, train
from prompt_oirl.alol.training.losses import choose_loss
from prompt_oirl.alol.training.sampling import RowSampler

LIMITS = Limits(8, 5)


def run(folder: Path, tuning: str) -> None:
    rows = toy.make_rows({"train": 24}, 0)["train"]
    tokenizer = toy.make_model(0)[1]
    tokens = encode_rows(rows, tokenizer, LIMITS)
    recipe = TrainingRecipe(
        steps=5, batch_size=7, accumulation=2, learning_rate=1e-2, eval_every=2, gradient_checkpointing=True
    )

    def score(model) -> float:  # a validation samples and reads
        answer(toy.TASK, model, tokenizer, rows[:3], LIMITS, 2, 0)
        return -float(row_nll(model, tokens[:6], 0, str(model.device), 4)[0].sum())

    for stop_at in (3, None):
        model = make_trainable(toy.make_model(0)[0], tuning, 4, 8.0)
        with processes.sharded(model):
            lies_in_shares = any(hasattr(p, "full_tensor") for p in model.parameters())
            assert lies_in_shares == processes.shards()
            done = train(
                model,
                TrainingRows(tokens),
                choose_loss("nll"),
                RowSampler(np.arange(len(tokens)), None, 0),
                recipe,
                folder / f"{tuning}_training",
                0,
                "toy",
                score,
                stop_at=stop_at,
            )
        assert done.step == (stop_at or recipe.steps)
    if processes.is_main():
        save_model(folder / tuning, model, tokenizer)
    processes.wait()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind in ("full", "lora"):
        run(Path(sys.argv[1]), kind)
    print(f"in shares: {processes.shards()}")
