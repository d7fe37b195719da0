"""Is there an interaction that carries over to new questions? A score test whose null is drawn by flipping
signs.

A standard error says too little here: penalty and prompts are chosen on the same held-out answers, and a
predicted interaction that is almost nothing has a weight that is almost anything. The test needs neither
folds nor choice of a penalty: do questions that are alike in phi pull towards the same prompts? Q = |(G +
WEAK I)^(-1/2) sum_q phi_q r_q'|^2, where G is phi's weighted Gram matrix: the statistic that is best against
a random effect with coefficients of variance 1 / WEAK (a score test, as in Lin, Biometrika 84, 1997, has WEAK
without bound). Where there is no interaction, the sign of a whole cluster's residuals is arbitrary, so flips
of clusters show what Q is by chance.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

FLIPS = 99  # p-values are multiples of 1/100
WEAK = 100.0  # an interaction with a standard deviation of about 0.15 logits
ROWS = 2048  # questions at a time; phi may lie in a file


def sign_flip_p_value(
    phi: np.ndarray,
    clusters: np.ndarray,
    residual: np.ndarray,
    information: np.ndarray,
    stakes: np.ndarray,
    seed: int,
) -> float:
    """How often chance pulls alike questions as much together as the residuals of the prompts do.

    A prompt counts by its stake: that bad prompts are bad in different ways is easy to show and worth
    nothing. Stakes must not depend on what is tested, or the test finds what chose them.

    Parameters
    ----------
    phi : float (u, D), question features
    clusters : int (u,), near-duplicates, whose signs flip together
    residual, information : float (u, K), residuals and their weights
    stakes : float (K,), positive
    seed : of the flips

    Returns: p-value, at least 0.01; 1 with a single prompt.
    """
    if residual.shape[1] < 2:
        return 1.0
    stakes = stakes / stakes.sum()
    clusters = np.unique(clusters, return_inverse=True)[1]
    rng = np.random.default_rng([seed, 11])
    signs = np.ones((clusters.max() + 1, FLIPS + 1), dtype=np.int8)
    signs[:, 1:] = 2 * rng.integers(0, 2, (len(signs), FLIPS), dtype=np.int8) - 1
    pull = information * residual
    pull = (pull - (pull @ stakes)[:, None]) * np.sqrt(stakes)  # what all prompts share chooses nothing
    total = np.zeros((phi.shape[1], (FLIPS + 1) * pull.shape[1]))
    gram = WEAK * np.eye(phi.shape[1])
    for start in range(0, len(phi), ROWS):
        rows = slice(start, start + ROWS)
        flipped = signs[clusters[rows]][:, :, None] * pull[rows][:, None, :]  # (rows, flips + 1, k)
        block = phi[rows].astype(np.float64)
        gram += (block.T * (information[rows] @ stakes)) @ block
        total += block.T @ flipped.reshape(len(flipped), -1)
    whitened = solve_triangular(np.linalg.cholesky(gram), total, lower=True)
    found = (whitened.reshape(len(gram), FLIPS + 1, -1) ** 2).sum((0, 2))
    return float((found >= found[0]).mean())
