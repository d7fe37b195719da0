"""Make the embedded benchmark: data/arith/{train,validation,test}.jsonl, prompts.csv and manifest.json.

    python scripts/make_arith_benchmark.py
    python scripts/make_arith_benchmark.py --seed 1 --root /tmp/other

The same seeds give the same bytes. Which groups belong to train, validation, test and to the language model
of data/nano_llama/ does not depend on them; but train that model anew after a change
(scripts/train_nano_llama.py), since it leaves out these very questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.arith import benchmark, phrasings
from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.io.manifest import run_step


@dataclass
class Args:
    root: Path = REPO_ROOT
    """the files go to data/arith/ below this folder"""
    seed: int = 0
    """of the train and validation questions"""
    test_seed: int = 73605
    """of the test questions; the default was drawn when the design was frozen"""


def main(args: Args) -> None:
    folder = args.root / "data" / "arith"
    manifest = benchmark.write_benchmark(folder, args.seed, args.test_seed)
    prompts = phrasings.write_prompts(folder / "prompts.csv")
    for split, counts in manifest["splits"].items():
        print(
            f"{split:10} {counts['rows']:5,} questions in {counts['groups']:4,} groups of {counts['families']} families, "
            f"{counts['text_clusters']} text clusters"
        )
    print(f"{len(prompts)} prompts; all in {folder}")


if __name__ == "__main__":
    run_step(main, Args)
