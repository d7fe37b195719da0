"""Is there an interaction that carries over to new questions? A sign-flip test over clusters of near-duplicates.

A standard error says too little here: penalty and contending prompts are chosen on the same held-out answers, and a
predicted interaction that is almost nothing has a weight that is almost anything. So the whole search is repeated on
residuals whose sign is flipped at random, cluster by cluster: what it finds there is what it finds where there is nothing.
"""

from __future__ import annotations

import numpy as np

from prompt_oirl.reward_models.cells import RIDGES, RidgePath

FLIPS = 59  # p-values are multiples of 1/60, so 0.05 can be had exactly
SEARCHED = RIDGES[::2]
MOST_QUESTIONS = 20_000  # more add nothing but time: effects that matter are plain by then
CHUNK = 32_000_000  # held-out values in memory at a time


def sign_flip_p_value(
    phi: np.ndarray,
    folds: np.ndarray,
    clusters: np.ndarray,
    residual: np.ndarray,
    information: np.ndarray,
    seed: int,
) -> float:
    """How often chance finds as much as the residuals (u, k) of the contending prompts hold; at least 1/60.

    `phi` (u, D) are question features, `folds` and `clusters` (u,), `information` (u, k) the weights of the residuals.
    """
    if residual.shape[1] < 2:
        return 1.0
    rng = np.random.default_rng([seed, 11])
    clusters = np.unique(clusters, return_inverse=True)[1]
    if len(phi) > MOST_QUESTIONS:
        kept = np.flatnonzero(
            rng.permutation(clusters.max() + 1)[clusters] < MOST_QUESTIONS * (clusters.max() + 1) / len(phi)
        )
        phi, folds, clusters = phi[kept], folds[kept], np.unique(clusters[kept], return_inverse=True)[1]
        residual, information = residual[kept], information[kept]
    path = RidgePath(phi, folds, SEARCHED)
    signs = np.ones((FLIPS + 1, clusters.max() + 1))
    signs[1:] = rng.choice([-1.0, 1.0], (FLIPS, clusters.max() + 1))
    size = max(CHUNK // (len(SEARCHED) * residual.size), 1)
    found = np.concatenate(
        [
            _strongest(path, clusters, residual, information, signs[start : start + size])
            for start in range(0, FLIPS + 1, size)
        ]
    )
    return float((found >= found[0]).mean())


def _strongest(
    path: RidgePath, clusters: np.ndarray, residual: np.ndarray, information: np.ndarray, signs: np.ndarray
) -> np.ndarray:
    """For each row of `signs` (f, clusters): the largest ratio, over penalties, of held-out fit to its standard error."""
    (u, k), f = residual.shape, len(signs)
    flipped = residual[:, None, :] * signs.T[clusters][:, :, None]  # (u, f, k)
    weights = np.tile(information, (1, f))
    paths = path.held_out(flipped.reshape(u, f * k), weights).reshape(-1, u, f, k)
    weighted = flipped * information[:, None, :]
    best = np.full(f, -np.inf)
    for m in paths:
        fit = ((m - m.mean(2, keepdims=True)) * weighted).sum(2)  # (u, f)
        by_cluster = np.zeros((signs.shape[1], f))
        np.add.at(by_cluster, clusters, fit)
        best = np.maximum(best, fit.sum(0) / np.maximum(np.sqrt((by_cluster**2).sum(0)), 1e-12))
    return best
