"""Segments of questions (task, subject, source: categories that a user has) as columns of features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from prompt_oirl.io.files import InputError
from prompt_oirl.io.tables import is_empty

FEWEST = 5  # questions of a segment; of fewer nothing is learned that would hold for others
MOST = 100  # segments, the largest ones: each is a column


@dataclass(frozen=True)
class Segments:
    """Segments that a log tells apart, and the share (0..1) that each has of the questions in any of them."""

    names: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()

    @classmethod
    def of(cls, segments: Sequence[str | None] | None) -> Segments:
        """Those of a log's questions, None where unknown: at most `MOST`, each of at least `FEWEST`."""
        counts = Counter(name for name in segments or () if name is not None)
        large = [(name, count) for name, count in counts.most_common(MOST) if count >= FEWEST]
        if len(large) < 2:
            return cls()
        total = sum(count for _, count in large)
        return cls(tuple(name for name, _ in large), tuple(count / total for _, count in large))

    def columns(self, segments: Sequence[str | None] | None, n: int) -> np.ndarray:
        """An indicator per segment less its share, float32 (n, len(names)).

        A question of no segment that the log tells apart is an average one: zeros.

        Parameters
        ----------
        segments : of n questions, empty where unknown; None: all unknown
        n : how many questions

        Raises: InputError if it is no list of n texts.
        """
        place = {name: j for j, name in enumerate(self.names)}
        index = np.array([place.get(name, -1) for name in checked_segments(segments, n)], dtype=np.int64)
        known = index[:, None] >= 0
        indicators = index[:, None] == np.arange(len(self.names))
        return np.where(known, indicators - np.array(self.shares), 0.0).astype(np.float32)


def checked_segments(segments: Sequence[str | None] | None, n: int) -> list[str]:
    """n texts without blanks around them, "" where unknown.

    Parameters
    ----------
    segments, n : as of `Segments.columns`

    Raises: InputError as there.
    """
    if segments is None:
        return [""] * n
    if isinstance(segments, str | bytes | Mapping | pd.DataFrame):
        raise InputError(f"segments: give a list of texts, not one {type(segments).__name__}")
    if len(segments) != n:
        raise InputError(f"segments: {len(segments)} for {n} questions; give one each, None where unknown")
    for i, segment in enumerate(segments):
        if not is_empty(segment) and not isinstance(segment, str):
            raise InputError(f"segments[{i}] is {type(segment).__name__}, expected text or None")
    return ["" if is_empty(segment) else str(segment).strip() for segment in segments]
