"""Linear regression by prompting (OPRO, Section 3.1): find slope w and intercept b from pairs and losses alone.

y = w x + b + noise at x = 1..50; the optimizer sees (w, b) pairs with their squared loss, never the data or the formula.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import numpy as np

from prompt_oirl.opro.stated_search import StatedSearch

Pair = tuple[int, int]
SEARCH_NAME = "pattern-search"
LIMIT = 10**6  # of a proposed number: losses stay finite
# (w, b) of the paper's Table 2: inside the start region, near outside, far outside.
PUBLISHED_TRUTHS = ((15, 14), (17, 17), (16, 10), (3, 5), (25, 23), (2, 30), (36, -1))
_NUMBER = re.compile(r"[-+]?\d{1,12}(?:\.\d{1,12})?")


class Regression:
    """One repetition `rep` = 0, 1, ...: its noise has seed rep + 1, its starts 10 and 100 times that, as published."""

    max_pairs = 20

    def __init__(self, truth: Pair = (15, 14), rep: int = 0):
        self.truth, self.rep = truth, rep
        self._x = np.arange(1, 51, dtype=np.float64)
        noise = np.random.RandomState(rep + 1).normal(0, 1, len(self._x))
        self._y = truth[0] * self._x + truth[1] + noise

    def starts(self) -> list[Pair]:
        """Five pairs drawn from [10, 20] and rounded, each once."""
        w = np.random.RandomState((self.rep + 1) * 10).uniform(10, 20, 5)
        b = np.random.RandomState((self.rep + 1) * 100).uniform(10, 20, 5)
        return sorted({(round(float(i)), round(float(j))) for i, j in zip(w, b)})

    def value(self, solution: Pair) -> float:
        """Squared loss over the 50 points."""
        w, b = solution
        return float(np.sum((self._y - (w * self._x + b)) ** 2))

    def is_optimum(self, solution: Pair) -> bool:
        return solution == self.truth

    def shown(self, solution: Pair) -> str:
        return f"w={solution[0]}, b={solution[1]}"

    def meta_prompt(self, shown: Sequence[tuple[Pair, float]]) -> str:
        pairs = "\n\n".join(f"input:\n{self.shown(pair)}\nvalue:\n{int(value)}" for pair, value in shown)
        return (
            "A function of two whole numbers, w and b, is to be made as small as possible. These inputs were tried; their "
            f"values go down, and lower is better.\n\n{pairs}\n\n"
            "Name one more pair (w, b), none of those above, with a lower value than all of them. Write no program. "
            "End your answer with the pair in square brackets: [w, b]."
        )

    def parse(self, output: str) -> Pair | str:
        """The last bracket that holds two finite numbers, rounded; letters before an equals sign are ignored."""
        brackets = re.findall(r"\[([^\[\]]{0,200})\]", output)
        brackets = [b for b in brackets if any(c.isdigit() for c in b) or re.search(r"inf|nan", b, re.I)]
        if not brackets:
            return "no pair in brackets"
        parts = [re.sub(r"^\s*[wb]\s*=", "", part).strip() for part in brackets[-1].split(",")]
        if len(parts) != 2:
            return "not two numbers"
        if not all(_NUMBER.fullmatch(part) for part in parts):
            return "not finite numbers" if re.search(r"inf|nan", brackets[-1], re.I) else "not two numbers"
        w, b = (round(float(part)) for part in parts)
        return "out of range" if max(abs(w), abs(b)) > LIMIT else (w, b)


class PatternSearch(StatedSearch):
    """A stated search in the optimizer's place: it reads pairs and values from the meta-prompt and moves away from the best
    pair by steps of 0, 1, 2, 4, ... in either number, or on along the line from another good pair to the best one."""

    name = SEARCH_NAME

    def answer(self, meta_prompt: str, temperature: float, rng: random.Random) -> str:
        w, b = self._propose(meta_prompt, rng)
        return f"[{w}, {b}]"

    def _propose(self, text: str, rng: random.Random) -> Pair:
        found = re.findall(r"^w=(-?\d+), b=(-?\d+)\nvalue:\n(\d+)$", text, re.M)
        shown = sorted(((int(v), (int(w), int(b))) for w, b, v in found), key=lambda row: row[0])
        if not shown:
            return (0, 0)
        (w, b), known = shown[0][1], {pair for _, pair in shown}
        for _ in range(100):
            other = rng.choice(shown)[1]
            if rng.random() < 0.25 and other != (w, b):
                times = rng.choice((1, 2))
                pair = (w + times * (w - other[0]), b + times * (b - other[1]))
            else:
                pair = (w + self._move(rng), b + self._move(rng))
            if pair not in known:
                return pair
        return (w + 1, b)

    @staticmethod
    def _move(rng: random.Random) -> int:
        """0, or plus or minus a power of two, small ones more often."""
        return rng.choice((-1, 1)) * rng.choice((0, 0, 1, 1, 1, 2, 2, 4, 8, 16, 32))
