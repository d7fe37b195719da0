"""Train the tiny language model from scratch and write data/nano_llama/ (LLaMA in Hugging Face format).

    python scripts/train_nano_llama.py
    python scripts/train_nano_llama.py --pools 20 --out /tmp/small \\
        --checkpoint /tmp/small/checkpoint.safetensors

Needs data/arith/, whose questions it leaves out. Stopped or killed, the same command resumes from the last
checkpoint and ends in the same bytes. Number of threads and kind of arithmetic are fixed, so that the same
machine gives the same file.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from prompt_oirl.io.files import REPO_ROOT, sha256
from prompt_oirl.io.manifest import run_step


@dataclass
class Args:
    out: Path = REPO_ROOT / "data" / "nano_llama"
    """folder of the model"""
    arith: Path = REPO_ROOT / "data" / "arith"
    """benchmark whose questions are left out"""
    checkpoint: Path | None = None
    """where to go on from; default: build/nano_llama.checkpoint.safetensors"""
    seed: int = 0
    """of weights and examples; the benchmark's seed deals the groups"""
    pools: int = 200
    """length of the training, in pools of 1,024 examples (about 122,000 tokens, 20 steps)"""
    threads: int = 2
    """processor threads; another number gives other last digits"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU if there is one"""
    save_every: int = 10
    """pools between checkpoints"""


def main(args: Args) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it a GPU's sums are not repeatable
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the core to others
    import torch

    from prompt_oirl.arith import benchmark, training

    torch.set_num_threads(args.threads)
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    half = device == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    recipe = training.Recipe(seed=args.seed, pools=args.pools, half=half)
    forbidden = benchmark.benchmark_keys(args.arith)
    tokens = training.train_tokenizer(recipe.shape.vocabulary, recipe.vocabulary_texts, recipe.seed)
    checkpoint = args.checkpoint or REPO_ROOT / "build" / "nano_llama.checkpoint.safetensors"
    losses: list[float] = []
    started, seen, at = time.monotonic(), 0, 0
    with tqdm(total=recipe.pools, unit="pool", mininterval=10, disable=None) as bar:

        def report(pool: int, loss: float, n: int) -> None:
            nonlocal seen, at
            seen += n
            losses.append(loss)
            if pool + 1 > at:
                bar.update(pool + 1 - at)
                at = pool + 1
                rate = seen / (time.monotonic() - started)
                mean = sum(losses[-100:]) / len(losses[-100:])
                tqdm.write(f"pool {at:4}  loss {mean:.4f}  {rate:,.0f} tokens/s")

        weights = training.train(
            recipe, tokens, forbidden, checkpoint, args.save_every, report=report, device=device
        )
    training.export(args.out, weights, recipe, tokens)
    file = args.out / "model.safetensors"
    minutes = (time.monotonic() - started) / 60
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB, sha256 {sha256(file)}, {minutes:.1f} minutes")


if __name__ == "__main__":
    run_step(main, Args)
