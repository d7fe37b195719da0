"""Matrices of success, one row per question and one column per prompt; NaN where a prompt was never asked."""

from __future__ import annotations

import numpy as np


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
