"""The arrays of the published steps 2 and 3, byte for byte under their published names.

Nothing in this project reads them; they let old scripts run on and prove that the labels are the published
ones.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from prompt_oirl.data.prompts import Prompt
from prompt_oirl.stats.splits import prompt_subsets, subset_name


def label_vectors(
    dataset: str, split: str, labels: np.ndarray, prompts: Sequence[Prompt]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the published step 2's (file name, vector) of each prompt.

    Parameters
    ----------
    labels : float32 (n, P) of `split`; a vector is bool, or float32 where samples were averaged
    prompts : the P columns
    """
    for prompt, label in zip(prompts, labels.T):
        yield (
            f"{dataset}_{split}_{prompt.id}.npy",
            label.astype(bool) if np.isin(label, (0, 1)).all() else label,
        )


def published_arrays(
    dataset: str, train_labels: np.ndarray, test_labels: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the published step 3's (file name, array).

    Parameters
    ----------
    dataset : with which the file names begin
    train_labels : bool (n_train, K), whether each training question was answered right under each prompt
    test_labels : bool (n_test, K), the same prompts on the test questions
    """
    n_train, n_prompts = train_labels.shape
    correlation = np.triu(np.abs(_correlation(train_labels)) - np.eye(n_prompts))
    for subset in prompt_subsets(n_prompts):
        name = subset_name(subset)
        pairs = np.stack([np.repeat(np.arange(n_train), len(subset)), np.tile(subset, n_train)], 1)
        yield f"{dataset}_training_data_{name}.npy", pairs.astype(np.int64)
        yield f"{dataset}_training_labels_{name}.npy", train_labels[:, list(subset)].ravel().astype(np.int64)
        yield f"{dataset}_method_index_{name}.npy", np.array(subset, dtype=np.int64)
        if len(subset) == 1:
            total = np.array([correlation[subset[0], subset[0]]])
        else:
            # Added up pair by pair from the left: another order gives other last bits.
            total = np.array(
                sum((correlation[a, b] for a, b in combinations(subset, 2)), start=np.float64(-0.0))
            )
        yield f"{dataset}_corr_sum_{name}.npy", total
    n_test = len(test_labels)
    pairs = np.stack([np.repeat(np.arange(n_test), n_prompts), np.tile(np.arange(n_prompts), n_test)], 1)
    yield f"{dataset}_test_query_data.npy", pairs.astype(np.int64)
    yield f"{dataset}_test_query_labels.npy", test_labels.ravel().astype(np.int64)


def _correlation(labels: np.ndarray) -> np.ndarray:
    """np.corrcoef of the columns, with the bits of the machine the published arrays were made on.

    The last bits of a matrix product depend on the BLAS kernel, which OpenBLAS picks by processor when it is
    loaded; a fresh interpreter told to use the Haswell kernel repeats the published ones on any x86-64.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(labels.T), allow_pickle=False)
    code = (
        "import io, sys, numpy as np; labels = np.load(io.BytesIO(sys.stdin.buffer.read())); "
        "np.save(sys.stdout.buffer, np.corrcoef(labels))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=buffer.getvalue(),
        capture_output=True,
        env={**os.environ, "OPENBLAS_CORETYPE": "Haswell"},
    )
    if result.returncode != 0:  # a processor without that kernel: right to 15 digits, not to the bit
        return np.corrcoef(labels.T)
    return np.load(io.BytesIO(result.stdout), allow_pickle=False)
