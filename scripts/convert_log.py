"""Turn a log of any length into Parquet files partitioned by llm and dataset, or back into JSONL.

    python scripts/convert_log.py --log llama_exps/LMmybot/sums_interactions.jsonl --out data/logs
    python scripts/convert_log.py --log data/logs/llm=mybot/dataset=sums --out sums_interactions.jsonl

Step 2 finds logs below data/logs by their llm and dataset.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from prompt_oirl.data import interactions
from prompt_oirl.io.files import InputError, write_jsonl
from prompt_oirl.io.manifest import run_step


@dataclass
class Args:
    log: Path
    """A .jsonl or .parquet file, or one llm=.../dataset=... folder."""
    out: Path
    """A .jsonl file, or the folder that holds all partitions."""


def main(args: Args) -> None:
    if not args.log.exists():
        raise InputError(f"missing {args.log}: give a log's file or its llm=.../dataset=... folder")
    if args.out.suffix == ".parquet":
        raise InputError(f"--out {args.out}: give a .jsonl file, or a folder for Parquet")
    rows = interactions.stream(args.log.resolve(), hint="correct the log")
    if args.out.suffix == ".jsonl":
        write_jsonl(args.out, (asdict(row) for row in rows))
        print(f"{args.log} -> {args.out}")
    else:
        print(f"{args.log} -> {args.out}: {interactions.write_partitioned(args.out, rows):,} rows")


if __name__ == "__main__":
    run_step(main, Args)
