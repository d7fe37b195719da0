"""Compare a fresh log with one that comes with the project: the same answers to the same questions?

    python scripts/compare_logs.py \\
        --fresh llama_exps/LMnano/arith_live_interactions.jsonl --known data/nano_log/arith.parquet

Sums in floating point differ in their last bits between processors and libraries, so a few answers in a
thousand may part; more than --allowed ends with exit status 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.data import interactions
from prompt_oirl.data.log_agreement import agreement
from prompt_oirl.io.files import InputError
from prompt_oirl.io.manifest import run_step


@dataclass
class Args:
    fresh: Path
    """Log just made."""
    known: Path
    """Log to compare with."""
    allowed: float = 0.01
    """Share of answers that may differ."""


def main(args: Args) -> None:
    fresh = interactions.read(args.fresh, hint="run step 1")
    found = agreement(fresh, interactions.read(args.known, hint="check the path"))
    if not found.answers:
        raise InputError(f"{args.fresh} and {args.known} have no answer in common")
    same = found.same_text / found.answers
    print(
        f"{found.answers:,} fresh answers: {found.same_text:,} are those of {args.known.name} letter by "
        f"letter ({same:.2%}), {found.same_verdict:,} have the same verdict"
    )
    if 1 - same > args.allowed:
        raise InputError(
            f"more than {args.allowed:.0%} of the answers differ: another model file, or a platform on "
            "which the committed log does not stand for this model; make your own with `make nano-log`"
        )


if __name__ == "__main__":
    run_step(main, Args)
