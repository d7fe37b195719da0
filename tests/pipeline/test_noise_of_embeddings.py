"""Processors differ in the last digits of an embedding; that moves figures of MAWPS no more than seeds do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_step

from prompt_oirl.features.embedders import load_embeddings, save_embeddings
from prompt_oirl.io.files import Paths
from prompt_oirl.pipeline import fits, offline_dataset
from prompt_oirl.pipeline.evaluate import SelectorResults, evaluate_selectors
from prompt_oirl.pipeline.fit_data import fit_data
from prompt_oirl.pipeline.plan import Plan, splits_by_name
from prompt_oirl.reports import summary

NOISE = 1e-6  # ten times what a unit vector differs by between processors, at most
NAMES = ["questions", "prompts", "surface"]
# Both figures have a Monte Carlo error, so their difference has the square root of two of it; three of
# these for each of some twenty figures.
DIFFERENCE = 3 * 2**0.5


def crossfitted(root: Path) -> tuple[offline_dataset.OfflineDataset, SelectorResults]:
    """All selectors of MAWPS on all the draws of `make intervals`, from the embeddings stored there."""
    plan = Plan(split="crossfit", subsets="6", assignments=offline_dataset.ASSIGNMENTS)
    data = offline_dataset.load(plan.llm, "mawps", Paths(root))
    splits = splits_by_name(data.names, plan.assignments)
    planned = list(plan.fits(data.names))
    shared = fit_data(data, [splits[fit.split] for fit in planned])
    folds = []
    for fit in planned:
        train, validation, both = fits.training_sets(fit, shared[fit.split])
        model = fits.reward_models.make(fit.model, fit.preset, fit.seed)
        model.tune(train, validation)
        model.fit(both)
        folds.append((fit, splits[fit.split], model))
    return data, evaluate_selectors(data, folds)


@pytest.mark.slow
@pytest.mark.real_logs
def test_no_quoted_figure_moves_by_more_than_two_monte_carlo_draws_do(real_root: Path) -> None:
    run_step(2, real_root, "--llm", "llama2", "--dataset", "mawps")
    run_step(3, real_root, "--llm", "llama2", "--dataset", "mawps", "--embedder", "minilm")
    folder = Paths(real_root).embeddings / "llama2" / "mawps"
    index = offline_dataset.load_names("llama2", "mawps", Paths(real_root))
    rows = [len(index.texts), len(index.prompts), len(index.texts)]
    vectors, info = load_embeddings(folder, NAMES[:2], rows[:2])
    (surface,), _ = load_embeddings(folder, NAMES[2:], rows[2:])
    rng = np.random.default_rng(0)
    tables: list[dict[tuple[str, str], dict[str, Any]]] = []
    picks = []
    for size in (0, NOISE):
        moved = [v + rng.uniform(-size, size, v.shape).astype(np.float32) for v in vectors]
        save_embeddings(folder, dict(zip(NAMES, [*moved, surface])), info)
        data, result = crossfitted(real_root)
        table = summary.summary_rows(data, [result], "xgboost", "fast", 0)
        tables.append({(r["selector"], r["metric"]): r for r in table if r["weighting"] == "question"})
        picks.append(result.picks["irl_0"])
    before, after = tables
    assert before["irl_0", "gain_over_train_best"]["monte_carlo"] < 0.001  # a tenth of a point
    print(f"picks that changed: {(picks[0] != picks[1]).mean():.4f}")
    for name, row in before.items():
        moves = abs(after[name]["value"] - row["value"])
        print(*name, f"{100 * row['value']:.3f} moves {100 * moves:.3f} of {100 * row['monte_carlo']:.3f}")
        assert moves <= DIFFERENCE * row["monte_carlo"] + 1e-12, name
