"""A-LoL on real dialogues with a real model: eleven methods from one reference, three seeds.

    make alol-hh            # two hours on two cores; stop it at any moment, the same command resumes
    make alol-hh SMALL=1    # a handful of rows and updates (minutes)
    python scripts/run_alol_hh.py --tables_only

The pairs of responses are LoL-RL's hh files (fetched, or taken from PROMPT_OIRL_MIRROR), the model is
SmolLM2-135M-Instruct with LoRA (fetched by pip). Rewards are the logged ones, and policies are compared by
how likely they find held-out logged responses: nothing here says whether what they write is good. Writes
results/reference/alol_hh*.csv and two figures, and fills the tables of docs/alol_hh.md. Where packages or the
network are missing, says so and ends with status 3.
"""

from __future__ import annotations

import os

# Before any library is loaded: workers side by side, one thread each; nothing is looked up at the hub.
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from joblib import Parallel, delayed

from prompt_oirl.alol.experiments.hh_policies import work
from prompt_oirl.alol.experiments.hh_settings import HHOptions as Args
from prompt_oirl.alol.experiments.hh_setup import set_up
from prompt_oirl.alol.experiments.hh_tables import write_tables
from prompt_oirl.io.download import fetch, read_sources
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms.smollm2 import model_folder

NOT_HERE = 3


def main(args: Args) -> None:
    """Set up what is shared, train and measure what is not finished, then write the tables."""
    if not args.tables_only:
        if not find_spec("peft"):
            skip('peft not installed (pip install -e ".[train]")')
        try:
            base = model_folder(args.fetched)
        except ConnectionError as error:
            skip(str(error))
        files = [file for source in read_sources() for file in source.files if file.dataset == "hh"]
        mirror = os.environ.get("PROMPT_OIRL_MIRROR")
        fetch(files, args.fetched, mirror=Path(mirror) if mirror else None)
        set_up(args, base)
        Parallel(n_jobs=args.jobs)(delayed(work)(args, base, os.getpid()) for _ in range(args.jobs))
    write_tables(args)


def skip(reason: str) -> NoReturn:
    """Say why this cannot be tried here, and end."""
    print(f"skipped: {reason}", file=sys.stderr)
    raise SystemExit(NOT_HERE)


if __name__ == "__main__":
    run_step(main, Args)
