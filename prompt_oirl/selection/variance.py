"""Where the variance of correctness lies, and what an oracle would reach once luck is taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from prompt_oirl.data.user_log import PromptLog
from prompt_oirl.stats.cells import mean_labels


@dataclass(frozen=True)
class VarianceSplit:
    """Variance of one answer's correctness: between these prompts, between questions, their interaction,
    sampling noise.

    The last three are (low, value, high). With one answer per cell interaction and noise cannot be told apart
    (nor, with K prompts, 1/K of them from difficulty): their values are NaN and only the bounds are known.
    """

    prompt: float
    difficulty: tuple[float, float, float]
    interaction: tuple[float, float, float]
    noise: tuple[float, float, float]
    repeated: bool

    @property
    def total(self) -> float:
        """Variance of one answer; the same wherever between the bounds the truth lies."""
        return self.prompt + self.difficulty[0] + self.interaction[0] + self.noise[2]


def variance_split(
    question: np.ndarray, prompt: np.ndarray, correct: np.ndarray, shape: tuple[int, ...]
) -> VarianceSplit | None:
    """Split Var(correct) by moments.

    Mean products of two answers that share cell, question, prompt or nothing estimate E[pi^2], E[pi_qp
    pi_qp'], E[pi_qp pi_q'p] and E[pi_qp pi_q'p'] without bias, where pi is a cell's success probability; the
    components of a two-way layout with these K prompts and random questions are combinations of them (Searle,
    Casella and McCulloch, Variance Components, 1992, chapter 5).

    Parameters
    ----------
    question, prompt : int (a,), cell of each answer
    correct : float (a,), its verdict in 0..1
    shape : (n, K)

    Returns: None where a product has no pair.
    """
    n, k = shape
    cells = question * k + prompt
    s, count = (
        np.bincount(cells, correct, n * k).reshape(n, k),
        np.bincount(cells, minlength=n * k).reshape(n, k).astype(float),
    )
    squares = float((correct**2).sum())
    second = squares / len(correct)

    def mean(products: float, pairs: float) -> float:
        return products / pairs if pairs > 0 else float("nan")

    same_question = mean((s.sum(1) ** 2).sum() - (s**2).sum(), (count.sum(1) ** 2).sum() - (count**2).sum())
    per_prompt = s.sum(0) ** 2 - (s**2).sum(0), count.sum(0) ** 2 - (count**2).sum(0)
    same_prompt = float(np.mean([mean(a, b) for a, b in zip(*per_prompt)]))
    nothing = mean(
        s.sum() ** 2 - (s.sum(1) ** 2).sum() - (s.sum(0) ** 2).sum() + (s**2).sum(),
        count.sum() ** 2 - (count.sum(1) ** 2).sum() - (count.sum(0) ** 2).sum() + (count**2).sum(),
    )
    if k == 1 or np.isnan([same_question, same_prompt, nothing]).any():
        return None
    repeated = (count**2).sum() - count.sum()
    least = same_question + same_prompt - nothing  # E[pi^2] if there were no interaction
    values = [min(max(least, 0.0), second), second]
    if repeated >= 100:
        values.append(mean((s**2).sum() - squares, repeated))
    between = (k - 1) / k
    mean_square = same_prompt / k + between * nothing

    def parts(cell: float) -> tuple[float, float, float]:
        interaction = between * (cell - same_question - same_prompt + nothing)
        difficulty = cell / k + between * same_question - mean_square
        return max(interaction, 0.0), max(second - cell, 0.0), max(difficulty, 0.0)

    prompts = max(same_prompt - mean_square, 0.0)
    low, high = parts(values[0]), parts(values[1])
    if len(values) == 3:
        i, e, d = parts(values[2])
        return VarianceSplit(prompts, (d, d, d), (i, i, i), (e, e, e), True)
    nan = float("nan")
    return VarianceSplit(
        prompts, (low[2], nan, high[2]), (low[0], nan, high[0]), (high[1], nan, low[1]), False
    )


def oracle(log: PromptLog) -> tuple[float, float]:
    """Success if any right prompt were always found, with luck and without it.

    Without luck: one half of a cell's answers finds the prompt, the other half evaluates it (both ways), over
    questions whose every cell was answered twice or more; NaN where there are none. A lower bound: half the
    answers choose less well.
    """
    complete = (log.counts > 0).all(1)
    raw = float(log.labels[complete].max(1).mean()) if complete.any() else float("nan")
    twice = (log.counts > 1).all(1)
    if not twice.any():
        return raw, float("nan")
    order = np.lexsort((log.sample, log.prompt, log.question))
    question, prompt, correct = log.question[order], log.prompt[order], log.correct[order]
    place = pd.DataFrame({"q": question, "p": prompt}).groupby(["q", "p"]).cumcount().to_numpy()
    halves = []
    for parity in (0, 1):
        mine = place % 2 == parity
        labels, _ = mean_labels(question[mine], prompt[mine], correct[mine], log.labels.shape)
        halves.append(labels[twice])
    prior = 1e-6 * log.prompt_success  # ties go to the better prompt
    found = [b[np.arange(len(a)), (a + prior).argmax(1)].mean() for a, b in (halves, halves[::-1])]
    return raw, float(np.mean(found))
