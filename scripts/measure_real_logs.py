"""List the logs that others published: rows, questions, prompts, LLMs.

    python scripts/fetch_data.py --datasets real_logs
    python scripts/measure_real_logs.py

Reads data/fetched/real_logs/*.csv or *.parquet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.io.files import REPO_ROOT, InputError, Paths
from prompt_oirl.io.manifest import run_step
from prompt_oirl.io.tables import read_table

HINT = "run scripts/fetch_data.py --datasets real_logs"


@dataclass
class Args:
    logs: Path = Paths(REPO_ROOT).fetched / "real_logs"
    """folder of the logs"""


def main(args: Args) -> None:
    paths = sorted(p for p in args.logs.glob("*") if p.suffix in (".csv", ".parquet"))
    if not paths:
        raise InputError(f"no log in {args.logs}; {HINT}")
    for path in paths:
        log = read_table(path, HINT)
        llms = log["llm"].nunique() if "llm" in log else 1
        print(
            f"{path.name}: {len(log):,} rows, {log['question'].nunique():,} questions x "
            f"{log['prompt'].nunique()} prompts, {llms} LLM{'s' * (llms != 1)}"
        )


if __name__ == "__main__":
    run_step(main, Args)
