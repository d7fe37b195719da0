"""How good each prompt may be on each question: draws from what the interaction model's answers leave open.

The model is that of `reward_models.effects`: prompt, difficulty and interaction, whose coefficients have
normal posteriors given lambda, with lambda drawn by its own posterior. A prompt that was never asked is
taken to be about as good as the best one, so that it is tried.
"""

from __future__ import annotations

import numpy as np

from prompt_oirl.planning.known import Known
from prompt_oirl.reward_models.cells import Cells, sigmoid
from prompt_oirl.reward_models.effects import learn_effects
from prompt_oirl.reward_models.evidence import stakes_of
from prompt_oirl.reward_models.random_effects import PRECISIONS, Grams, RandomEffects, Spectrum

NEW_PROMPT = 0.5  # standard deviation in logits of a prompt nobody asked, around the best one
FEW = 5  # answers up to which a prompt's noise is taken to be that of sampling


def drawn_success(known: Known, among: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Success probabilities float32 (draws, m, K) of some questions, one draw of the coefficients each.

    Parameters
    ----------
    known : at least one answer
    among : int (m,), the questions
    draws : how many
    """
    rows, train = known.training_set()
    phi, cells = train.questions, Cells.of(train)
    effects = learn_effects(phi, cells)
    difficulty = known.phi @ effects.difficulty
    residual, each, _ = cells.residuals(effects.b_alone + difficulty[rows, None])
    spectrum = Spectrum.of(Grams.of(phi, cells, Grams.can_be_shared(cells))).prompts(cells.asked)
    weighted = cells.weights[:, None] * cells.a
    noise = (weighted * each * residual**2).sum(0) / np.maximum(weighted.sum(0), 1e-9)
    noise = np.where(cells.asked > FEW, noise, 1.0)
    moments = each * (phi.T @ (weighted * residual))
    fitted = RandomEffects.of(spectrum, moments, each, noise, stakes_of(effects.b_alone))
    asked = cells.asked > 0
    error = np.where(asked, 1 / np.sqrt(weighted.sum(0) * each + 1), NEW_PROMPT)
    middle = np.where(asked, effects.b_alone, effects.b_alone[asked].max(initial=-30.0))
    here, shared = known.phi[among], difficulty[among, None]
    found = np.empty((draws, len(among), len(middle)), np.float32)
    for draw, which in zip(found, rng.choice(len(PRECISIONS), draws, p=fitted.plausible)):
        precision = fitted.precision[:, :, which]
        along = fitted.moments / precision + rng.standard_normal(precision.shape) / np.sqrt(precision)
        prompt = middle + error * rng.standard_normal(len(middle))
        draw[:] = sigmoid(prompt + shared + here @ spectrum.back(along))
    return found
