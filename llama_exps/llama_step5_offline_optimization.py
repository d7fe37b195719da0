"""Step 5: let every selector pick a prompt for every test question and write the result tables.

    cd llama_exps
    python llama_step5_offline_optimization.py                      # what step 4 trained by default
    python llama_step5_offline_optimization.py --split crossfit --subsets 6 --assignments 50
    python llama_step5_offline_optimization.py --price 0.5          # dollars per million tokens in cost.csv
    python llama_step5_offline_optimization.py --llm NAME --live --lm.ckpt_dir FOLDER_OR_HUB_ID  # also live

Give step 4's flags again if you changed them. Writes results/<llm>/<dataset>/<split>/: the five published
CSVs and figures, summary.csv (every selector with its interval), picks.csv (who chose what) and cost.csv.
With --live the LLM is asked for every picked (question, prompt) that the log lacks; live.csv shows live
beside offline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prompt_oirl import reward_models
from prompt_oirl.data import log_store
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, write_csv
from prompt_oirl.io.manifest import Manifest, run_step
from prompt_oirl.llms import generation
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.pipeline import fits, live, offline_dataset
from prompt_oirl.pipeline.evaluate import SelectorResults, evaluate_fits
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.pipeline.plan import Plan, prepared_datasets
from prompt_oirl.reports import terminal
from prompt_oirl.reports.result_tables import of_all_prompts, write_tables


@dataclass
class Args(Plan):
    dataset: str = "all"
    """all that went through step 4, or a comma list."""
    price: float = 1.0
    """Dollars per million tokens, for cost.csv."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/, embeddings/ and results/."""
    force: bool = False
    """Redo even if nothing changed."""
    live: bool = False
    """Ask the LLM for the picks that the log lacks."""
    lm: ModelOptions = field(default_factory=ModelOptions)
    budget: BudgetOptions = field(default_factory=BudgetOptions)


def main(args: Args) -> None:
    """Evaluate, write and print every dataset and protocol whose tables are not current."""
    if not (math.isfinite(args.price) and args.price >= 0):
        raise InputError(f"--price {args.price}: give dollars per million tokens, 0 or more")
    if args.live:
        args.lm.check("lm.")
    reward_models.make(args.model, args.preset)  # refuses what step 4 cannot have trained
    paths = Paths(args.root)
    for dataset in prepared_datasets(args.llm, args.dataset, paths, fits.STEP4):
        finished = fits.finished_fits(args, dataset, paths)
        evaluated: list[tuple[Path, OfflineDataset, SelectorResults]] = []
        for protocol in args.groups():
            chosen = {fit: record for fit, record in finished.items() if fit.group.startswith(protocol)}
            folder = paths.results(args.llm, dataset, protocol + args.suffix)
            inputs = [
                *offline_dataset.input_files(args.llm, dataset, paths),
                *(paths.models(args.llm) / f"{fit.stem}.json" for fit in chosen),
            ]
            settings = {"plan": args.settings(), "protocol": protocol, "price": args.price}
            manifest = Manifest(folder / "manifest.json", settings, inputs, args.root)
            if not manifest.is_current() or args.force or args.live:
                data = offline_dataset.load(args.llm, dataset, paths)
                results = evaluate_fits(data, chosen, paths, args.assignments)
                manifest.finish(write_tables(folder, data, results, args, args.price))
                evaluated += [(folder, data, result) for result in of_all_prompts(data, results)[:1]]
            terminal.print_table(folder / "summary.csv", dataset, protocol)
        if args.live:
            evaluate_live(args, LogFiles(paths.labels(args.llm), dataset), evaluated)


def evaluate_live(
    args: Args, files: LogFiles, evaluated: Sequence[tuple[Path, OfflineDataset, SelectorResults]]
) -> None:
    """Ask for the picks that the log lacks, write live.csv per protocol, and let the answers join the log."""
    if not evaluated:
        raise InputError(
            "--live evaluates the picks among all training prompts: add their number to --subsets"
        )
    with files.lock():
        before = list(files.rows())
        pending = live.unlogged_picks([(data, result) for _, data, result in evaluated], before)
        print(f"\n{files.dataset}: {len(pending):,} picked (question, prompt) pairs are not in the log")
        if not pending:
            return
        decoding = live.decoding_of(before, files.merged)
        files.check_model(args.lm.identity())
        try:
            failures = live.ask(
                pending,
                args.lm.load("lm.", files),
                decoding,
                files,
                before,
                args.budget.budget(prefix="budget."),
            )
        finally:
            rows = log_store.merge(files, [log_store.row_key(row) for row in before])
    known = {log_store.row_key(row) for row in before}
    asked = {(row.question_id, row.prompt_id) for row in rows if log_store.row_key(row) not in known}
    for folder, data, result in evaluated:
        table = list(live.live_rows(data, result, rows, asked, args.seed))
        write_csv(folder / "live.csv", table)
        terminal.print_live(table, folder / "live.csv")
    print(
        f"  {files.merged} has grown by {len(asked):,} rows; before the next step 5, run steps 2 to 4 again "
        "with their flags"
    )
    generation.check_complete(failures)


if __name__ == "__main__":
    run_step(main, Args)
