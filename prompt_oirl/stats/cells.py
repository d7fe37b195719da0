"""Matrices of success, one row per question and one column per prompt; NaN where a prompt was never asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Answers at the mean of all prompts that a prompt starts with: as many as the spread of the prompts says,
# within limits, for few prompts tell little about it.
LEAST_PRIOR, MOST_PRIOR = 10.0, 100.0


def mean_labels(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The question x prompt table of a list of answers.

    Parameters
    ----------
    row, column : int (a,), question and prompt of each answer
    value : float (a,), its verdict in 0..1
    shape : (n, P)

    Returns: mean verdict float64 (n, P), NaN where there is no answer, and answers float64 (n, P) behind
    each.
    """
    size = shape[0] * shape[1]
    cell = row * shape[1] + column
    total = np.bincount(cell, value, size).reshape(shape)
    count = np.bincount(cell, minlength=size).reshape(shape).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return total / count, count


def balanced_answers(prompt: np.ndarray, propensity: np.ndarray, n_prompts: int) -> np.ndarray:
    """Weight of each answer, float64 (a,), so that a prompt's answers stand for all questions alike.

    A selector asks a prompt where it does well, so its plain mean is too high: answers weigh 1 / propensity,
    scaled so that a prompt's weights sum to their effective number (sum w)^2 / sum w^2 (Kish 1965).
    Answers without propensity weigh 1. They are for prompts' means; a reward model conditions on the question
    and only loses answers by them.

    Parameters
    ----------
    prompt : int (a,), of each answer
    propensity : float (a,), the chance that this prompt was asked; NaN where unknown
    n_prompts : P
    """
    weights = np.ones(len(prompt))
    known = ~np.isnan(propensity)
    w, of = 1 / propensity[known], prompt[known]
    total, squares = np.bincount(of, w, n_prompts), np.bincount(of, w**2, n_prompts)
    weights[known] = w * (total / np.maximum(squares, 1e-300))[of]
    return weights


def mean_by_question(question: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows of each question: a question counts once however often it was logged.

    Parameters
    ----------
    question : int (n,), question of each row
    values : float (n, m), NaN is skipped

    Returns: the distinct questions int (u,), rising, and their means float64 (u, m), NaN where all are.
    """
    ids, inverse = np.unique(question, return_inverse=True)
    known = ~np.isnan(values)
    total, count = np.zeros((2, len(ids), values.shape[1]))
    np.add.at(total, inverse, np.where(known, values, 0))
    np.add.at(count, inverse, known)
    with np.errstate(invalid="ignore"):
        return ids, total / count


def column_means(labels: np.ndarray) -> np.ndarray:
    """Mean of the known labels of each column; NaN where there is none."""
    return row_means(labels.T)


def row_means(labels: np.ndarray) -> np.ndarray:
    """Mean of the known labels of each row; NaN where there is none."""
    known = ~np.isnan(labels)
    with np.errstate(invalid="ignore"):
        return np.where(known, labels, 0).sum(1, dtype=np.float64) / np.where(
            known.any(1), known.sum(1), np.nan
        )


def row_maxima(labels: np.ndarray) -> np.ndarray:
    """Largest known label of each row; NaN where there is none."""
    return np.where(np.isnan(labels).all(1), np.nan, np.where(np.isnan(labels), -np.inf, labels).max(1))


def sameness(labels: np.ndarray, counts: np.ndarray) -> float:
    """Correlation of two answers to one cell beyond its prompt's mean, 0..1; 0.3 if nothing was repeated.

    Parameters
    ----------
    labels, counts : float (n, P), mean success of each cell (anything where not asked) and answers behind it
    """
    repeated = counts > 1.5
    if repeated.sum() < 50:
        return 0.3
    mean = (counts * labels).sum(0) / np.maximum(counts.sum(0), 1e-9)
    total = (mean * (1 - mean))[None, :].repeat(len(labels), 0)[repeated]
    within = (labels * (1 - labels) * counts / np.maximum(counts - 1, 1))[repeated]
    return float(np.clip(1 - within.mean() / max(total.mean(), 1e-9), 0, 1))


def independent_answers(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Answers behind each cell, float64 (n, P), repeats counting less the more they are the same.

    Parameters
    ----------
    labels, counts : float (n, P), mean success of each cell, NaN where it was never asked, and its answers
    """
    counts = np.where(np.isnan(labels), 0, counts).astype(np.float64)
    labels = np.where(counts > 0, np.nan_to_num(labels), 0).astype(np.float64)
    return counts / (1 + sameness(labels, counts) * np.maximum(counts - 1, 0))


@dataclass(frozen=True)
class PromptSuccess:
    """Success of each prompt as far as its answers tell; the highest one is the best prompt of a log.

    Every prompt starts with `weight` answers of success `prior` (K,), so `success` (K,) is
    (right + weight * prior) / (asked + weight).
    """

    right: np.ndarray
    asked: np.ndarray
    weight: float
    prior: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, answers: np.ndarray) -> PromptSuccess:
        """Empirical Bayes: `weight` is p (1 - p) / tau^2, tau^2 the variance between prompts by moments.

        p is the success of all answers, tau^2 as of DerSimonian and Laird (Controlled Clinical Trials 7,
        1986). That alone would never put a prompt with a few lucky answers behind a known good one: of two
        prompts, one lies above the mean of both. So the prior of each prompt is lowered until its success is
        one standard error less, counting only what that error exceeds the one of the most asked prompt by.
        Prompts asked equally often keep the order of their means.

        Parameters
        ----------
        labels : float (n, K), success in 0..1; anything where there is no answer
        answers : float (n, K), see `independent_answers`
        """
        asked = answers.sum(0)
        right = np.where(answers > 0, answers * labels, 0).sum(0)
        p = (right.sum() + 0.5) / (asked.sum() + 1)
        spread = ((right - asked * p) ** 2 / np.maximum(asked, 1e-9)).sum() / (p * (1 - p))
        freedom = (asked > 0).sum() - 1
        scale = asked.sum() - (asked**2).sum() / max(asked.sum(), 1e-9)
        weight = float(np.clip(scale / max(spread - freedom, 1e-9), LEAST_PRIOR, MOST_PRIOR))
        error = np.sqrt(p * (1 - p) / (asked + weight))
        lowered = (error - error.min(initial=1)) * (asked + weight) / weight
        return cls(right, asked, weight, np.maximum(p - lowered, 1e-3 * p))

    @property
    def success(self) -> np.ndarray:
        """Success float64 (K,), rounded so that equal prompts stay equal whatever the order of summation."""
        return ((self.right + self.weight * self.prior) / (self.asked + self.weight)).round(12)

    @property
    def best(self) -> int:
        """The prompt of most success; ties go to the one with more answers, then to the first."""
        return int(np.lexsort((-self.asked.round(9), -self.success))[0])
