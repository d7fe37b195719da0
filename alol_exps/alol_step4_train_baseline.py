"""Step 4 for the baselines: DPO, reference-free DPO, PRO, PPO and RLOO, on the same rows, updates and
validation.

    cd alol_exps
    python alol_step4_train_baseline.py --algorithm dpo --task_name arith
    python alol_step4_train_baseline.py --algorithm pro --task_name arith --seed 1 --tuning lora

| algorithm    | learns from                                                     |
|--------------|-----------------------------------------------------------------|
| dpo          | pairs of responses to one prompt, with the reference            |
| dpo_ref_free | the same pairs, without it                                      |
| pro          | the same pairs                                                  |
| ppo, rloo    | answers of its own to the training prompts, which it has scored |

A batch is --batch_size pairs, or answers. ppo and rloo see more than a log: the reward of any answer they
try. Adapters, resuming and the folder written are those of alol_step4_train_policy.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import arg

from prompt_oirl.alol.baselines.runs import PairOrder
from prompt_oirl.alol.policies import ONLINE, Baseline
from prompt_oirl.alol.steps import published_flags
from prompt_oirl.alol.steps.train_policy import PolicyOptions, train_and_save
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.io.files import InputError


@dataclass
class Args(PolicyOptions):
    """Which baseline."""

    algorithm: Annotated[
        Literal["dpo", "dpo_ref_free", "pro", "ppo", "rloo"], arg(aliases=["-algo", "--learning_algorithm"])
    ] = "dpo"
    """The baseline."""
    beta: float | None = None
    """DPO's temperature (0.1), or weight of the KL penalty of ppo and rloo (0.05)."""
    pairs: PairOrder | None = None
    """dpo, dpo_ref_free, pro: the response that is preferred is the logged one (hh, as published) or the one
    of higher reward (all others)."""
    reference_free: bool = False
    """Published spelling: dpo with it is dpo_ref_free."""
    total_steps: int | None = None
    """Published spelling for ppo: rounds of answers, of several updates each; --max_steps counts updates."""

    def recipe_for(self, rows: int) -> TrainingRecipe:
        """The recipe, with the task's own rate and number of updates for ppo and rloo."""
        usual = self.task.settings
        rounds = usual.ppo_rounds if self.total_steps is None else self.total_steps
        if self.algorithm in ONLINE and usual.ppo_rate is not None:
            usual = replace(usual, rate=usual.ppo_rate)
        if self.algorithm == "ppo" and rounds is not None:
            usual = replace(usual, steps=rounds * usual.ppo_batches * usual.ppo_epochs)
        return self.recipe(usual, rows, self.seed)


def main(args: Args) -> None:
    """Train a baseline."""
    counted = args.max_steps is not None or args.num_train_epochs is not None
    if args.total_steps is not None and (args.algorithm != "ppo" or counted or args.total_steps < 1):
        raise InputError(f"--total_steps {args.total_steps}: 1 or more rounds of ppo, instead of --max_steps")
    if args.reference_free:
        if not args.algorithm.startswith("dpo"):
            raise InputError(f"--reference_free is for dpo, not for {args.algorithm}: leave it out")
        args = replace(args, algorithm="dpo_ref_free", reference_free=False)
    train_and_save(args, Baseline(args.algorithm, args.beta, args.pairs))


if __name__ == "__main__":
    published_flags.run(main, Args)
