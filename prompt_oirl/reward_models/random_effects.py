"""Ridge regressions on phi whose penalty is not chosen but averaged over: normal random effects.

Coefficients are normal with precision lambda. How well each lambda explains the answers is known in closed
form (its marginal likelihood), and what is predicted is the mean over lambda. So nothing hangs on folds or
seeds, and a log that tells little about lambda gives small effects, not a wrong choice. Where the last
columns of phi are segments of the questions, their effects may be larger or smaller than all others: how
much is averaged over in the same way, so that segments which tell nothing cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np

from prompt_oirl.reward_models.cells import Cells, OverBlocks, over_blocks

PRECISIONS = 10.0 ** np.arange(-1.0, 4.6, 0.25)  # lambda; a standard deviation from 3 to .006 logits
MOST_MATRICES = 16  # prompts beyond which one matrix serves all
LEAST_NOISE = 1e-3  # answers that never vary, or none at all, leave none
# A uniform prior on the standard deviation 1 / sqrt(lambda) of effects (Gelman 2006), on this grid.
LOG_PRIOR = -0.5 * np.log(PRECISIONS)
# Standard deviation of the effects of segments, as a multiple of the others'; each is as likely beforehand.
SEGMENTS_OVER_OTHERS = (1.0, 0.0, 4.0, 16.0)


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
        """Sums over all questions.

        Parameters
        ----------
        phi : float (u, D)
        cells : answers and weights of the questions
        shared : one matrix for all prompts, see `can_be_shared`
        """
        everything = np.zeros(len(phi), dtype=np.int64)
        return cls.by_fold(partial(over_blocks, phi), cells, shared, everything)[0]

    @classmethod
    def by_fold(cls, each: OverBlocks, cells: Cells, shared: bool, folds: np.ndarray) -> list[Grams]:
        """Sums over the questions of each fold: those of the blocks, added up in the order of blocks.

        Parameters
        ----------
        each : does the sums of the blocks of phi, here or elsewhere
        cells, shared : as of `of`
        folds : int (u,), 0..F-1
        """
        a = cells.a.mean(1)[:, None]
        a = a if shared else np.column_stack([cells.a, a])
        blocks = each(partial(_fold_sums, folds.max() + 1), cells.weights[:, None] * a, folds)
        return [cls(matrices) for matrices in reduce(np.add, blocks)]


def _fold_sums(n_folds: int, phi: np.ndarray, weights: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """phi' diag(weights) phi of a block's questions in each fold, for weights (n, G): (F, G, D, D)."""
    sums = np.zeros((n_folds, weights.shape[1], phi.shape[1], phi.shape[1]))
    for fold, matrices in enumerate(sums):
        rows = folds == fold
        part = phi[rows].astype(np.float64)
        for matrix, weight in zip(matrices, weights[rows].T):
            matrix += (part * weight[:, None]).T @ part
    return sums


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues (m, D) and axes (m, D, D), or (1, D, D) where all m share them.

    Of stretched columns, the axes lead from phi's moments `along` and `back` to coefficients on phi itself.
    """

    values: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, grams: Grams, stretch: np.ndarray | None = None) -> Spectrum:
        """One decomposition of each matrix; with `stretch` (D,), of phi with its columns times that."""
        if stretch is None:
            values, axes = np.linalg.eigh(grams.matrices)
        else:
            values, axes = np.linalg.eigh(stretch[:, None] * grams.matrices * stretch)
            axes = stretch[:, None] * axes
        return cls(np.maximum(values, 0), axes)

    @classmethod
    def each_balance(cls, grams: Grams, segments: int) -> list[Spectrum]:
        """That of phi itself, and where its last `segments` columns are segments, for each of
        `SEGMENTS_OVER_OTHERS`."""
        spectra = [cls.of(grams)]
        if segments:
            others = grams.matrices.shape[1] - segments
            for over in SEGMENTS_OVER_OTHERS[1:]:
                spectra.append(cls.of(grams, np.repeat([1.0, over], [others, segments])))
        return spectra

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
        """Undo `along`, but for the stretch."""
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
    log_evidence : how well all of them together explain the outcomes, up to a constant of these
    """

    spectrum: Spectrum
    information: np.ndarray
    moments: np.ndarray
    plausible: np.ndarray
    log_evidence: float = 0.0

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
        log_evidence = float(log_posterior.max() + np.log(plausible.sum()))
        return cls(spectrum, effects.information, along, plausible / plausible.sum(), log_evidence)

    @property
    def precision(self) -> np.ndarray:
        """Posterior precision of the coefficients along the axes for each lambda, float64 (m, D, L)."""
        return (self.information[:, None] * self.spectrum.values)[:, :, None] + PRECISIONS

    def coefficients(self, plausible: np.ndarray | None = None) -> np.ndarray:
        """Posterior means on phi, float64 (D, m), averaged over lambda with weights (L,)."""
        weights = self.plausible if plausible is None else plausible
        along = self.moments * (weights / self.precision).sum(2)
        return self.spectrum.back(along)


def averaged_coefficients(
    spectra: Sequence[Spectrum],
    moments: np.ndarray,
    information: np.ndarray,
    noise: np.ndarray,
    stakes: np.ndarray,
) -> np.ndarray:
    """Posterior means on phi, float64 (D, m), averaged over lambda and the balances of segments and others.

    Parameters
    ----------
    spectra : of m outcomes, one per balance
    moments, information, noise, stakes : as of `RandomEffects.of`
    """
    each = [RandomEffects.of(spectrum, moments, information, noise, stakes) for spectrum in spectra]
    evidence = np.array([effects.log_evidence for effects in each])
    plausible = np.exp(evidence - evidence.max())
    plausible /= plausible.sum()
    return np.sum([weight * effects.coefficients() for weight, effects in zip(plausible, each)], axis=0)
