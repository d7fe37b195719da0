"""Step 5 of A-LoL: what the policies say on test prompts, and how it is rewarded.

    cd alol_exps
    python alol_step5_evaluate.py                      # the reference and every policy of the run
    python alol_step5_evaluate.py --policies a_lol-seed0,nll-seed0 --samples 4
    python alol_step5_evaluate.py --model_name_or_path FOLDER_OR_HUB_ID --policies mine    # any causal model
    python alol_step5_evaluate.py -m huggyllama/llama-7b --adapter_path FOLDER --load_in_4bit --task_name hh
    python alol_step5_evaluate.py -m FOLDER --policies mine --task_name wow --num_beams 4 --meteor

Writes results/alol/<task>/<run>/<policy>/<split>/: predictions.jsonl (every response with its rewards),
metrics.csv (rewards, length, distinct-n, perplexity of the data, 95 % intervals over groups of prompts;
docs/a_lol.md says what each metric is, such as toy's match, the share of letters copied), policy.json, and
for hh <segment>_eval_results.jsonl as published.
"""

from __future__ import annotations

from prompt_oirl.alol.steps import published_flags
from prompt_oirl.alol.steps.evaluate import EvaluationOptions as Args
from prompt_oirl.alol.steps.evaluate import evaluate_policies as main

if __name__ == "__main__":
    published_flags.run(main, Args)
