"""Where the variance of correctness lies, and what an oracle would reach once luck is taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.stats.cells import mean_labels

# Below, what two answers to one cell have in common is not known.
MIN_REPEATED_CELLS, MIN_REPEATED_QUESTIONS = 50, 30
MIN_CELLS_OF_PROMPT = 10  # prompts asked less often are left out
Z_95 = 1.96


@dataclass(frozen=True)
class VarianceSplit:
    """Variance of one answer's correctness: between these prompts, between questions, their interaction,
    sampling noise.

    The last three are (low, value, high). With one answer per cell interaction and noise cannot be told apart
    (nor, with K prompts, 1/K of them from difficulty): their values are NaN and only the bounds are known.

    Attributes
    ----------
    repeated : the values are known; everything then rests on the cells asked more than once alone, for they
    may be special
    asked, asked_twice : cells with an answer, and those with more than one
    disagreeing : of the latter, those whose answers differ in their verdict
    success : mean success of the cells asked more than once and of the others
    typical : those two do not differ beyond chance, prompt by prompt
    """

    prompt: float
    difficulty: tuple[float, float, float]
    interaction: tuple[float, float, float]
    noise: tuple[float, float, float]
    repeated: bool
    asked: int
    asked_twice: int
    disagreeing: int
    success: tuple[float, float]
    typical: bool

    @property
    def total(self) -> float:
        """Variance of one answer; the same wherever between the bounds the truth lies."""
        return self.prompt + self.difficulty[0] + self.interaction[0] + self.noise[2]

    def basis(self) -> str:
        """What known values rest on, in sentences; empty if nothing needs to be said."""
        said = []
        if self.asked_twice < self.asked:
            said.append(
                f"This rests on the {self.asked_twice:,} cells asked more than once, of {self.asked:,}."
            )
            if not self.typical:
                these, others = self.success
                said.append(f"It speaks for them alone: {these:.0%} right, the others {others:.0%}.")
        if self.disagreeing == 0:
            said.append("The repeats were identical: that is a fact about the LLM's settings.")
        return " ".join(said)

    @property
    def obstacle(self) -> str:
        """Why values are not known, where they are not."""
        if not self.asked_twice:
            return "with one answer per cell"
        alike = "" if self.disagreeing else ", and identical answers there,"
        return f"with only {self.asked_twice:,} of {self.asked:,} cells asked more than once{alike}"


def variance_split(
    question: np.ndarray, prompt: np.ndarray, correct: np.ndarray, shape: tuple[int, ...]
) -> VarianceSplit | None:
    """Split Var(correct) by moments.

    Mean products of two answers that share cell, question, prompt or nothing estimate E[pi^2], E[pi_qp
    pi_qp'], E[pi_qp pi_q'p] and E[pi_qp pi_q'p'] without bias, where pi is a cell's success probability; the
    components of a two-way layout with these K prompts and random questions are combinations of them (Searle,
    Casella and McCulloch, Variance Components, 1992, chapter 5). Every cell of a prompt counts the same
    however often it was asked, and so does every prompt. Where enough cells were asked more than once, all
    four are taken from these cells: from different cells, they would not add up.

    Parameters
    ----------
    question, prompt : int (a,), cell of each answer
    correct : float (a,), its verdict in 0..1
    shape : (n, K)

    Returns: None where a product has no pair.
    """
    n, k = shape
    cells = question * k + prompt
    right, squares, count = (
        np.bincount(cells, weights, n * k).reshape(n, k)
        for weights in (correct, correct**2, np.ones(len(cells)))
    )
    asked, repeated = count > 0, count > 1
    label = right / np.maximum(count, 1)
    # Of two different answers to a cell: their mean product, without bias.
    product = np.where(repeated, (right**2 - squares) / np.maximum(count * (count - 1), 1), 0)
    square = squares / np.maximum(count, 1)
    disagreeing = int((repeated & (square - product > 1e-9)).sum())
    success, typical = _compared(label, repeated, asked & ~repeated)

    def split(known: np.ndarray, told: bool) -> VarianceSplit | None:
        moments = _moments(label, known)
        if moments is None:
            return None
        kept, same_question, same_prompt, nothing = moments
        between = (len(kept) - 1) / len(kept)
        mean_square = same_prompt / len(kept) + between * nothing
        second = _mean_by_prompt(square, known, kept)

        def parts(cell: float) -> tuple[float, float, float]:
            """Interaction, noise and difficulty if E[pi^2] is `cell`."""
            interaction = between * (cell - same_question - same_prompt + nothing)
            difficulty = cell / len(kept) + between * same_question - mean_square
            return max(interaction, 0.0), max(second - cell, 0.0), max(difficulty, 0.0)

        if told:
            i, e, d = parts(_mean_by_prompt(product, known, kept))
            triples = (d, d, d), (i, i, i), (e, e, e)
        else:
            least = same_question + same_prompt - nothing  # E[pi^2] if there were no interaction
            low, high = parts(min(max(least, 0.0), second)), parts(second)
            nan = float("nan")
            triples = (low[2], nan, high[2]), (low[0], nan, high[0]), (high[1], nan, low[1])
        return VarianceSplit(
            max(same_prompt - mean_square, 0.0),
            *triples,
            told,
            int(asked.sum()),
            int(repeated.sum()),
            disagreeing,
            success,
            typical,
        )

    enough = repeated.sum() >= MIN_REPEATED_CELLS and repeated.any(1).sum() >= MIN_REPEATED_QUESTIONS
    return (split(repeated, True) if enough else None) or split(asked, False)


def _moments(label: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, float, float, float] | None:
    """Prompts with enough cells, and mean products of two cells that share question, prompt or nothing; None
    where there is no pair."""
    kept = np.flatnonzero(known.sum(0) >= min(MIN_CELLS_OF_PROMPT, len(known)))
    if len(kept) < 2:
        return None
    there = known[:, kept].astype(np.float64)
    y = np.where(known[:, kept], label[:, kept], 0)
    total, cells = y.sum(0), there.sum(0)
    together, pairs = y.T @ y, there.T @ there  # by two prompts, of one question
    others, other_pairs = np.outer(total, total) - together, np.outer(cells, cells) - pairs
    two = ~np.eye(len(kept), dtype=bool)
    if not (pairs[two] > 0).any() or not (other_pairs > 0).all():
        return None
    co_asked = two & (pairs > 0)
    same_question = float((together[co_asked] / pairs[co_asked]).mean())
    by_prompts = others / other_pairs
    return kept, same_question, float(np.diag(by_prompts).mean()), float(by_prompts[two].mean())


def _mean_by_prompt(values: np.ndarray, known: np.ndarray, kept: np.ndarray) -> float:
    """Mean over the prompts `kept` of the mean of their known cells."""
    return float((np.where(known, values, 0).sum(0)[kept] / known.sum(0)[kept]).mean())


def _compared(label: np.ndarray, some: np.ndarray, others: np.ndarray) -> tuple[tuple[float, float], bool]:
    """Mean success of some cells and of others, and whether they are alike within prompts."""
    if not some.any() or not others.any():
        return (float(label[some].mean()) if some.any() else float("nan"), float("nan")), True
    cells = some | others
    rest = label - np.where(cells, label, 0).sum(0) / np.maximum(cells.sum(0), 1)
    gap = rest[some].mean() - rest[others].mean()
    influence = np.where(some, (rest - rest[some].mean()) / some.sum(), 0)
    influence -= np.where(others, (rest - rest[others].mean()) / others.sum(), 0)
    error = np.sqrt((influence.sum(1) ** 2).sum())
    return (float(label[some].mean()), float(label[others].mean())), bool(abs(gap) <= Z_95 * error)


def oracle(log: PromptLog) -> tuple[float, float]:
    """Success if any right prompt were always found: with luck, over all questions that every prompt was
    asked, and without luck, over those of `oracle_where_repeated`; NaN where they are too few."""
    complete = (log.counts > 0).all(1)
    raw = float(log.labels[complete].max(1).mean()) if complete.any() else float("nan")
    return raw, oracle_where_repeated(log)[2]


def oracle_where_repeated(log: PromptLog) -> tuple[int, float, float]:
    """Questions whose every cell was answered twice or more, and success on them if any right prompt were
    always found, with luck and without it; 0 and NaN where they are too few.

    Without luck: one half of a cell's answers finds the prompt, the other half evaluates it (both ways). A
    lower bound: half the answers choose less well.
    """
    twice = (log.counts > 1).all(1)
    if twice.sum() < MIN_REPEATED_QUESTIONS:
        return 0, float("nan"), float("nan")
    raw = log.labels[twice].max(1)
    order = np.lexsort((log.sample, log.prompt, log.question))
    question, prompt, correct = log.question[order], log.prompt[order], log.correct[order]
    place = pd.DataFrame({"q": question, "p": prompt}).groupby(["q", "p"]).cumcount().to_numpy()
    halves = []
    for parity in (0, 1):
        mine = place % 2 == parity
        labels, _ = mean_labels(question[mine], prompt[mine], correct[mine], log.labels.shape)
        halves.append(labels[twice])
    prior = 1e-6 * log.prompt_success  # ties go to the better prompt
    found = np.mean([b[np.arange(len(a)), (a + prior).argmax(1)] for a, b in (halves, halves[::-1])], 0)
    # Halves of unequal size may flatter; luck cannot hurt.
    return int(twice.sum()), float(raw.mean()), float(np.minimum(found, raw).mean())
