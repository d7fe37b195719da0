"""Is there an interaction that carries over to new questions? A score test whose null is drawn by flipping
signs.

The test chooses nothing, neither folds nor a penalty: do questions that are alike in phi pull towards the
same prompts? Q = |(G + WEAK I)^(-1/2) sum_q phi_q r_q'|^2, where G is phi's weighted Gram matrix: the
statistic that is best against a random effect with coefficients of variance 1 / WEAK (a score test, as in
Lin, Biometrika 84, 1997, has WEAK without bound). Where there is no interaction, the sign of a whole
cluster's residuals is arbitrary, so flips of clusters show what Q is by chance. A gamma distribution with the
flips' mean, variance and skewness gives the p-value, which so hardly depends on which flips were drawn.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular
from scipy.stats import gamma, norm

from prompt_oirl.reward_models.cells import BLOCK, Cells

FLIPS = 199
WEAK = 100.0  # an interaction with a standard deviation of about 0.15 logits
TYPICAL = 0.25  # standard deviation of an interaction in logits, for what is at stake
ROWS = BLOCK // 32  # questions at a time


def stakes_of(prompt_effects: np.ndarray) -> np.ndarray:
    """How much each prompt might matter for choosing, float64 (K,), 1 for the best.

    Twice the share of questions on which it would overtake the best prompt if interactions had a standard
    deviation of `TYPICAL`: that bad prompts are bad in different ways is easy to show and worth nothing.

    Parameters
    ----------
    prompt_effects : float64 (K,), how good each prompt is, in logits
    """
    return 2 * norm.sf((prompt_effects.max() - prompt_effects) / (np.sqrt(2) * TYPICAL))


def sign_flip_p_value(
    phi: np.ndarray, cells: Cells, residual: np.ndarray, information: np.ndarray, stakes: np.ndarray
) -> float:
    """How often chance pulls alike questions as much together as the residuals of the prompts do.

    Parameters
    ----------
    phi : float (u, D), question features
    cells : the answers
    residual, information : float (u, K) and (K,), see `Cells.residuals`
    stakes : float (K,), positive, see `stakes_of`

    Returns: p-value; 1 with a single prompt that matters.
    """
    among = stakes > 1e-3 * stakes.max()
    if among.sum() < 2:
        return 1.0
    stakes = stakes[among] / stakes[among].sum()
    weight = cells.a[:, among] * information[among]
    pull = weight * residual[:, among]
    pull = (pull - (pull @ stakes)[:, None]) * np.sqrt(stakes)  # what all prompts share chooses nothing
    rng = np.random.default_rng(11)
    signs = np.ones((cells.clusters.max() + 1, FLIPS + 1), dtype=np.int8)
    signs[:, 1:] = 2 * rng.integers(0, 2, (len(signs), FLIPS), dtype=np.int8) - 1
    total = np.zeros((phi.shape[1], (FLIPS + 1) * pull.shape[1]))
    gram = WEAK * np.eye(phi.shape[1])
    for start in range(0, len(phi), ROWS):
        rows = slice(start, start + ROWS)
        flipped = signs[cells.clusters[rows]][:, :, None] * pull[rows][:, None, :]  # (rows, flips + 1, k)
        block = phi[rows].astype(np.float64)
        gram += (block.T * (weight[rows] @ stakes)) @ block
        total += block.T @ flipped.reshape(len(flipped), -1)
    whitened = solve_triangular(np.linalg.cholesky(gram), total, lower=True)
    found = (whitened.reshape(len(gram), FLIPS + 1, -1) ** 2).sum((0, 2))
    return _tail(found[0], found[1:])


def _tail(value: float, by_chance: np.ndarray) -> float:
    """Probability of at least `value`, by the gamma distribution with the moments of `by_chance`."""
    spread = by_chance.std()
    if spread < 1e-9 * max(by_chance.mean(), 1e-12):
        return 1.0
    standard = (by_chance - by_chance.mean()) / spread
    shape = 4 / max((standard**3).mean(), 0.1) ** 2
    return float(gamma.sf(shape + (value - by_chance.mean()) / spread * np.sqrt(shape), shape))
