"""Step 3 of A-LoL: what reward each prompt deserves to expect, and by how much every logged response beat it.

    cd alol_exps
    python alol_step3_estimate_advantage.py                                     # toy
    python alol_step3_estimate_advantage.py --task_name arith --value_samples 8
    python alol_step3_estimate_advantage.py --task_name prompt_writer --value reward_model

The reference answers the validation prompts several times; a value head on its frozen states learns the
rewards; then one pass over the training rows gives V(x), A = R - V(x) and the reference's log-probabilities.
With --value reward_model (prompt_writer, and arith after step 1 --expected_reward) V(x) is what the
cross-fitted reward model of Prompt-OIRL expects, and no response is drawn. Writes
alol_exps/<task>/<run>/advantages/: generations, head, its course, statistics, and a cache filed by content.
"""

from __future__ import annotations

from prompt_oirl.alol.steps import published_flags
from prompt_oirl.alol.steps.estimate_advantage import AdvantageOptions as Args
from prompt_oirl.alol.steps.estimate_advantage import estimate_advantage as main

if __name__ == "__main__":
    published_flags.run(main, Args)
