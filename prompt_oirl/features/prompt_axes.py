"""Prompt vectors in which no two logged prompts look alike, and prompts of one LLM more than those of two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LLM_AXIS = 1.0  # as long as an embedding: the LLM says as much about success as all the words do
OWN_AXIS = 0.3  # length of a logged prompt's own axis beside its embedding
SAME = 1e-3  # distance up to which two embeddings count as one


def prompt_features(vectors: np.ndarray, place: np.ndarray, logged: np.ndarray) -> np.ndarray:
    """Embeddings of prompts; each logged prompt gets an axis of its own where embeddings cannot tell all of
    them apart.

    Parameters
    ----------
    vectors : float32 (m, e), embeddings of the prompts
    place : int (m,), which logged prompt each is; -1 for one that the log lacks
    logged : float32 (K, e), embeddings of the logged prompts; a zero vector (TF-IDF of unknown words) tells
        nothing

    Returns: float32 (m, e), or (m, e + K) with axes.
    """
    x = logged.astype(np.float64)
    squares = (x * x).sum(1)
    apart = squares[:, None] + squares - 2 * x @ x.T  # squared distances
    np.fill_diagonal(apart, np.inf)
    if min(apart.min(), squares.min()) > SAME**2:
        return vectors
    axes = OWN_AXIS * (place[:, None] == np.arange(len(logged))).astype(np.float32)
    return np.concatenate([vectors, axes], 1)


def with_llm_axes(vectors: np.ndarray, llms: Sequence[str | None], known: Sequence[str]) -> np.ndarray:
    """Embeddings of prompts with an axis for each LLM, float32 (m, e + L).

    Parameters
    ----------
    vectors : float32 (m, e), embeddings of the prompts
    llms : the LLM of each (m)
    known : L logged LLMs; another one gets no axis
    """
    axes = LLM_AXIS * np.array([[llm == k for k in known] for llm in llms], dtype=np.float32)
    return np.concatenate([vectors, axes], 1)
