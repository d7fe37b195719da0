"""Does choosing by the interaction pay on this log? Decided once, over several deals of folds.

Two estimates of the gain over the best prompt are reconciled. *Measured*: held-out success of the picks minus
that of the prompt that is best on the other folds. *Expected*: the same difference of the picks by a model
whose three kinds of parameters (prompts, a, s) are fitted to all held-out answers, so it has less noise and
rests on the model's form. Where they agree the one with less noise counts more; the more they disagree, the
more the measured one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from prompt_oirl.reward_models.cells import Cells, OverBlocks, sigmoid
from prompt_oirl.reward_models.effects import MIN_CLUSTERS, Effects, interaction_p_value, learn_effects
from prompt_oirl.reward_models.held_out import Deal, HeldOutChoices, held_out_choices
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.stats.off_policy import cell_values
from prompt_oirl.stats.splits import HEADLINE_FOLDS

LEVEL = 0.05  # of the test that an interaction must pass to count
ASSIGNMENTS = 5
MOST_QUESTIONS = 60_000  # over all assignments: a large log needs fewer, for its folds agree
Z_95 = 1.96
# Folds learn from each other's questions, so the spread over questions tells too little: the variance of a
# mean over F folds is 1 + F / (F - 1) times as large (Nadeau and Bengio, Machine Learning 52, 2003).
FOLDS_ARE_ALIKE = 1 + HEADLINE_FOLDS / (HEADLINE_FOLDS - 1)

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Gain:
    """What choosing per question brings over the prompt that is best on the training folds.

    Success rates (0.01 = one point) as value, low, high; intervals are 95 %.

    Attributes
    ----------
    estimate : `measured` and `expected` reconciled
    measured : from held-out picks alone
    expected : from the model fitted to held-out answers
    moved : share of questions that get another prompt
    best_prompt : success of the best prompt
    """

    estimate: Interval
    measured: Interval
    expected: Interval
    moved: float
    best_prompt: Interval

    @property
    def certain(self) -> bool:
        """Whether the interval lies above zero, which is a test, too."""
        return self.estimate[1] > 0


@dataclass(frozen=True, eq=False)
class Study:
    """What a log says about choosing by the interaction.

    Attributes
    ----------
    phi, train : what it was learned from
    effects : learned from the whole log
    b, slope : calibration of the whole log's model, mean over assignments; b float64 (K,)
    share : how much its interaction counts, mean over assignments, also where it has no support
    p_value : of the sign-flip test
    supported : whether the selector chooses per question at all
    choices : one per assignment, as the selector would choose (the best prompt everywhere without support)
    gain : of choosing per question by the interaction, supported or not; None on a log too small for folds
    """

    phi: np.ndarray
    train: TrainingSet
    effects: Effects
    b: np.ndarray
    slope: float
    share: float
    p_value: float
    supported: bool
    choices: Sequence[HeldOutChoices]
    gain: Gain | None


def study(phi: np.ndarray, train: TrainingSet, seed: int = 0, each: OverBlocks | None = None) -> Study:
    """Learn from all questions, test, measure, and decide whether the interaction counts.

    Parameters
    ----------
    phi : float (u, D), question features; the last columns are `train.segments`
    train : the answers
    seed : of the deals
    each : does the sums of the blocks of phi that are the size of D x D or larger; default: here
    """
    cells = Cells.of(train)
    if cells.n_clusters < MIN_CLUSTERS:
        effects = learn_effects(phi, cells)
        b = _best_first(effects.b, effects.best)
        return Study(phi, train, effects, b, 0.0, 0.0, 1.0, False, (), None)
    assignments = max(min(ASSIGNMENTS, MOST_QUESTIONS // len(phi)), 2)
    deals = [Deal(phi, cells, seed, a, each, train.segments) for a in range(assignments)]
    effects = deals[0].without()
    p_value = interaction_p_value(phi, cells, effects, each)
    choices = [held_out_choices(deal) for deal in deals]
    gain = measure_gain(train, cells, choices)
    share = float(np.mean([choice.calibration.share for choice in choices]))
    supported = gain.certain or (p_value <= LEVEL and min(gain.measured[0], gain.estimate[0]) > 0)
    if not supported:
        choices = [held_out_choices(deal, supported=False) for deal in deals]
    calibrations = [c.calibration for c in choices]
    b = np.mean([c.b for c in calibrations], 0)
    return Study(
        phi,
        train,
        effects,
        b if supported else _best_first(b, effects.best),
        float(np.mean([c.slope for c in calibrations])),
        share,
        p_value,
        supported,
        choices,
        gain,
    )


@threadpool_limits.wrap(limits=1, user_api="blas")  # as fits: the same bits on any machine, no waiting
def gain_from(phi: np.ndarray, train: TrainingSet, seed: int, assignments: int) -> Gain:
    """The gain that `study` finds, of at least `MIN_CLUSTERS` clusters, and nothing else.

    Parameters
    ----------
    phi, train, seed : as of `study`
    assignments : deals of the questions into folds, fewer where the log is large
    """
    cells = Cells.of(train)
    assignments = max(min(assignments, MOST_QUESTIONS // len(phi)), 1)
    deals = [Deal(phi, cells, seed, a, segments=train.segments) for a in range(assignments)]
    return measure_gain(train, cells, [held_out_choices(deal) for deal in deals])


def widened(value: float, low: float, high: float) -> Interval:
    """A gain on held-out folds with a bootstrap's interval made as wide as those of `measure_gain`."""
    wide = FOLDS_ARE_ALIKE**0.5
    return value, value + wide * (low - value), value + wide * (high - value)


