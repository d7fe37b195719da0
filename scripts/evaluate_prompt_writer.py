"""Does a language model that writes prompts help? Written prompts against the fixed pool, the LLM really
answering.

    python scripts/evaluate_prompt_writer.py
    python scripts/evaluate_prompt_writer.py --writers reference --writers a_lol-seed0,a_lol-seed1 --samples 4

After steps 1 to 4 of the task prompt_writer. Every arm is evaluated on the same test questions at equal
numbers of LLM calls (prompt_oirl/alol/evaluation/best_of_n.py). Answers that the log holds are not asked for
again; new ones are kept in results/alol/prompt_writer/<run>/answers.jsonl, so a stopped run resumes. Writes
prompt_writer.csv there, or --output.
"""

from __future__ import annotations

from prompt_oirl.alol.experiments.written_prompts import WriterOptions as Args
from prompt_oirl.alol.experiments.written_prompts import evaluate_writers as main
from prompt_oirl.io.manifest import run_step

if __name__ == "__main__":
    run_step(main, Args)
