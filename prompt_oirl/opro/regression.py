"""Linear regression by prompting (OPRO, Section 3.1): find slope w and intercept b from pairs and losses
alone.

y = w x + b + noise at x = 1..50; the optimizer sees (w, b) pairs with their squared loss, never the data or
the formula.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.opro.minimise import START, SearchPath
from prompt_oirl.opro.proposals import StatedSearch
from prompt_oirl.reports.figures import BLUE, GREY, RED, save_figure

Pair = tuple[int, int]
SEARCH_NAME = "pattern-search"
LIMIT = 10**6  # of a proposed number: losses stay finite
# (w, b) of the paper's Table 2: inside the start region, near outside, far outside.
PUBLISHED_TRUTHS = ((15, 14), (17, 17), (16, 10), (3, 5), (25, 23), (2, 30), (36, -1))
# Table 2, gpt-4: steps and unique pairs, mean of five repetitions.
_GPT4 = ((4.0, 17.2), (6.0, 26.0), (6.2, 24.2), (12.2, 33.0), (12.2, 44.2), (38.0, 99.0), (50.4, 116.4))
_NUMBER = re.compile(r"[-+]?\d{1,12}(?:\.\d{1,12})?")


class Regression:
    """One repetition `rep` = 0, 1, ...: its noise has seed rep + 1, its starts 10 and 100 times that, as
    published."""

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
        """Whether it is the pair that the points were drawn from."""
        return solution == self.truth

    def shown(self, solution: Pair) -> str:
        """The pair as the meta-prompt shows it."""
        return f"w={solution[0]}, b={solution[1]}"

    def meta_prompt(self, shown: Sequence[tuple[Pair, float]]) -> str:
        """Pairs with their losses, the worst first, and what is asked for."""
        pairs = "\n\n".join(f"input:\n{self.shown(pair)}\nvalue:\n{int(value)}" for pair, value in shown)
        return (
            "A function of two whole numbers, w and b, is to be made as small as possible. These inputs "
            f"were tried; their values go down, and lower is better.\n\n{pairs}\n\n"
            "Name one more pair (w, b), none of those above, with a lower value than all of them. Write no "
            "program. End your answer with the pair in square brackets: [w, b]."
        )

    def parse(self, output: str) -> Pair | str:
        """The last bracket that holds two finite numbers, rounded; letters before an equals sign are
        ignored."""
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
    """A stated search in the optimizer's place.

    It reads pairs and values from the meta-prompt and moves away from the best pair by steps of 0, 1, 2, 4,
    ... in either number, or on along the line from another good pair to the best one.
    """

    name = SEARCH_NAME

    def answer(self, meta_prompt: str, temperature: float, rng: random.Random) -> str:
        """A pair in square brackets.

        Parameters
        ----------
        meta_prompt, rng : as in `StatedSearch.answer`
        temperature : not used
        """
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


def run_row(problem: Regression, path: SearchPath[Pair], proposer: str) -> dict[str, Any]:
    """One repetition as a row of runs.csv.

    Parameters
    ----------
    problem : the repetition
    path : everything that was proposed in it
    proposer : name of what proposed
    """
    (w, b), loss = path.best()
    return {
        "w": problem.truth[0],
        "b": problem.truth[1],
        "rep": problem.rep,
        "proposer": proposer,
        "steps": path.steps,
        "explored": len(path.found),
        "rejected": len(path.rejected),
        "best_w": w,
        "best_b": b,
        "best_loss": loss,
        "loss_at_truth": problem.value(problem.truth),
    }


def summary_rows(
    found: Sequence[tuple[Regression, SearchPath[Pair]]], proposer: str
) -> Iterator[dict[str, Any]]:
    """Mean and standard deviation over the repetitions; steps only of those that reached the optimum."""
    published = dict(zip(PUBLISHED_TRUTHS, _GPT4))
    for truth in dict.fromkeys(problem.truth for problem, _ in found):
        paths = [path for problem, path in found if problem.truth == truth]
        steps = [path.steps for path in paths if path.steps is not None]
        explored = [len(path.found) for path in paths]
        paper_steps, paper_explored = published.get(truth, (None, None))
        yield {
            "w": truth[0],
            "b": truth[1],
            "proposer": proposer,
            "reps": len(paths),
            "solved": len(steps),
            "steps_mean": float(np.mean(steps)) if steps else None,
            "steps_sd": float(np.std(steps)) if steps else None,
            "explored_mean": float(np.mean(explored)),
            "explored_sd": float(np.std(explored)),
            "paper_gpt4_steps": paper_steps,
            "paper_gpt4_explored": paper_explored,
        }


def draw_path(problem: Regression, path: SearchPath[Pair], title: str, file: Path) -> None:
    """Explored pairs in the plane, coloured by step, and the best loss so far; the truth lies inside the open
    circle.

    Parameters
    ----------
    problem : one repetition
    path : everything that was proposed in it
    title : stands above the figure
    file : PNG to be written
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    w, b = np.array([solution for _, solution, _ in path.found]).T
    steps = np.array([step for step, _, _ in path.found])
    asked = steps > START
    left.scatter(w[~asked], b[~asked], color=GREY, marker="s", s=16, label="starts")
    dots = left.scatter(w[asked], b[asked], c=steps[asked] + 1, cmap="viridis", s=14)
    around = {"facecolors": "none", "edgecolors": RED, "s": 130, "linewidths": 1.4}
    left.scatter(*problem.truth, **around, label=f"truth: w={problem.truth[0]}, b={problem.truth[1]}")
    left.set_xlabel("w")
    left.set_ylabel("b")
    left.legend(fontsize=8, frameon=False)
    figure.colorbar(dots, ax=left, label="step", ticks=MaxNLocator(integer=True))
    rows = list(path.rows())
    best = [row["best_so_far"] for row in rows]
    right.step([row["step"] + 1 for row in rows], best, color=BLUE, where="post")
    right.axhline(problem.value(problem.truth), color=GREY, linestyle="--", linewidth=1)
    right.set_yscale("log")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlabel("step (0: starts)")
    right.set_ylabel("best loss so far (dashed: at the truth)")
    figure.suptitle(title, fontsize=10)
    save_figure(figure, file)
