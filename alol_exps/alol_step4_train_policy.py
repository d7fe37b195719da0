"""Step 4 of A-LoL: train a policy from the reference on the rows that beat expectation, or by a baseline's
loss.

    cd alol_exps
    python alol_step4_train_policy.py --algorithm a_lol
    python alol_step4_train_policy.py --algorithm a_lol_seq --sampling_strategy good_priority --seed 1
    python alol_step4_train_policy.py --algorithm a_lol_kl --kl_beta 0.2 --task_name arith
    python alol_step4_train_policy.py -m huggyllama/llama-7b --adapter_path timdettmers/qlora-hh-rlhf-7b \\
        --load_in_4bit --tuning lora --precision bf16 --gradient_checkpointing --task_name hh
    accelerate launch --num_processes 4 alol_step4_train_policy.py --task_name hh ...              # several

Algorithms (formulas: prompt_oirl/alol/training/losses.py): nll, wbc, r_gold, r_lol, a_lol, a_lol_ref_free,
a_lol_seq, a_lol_kl. Writes alol_exps/<task>/<run>/policies/<policy>/: model/, policy.json, curve.csv and
.png, and a checkpoint from which the same command resumes. nll, wbc and r_gold need no step 3 unless a
strategy asks for advantages. The number of updates is as given: it is not multiplied by the share of rows
kept, as published, so that algorithms get equal work.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Annotated

from tyro.conf import arg

from prompt_oirl.alol.policies import LossAlgorithm
from prompt_oirl.alol.steps import published_flags
from prompt_oirl.alol.steps.train_policy import PolicyOptions, train_and_save
from prompt_oirl.alol.training.losses import Algorithm, choose_loss
from prompt_oirl.alol.training.sampling import Strategy


@dataclass
class Args(PolicyOptions):
    """The loss and how rows are drawn."""

    algorithm: Annotated[Algorithm, arg(aliases=["-algo", "--learning_algorithm"])] = "a_lol"
    """The loss."""
    sampling_strategy: Strategy = "none"
    """Which rows are drawn; good_priority: positive weights only, in proportion."""
    train_sampling: Annotated[bool, arg(aliases=["-ts"])] = False
    """Published spelling of --sampling_strategy good_priority."""
    ppo_clip: Annotated[float, arg(aliases=["-c"])] = 0.9
    """Ratios are held within 1 - this and 1 + this; 0: no clip."""
    kl_beta: Annotated[float, arg(aliases=["-b"])] = 0.0
    """Weight of the KL term of a_lol_kl (0.2, say)."""


def main(args: Args) -> None:
    """Train by a loss on logged rows."""
    if args.train_sampling:
        args = replace(args, sampling_strategy="good_priority", train_sampling=False)
    loss = choose_loss(args.algorithm, args.ppo_clip, args.kl_beta)
    if args.algorithm == "a_lol" and args.ppo_clip == 0 and not args.kl_beta:
        print(
            "warning: a_lol without a clip: ratios of whole responses overflow or vanish soon",
            file=sys.stderr,
        )
    train_and_save(args, LossAlgorithm(args.algorithm, loss, args.sampling_strategy))


if __name__ == "__main__":
    published_flags.run(main, Args)
