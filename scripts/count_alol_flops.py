"""Count what LLaMA-7B on hh costs at the published sizes, in operations, hours and dollars: nothing is run.

    python scripts/count_alol_flops.py
    python scripts/count_alol_flops.py --teraflops 989 --price 3    # an H100

Needs no weights, no data and no GPU, half a minute. Writes results/reference/alol_flops.csv and the table of
docs/larger.md.
"""

from __future__ import annotations

from prompt_oirl.alol.experiments.flops import CostOptions as Args
from prompt_oirl.alol.experiments.flops import write_costs
from prompt_oirl.io.manifest import run_step

if __name__ == "__main__":
    run_step(write_costs, Args)
