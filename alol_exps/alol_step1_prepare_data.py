"""Step 1 of A-LoL: a task's rows, each a prompt, a response and its reward.

    cd alol_exps
    python alol_step1_prepare_data.py                            # toy: rows and a tiny model to begin with
    python alol_step1_prepare_data.py --task_name arith          # from data/nano_log/arith.parquet
    python alol_step1_prepare_data.py --task_name arith --prompt nan --train_rows 700  # one prompt
    python alol_step1_prepare_data.py --task_name prompt_writer  # from the same log: question -> prompt
    python alol_step1_prepare_data.py --task_name reddit_pos     # says which files are missing
    python alol_step1_prepare_data.py --task_name wow --reward_models depth=FOLDER,faithdial=FOLDER_OR_HUB_ID

Writes alol_exps/<task>/<run>/data/{train,validation,test}.jsonl (schema: prompt_oirl/alol/rows.py) and beside
them what later steps reward with: rewards.json and tfidf.json (published tasks), judge/ (prompt_writer),
model/ (toy). Rewards of arith are strict correctness of the logged answers. Rewards of the published tasks
come from their reward models, component by component; a stopped run resumes with the next component.
"""

from __future__ import annotations

from prompt_oirl.alol.steps import published_flags
from prompt_oirl.alol.steps.prepare_data import PrepareOptions as Args
from prompt_oirl.alol.steps.prepare_data import prepare_data as main

if __name__ == "__main__":
    published_flags.run(main, Args)
