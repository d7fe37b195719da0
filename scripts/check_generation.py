"""Do texts depend on batch size or number of processes? Step 1 at sizes 1, 8, 64, on 1 and 2 processes.

    python scripts/check_generation.py --ckpt_dir data/nano_llama \\
        --prompts data/arith/prompts.csv --questions data/arith/train.jsonl
    python scripts/check_generation.py                      # a LLaMA with random weights

Floating point sums of other shapes differ in the last bits, so a few texts may part ways where two tokens are
all but equally good. For each such text the gap between the two, in logits, is measured on the common
beginning. Writes results/reference/generation_identity.csv.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.io.files import REPO_ROOT, Paths, write_csv, write_jsonl
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms.random_llama import SMALL, save_random_llama

# The first is the reference; the second repeats it, so its texts must be the same bytes.
RUNS = ((64, 1), (64, 1), (8, 1), (1, 1), (64, 2), (8, 2))


@dataclass
class Args:
    ckpt_dir: Path | None = None
    """Model folder; none: random weights."""
    questions: Path | None = None
    """Questions, JSONL with question and gold; none: random words."""
    prompts: Path = REPO_ROOT / "data" / "prompts.csv"
    """CSV of prompts; its first six are asked."""
    limit: int = 170
    """Questions; six prompts each."""
    max_gen_len: int = 96
    """Tokens of an answer."""
    out: Path = REPO_ROOT / "results" / "reference" / "generation_identity.csv"
    """Table to write."""


def main(args: Args) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = args.ckpt_dir or save_random_llama(folder / "random", **SMALL)
        questions = args.questions or random_questions(folder / "questions.jsonl", args.limit)
        write_csv(args.out, compare(args, model.resolve(), questions.resolve(), folder))


def compare(args: Args, model: Path, questions: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """One row per temperature and run: how many texts are those of the first run."""
    for temperature in (0.0, 0.6):
        reference: dict[tuple, LogRow] = {}
        for number, (batch, processes) in enumerate(RUNS):
            root = folder / f"{temperature}_{number}"
            rows = run(args, model, questions, root, temperature, batch, processes)
            reference = reference or rows
            apart = [key for key in reference if reference[key].answer != rows[key].answer]
            gaps = [logit_gap(model, reference[key], rows[key]) for key in apart]
            line = {
                "model": args.ckpt_dir.name if args.ckpt_dir else "random weights",
                "temperature": temperature,
                "batch_size": batch,
                "processes": processes,
                "texts": len(rows),
                "identical": len(rows) - len(apart),
                "identical_share": 1 - len(apart) / len(rows),
                "largest_logit_gap": max(gaps, default=None),
            }
            print(line)
            yield line


def run(
    args: Args, model: Path, questions: Path, root: Path, temperature: float, batch: int, processes: int
) -> dict[tuple, LogRow]:
    """One whole run of step 1; rows by question and prompt."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    flags = {
        "ckpt_dir": model,
        "questions": questions,
        "prompts": args.prompts.resolve(),
        "prompt_idx": "0-5",
        "dataset_eval": "check",
        "llm": "check",
        "limit": args.limit,
        "temperature": temperature,
        "max_batch_size": batch,
        "max_gen_len": args.max_gen_len,
        "root": root,
    }
    command = [sys.executable, *torchrun, "llama_step1_gen_offline.py"]
    command += [part for flag, value in flags.items() for part in (f"--{flag}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        command, cwd=REPO_ROOT / "llama_exps", env=environment, check=True, stdout=subprocess.DEVNULL
    )
    log = Paths(root).labels("check") / "check_interactions.jsonl"
    return {(row.question_id, row.prompt_id): row for row in interactions.read(log, hint="")}


def logit_gap(model: Path, one: LogRow, other: LogRow) -> float:
    """Gap in logits between the two tokens at which the texts part: noise included, one row alone."""
    import torch

    from prompt_oirl.data.prompts import Prompt
    from prompt_oirl.llms import item_seed
    from prompt_oirl.llms.chat import conversation
    from prompt_oirl.llms.sampling import exponential_noise
    from prompt_oirl.llms.transformers_llm import TransformersLLM

    llm = TransformersLLM(str(model))
    prompt = Prompt(one.prompt_id, one.prompt, one.position)
    asked = llm.encode(conversation(one.question, prompt))
    ends = [llm.tokenizer.eos_token_id] if llm.tokenizer.eos_token_id is not None else []
    texts = [llm.tokenizer(row.answer, add_special_tokens=False)["input_ids"] + ends for row in (one, other)]
    step = next(i for i, (a, b) in enumerate(zip(*texts)) if a != b)
    with torch.inference_mode():
        logits = llm.model(torch.tensor([asked + texts[0][:step]])).logits[0, -1]
    temperature = one.temperature or 0.0
    if temperature:
        seed = item_seed(one.seed, one.llm, one.question, one.prompt, one.position, one.sample)
        noise = exponential_noise(torch.tensor([seed]), step, len(logits))[0]
        logits = logits - temperature * noise.log()
    return abs(float(logits[texts[0][step]] - logits[texts[1][step]]))


def random_questions(path: Path, n: int) -> Path:
    """Texts of random words of the random model's vocabulary, 20 to 60 words long."""
    rng = np.random.default_rng(0)
    write_jsonl(
        path,
        (
            {"question": " ".join(f"w{w}" for w in rng.integers(1, 2000, rng.integers(20, 60))), "gold": "0"}
            for _ in range(n)
        ),
    )
    return path


if __name__ == "__main__":
    run_step(main, Args)
