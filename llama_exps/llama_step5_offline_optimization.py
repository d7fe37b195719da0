"""Step 5: let every selector pick a prompt for every test question and write the result tables.

    cd llama_exps
    python llama_step5_offline_optimization.py                      # what step 4 trained by default
    python llama_step5_offline_optimization.py --split crossfit --subsets 6 --assignments 10
    python llama_step5_offline_optimization.py --price 0.5          # dollars per million tokens in cost.csv
    python llama_step5_offline_optimization.py --llm NAME --live --lm.ckpt_dir FOLDER_OR_HUB_ID   # ask for missing picks

Give step 4's flags again if you changed them. Writes results/<llm>/<dataset>/<split>/: the five published CSVs and
figures, summary.csv (every selector with its interval), picks.csv (who chose what) and cost.csv. With --live the LLM
is asked for every picked (question, prompt) that the log lacks; live.csv shows live beside offline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from prompt_oirl import reward_models
from prompt_oirl.data import log_store
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, write_csv
from prompt_oirl.io.manifest import Manifest, run_step
from prompt_oirl.llms import generation
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.pipeline import fits, live, offline_dataset
from prompt_oirl.pipeline.evaluate import SelectorResults, evaluate_selectors
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.reports import costs, figures, published, summary, terminal

STEP4 = "run llama_step4_offline_evaluation.py with the same flags first"


@dataclass
class Args:
    llm: str = LLM
    """Whose log."""
    dataset: str = "all"
    """all that went through step 4, or a comma list."""
    model: Literal["xgboost", "lightgbm", "interaction", "boosted_interaction", "linear", "mlp", "knn"] = (
        "xgboost"
    )
    """Reward model that step 4 trained."""
    preset: Literal["fast", "paper"] = "fast"
    """Preset that step 4 trained."""
    split: Literal["both", "paper", "crossfit"] = "both"
    """Protocol: the published row split, cross-fitting by cluster, or both."""
    subsets: str = "all"
    """Sizes K of the prompt subsets: all, or a comma list such as 1,2,6."""
    assignments: int = 1
    """Random fold assignments that step 4 was given."""
    price: float = 1.0
    """Dollars per million tokens, for cost.csv."""
    seed: int = 0
    """Seed of the reward models, of tie-breaking and of the bootstrap."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/, embeddings/ and results/."""
    force: bool = False
    """Redo even if nothing changed."""
    live: bool = False
    """Ask the LLM for the picks that the log lacks."""
    lm: ModelOptions = field(default_factory=ModelOptions)
    budget: BudgetOptions = field(default_factory=BudgetOptions)


def main(args: Args) -> None:
    if not (math.isfinite(args.price) and args.price >= 0):
        raise InputError(f"--price {args.price}: give dollars per million tokens, 0 or more")
    if args.live:
        args.lm.check("lm.")
    reward_models.make(args.model, args.preset)  # refuses what step 4 cannot have trained
    paths = Paths(args.root)
    plan = fits.Plan(args.llm, args.model, args.preset, args.split, args.subsets, args.assignments, args.seed)
    known = [
        p.name.removesuffix("_settings.csv") for p in sorted(paths.labels(args.llm).glob("*_settings.csv"))
    ]
    for dataset in offline_dataset.parse_datasets(args.dataset, known, STEP4):
        planned, records = finished_fits(plan, dataset, paths)
        evaluated: list[tuple[Path, OfflineDataset, SelectorResults]] = []
        for protocol in plan.groups():
            chosen = {fit: record for fit, record in zip(planned, records) if fit.group.startswith(protocol)}
            folder = paths.results(args.llm, dataset, protocol + plan.suffix)
            inputs = [
                *offline_dataset.input_files(args.llm, dataset, paths),
                *(paths.models(args.llm) / f"{fit.stem}.json" for fit in chosen),
            ]
            settings = {"plan": vars(plan), "protocol": protocol, "price": args.price}
            manifest = Manifest(folder / "manifest.json", settings, inputs, args.root)
            if not manifest.is_current() or args.force or args.live:
                data = offline_dataset.load(args.llm, dataset, paths)
                results = evaluate_all(data, chosen, paths, args.assignments, f"{dataset} {protocol}")
                manifest.finish(write_tables(folder, data, results, plan, args.price))
                evaluated += [(folder, data, j) for j in of_all_prompts(data, results)[:1]]
            terminal.print_table(folder / "summary.csv", dataset, protocol)
        if args.live:
            evaluate_live(args, LogFiles(paths.labels(args.llm), dataset), evaluated)


