"""What choosing per question could gain if the penalty were known: a bound, for comparison only."""

from __future__ import annotations

import numpy as np

from prompt_oirl.reward_models.cells import Cells
from prompt_oirl.reward_models.effects import Effects, learn_effects
from prompt_oirl.reward_models.held_out import Deal
from prompt_oirl.reward_models.question_features import QuestionFeatures
from prompt_oirl.reward_models.random_effects import PRECISIONS, Grams, RandomEffects, Spectrum
from prompt_oirl.reward_models.training_set import TrainingSet

WEIGHTS = (0.5, 1.0, 1.5)  # of the interaction


def at_every_precision(phi: np.ndarray, cells: Cells, effects: Effects) -> np.ndarray:
    """Coefficients of the interaction for each of `PRECISIONS`, float64 (L, D, K); nothing is tested.

    Parameters
    ----------
    phi, cells : what `effects` were learned from
    """
    residual, each, _ = cells.residuals(effects.b_alone + (phi @ effects.difficulty)[:, None])
    spectrum = Spectrum.of(Grams.of(phi, cells, shared=True)).prompts(cells.asked)
    moments = each * (phi.T @ (cells.weights[:, None] * cells.a * residual))
    fitted = RandomEffects.of(spectrum, moments, each, np.ones(len(each)), np.ones(len(each)))
    return np.stack([fitted.coefficients(only) for only in np.eye(len(PRECISIONS))])


def hindsight_bound(train: TrainingSet, assignments: int = 3) -> tuple[float, float]:
    """The largest held-out gain of any one precision and weight of the interaction, chosen on the answers
    that measure it (so biased upwards), and its standard error; in success.

    Parameters
    ----------
    train : questions and answers
    assignments : deals into folds that are averaged over
    """
    phi = QuestionFeatures(0).fit(train.questions, train.embedding_size, train.segments).of_all(train)
    cells = Cells.of(train)
    means = cells.y.sum(0) / np.maximum((cells.a > 0).sum(0), 1)
    answers = np.where(np.isnan(train.labels), means, train.labels)
    gains = np.zeros((len(PRECISIONS), len(WEIGHTS), len(phi)))
    for assignment in range(assignments):
        deal = Deal(phi, cells, 0, assignment)
        for fold, rows in enumerate(deal.rows):
            kept = np.flatnonzero(deal.folds != fold)
            effects = learn_effects(phi[kept], cells.rows(kept), segments=train.segments)
            best, new = effects.best, np.arange(len(rows))
            for i, coefficients in enumerate(at_every_precision(phi[kept], cells.rows(kept), effects)):
                m = phi[rows] @ coefficients
                for j, weight in enumerate(WEIGHTS):
                    picks = (effects.b_alone + weight * m).argmax(1)
                    gain = answers[rows][new, picks] - answers[rows, best]
                    gains[i, j, rows] += np.where(picks == best, 0, gain) / assignments
    i, j = np.unravel_index(gains.mean(2).argmax(), gains.shape[:2])
    by_cluster = np.bincount(cells.clusters, gains[i, j] - gains[i, j].mean())
    return float(max(gains[i, j].mean(), 0)), float(np.sqrt((by_cluster**2).sum()) / len(phi))
