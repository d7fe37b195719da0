"""Step 2 of A-LoL: the reference policy, plain fine-tuning (nll) on all training rows.

    cd alol_exps
    python alol_step2_train_reference.py                                           # toy
    python alol_step2_train_reference.py --task_name arith -m FOLDER_OR_HUB_ID  # any causal model

arith needs no step 2: the model that answered the log is its reference. Writes
alol_exps/<task>/<run>/reference/, the weights with the best validation likelihood, and reference_training/
with checkpoint and curve. Stopped at any moment, the same command resumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from prompt_oirl.alol.steps import published_flags
from prompt_oirl.alol.steps.train_policy import ReferenceOptions, train_reference
from prompt_oirl.io.files import InputError


@dataclass
class Args(ReferenceOptions):
    """Flags of the step."""

    algorithm: Annotated[str, arg(aliases=["-algo", "--learning_algorithm"])] = "nll"
    """Accepted from published commands: this step trains by nll."""


def main(args: Args) -> None:
    """Train the reference."""
    if args.algorithm != "nll":
        raise InputError(f"--algorithm {args.algorithm}: this step trains by nll, step 4 by the others")
    train_reference(args)


if __name__ == "__main__":
    published_flags.run(main, Args)
