"""Is there an interaction that carries over to new questions? A score test whose null is drawn by flipping
signs.

The test chooses nothing, neither folds nor a penalty: do questions that are alike in phi pull towards the
same prompts? Q = |(G + WEAK I)^(-1/2) sum_q phi_q r_q'|^2, where G is phi's weighted Gram matrix: the
statistic that is best against a random effect with coefficients of variance 1 / WEAK (a score test, as in
Lin, Biometrika 84, 1997, has WEAK without bound). Where there is no interaction, the sign of a whole
cluster's residuals is arbitrary, so flips of clusters show what Q is by chance; of more than `GROUPS`
clusters, some are flipped together, which is as good. A gamma distribution with the
flips' mean, variance and skewness gives the p-value, which so hardly depends on which flips were drawn.
"""

from __future__ import annotations

from functools import partial, reduce

import numpy as np

from prompt_oirl.reward_models.cells import Cells, OverBlocks

FLIPS = 199
WEAK = 100.0  # an interaction with a standard deviation of about 0.15 logits
TYPICAL = 0.25  # standard deviation of an interaction in logits, for what is at stake
GROUPS = 2**13  # of clusters whose signs are flipped together, drawn at random; at most so many


def stakes_of(prompt_effects: np.ndarray) -> np.ndarray:
    """How much each prompt might matter for choosing, float64 (K,), 1 for the best.

    Twice the share of questions on which it would overtake the best prompt if interactions had a standard
    deviation of `TYPICAL`: that bad prompts are bad in different ways is easy to show and worth nothing.

    Parameters
    ----------
    prompt_effects : float64 (K,), how good each prompt is, in logits
    """
    from scipy.special import ndtr  # choosing does without; scipy.stats takes longer to import

    return 2 * ndtr((prompt_effects - prompt_effects.max()) / (np.sqrt(2) * TYPICAL))


def sign_flip_p_value(
    each: OverBlocks, cells: Cells, residual: np.ndarray, information: np.ndarray, stakes: np.ndarray
) -> float:
    """How often chance pulls alike questions as much together as the residuals of the prompts do.

    Parameters
    ----------
    each : does the sums of the blocks of phi (u, D), here or elsewhere
    cells : the answers
    residual, information : float (u, K) and (K,), see `Cells.residuals`
    stakes : float (K,), positive, see `stakes_of`

    Returns: p-value; 1 with a single prompt that matters.
    """
    from scipy.linalg import solve_triangular

    among = stakes > 1e-3 * stakes.max()
    if among.sum() < 2:
        return 1.0
    stakes = stakes[among] / stakes[among].sum()
    weight = cells.a[:, among] * information[among]
    pull = weight * residual[:, among]
    pull = (pull - (pull @ stakes)[:, None]) * np.sqrt(stakes)  # what all prompts share chooses nothing
    n_groups = min(cells.n_clusters, GROUPS)
    group = cells.clusters
    if n_groups < cells.n_clusters:
        group = np.random.default_rng(12).permutation(cells.n_clusters)[cells.clusters] % GROUPS
    blocks = each(partial(_flipped_sums, n_groups), group, pull, weight @ stakes)
    gram, total = (reduce(np.add, parts) for parts in zip(*blocks))
    gram = gram + WEAK * np.eye(len(gram))
    whitened = solve_triangular(np.linalg.cholesky(gram), total, lower=True)
    found = (whitened.reshape(len(gram), -1, FLIPS + 1) ** 2).sum((0, 1))
    return _tail(found[0], found[1:])


def _flipped_sums(
    n_groups: int, phi: np.ndarray, group: np.ndarray, pull: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A block's part of G, and of the sum of phi pull' as it is and under all flips, (D, k (FLIPS + 1)).

    Groups are added up first, prompt by prompt: flips then cost as much as there are groups.
    """
    from scipy.sparse import csr_array

    rng = np.random.default_rng(11)
    signs = np.ones((n_groups, FLIPS + 1))
    signs[:, 1:] = 2 * rng.integers(0, 2, (n_groups, FLIPS), dtype=np.int8) - 1
    here, place = np.unique(group, return_inverse=True)
    phi = phi.astype(np.float64)
    shape = len(here), len(phi)
    total = []
    for mine in pull.T:
        by_group = csr_array((mine, (place, np.arange(len(phi)))), shape) @ phi
        total.append(by_group.T @ signs[here])
    return (phi.T * weight) @ phi, np.concatenate(total, 1)


def _tail(value: float, by_chance: np.ndarray) -> float:
    """Probability of at least `value`, by the gamma distribution with the moments of `by_chance`."""
    from scipy.special import gammaincc

    spread = by_chance.std()
    if spread < 1e-9 * max(by_chance.mean(), 1e-12):
        return 1.0
    standard = (by_chance - by_chance.mean()) / spread
    shape = 4 / max((standard**3).mean(), 0.1) ** 2
    return float(gammaincc(shape, max(shape + (value - by_chance.mean()) / spread * np.sqrt(shape), 0.0)))
