"""Reward models compared on one log: what their picks gain, and how good their probabilities are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.pipeline import fits
from prompt_oirl.pipeline.fit_data import fit_data
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.pipeline.plan import FitSpec
from prompt_oirl.reward_models.cells import sigmoid
from prompt_oirl.reward_models.interaction import InteractionModel
from prompt_oirl.stats import metrics
from prompt_oirl.stats.crossfit import HeldOut, Map, crossfit
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.policies import picked
from prompt_oirl.stats.splits import HEADLINE_FOLDS, Split

CALIBRATION_BINS = 15
LOGISTIC_C = 0.0003  # what step 4's validation rows choose most often on the released logs
MEASURES = {
    "log loss": metrics.log_loss,
    "within-prompt AUC": metrics.auc_within_prompt,
    "within-question AUC": metrics.auc_within_question,
}


def comparison_rows(
    data: OfflineDataset, assignments: int, others: Sequence[str], other_assignments: int, each: Map = map
) -> Iterator[dict[str, Any]]:
    """Rows of selection_real_<dataset>.csv: the interaction model, then each other model and how far it is
    behind.

    Parameters
    ----------
    data : one LLM's log of one dataset
    assignments, other_assignments : fold assignments of the interaction model and of the others
    others : names of reward models
    each : as of `crossfit`
    """
    ours = held_out_picks(data, "interaction", assignments, each)
    yield from model_rows(data, "interaction", ours, assignments)
    for model in others:
        theirs = held_out_picks(data, model, other_assignments, each)
        yield from model_rows(data, model, theirs, other_assignments)
        shared = min(assignments, other_assignments)
        ahead = (
            _by_assignment(ours, assignments)[:shared] - _by_assignment(theirs, other_assignments)[:shared]
        )
        row = partial(_row, data, model, shared, note="90 % interval")
        yield row("interaction ahead of it, points", _in_points(ahead, data))


def held_out_picks(data: OfflineDataset, model: str, assignments: int, each: Map = map) -> HeldOut:
    """Cross-fit `model` with all prompts: gain over the train-best prompt, predictions and labels.

    Parameters
    ----------
    model : name of a reward model
    assignments : fold assignments
    each : as of `crossfit`
    """
    splits = [s for a in range(assignments) for s in data.names.crossfit_splits(HEADLINE_FOLDS, a)]
    return crossfit(splits, partial(_fit, data, model), each)


def _fit(data: OfflineDataset, model: str, split: Split) -> dict[str, np.ndarray]:
    everyone = tuple(range(len(data.names.train_prompts)))
    spec = FitSpec(data.names.llm, data.names.dataset, "crossfit", split.name, everyone, model, "fast")
    tuned, validation, train = fits.training_sets(spec, fit_data(data, [split])[split.name])
    learner = reward_models.make(model)
    if model == "linear":
        learner.settings = {"C": LOGISTIC_C}
    elif model not in reward_models.FOLD_THEMSELVES:
        learner.tune(tuned, validation)
    learner.fit(train)
    texts, inverse = np.unique(data.names.test_index[split.test], return_inverse=True)
    questions = data.features(split.name)[0][texts]
    scores = learner.predict(questions, train.prompts)[inverse]
    labels = data.test_labels[split.test][:, : len(everyone)].astype(np.float64)
    best = int(train.prompt_means.argmax())
    values = {
        "gain": picked(labels, scores.argmax(1)) - labels[:, best],
        "scores": scores,
        "labels": labels,
        "fold": np.full(len(labels), split.fold),
    }
    if isinstance(learner, InteractionModel):
        values["uncalibrated"] = _uncalibrated(learner, questions)[inverse]
    return values


def _uncalibrated(model: InteractionModel, questions: np.ndarray) -> np.ndarray:
    """The model as it is before it is weighed against held-out answers; without support no interaction."""
    phi, effects = model.features(questions), model.study.effects
    interaction = phi @ effects.interaction if model.study.supported else 0.0
    b = effects.b if model.study.supported else effects.b_alone
    return sigmoid(b + (phi @ effects.difficulty)[:, None] + interaction)


def model_rows(
    data: OfflineDataset, model: str, held_out: HeldOut, assignments: int
) -> Iterator[dict[str, Any]]:
    """Gain with its interval, calibration, log loss and AUCs of one model.

    Parameters
    ----------
    model : its name, for the column of this name
    held_out : of `held_out_picks`
    assignments : fold assignments in it
    """
    row = partial(_row, data, model, assignments)
    gains = _by_assignment(held_out, assignments)
    yield row("gain over train-best prompt, points", _in_points(gains, data), note="90 % interval")
    # Fold by fold, for calibration bins deal equal predictions out by their order.
    order = np.lexsort((held_out["fold"], held_out.assignment))
    labels = held_out["labels"][order]
    for name, measure in {"expected calibration error": calibration_error, **MEASURES}.items():
        yield row(name, [round(measure(labels, held_out["scores"][order]), 5)])
        if model == "interaction":
            raw = measure(labels, held_out["uncalibrated"][order])
            yield row(f"{name}, uncalibrated", [round(raw, 5)])


def _row(
    data: OfflineDataset,
    model: str,
    assignments: int,
    measure: str,
    interval: Sequence[float],
    note: str = "",
) -> dict[str, Any]:
    value, low, high = (*interval, None, None)[:3]  # a measure without bounds is one number
    return {
        "llm": data.names.llm,
        "dataset": data.names.dataset,
        "model": model,
        "assignments": assignments,
        "measure": measure,
        "value": value,
        "low": low,
        "high": high,
        "questions": len(set(data.names.test_index.tolist())),
        "clusters": len(np.unique(data.names.test_clusters)),
        "note": note,
    }


def _by_assignment(held_out: HeldOut, assignments: int) -> np.ndarray:
    """Gains float64 (assignments, test rows)."""
    return held_out["gain"].reshape(assignments, -1)


def _in_points(gains: np.ndarray, data: OfflineDataset) -> list[float]:
    """Mean of gains (assignments, rows) in points and its 90 % interval; a question's mean over assignments
    is what the bootstrap over clusters resamples."""
    per_row = gains.mean(0)[:, None]
    return (100 * ClusterBootstrap(data.names.test_clusters).mean(per_row, level=0.9)[0]).round(3).tolist()


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Expected calibration error over equal-mass bins of all cells of labels and scores, (n, P) each."""
    y, p = labels.ravel(), scores.ravel()
    bins = np.array_split(np.argsort(p, kind="stable"), CALIBRATION_BINS)
    return float(sum(len(b) * abs(y[b].mean() - p[b].mean()) for b in bins) / len(y))
