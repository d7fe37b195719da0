"""Train on one log, choose on another: the matrix over the released datasets and the tiny model's log.

    python scripts/measure_transfer.py
    python scripts/measure_transfer.py --logs llama2/mawps,llama2/svamp --model linear

Needs steps 2 and 3 of every log. Writes results/reference/transfer.csv and the table of docs/off_policy.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.transfer import transfer, transfer_rows
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.stats.metrics import format_interval


@dataclass
class Args:
    logs: str = "llama2/gsm8k,llama2/svamp,llama2/mawps,nano/arith"
    """Comma list of LLM/DATASET; every one is trained on and evaluated on."""
    model: str = "interaction"
    """Reward model."""
    seed: int = 0
    """Seed of the folds, the models and the bootstrap."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/ and embeddings/."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


def main(args: Args) -> None:
    """Train on every log, evaluate on every log, write the table and put it into the page."""
    paths = Paths(args.root)
    names = [tuple(name.split("/")) for name in args.logs.split(",")]
    if any(len(name) != 2 for name in names):
        raise InputError(f"--logs {args.logs}: give LLM/DATASET, such as llama2/mawps, separated by commas")
    logs = {"/".join(name): offline_dataset.load(name[0], name[1], paths) for name in names}
    pairs = [(a, b) for a in logs for b in logs]
    rows = [
        {"model": args.model, "train": a, "test": b} | row
        for a, b in tqdm(pairs, desc="transfer", disable=None)
        for row in transfer_rows(transfer(logs[a], logs[b], args.model, args.seed), args.seed)
    ]
    reference = args.out / "results" / "reference" / "transfer.csv"
    write_csv(reference, rows)
    table = render(read_csv(reference, hint="run this script again"))
    print(table)
    fill_tables(args.out, {"transfer": table})


def render(rows: list[dict[str, str]]) -> str:
    """A line per training log: success of the picks, gain over the target's best prompt, AUC."""
    find = {(r["train"], r["test"], r["metric"]): r for r in rows}
    names = list(dict.fromkeys(r["train"] for r in rows))
    out = []
    for train in names:
        cells = []
        for test in names:
            picked, gain, auc = (
                find[train, test, m] for m in ("success_picked", "gain_over_target_best", "auc_within_prompt")
            )
            points = format_interval(gain["value"], gain["ci_low"], gain["ci_high"], points=True)
            cells.append(f"{float(picked['value']):.3f}, {points}, {float(auc['value']):.3f}")
        out.append([train, *cells])
    return markdown(["trained on, evaluated on", *names], out)


if __name__ == "__main__":
    run_step(main, Args)
