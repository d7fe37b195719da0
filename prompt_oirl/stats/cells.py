"""Matrices of success, one row per question and one column per prompt; NaN where a prompt was never asked."""

from __future__ import annotations

import numpy as np


def column_means(labels: np.ndarray) -> np.ndarray:
    """Mean of the known labels of each column; NaN where there is none."""
    return row_means(labels.T)


def row_means(labels: np.ndarray) -> np.ndarray:
    known = ~np.isnan(labels)
    with np.errstate(invalid="ignore"):
        return np.where(known, labels, 0).sum(1, dtype=np.float64) / np.where(
            known.any(1), known.sum(1), np.nan
        )


def row_maxima(labels: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(labels).all(1), np.nan, np.where(np.isnan(labels), -np.inf, labels).max(1))
