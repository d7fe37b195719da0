"""Train and evaluate every algorithm of A-LoL on several seeds, and write the tables that docs/a_lol.md
quotes.

    python scripts/measure_alol.py --task toy
    python scripts/measure_alol.py --task arith --minutes 9    # stops after 9 minutes; resumes when run again
    python scripts/measure_alol.py --task arith --tables_only    # tables of what is finished

toy: one run per seed, each with rows, reference, value head and policies of its own, the task's settings.
arith: one run (nano-LLaMA's log, all answers under the prompt nan). Every policy and baseline has the same
rows, batch, updates and validations, and its learning rate is chosen on validation from the same grid with
the same two seeds of their own; then it is trained and tested with several seeds. Writes
results/reference/alol_<task>*.csv.
"""

from __future__ import annotations

from prompt_oirl.alol.experiments.compare_algorithms import CompareOptions as Args
from prompt_oirl.alol.experiments.compare_algorithms import compare
from prompt_oirl.alol.experiments.comparison_tables import write_tables
from prompt_oirl.io.manifest import run_step


def main(args: Args) -> None:
    """Measure what is not finished, then write the tables."""
    if not args.tables_only and not compare(args):
        print("time is up; run the same command again to resume")
        return
    write_tables(args)


if __name__ == "__main__":
    run_step(main, Args)
