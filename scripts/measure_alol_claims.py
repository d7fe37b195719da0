"""Check the paper's claims about A-LoL on the toy task and on arith, and write the table and the figure that
docs/a_lol.md quotes.

    python scripts/measure_alol.py --task arith          # first: it chooses arith's learning rates
    python scripts/measure_alol_claims.py --minutes 9    # stops after 9 minutes; resumes when run again

Writes results/reference/alol_claims.csv and alol_claims.png.
"""

from __future__ import annotations

from prompt_oirl.alol.experiments.claim_tables import write_claims
from prompt_oirl.alol.experiments.claims import ClaimOptions as Args
from prompt_oirl.alol.experiments.claims import check_claims
from prompt_oirl.io.manifest import run_step


def main(args: Args) -> None:
    """Measure what is not finished, then write table and figure."""
    if not args.tables_only and not check_claims(args):
        print("time is up; run the same command again to resume")
        return
    write_claims(args)


if __name__ == "__main__":
    run_step(main, Args)
