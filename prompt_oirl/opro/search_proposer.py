"""A proposer for machines without a language model able to propose: a stated search over phrases.

It stands in the optimizer's place behind the same call, and like an optimizer it learns of earlier
instructions from the text of the meta-prompt alone: it picks parents among the shown instructions by their
shown score and adds, drops, replaces or crosses clauses, new ones coming from the list below. Every output of
a run names it `phrase-search`.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_oirl.opro.meta_prompt import Layout
from prompt_oirl.opro.proposals import StatedSearch

NAME = "phrase-search"
CLAUSES = tuple(
    """\
Let's think step by step
Let's work it out
Let's solve this together
Think carefully
Take your time
Read the question twice
Find out what is asked
List the facts that are given
Leave out what is not needed
Break the problem into smaller questions
Answer each smaller question in turn
Go through it one step at a time
Work from the first fact to the last
Write down every calculation
Write one equation per line
Show all of your work
Explain your reasoning
Keep every step short
Say what each number stands for
Keep an eye on the units
Be precise
Use plain words
Check every result
Do the sum again in reverse
Make sure that no step is missing
Correct any mistake
Think like a patient teacher
You are an expert who never makes a mistake
Several experts solve it and compare their results
Imagine that a friend asked you
Picture the situation
Estimate the result first
Draw a conclusion
Give the answer in the last line
Finish with the final answer
Reply with the answer only
Give the bare result
Answer at once
Be brief
State the answer clearly
""".splitlines()
)
ENDINGS = (".", ":", "!", "")


@dataclass(frozen=True)
class SearchSpace:
    """Instructions that the search can write: up to `longest` of the clauses in any order, and an ending."""

    clauses: tuple[str, ...] = CLAUSES
    longest: int = 6
    endings: tuple[str, ...] = ENDINGS

    def instructions(self) -> list[str]:
        """All of them; small spaces only."""
        orders = (
            order for n in range(1, self.longest + 1) for order in itertools.permutations(self.clauses, n)
        )
        return [". ".join(order) + ending for order in orders for ending in self.endings]


FULL = SearchSpace()
# Half of the clauses, one or two at a time: 484 instructions, few enough to be measured once and for all.
SMALL = SearchSpace(
    ("Let's solve the problem", *(c for i, c in enumerate(CLAUSES) if i % 6 in (0, 1, 3))), 2, (".",)
)
SPACES = {"full": FULL, "small": SMALL}
_SPLIT = re.compile(r"(?<=[.,;:!?])\s+")
_PAIR = {
    "chat": re.compile(r"^text:\n(.*)(?:\nscore:\n([\d.]+))?$", re.M),
    "bracket": re.compile(r"^text:\n(.*)(?:\nscore:\n([\d.]+))?$", re.M),
    "completion": re.compile(r"^(?:Precision: (?P<score>[\d.]+)\n)?<TEXT>(?P<text>.*)</TEXT>$", re.M),
}


def read_pairs(meta_prompt: str, layout: Layout) -> list[tuple[str, float | None]]:
    """Instructions and scores as a meta-prompt shows them, in its order; hidden scores are None."""
    found = []
    for match in _PAIR[layout].finditer(meta_prompt):
        text, score = (match["text"], match["score"]) if layout == "completion" else (match[1], match[2])
        found.append((text, float(score) if score is not None else None))
    return found


class PhraseSearch(StatedSearch):
    """Reads the scored instructions of the meta-prompt and answers with one new instruction.

    Temperature 0 edits the best parent once, the same for every seed; higher ones look further down the
    ranking and edit more often.
    """

    name = NAME

    def __init__(self, layout: Layout, space: SearchSpace = FULL):
        self.layout: Layout = layout
        self.space = space

    def answer(self, meta_prompt: str, temperature: float, rng: random.Random) -> str:
        """One instruction in the layout's brackets.

        Parameters
        ----------
        meta_prompt, temperature, rng : as in `StatedSearch.answer`
        """
        proposal = self._propose(read_pairs(meta_prompt, self.layout), temperature, rng)
        left, right = {"chat": ("<INS>", "</INS>"), "bracket": "[]", "completion": ("<TEXT>", "</TEXT>")}[
            self.layout
        ]
        return left + proposal + right

    def _propose(self, pairs: list[tuple[str, float | None]], temperature: float, rng: random.Random) -> str:
        if all(score is not None for _, score in pairs):
            pairs = sorted(
                pairs, key=lambda pair: pair[1] or 0.0
            )  # else the last one shown counts as the best
        parents = [text for text, _ in reversed(pairs)] or [""]
        shown = set(parents)
        for _ in range(50):
            clauses = _clauses(_pick(parents, temperature, rng))
            edits = 1
            while edits < 6 and rng.random() < temperature / (1 + temperature) / 1.5:
                edits += 1
            for _ in range(edits):
                clauses = _edit(clauses, _clauses(_pick(parents, temperature, rng)), self.space, rng)
            proposal = _sentence(clauses, self.space, rng)
            if proposal not in shown:
                return proposal
        return _sentence([rng.choice(self.space.clauses)], self.space, rng)


def _pick(parents: Sequence[str], temperature: float, rng: random.Random) -> str:
    """A parent, best first; each further one is less likely, at temperature 0 impossible."""
    for parent in parents:
        if rng.random() >= temperature / (1 + temperature):
            return parent
    return rng.choice(parents)


def _clauses(text: str) -> list[str]:
    return [clause.rstrip(".,;:!?") for clause in _SPLIT.split(text.strip()) if clause.rstrip(".,;:!?")]


def _edit(clauses: list[str], other: list[str], space: SearchSpace, rng: random.Random) -> list[str]:
    """One change; `clauses` is left alone."""
    fresh = [clause for clause in space.clauses if clause.casefold() not in {c.casefold() for c in clauses}]
    what = rng.choice(("add", "add", "drop", "replace", "cross", "swap"))
    at = rng.randrange(len(clauses) + 1)
    if what == "drop" and len(clauses) > 1:
        return clauses[: at - 1] + clauses[at:] if at else clauses[1:]
    if what == "replace" and clauses:
        at = min(at, len(clauses) - 1)
        return [*clauses[:at], rng.choice(fresh), *clauses[at + 1 :]]
    if what == "cross" and other:
        return list(dict.fromkeys(clauses[:at] + other[rng.randrange(len(other)) :]))[: space.longest]
    if what == "swap" and len(clauses) > 1:
        return [*clauses[1:], clauses[0]]
    return [*clauses[:at], rng.choice(fresh), *clauses[at:]][: space.longest]


def _sentence(clauses: Sequence[str], space: SearchSpace, rng: random.Random) -> str:
    """Clauses as sentences, the last one with any ending."""
    capitals = [clause[0].upper() + clause[1:] for clause in clauses if clause]
    return ". ".join(capitals) + rng.choice(space.endings)
