"""Step 2 of A-LoL: the reference policy, plain fine-tuning (nll) on all training rows.

    cd alol_exps
    python alol_step2_train_reference.py                                           # toy
    python alol_step2_train_reference.py --task_name arith -m FOLDER_OR_HUB_ID  # any causal model

arith needs no step 2: the model that answered the log is its reference. Writes
alol_exps/<task>/<run>/reference/, the weights with the best validation likelihood, and reference_training/
with checkpoint and curve. Stopped at any moment, the same command resumes.
"""

from __future__ import annotations

from prompt_oirl.alol.steps.train_policy import ReferenceOptions as Args
from prompt_oirl.alol.steps.train_policy import train_reference as main
from prompt_oirl.io.manifest import run_step

if __name__ == "__main__":
    run_step(main, Args)
