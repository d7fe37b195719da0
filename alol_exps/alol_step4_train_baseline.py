"""Step 4 for the baselines: DPO, reference-free DPO, PRO, PPO and RLOO, on the same rows, updates and
validation.

    cd alol_exps
    python alol_step4_train_baseline.py --algorithm dpo --task_name arith
    python alol_step4_train_baseline.py --algorithm pro --task_name arith --seed 1

| algorithm    | learns from                                                    | by               |
|--------------|----------------------------------------------------------------|------------------|
| dpo          | pairs of responses to one prompt, with the reference           | TRL's DPOTrainer |
| dpo_ref_free | the same pairs, without it                                     | TRL's CPOTrainer |
| pro          | the same pairs                                                 | baselines/pro.py |
| ppo, rloo    | answers of its own to the training prompts, which it has scored| baselines/ppo, TRL |

A batch is --batch_size pairs, or answers. ppo and rloo see more than a log: the reward of any answer they
try. dpo, dpo_ref_free and rloo need `pip install -e ".[alol]"`. Writes the same folder as
alol_step4_train_policy.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from prompt_oirl.alol.baselines.runs import PairOrder
from prompt_oirl.alol.policies import Baseline
from prompt_oirl.alol.steps.train_policy import PolicyOptions, train_and_save
from prompt_oirl.io.files import InputError
from prompt_oirl.io.manifest import run_step


@dataclass
class Args(PolicyOptions):
    """Which baseline."""

    algorithm: Annotated[Literal["dpo", "dpo_ref_free", "pro", "ppo", "rloo"], arg(aliases=["-algo"])] = "dpo"
    """The baseline."""
    beta: float | None = None
    """DPO's temperature (0.1), or weight of the KL penalty of ppo and rloo (0.05)."""
    pairs: PairOrder | None = None
    """dpo, dpo_ref_free, pro: the response that is preferred is the logged one (hh, as published) or the one
    of higher reward (all others)."""


def main(args: Args) -> None:
    """Train a baseline."""
    baseline = Baseline(args.algorithm, args.beta, args.pairs)
    if args.load_in_4bit or args.tuning != "full":
        raise InputError("the baselines train all weights: drop --load_in_4bit and --tuning")
    train_and_save(args, baseline)


if __name__ == "__main__":
    run_step(main, Args)
