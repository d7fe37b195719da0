"""Which cells (question, prompt) to ask next: at random, again, for the best prompt, or for the interaction.

A policy is a function of what is known, of how many cells it may name, and of a random generator. It names
cells in the order in which they should be asked, each with the reason in words, and none that is known
already (`repeats` excepted). It keeps no state: what it decides follows from the log, so it is called again
on the log that has grown by the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from prompt_oirl.planning.beliefs import drawn_success
from prompt_oirl.planning.known import Known
from prompt_oirl.stats.cells import PromptSuccess, independent_answers

DRAWS = 48
MOST_CELLS = 500_000  # that are compared in one call: a random part of the questions of a larger log
FIRST_QUESTIONS = 8  # that get every prompt before anything is learned


@dataclass(frozen=True)
class Asking:
    """A cell to ask: numbers of a question and a prompt, and why."""

    question: int
    prompt: int
    reason: str


Policy = Callable[[Known, int, np.random.Generator], list[Asking]]


def uniform(known: Known, budget: int, rng: np.random.Generator) -> list[Asking]:
    """Cells that were never asked, each as likely as any other."""
    question, prompt = np.nonzero(known.counts == 0)
    drawn = rng.permutation(len(question))[:budget]
    return [Asking(q, p, "at random") for q, p in zip(question[drawn].tolist(), prompt[drawn].tolist())]


def repeats(known: Known, budget: int, rng: np.random.Generator) -> list[Asking]:
    """Cells that were asked already, the least asked first: how much answers to the same cell differ."""
    question, prompt = np.nonzero(known.counts)
    asked = known.counts[question, prompt]
    order = np.lexsort((rng.random(len(asked)), asked))
    return [
        Asking(int(question[i]), int(prompt[i]), "again: how random are answers?")
        for i in np.resize(order, budget if len(order) else 0)
    ]


def best(known: Known, budget: int, rng: np.random.Generator) -> list[Asking]:
    """One round of sequential halving: the better half of the prompts, all on the same questions.

    Prompts asked at most 3/5 as often as the most asked one were dropped in an earlier round. Of the others
    the better half stays, at least two. Source: Karnin, Koren and Somekh, "Almost optimal exploration in
    multi-armed bandits", ICML 2013, algorithm 3.
    """
    running = np.flatnonzero(known.asked >= 0.6 * known.asked.max())
    if known.asked.any():
        success = PromptSuccess.of(known.labels, independent_answers(known.labels, known.counts)).success
        standing = running[np.argsort(-success[running], kind="stable")]
        running = standing[: max((len(running) + 1) // 2, 2)]
    return by_question(known, running, budget, rng, f"one of {len(running)} that may be the best prompt")


def interaction(known: Known, budget: int, rng: np.random.Generator) -> list[Asking]:
    """Two prompts each that may be the best one of a question, of questions where that is most open.

    Questions come in random order, the earlier the less sure it is which prompt is best; of each are asked
    the prompt that is best in a random draw from what is believed (Thompson, Biometrika 25, 1933) and one
    that may gain over the pick (top-two sampling: Russo, "Simple Bayesian algorithms for best-arm
    identification", COLT 2016). Asked on one question, both share its difficulty, which so cancels. A prompt
    that is nowhere near the best is hardly asked again. The first questions get every prompt.
    """
    k = known.labels.shape[1]
    if known.counts.sum() < FIRST_QUESTIONS * k or k < 2:
        return by_question(known, np.arange(k), budget, rng, "first answers to every prompt")
    among = rng.permutation(len(known.labels))[: max(MOST_CELLS // k, 1)]
    chance = drawn_success(known, among, DRAWS, rng)
    top = chance.argmax(2)  # (DRAWS, questions)
    may_be_best = np.stack([(top == j).mean(0) for j in range(k)], 1)
    rows = np.arange(len(among))
    picks = chance.mean(0).argmax(1)
    gain = np.maximum(chance - chance[:, rows, picks][:, :, None], 0).mean(0)
    gain[rows, picks] = gain.max(1)
    doubt = np.maximum(1 - may_be_best.max(1), 1e-9)
    found: dict[tuple[int, int], Asking] = {}
    for i in np.argsort(-np.log(rng.random(len(rows))) / doubt).tolist():
        one = int(top[rng.integers(DRAWS), i])
        others = np.where(np.arange(k) == one, 0, gain[i]) + 1e-12
        two = int(rng.choice(k, p=others / others.sum()))
        for p in (one, two):
            if known.counts[among[i], p] == 0 and len(found) < budget:
                reason = f"the best prompt here with probability {may_be_best[i, p]:.2f}, as far as is known"
                found[int(among[i]), p] = Asking(int(among[i]), p, reason)
    rest = uniform(known, known.counts.size, rng) if len(found) < budget else []
    more = (cell for cell in rest if (cell.question, cell.prompt) not in found)
    return [*found.values(), *islice(more, budget - len(found))]


def by_question(
    known: Known, prompts: np.ndarray, budget: int, rng: np.random.Generator, reason: str
) -> list[Asking]:
    """All of some prompts on one question after the other; questions that are begun already come first.

    Parameters
    ----------
    prompts : int, their numbers
    reason : of every cell
    """
    unknown = known.counts[:, prompts] == 0
    begun = (known.counts > 0).any(1)
    order = np.lexsort((rng.random(len(unknown)), ~begun))
    found: list[Asking] = []
    for q in order.tolist():
        found += [Asking(q, int(p), reason) for p in prompts[unknown[q]]]
        if len(found) >= budget:
            break
    return found[:budget]
