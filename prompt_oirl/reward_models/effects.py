"""Prompt effects, question difficulty and interaction of a log, as far as its answers support them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce

import numpy as np

from prompt_oirl.reward_models.cells import SHIFT, Cells, OverBlocks, over_blocks
from prompt_oirl.reward_models.evidence import sign_flip_p_value, stakes_of
from prompt_oirl.reward_models.random_effects import Grams, Spectrum, averaged_coefficients
from prompt_oirl.stats.cells import PromptSuccess

MIN_CLUSTERS = 20  # with fewer there is nothing to learn about questions; prompts are ranked by their means
STEPS = 8  # at most, of Newton's method
CLOSE = 0.02  # logits; a mean step below ends it


@dataclass(frozen=True, eq=False)
class Effects:
    """What answers to u questions x K prompts say.

    Attributes
    ----------
    b : float64 (K,), how good each prompt is
    difficulty, interaction : float64 (D,) and (D, K), coefficients on phi
    b_alone : float64 (K,), b of a model without interaction
    best : the prompt that succeeds most often
    """

    b: np.ndarray
    difficulty: np.ndarray
    interaction: np.ndarray
    b_alone: np.ndarray
    best: int


def learn_effects(
    phi: np.ndarray,
    cells: Cells,
    grams: Grams | None = None,
    rows: np.ndarray | None = None,
    segments: int = 0,
) -> Effects:
    """Fit b, d and m.

    Newton's method with one information per prompt in place of one per answer, so that few decompositions of
    phi' phi serve all steps and all lambda; at the end the gradient of the penalised likelihood is zero all
    the same.

    Parameters
    ----------
    phi : float (n, D), question features
    cells : the answers
    grams : `Grams` of these answers, if known
    rows : int (u,), questions of phi that the answers belong to; default: all
    segments : how many of phi's last columns are segments, whose effects have a size of their own
    """
    k, size = cells.y.shape[1], phi.shape[1]
    difficulty, interaction = np.zeros(size), np.zeros((size, k))
    b = cells.intercepts(np.zeros((len(cells.y), 1)))
    best = PromptSuccess.of(cells.y, cells.a).best
    if cells.n_clusters < MIN_CLUSTERS:
        return Effects(b, difficulty, interaction, b, best)
    grams = grams or Grams.of(phi, cells, Grams.can_be_shared(cells))
    spectra = Spectrum.each_balance(grams, segments)
    d = np.zeros((len(cells.y), 1))
    rows = np.arange(len(phi)) if rows is None else rows
    for _ in range(STEPS):
        score, information = cells.question_scores(b + d)
        each = np.array([information.sum() / max(cells.a.mean(1).sum(), 1e-9)])
        noise = np.array([np.average(score**2 / np.maximum(information, 1e-9), weights=cells.weights)])
        here = [spectrum.mean_prompt() for spectrum in spectra]
        moments = moments_of(phi, rows, (cells.weights * score)[:, None])
        moments = moments + each * here[0].times(difficulty[:, None])
        difficulty = averaged_coefficients(here, moments, each, noise, np.ones(1))[:, 0]
        before, d = d, product_of(phi, rows, difficulty[:, None])
        b = cells.intercepts(d)
        if np.abs(d - before).mean() < CLOSE:
            break
    if (cells.asked > 0).sum() < 2:
        return Effects(b, difficulty, interaction, b, best)
    m, stakes = np.zeros((len(cells.y), k)), stakes_of(b)
    here = [spectrum.prompts(cells.asked) for spectrum in spectra]
    weighted, asked = cells.weights[:, None] * cells.a, cells.asked > 0
    for _ in range(STEPS):
        residual, each, luck = cells.residuals(b + d + m)
        noise = (weighted * each * residual**2).sum(0) / np.maximum(weighted.sum(0), 1e-9)
        moments = each * (moments_of(phi, rows, weighted * residual) + here[0].times(interaction))
        interaction = averaged_coefficients(here, moments, each, noise, stakes)
        interaction = np.where(asked, interaction - interaction[:, asked].mean(1, keepdims=True), 0.0)
        before, m = m, product_of(phi, rows, interaction)
        if np.abs(m - before).mean() < CLOSE:
            break
    # Residuals are those of a question whose luck is known; on a new question luck flattens the curve.
    interaction = interaction / np.sqrt(1 + SHIFT * luck)
    together = cells.intercepts(d + m / np.sqrt(1 + SHIFT * luck))
    return Effects(together, difficulty, interaction, b, best)


def moments_of(phi: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """phi' values float64 (D, m) of some rows of phi, which is not copied: the other rows count zero."""
    of_all = np.zeros((len(phi), values.shape[1]), phi.dtype)
    of_all[rows] = values
    return reduce(np.add, over_blocks(phi, lambda part, mine: (part.T @ mine).astype(np.float64), of_all))


def product_of(phi: np.ndarray, rows: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """phi coefficients (u, m) of some rows of phi, which is not copied."""
    coefficients = coefficients.astype(phi.dtype)
    return np.concatenate(list(over_blocks(phi, lambda part: part @ coefficients)))[rows]


def interaction_p_value(
    phi: np.ndarray, cells: Cells, effects: Effects, each: OverBlocks | None = None
) -> float:
    """p-value of the sign-flip test for an interaction.

    Parameters
    ----------
    phi, cells : what `effects` were learned from
    each : does the sums of the blocks of phi; default: here
    """
    d = product_of(phi, np.arange(len(phi)), effects.difficulty[:, None])
    residual, information, _ = cells.residuals(effects.b_alone + d)
    each = each or partial(over_blocks, phi)
    return sign_flip_p_value(each, cells, residual, information, stakes_of(effects.b_alone))