def finished_fits(plan: fits.Plan, dataset: str, paths: Paths) -> tuple[list[fits.Fit], list[dict[str, Any]]]:
    """Step 4's records for the plan; the error for a missing one says how to make it."""
    inputs = fits.input_hashes(plan.llm, dataset, paths)
    planned = list(plan.fits(offline_dataset.load_names(plan.llm, dataset, paths)))
    records = [fits.finished_record(fit, fits.fit_key(fit, inputs), paths) for fit in planned]
    missing = [fit for fit, record in zip(planned, records) if record is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(planned)} reward models of {dataset} are missing or out of date (first: {missing[0].stem}): "
            f"{STEP4}"
        )
    return planned, [record for record in records if record is not None]


def evaluate_all(
    data: OfflineDataset, chosen: dict[fits.Fit, dict], paths: Paths, assignments: int, label: str
) -> list[SelectorResults]:
    """One result per (group, subset, variant), its folds put together."""
    splits = fits.splits_by_name(data.names, assignments)
    members: dict[tuple, list[fits.Fit]] = {}
    for fit in chosen:
        members.setdefault((fit.group, fit.subset, fit.variant), []).append(fit)
    results = []
    for group in tqdm(members.values(), desc=label, disable=None):
        results.append(
            evaluate_selectors(
                data, [(fit, splits[fit.split], fits.load_fit(fit, chosen[fit], paths)) for fit in group]
            )
        )
    return results


def write_tables(
    folder: Path, data: OfflineDataset, results: Sequence[SelectorResults], plan: fits.Plan, price: float
) -> list[Path]:
    names = data.names
    path = folder / "summary.csv"
    write_csv(path, summary.summary_rows(data, results, plan.model, plan.preset, plan.seed), summary.COLUMNS)
    outputs = [path]
    full = of_all_prompts(data, results)
    if full:
        # The result on most training data stands for the protocol: five folds rather than two.
        outputs += [folder / "cost.csv", folder / "picks.csv"]
        write_csv(outputs[-2], costs.cost_rows(data, full[0], price), costs.COLUMNS)
        write_csv(outputs[-1], summary.pick_rows(data, full[0]), summary.PICK_COLUMNS)
    stem = f"{names.dataset.upper()}_{names.llm}"
    # Published tables run over K, so they take the groups that hold every subset; all of them use the same folds.
    by_k = [j for j in results if j.group in ("paper", "crossfit2")] or results
    outputs.append(folder / f"{stem}_performance_comparison.csv")
    write_csv(outputs[-1], published.performance_rows(by_k), published.PERFORMANCE_COLUMNS)
    title = f"{names.dataset.upper()}, {names.llm}, {folder.name} protocol"
    outputs.append(figures.draw_performance(outputs[-1], title))
    metric_rows = list(published.metric_rows(data, by_k))
    for metric, name in published.METRICS.items():
        outputs.append(folder / f"{stem}_{metric}_comparison.csv")
        write_csv(outputs[-1], (row[metric] for row in metric_rows), published.metric_columns(metric))
        outputs.append(figures.draw_metric(outputs[-1], title, name))
    return outputs


def of_all_prompts(data: OfflineDataset, results: Sequence[SelectorResults]) -> list[SelectorResults]:
    """Those on all training prompts."""
    return [j for j in results if len(j.subset) == len(data.names.train_prompts) and j.variant == "both"]


def evaluate_live(
    args: Args, files: LogFiles, evaluated: Sequence[tuple[Path, OfflineDataset, SelectorResults]]
) -> None:
    """Ask for what the picks of all protocols owe, write live.csv for each, and let the answers join the log."""
    if not evaluated:
        raise InputError("--live judges the picks among all training prompts: add their number to --subsets")
    with files.lock():
        before = list(files.rows())
        owed = live.owed_picks([(data, result) for _, data, result in evaluated], before)
        print(f"\n{files.dataset}: {len(owed):,} picked (question, prompt) pairs are not in the log")
        if not owed:
            return
        decoding = live.decoding_of(before, files.merged)
        files.check_model(args.lm.identity())
        try:
            failures = live.ask(
                owed, args.lm.load("lm."), decoding, files, before, args.budget.budget(prefix="budget.")
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
        f"  {files.merged} has grown by {len(asked):,} rows; before the next step 5, run steps 2 to 4 again with their flags"
    )
    generation.check_complete(failures)


if __name__ == "__main__":
    run_step(main, Args)
