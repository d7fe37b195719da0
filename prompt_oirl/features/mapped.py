"""Question features that are larger than memory: they stay in their files until a block of them is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prompt_oirl.io.files import InputError

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

    def files(self) -> QuestionFiles:
        """The same rows by the names of their files, for a worker that reads them itself."""
        return QuestionFiles(tuple(str(part.filename) for part in self.parts), self.rows)  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class QuestionFiles:
    """Names of the .npy files that `MappedQuestions` stand in, and the rows meant."""

    names: tuple[str, ...]
    rows: np.ndarray

    def open(self) -> MappedQuestions:
        """The rows, still in their files. Raises: InputError if a file is not there or too short."""
        try:
            parts = [np.load(name, mmap_mode="r", allow_pickle=False) for name in self.names]
        except (OSError, ValueError) as error:
            raise InputError(f"question features cannot be read here: {error}") from error
        if len(self.rows) and min(map(len, parts)) <= self.rows.max():
            raise InputError(f"{self.names[0]}: fewer question features than the client has")
        return MappedQuestions(parts, self.rows)