def _best_first(b: np.ndarray, best: int) -> np.ndarray:
    """b with the best prompt not behind another: ties and adjustments must not move anyone."""
    return np.where(np.arange(len(b)) == best, b.max(), b)


def measure_gain(train: TrainingSet, cells: Cells, choices: Sequence[HeldOutChoices]) -> Gain:
    """Measured and expected gain over all assignments, reconciled.

    Where the log lacks an answer, the doubly robust estimate stands in for it. Intervals rest on what each
    cluster contributes to the mean over assignments, and on how much assignments differ.

    Parameters
    ----------
    train, cells : the answers
    choices : held-out predictions, one per assignment
    """
    rows = np.arange(len(cells.y))
    values, parts = np.zeros((len(choices), 3)), np.zeros((len(rows), 3))
    moved = 0.0
    for a, choice in enumerate(choices):
        answers = cell_values(train.labels, train.weights, choice.probabilities)
        picks = choice.picks
        measured = np.where(picks == choice.best, 0.0, answers[rows, picks] - answers[rows, choice.best])
        best = answers[rows, choice.best]
        expected, influence = _expected(cells, choice, picks)
        values[a] = measured.mean(), expected, best.mean()
        parts += np.column_stack(
            [(measured - measured.mean()) / len(rows), influence, (best - best.mean()) / len(rows)]
        )
        moved += float((picks != choice.best).mean())
    clusters = np.zeros((cells.clusters.max() + 1, 3))
    np.add.at(clusters, cells.clusters, parts / len(choices))
    covariance = FOLDS_ARE_ALIKE * clusters.T @ clusters
    covariance += np.diag(values.var(0, ddof=1) / len(choices)) if len(choices) > 1 else 0
    measured_gain, expected_gain, success = values.mean(0)
    estimate, variance = _reconciled(measured_gain, expected_gain, covariance[:2, :2])
    best_error = np.sqrt(covariance[2, 2] / FOLDS_ARE_ALIKE)
    return Gain(
        _interval(estimate, np.sqrt(variance)),
        _interval(measured_gain, np.sqrt(covariance[0, 0])),
        _interval(expected_gain, np.sqrt(covariance[1, 1])),
        moved / len(choices),
        _interval(success, best_error),
    )


def _interval(value: float, error: float) -> Interval:
    return float(value), float(value - Z_95 * error), float(value + Z_95 * error)


def _reconciled(measured: float, expected: float, covariance: np.ndarray) -> tuple[float, float]:
    """The mean of two estimates with the least mean squared error, and that error.

    `expected` may be biased; its squared bias is estimated by what the two differ beyond chance.

    Parameters
    ----------
    measured, expected : in success
    covariance : float (2, 2), of the two
    """
    (measured_variance, shared), (_, expected_variance) = covariance
    difference = max(measured_variance + expected_variance - 2 * shared, 1e-18)
    bias = max((measured - expected) ** 2 - difference, 0.0)
    k = float(np.clip((measured_variance - shared) / (difference + bias), 0, 1))
    variance = (1 - k) ** 2 * measured_variance + k**2 * (expected_variance + bias) + 2 * k * (1 - k) * shared
    return measured + k * (expected - measured), max(variance, 0.0)


def _expected(cells: Cells, choice: HeldOutChoices, picks: np.ndarray) -> tuple[float, np.ndarray]:
    """Gain of the picks by a model fitted to all held-out answers, and each question's influence on it (u,).

    The influence is the delta method's: what a question says of the value at itself, and through the fitted
    parameters of all others.
    """
    n, k = cells.y.shape
    chosen = np.bincount(np.r_[picks, choice.best], minlength=k)
    among = np.flatnonzero(chosen > 0.02 * chosen.sum())
    if len(among) < 2:
        return 0.0, np.zeros(n)
    some, m = cells.prompts(among), choice.interaction[:, among]
    columns = np.stack([np.repeat(choice.difficulty[:, None], len(among), 1), m - m.mean(1, keepdims=True)])
    slopes = some.slopes(columns)
    b = some.intercepts(np.tensordot(slopes, columns, 1))
    _, hessian, scores = some.logistic(b, columns, slopes)
    p = sigmoid(b + np.tensordot(slopes, columns, 1))
    sign = (picks[:, None] == among).astype(float) - (choice.best[:, None] == among)
    sign[np.abs(sign).sum(1) < 2] = 0.0  # no move, or from or to a prompt that is hardly ever chosen
    value = (sign * p).sum(1)
    slope = sign * p * (1 - p)
    gradient = np.concatenate([slope.sum(0), np.einsum("cuk,uk->c", columns, slope)])
    return float(value.mean()), (value - value.mean() + scores @ np.linalg.solve(hessian, gradient)) / n
