"""Question features that are larger than memory: they stay in their files until a block of them is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCK = 2**16  # questions that are held in memory at a time where features lie in files


class MappedQuestions:
    """Feature rows float32 (n, d) of questions that stay in memory-mapped files until a block of them is
    read.

    `parts` are arrays (texts, d_i) that stand side by side, `rows` (n,) the texts meant. Slicing and indexing
    give plain arrays; so does `np.asarray`, of everything.
    """

    def __init__(self, parts: Sequence[np.ndarray], rows: np.ndarray | None = None):
        self.parts = parts
        self.rows = np.arange(len(parts[0])) if rows is None else rows
        self.shape = (len(self.rows), sum(part.shape[1] for part in parts))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        rows = self.rows[index]
        return np.concatenate([part[rows] for part in self.parts], 1)

    def __array__(self, dtype: type | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.float32, copy=False)

    def select(self, rows: np.ndarray) -> MappedQuestions:
        """Some of the rows, still in their files."""
        return MappedQuestions(self.parts, self.rows[rows])
