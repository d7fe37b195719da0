"""What the interaction model says of questions it did not see, over several deals of them into folds.

In one deal the questions of each fold are predicted by a model of the other four. How much its predictions
count is told by held-out answers too: within those four folds, each is predicted by a model of the other
three. All of these models share their sums over questions, fold by fold, so a deal costs little more than
its fifteen decompositions of a matrix of a few hundred rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from prompt_oirl.reward_models.cells import Cells, OverBlocks, over_blocks, sigmoid
from prompt_oirl.reward_models.effects import Effects, learn_effects, product_of
from prompt_oirl.reward_models.random_effects import Grams
from prompt_oirl.stats.splits import HEADLINE_FOLDS, deal_folds

MIN_CONTENDER_SHARE = 0.02  # of questions on which a prompt must look best to be one that might be chosen


@dataclass(frozen=True, eq=False)
class Predictions:
    """Held-out difficulty (u,), prompt effects (u, K) and interaction (u, K) of some questions, in logits."""

    difficulty: np.ndarray
    b: np.ndarray
    interaction: np.ndarray

    def rows(self, keep: np.ndarray) -> Predictions:
        """Some of the questions."""
        return Predictions(self.difficulty[keep], self.b[keep], self.interaction[keep])


@dataclass(frozen=True, eq=False)
class Calibration:
    """logit P = b_p + slope d + share m, fitted to held-out d and m.

    b is float64 (K,). `share` counts only prompts that might be chosen: that bad prompts are bad in different
    ways is easy to show and worth nothing. It is 0 if no other prompt looks best on any questions.
    """

    b: np.ndarray
    slope: float
    share: float

    @classmethod
    def of(cls, cells: Cells, held_out: Predictions, supported: bool = True) -> Calibration:
        """Fit to the answers `cells` that `held_out` predicts; without support m is left out."""
        k = cells.y.shape[1]
        wide = np.repeat(held_out.difficulty[:, None], k, 1)
        m, share = held_out.interaction, 0.0
        among = contenders(held_out.b, m)
        if supported and among.sum() > 1:
            some = np.stack([wide[:, among], _centred(m[:, among])])
            share = max(float(cells.prompts(among).slopes(some)[1]), 0.0)
        (slope,) = cells.slopes(wide[None], share * m)
        return cls(cells.intercepts(slope * wide + share * m), float(slope), share)

    def logits(self, predictions: Predictions) -> np.ndarray:
        """Logits (n, K) of other questions."""
        return self.b + self.slope * predictions.difficulty[:, None] + self.share * predictions.interaction


def contenders(b: np.ndarray, interaction: np.ndarray) -> np.ndarray:
    """Prompts that look best on some of the questions, bool (K,).

    Parameters
    ----------
    b, interaction : float (u, K), in logits
    """
    k = b.shape[1]
    looks_best = np.bincount((b + interaction).argmax(1), minlength=k) >= MIN_CONTENDER_SHARE * len(b)
    return looks_best | (np.arange(k) == b.mean(0).argmax())


def _centred(m: np.ndarray) -> np.ndarray:
    return m - m.mean(1, keepdims=True)


class Deal:
    """One deal of u questions into folds of whole clusters, and the models of all but one or two of them."""

    def __init__(
        self,
        phi: np.ndarray,
        cells: Cells,
        seed: int,
        assignment: int,
        each: OverBlocks | None = None,
        segments: int = 0,
    ):
        """`each` does the sums of the blocks of phi (u, D); default: here. The last `segments` columns of phi
        are segments."""
        self.phi, self.cells, self.segments = phi, cells, segments
        self.folds = deal_folds(cells.clusters, HEADLINE_FOLDS, 1000 * seed + assignment)
        self.rows = [np.flatnonzero(self.folds == fold) for fold in range(self.folds.max() + 1)]
        self.shared = Grams.can_be_shared(cells)
        each = each or partial(over_blocks, phi)
        self._grams = Grams.by_fold(each, cells, self.shared, self.folds)
        self._learned: dict[frozenset[int], Effects] = {}

    def without(self, *folds: int) -> Effects:
        """What the questions outside some folds say."""
        key = frozenset(folds)
        if key not in self._learned:
            kept = np.flatnonzero(~np.isin(self.folds, folds))
            grams = Grams(np.sum([g.matrices for f, g in enumerate(self._grams) if f not in key], 0))
            known = self.cells.rows(kept)
            self._learned[key] = learn_effects(self.phi, known, grams, kept, self.segments)
        return self._learned[key]

    def predictions(self, *left_out: int) -> Predictions:
        """Held-out predictions (u, ...) for all questions outside the folds `left_out`; zeros inside."""
        n, k = self.cells.y.shape
        found = Predictions(np.zeros(n), np.zeros((n, k)), np.zeros((n, k)))
        for fold, rows in enumerate(self.rows):
            if fold not in left_out:
                effects = self.without(*left_out, fold)
                both = np.column_stack([effects.difficulty, effects.interaction])
                along = product_of(self.phi, rows, both)
                found.difficulty[rows], found.interaction[rows] = along[:, 0], along[:, 1:]
                found.b[rows] = effects.b
        return found


@dataclass(frozen=True, eq=False)
class HeldOutChoices:
    """One deal: what models of the other folds say of u questions.

    Attributes
    ----------
    folds : int64 (u,)
    calibration : of the whole log, fitted to all held-out predictions
    logits : float64 (u, K), calibrated on the other folds
    difficulty, interaction : float64 (u,) and (u, K), the parts of `logits` beside the prompts
    best : int64 (u,), the prompt that is best on the other folds
    inner : float32 (F, u, K), for each fold the held-out probabilities of the questions of the other folds,
    made without both, NaN inside the fold
    """

    folds: np.ndarray
    calibration: Calibration
    logits: np.ndarray
    difficulty: np.ndarray
    interaction: np.ndarray
    best: np.ndarray
    inner: np.ndarray

    @property
    def picks(self) -> np.ndarray:
        """The prompt with the highest prediction, int64 (u,); ties go to the best prompt."""
        rows = np.arange(len(self.best))
        picks = self.logits.argmax(1)
        stays = self.logits[rows, picks] <= self.logits[rows, self.best] + 1e-9
        return np.where(stays, self.best, picks)

    @property
    def probabilities(self) -> np.ndarray:
        """Success probabilities float64 (u, K)."""
        return sigmoid(self.logits)


def held_out_choices(deal: Deal, supported: bool = True) -> HeldOutChoices:
    """Predict every question by models that saw nothing of its fold.

    Parameters
    ----------
    deal : of the questions into folds
    supported : whether the interaction counts
    """
    everything, cells = deal.predictions(), deal.cells
    n, k = cells.y.shape
    logits, m = np.zeros((n, k)), np.zeros((n, k))
    d, best = np.zeros(n), np.zeros(n, dtype=np.int64)
    inner = np.full((len(deal.rows), n, k), np.nan, dtype=np.float32)
    for fold, rows in enumerate(deal.rows):
        kept = np.flatnonzero(deal.folds != fold)
        learned = deal.predictions(fold).rows(kept)
        calibration = Calibration.of(cells.rows(kept), learned, supported)
        inner[fold, kept] = sigmoid(calibration.logits(learned))
        here = everything.rows(rows)
        logits[rows], best[rows] = calibration.logits(here), deal.without(fold).best
        d[rows], m[rows] = calibration.slope * here.difficulty, calibration.share * here.interaction
        if not calibration.share:  # ties between the means are decided as everywhere else
            logits[rows, best[rows]] = logits[rows].max(1)
    whole = Calibration.of(cells, everything, supported)
    return HeldOutChoices(deal.folds, whole, logits, d, m, best, inner)
