"""Who picks the prompt: every way of choosing one per question, as functions of matrices.

Scores, labels and confidences are (n, m): one row per test question, one column per candidate prompt. A pick
is int64 (n,), a column number. Two tie policies stand side by side: `argmax_published` takes the lowest
index, as the released code did; `argmax_sound` takes the prompt with the best training success, then draws.
"""

from __future__ import annotations

import numpy as np

from prompt_oirl.stats.cells import mean_labels

FALLBACK = 0.5  # IRL-10 leaves the training prompts when none of them reaches this probability


def argmax_published(scores: np.ndarray) -> np.ndarray:
    """Highest score, ties to the lowest index."""
    return scores.argmax(1)


def argmax_sound(scores: np.ndarray, train_success: np.ndarray, seed: int) -> np.ndarray:
    """Highest score; ties to the highest training success, then to a seeded draw.

    Parameters
    ----------
    scores : float (n, m)
    train_success : float (m,), of each prompt; NaN where unknown, which comes last
    seed : of the draw

    Returns: picks, int64 (n,).
    """
    prior = np.where(np.isnan(train_success), -1.0, train_success)
    draw = np.random.default_rng(seed).random(scores.shape)
    tied = scores == scores.max(1, keepdims=True)
    best_prior = np.where(tied, prior, -np.inf)
    tied &= best_prior == best_prior.max(1, keepdims=True)
    return np.where(tied, draw, -1.0).argmax(1)


def fallback_to_held_out(
    seen_scores: np.ndarray, seen_pick: np.ndarray, held_out_pick: np.ndarray
) -> np.ndarray:
    """IRL-10: the seen pick, unless no seen prompt reaches 0.5; then the held-out pick (Section 4).

    Parameters
    ----------
    seen_scores : float (n, K), predicted success under the training prompts
    seen_pick, held_out_pick : int (n,), columns of one matrix that holds both kinds of prompts

    Returns: picks, int (n,), columns of the same matrix.
    """
    return np.where(seen_scores.max(1) < FALLBACK, held_out_pick, seen_pick)


def lookup_scores(train_index: np.ndarray, train_labels: np.ndarray, test_index: np.ndarray) -> np.ndarray:
    """Mean training label of the identical question, float64 (n_test, K); NaN rows where it never occurred.

    No model at all: where this beats a reward model, test questions stood in training.

    Parameters
    ----------
    train_index, test_index : int (n_train,) and (n_test,), from 0, equal for identical questions
    train_labels : float (n_train, K), NaN where a prompt was never asked
    """
    size = int(max(train_index.max(initial=-1), test_index.max(initial=-1))) + 1
    row, column = np.nonzero(~np.isnan(train_labels))
    shape = size, train_labels.shape[1]
    return mean_labels(train_index[row], column, train_labels[row, column], shape)[0][test_index]


def picked(labels: np.ndarray, pick: np.ndarray) -> np.ndarray:
    """Success (n,) of the picked column of labels (n, m)."""
    return labels[np.arange(len(labels)), pick]
