"""Which cells (question, prompt) to ask next: at random, again, for the best prompt, or for the interaction.

A policy is a function of a log, of how many cells it may name, and of a random generator. It names cells in
the order in which they should be asked, each with the reason in words, and none that is known already
(`repeats` excepted). It keeps no state: what it decides follows from the log, so it is called again on the
log that has grown by the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prompt_oirl.data.prompt_log import PromptLog


@dataclass(frozen=True)
class Asking:
    """A cell to ask: numbers of a question and a prompt of the log, and why."""

    question: int
    prompt: int
    reason: str


Policy = Callable[[PromptLog, int, np.random.Generator], list[Asking]]


def uniform(log: PromptLog, budget: int, rng: np.random.Generator) -> list[Asking]:
    """Cells that were never asked, each as likely as any other."""
    question, prompt = np.nonzero(log.counts == 0)
    drawn = rng.permutation(len(question))[:budget]
    return [Asking(q, p, "at random") for q, p in zip(question[drawn].tolist(), prompt[drawn].tolist())]


def repeats(log: PromptLog, budget: int, rng: np.random.Generator) -> list[Asking]:
    """Cells that were asked already, the least asked first: how much answers to the same cell differ."""
    question, prompt = np.nonzero(log.counts)
    asked = log.counts[question, prompt]
    order = np.lexsort((rng.random(len(asked)), asked))
    return [
        Asking(int(question[i]), int(prompt[i]), f"asked {asked[i]:.0f} times: how random are its answers?")
        for i in np.resize(order, budget if len(order) else 0)
    ]


def best(log: PromptLog, budget: int, rng: np.random.Generator) -> list[Asking]:
    """One round of sequential halving: the better half of the prompts, all on the same questions.

    Prompts asked at most 3/5 as often as the most asked one were dropped in an earlier round. Of the others
    the better half stays, at least two. Source: Karnin, Koren and Somekh, "Almost optimal exploration in
    multi-armed bandits", ICML 2013, algorithm 3.
    """
    asked = log.counts.sum(0)
    running = np.flatnonzero(asked >= 0.6 * asked.max())
    if asked.any():
        standing = running[np.argsort(-log.prompt_success[running], kind="stable")]
        running = standing[: max((len(running) + 1) // 2, 2)]
    return by_question(log, running, budget, rng, f"one of {len(running)} that may be the best prompt")


def by_question(
    log: PromptLog, prompts: Sequence[int] | np.ndarray, budget: int, rng: np.random.Generator, reason: str
) -> list[Asking]:
    """All of some prompts on one question after the other; questions that are begun already come first.

    Parameters
    ----------
    prompts : their numbers
    reason : of every cell
    """
    unknown = log.counts[:, prompts] == 0
    begun = (log.counts > 0).any(1)
    order = np.lexsort((rng.random(len(unknown)), ~begun))
    found = [Asking(q, int(prompts[j]), reason) for q in order.tolist() for j in np.flatnonzero(unknown[q])]
    return found[:budget]
