"""The one cross-fitting loop: learn on some folds, predict the held-out one, put the held-out predictions
together.

Step 5, `evaluate`, `diagnose`, `vote`, transfer, the comparison of reward models and A-LoL's reward model of
the log are callers. They say what "learn" means by the function they pass; that function may as well load a
model that an earlier run trained, so a killed run resumes without this module knowing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_oirl.stats.splits import Split

# Learns from split.train and split.validation; arrays by name, one entry per row of split.test.
Fit = Callable[[Split], dict[str, np.ndarray]]
# What `map` does: the results of a function of one argument, in the order of the arguments.
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class HeldOut:
    """What models that did not see a row's cluster say about it: every test row once per fold assignment.

    Attributes
    ----------
    rows : int64 (r,), test row of each entry; assignment by assignment, rising within each
    assignment : int64 (r,), number of the fold assignment
    values : arrays (r, ...) by name, as the caller's `fit` named them
    """

    rows: np.ndarray
    assignment: np.ndarray
    values: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    def starting(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose names begin with `prefix`, by the rest of their names."""
        return {n.removeprefix(prefix): v for n, v in self.values.items() if n.startswith(prefix)}

    def mean(self, name: str) -> np.ndarray:
        """Mean over fold assignments, float64 (n, ...), for test rows 0..n-1, each held out equally often."""
        times = int(self.assignment.max()) + 1
        order = np.argsort(self.rows, kind="stable")
        values = self.values[name][order].astype(np.float64)
        return values.reshape(-1, times, *values.shape[1:]).mean(1)


def crossfit(splits: Iterable[Split], fit: Fit, each: Map = map) -> HeldOut:
    """Run `fit` on every split and join its answers.

    Parameters
    ----------
    splits : one per fold, of one or several assignments; within an assignment no test row stands twice
    fit : function of a split, see `Fit`
    each : calls `fit` on the splits; pass a map over processes to have them fitted side by side

    Returns: the held-out values in the order of assignment and row, whatever the order of the folds.
    """
    splits = [split for split in splits if len(split.test)]
    parts = list(zip(splits, each(fit, splits)))
    rows = np.concatenate([split.test for split, _ in parts])
    assignment = np.concatenate([np.full(len(split.test), split.assignment) for split, _ in parts])
    order = np.lexsort((rows, assignment))
    values = {name: np.concatenate([part[name] for _, part in parts])[order] for name in parts[0][1]}
    return HeldOut(rows[order], assignment[order], values)
