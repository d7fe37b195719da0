"""Ridge regressions on phi whose penalty is not chosen but averaged over: normal random effects.

Coefficients are normal with precision lambda. How well each lambda explains the answers is known in closed
form (its marginal likelihood), and what is predicted is the mean over lambda. So nothing hangs on folds or
seeds, and a log that tells little about lambda gives small effects, not a wrong choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prompt_oirl.reward_models.cells import Cells, blocks_of

PRECISIONS = 10.0 ** np.arange(-1.0, 4.6, 0.25)  # lambda; a standard deviation from 3 to .006 logits
MOST_MATRICES = 16  # prompts beyond which one matrix serves all
LEAST_NOISE = 1e-3  # answers that never vary, or none at all, leave none
# A uniform prior on the standard deviation 1 / sqrt(lambda) of effects (Gelman 2006), on this grid.
LOG_PRIOR = -0.5 * np.log(PRECISIONS)


@dataclass(frozen=True, eq=False)
class Grams:
    """phi' diag(weights * answers) phi, float64 (1 or K + 1, D, D): per prompt, then of the mean prompt.

    Those of disjoint questions add up.
    """

    matrices: np.ndarray

    @staticmethod
    def can_be_shared(cells: Cells) -> bool:
        """Whether one matrix serves all prompts: they were asked the same, or there are so many of them that
        each is taken for one asked of a random part of the questions."""
        return cells.y.shape[1] > MOST_MATRICES or bool(np.allclose(cells.a, cells.a[:, :1]))

    @classmethod
    def of(cls, phi: np.ndarray, cells: Cells, shared: bool) -> Grams:
        """Sums over questions, a block at a time, for phi (u, D) may lie in a file.

        Parameters
        ----------
        phi : float (u, D)
        cells : answers and weights of the questions
        shared : one matrix for all prompts, see `can_be_shared`
        """
        a = cells.a.mean(1)[:, None]
        a = a if shared else np.column_stack([cells.a, a])
        size = phi.shape[1]
        matrices = np.zeros((a.shape[1], size, size))
        for block in blocks_of(len(phi)):
            part = phi[block].astype(np.float64)
            for matrix, weight in zip(matrices, (cells.weights[block, None] * a[block]).T):
                matrix += (part * weight[:, None]).T @ part
        return cls(matrices)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues (m, D) and axes (m, D, D), or (1, D, D) where all m share them."""

    values: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, grams: Grams) -> Spectrum:
        """One decomposition of each matrix."""
        values, axes = np.linalg.eigh(grams.matrices)
        return cls(np.maximum(values, 0), axes)

    def prompts(self, asked: np.ndarray) -> Spectrum:
        """Those of the K prompts; of one matrix for all, each by its number of answers (K,)."""
        if len(self.values) > 1:
            return Spectrum(self.values[:-1], self.axes[:-1])
        return Spectrum(asked[:, None] / max(asked.mean(), 1e-9) * self.values, self.axes)

    def mean_prompt(self) -> Spectrum:
        """That of the mean prompt, (1, D) and (1, D, D)."""
        return Spectrum(self.values[-1:], self.axes[-1:])

    def along(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (D, m), one for each outcome, along its axes, (m, D)."""
        if len(self.axes) == 1:
            return vectors.T @ self.axes[0]
        return np.einsum("mde,dm->me", self.axes, vectors)

    def back(self, along: np.ndarray) -> np.ndarray:
        """Undo `along`."""
        if len(self.axes) == 1:
            return self.axes[0] @ along.T
        return np.einsum("mde,me->dm", self.axes, along)

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """Each outcome's matrix times its vector, (D, m)."""
        return self.back(self.along(vectors) * self.values)


@dataclass(frozen=True, eq=False)
class RandomEffects:
    """Effects of m outcomes on phi, given lambda and averaged over it.

    Attributes
    ----------
    spectrum : of m outcomes
    information : float64 (m,), of one answer, divided by the noise
    moments : float64 (m, D), phi' residual over the noise, along the axes
    plausible : float64 (L,), posterior probability of each of `PRECISIONS`
    """

    spectrum: Spectrum
    information: np.ndarray
    moments: np.ndarray
    plausible: np.ndarray

    @classmethod
    def of(
        cls,
        spectrum: Spectrum,
        moments: np.ndarray,
        information: np.ndarray,
        noise: np.ndarray,
        stakes: np.ndarray,
    ) -> RandomEffects:
        """Weigh every lambda by how well it explains the outcomes; an outcome counts by its stake.

        Parameters
        ----------
        spectrum : of m outcomes
        moments : float64 (D, m), phi' (information * residual)
        information, noise : float64 (m,), information of one answer, and its variance over 1 / information
        stakes : float64 (m,), 0..1
        """
        noise = np.maximum(noise, LEAST_NOISE)
        along = spectrum.along(moments) / noise[:, None]
        effects = cls(spectrum, information / noise, along, np.ones(len(PRECISIONS)))
        precision = effects.precision
        evidence = 0.5 * (np.log(PRECISIONS / precision) + along[:, :, None] ** 2 / precision).sum(1)
        log_posterior = stakes @ evidence + LOG_PRIOR
        plausible = np.exp(log_posterior - log_posterior.max())
        return cls(spectrum, effects.information, along, plausible / plausible.sum())

    @property
    def precision(self) -> np.ndarray:
        """Posterior precision of the coefficients along the axes for each lambda, float64 (m, D, L)."""
        return (self.information[:, None] * self.spectrum.values)[:, :, None] + PRECISIONS

    def coefficients(self, plausible: np.ndarray | None = None) -> np.ndarray:
        """Posterior means on phi, float64 (D, m), averaged over lambda with weights (L,)."""
        weights = self.plausible if plausible is None else plausible
        along = self.moments * (weights / self.precision).sum(2)
        return self.spectrum.back(along)
