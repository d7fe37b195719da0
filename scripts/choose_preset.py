"""Choose XGBoost's fast preset inside the training rows; no test row is read.

    python scripts/choose_preset.py

Each candidate trains on part of the training rows of every dataset, stops early on the rest, and is evaluated
there by log loss and by the success of the prompts it picks. `inner` paper: the published first 80 % and last
20 % of the rows; clusters: one of five folds of whole near-duplicate clusters is held out. Writes
results/reference/preset_choice.csv. The best depths of both (10 and 6, by mean pick success at eta .1) are
DEPTHS in prompt_oirl/reward_models/boosted.py, between which each fit's own validation rows choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, Paths, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.pipeline import fits, offline_dataset
from prompt_oirl.pipeline.fit_data import fit_data
from prompt_oirl.pipeline.plan import FitSpec
from prompt_oirl.reward_models.boosted import XGBoost
from prompt_oirl.stats.splits import INNER_FOLDS, Split, deal_folds

CANDIDATES: tuple[dict[str, Any], ...] = (
    {"max_depth": 4, "eta": 0.1, "min_child_weight": 1, "colsample_bynode": 0.2},
    {"max_depth": 6, "eta": 0.1, "min_child_weight": 1, "colsample_bynode": 0.2},
    {"max_depth": 8, "eta": 0.1, "min_child_weight": 3, "colsample_bynode": 0.2},
    {"max_depth": 10, "eta": 0.1, "min_child_weight": 1, "colsample_bynode": 0.1},
    {"max_depth": 10, "eta": 0.1, "min_child_weight": 1, "colsample_bynode": 0.2},
    {"max_depth": 10, "eta": 0.1, "min_child_weight": 3, "colsample_bynode": 0.2},
    {"max_depth": 10, "eta": 0.2, "min_child_weight": 1, "colsample_bynode": 0.2},
    {"max_depth": 12, "eta": 0.1, "min_child_weight": 1, "colsample_bynode": 0.2},
)


@dataclass
class Args:
    root: Path = REPO_ROOT
    """Folder that steps 2 and 3 have filled."""
    out: Path = REPO_ROOT / "results" / "reference" / "preset_choice.csv"
    """Table to write."""


def main(args: Args) -> None:
    """Evaluate every candidate on every dataset under both inner splits, and write the table."""
    rows: list[dict[str, Any]] = []
    with tqdm(total=2 * len(CANDIDATES) * len(RELEASED), disable=None) as bar:
        for dataset in RELEASED:
            data = offline_dataset.load(LLM, dataset, Paths(args.root))
            everything = tuple(range(len(data.names.train_prompts)))
            fit = FitSpec(LLM, dataset, "paper", "paper", everything, "xgboost", "fast")
            for inner, split in (
                ("paper", data.names.paper_split()),
                ("clusters", cluster_split(data.names)),
            ):
                shared = fit_data(data, [split])[split.name]
                train, validation, _ = fits.training_sets(fit, shared)
                answers = validation.weights[:, 0]
                for candidate in CANDIDATES:
                    model = XGBoost(depths=(candidate["max_depth"],), **candidate)
                    model.tune(train, validation)
                    scores = model.predict(validation.questions, validation.prompts)
                    picked = validation.labels[np.arange(len(scores)), scores.argmax(1)]
                    rows.append(
                        candidate
                        | {
                            "inner": inner,
                            "dataset": dataset,
                            "rounds": model.settings["rounds"],
                            "log_loss": fits.validation_metrics(model, train, validation)["log_loss"],
                            "pick_success": float(np.average(picked, weights=answers)),
                            "best_prompt_success": float(validation.prompt_means.max()),
                        }
                    )
                    bar.update()
    write_csv(args.out, rows, list(rows[0]))
    for inner in ("paper", "clusters"):
        print(f"{inner}: mean pick success, mean log loss")
        for candidate in CANDIDATES:
            mine = [r for r in rows if r["inner"] == inner and all(r[k] == v for k, v in candidate.items())]
            means = [float(np.mean([r[name] for r in mine])) for name in ("pick_success", "log_loss")]
            print(f"  {means[0]:.4f}  {means[1]:.4f}  {candidate}")


def cluster_split(names: offline_dataset.DatasetIndex) -> Split:
    """Training rows with one of five folds of whole clusters held out; no test rows."""
    fold = deal_folds(names.train_clusters, INNER_FOLDS, seed=0)
    return Split("clusters", np.flatnonzero(fold), np.flatnonzero(fold == 0), np.zeros(0, dtype=int))


if __name__ == "__main__":
    run_step(main, Args)
