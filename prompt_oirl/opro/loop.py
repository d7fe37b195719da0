"""The loop: show the trajectory, sample instructions, score the new ones, until steps or patience run out
(OPRO, Section 2).

Everything random is drawn from (seed, step), and both the optimizer's outputs and the scorer's answers are
kept as they come, so a run that was killed repeats its past for nothing and resumes as if it had not been.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from prompt_oirl.data.prompts import Prompt, prompt_id
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import item_seed
from prompt_oirl.opro import candidates
from prompt_oirl.opro.candidates import ACCEPTED, CandidateFilter
from prompt_oirl.opro.meta_prompt import MetaPromptSettings, Scored, meta_prompt, shown_pairs
from prompt_oirl.opro.proposals import Proposer
from prompt_oirl.opro.scorers import BudgetSpent, Score, Scorer
from prompt_oirl.opro.tasks import Parts, QuestionTask

Policy = Literal["random", "constant", "hardest", "current_hardest"]
START = -1  # the step of the initial instructions


@dataclass(frozen=True)
class LoopSettings:
    """Defaults are the published ones, except `steps` (200 there) and what decides the winner."""

    steps: int = 20
    """Steps of the loop."""
    samples: int = 8
    """Instructions asked for in each step."""
    temperature: float = 1.0
    """Of the optimizer."""
    end_temperature: float | None = None
    """With it the temperature goes in even steps from --loop.temperature to this one."""
    exemplar_policy: Policy = "random"
    """random: new ones in each step; constant: the same in all; hardest: most often failed so far;
    current_hardest: most often failed by the instructions now shown."""
    patience: int | None = None
    """Stop after so many steps without a better train score."""
    finalists: int = 8
    """So many of the best on train are measured on validation, besides the initial instructions."""
    max_scored: int | None = None
    """Stop after so many scored instructions, initial ones included: the same scorer calls whatever else
    differs."""

    def __post_init__(self) -> None:
        for name in ("steps", "samples", "finalists", "patience", "max_scored"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--loop.{name} {value}: give 1 or more")
        for name in ("temperature", "end_temperature"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 10:
                raise InputError(f"--loop.{name} {value}: give a number from 0 to 10")

    def temperature_at(self, step: int) -> float:
        """Linear from the start to the end temperature: T0 + step / steps * (T1 - T0), as published."""
        if self.end_temperature is None:
            return self.temperature
        return self.temperature + step / self.steps * (self.end_temperature - self.temperature)


@dataclass
class Candidate:
    """One proposed or initial instruction and what became of it."""

    step: int
    sample: int
    prompt: Prompt | None
    verdict: str
    train: Score | None = None
    scored_at: int | None = None  # the step; later than `step` where a hybrid scorer came back to it
    validation: Score | None = None
    test: Score | None = None


@dataclass
class Run:
    """A loop in progress: its settings, and all candidates in the order they came."""

    task: QuestionTask
    parts: Parts
    settings: LoopSettings
    meta: MetaPromptSettings
    position: str
    initial: tuple[str, ...]
    proposer: Proposer
    scorer: Scorer
    final_scorer: Scorer
    seed: int = 0
    candidates: list[Candidate] = field(default_factory=list)
    meta_prompts: list[str] = field(default_factory=list)
    stopped: str = ""
    winner: Candidate | None = None
    after_step: Callable[[Run, int], None] = lambda run, step: None  # called when a step is scored

    @property
    def scored(self) -> list[Candidate]:
        """Candidates with a train score, in the order they came."""
        return [c for c in self.candidates if c.train is not None]

    def best(self) -> float:
        """The best train accuracy so far."""
        return max(c.train.mean for c in self.scored if c.train)


def optimise(run: Run) -> Run:
    """Run the loop, then choose on validation and measure on test; a spent budget ends it early and is told
    in `stopped`."""
    try:
        _search(run)
        _choose(run)
    except BudgetSpent as spent:
        run.stopped = str(spent)
    return run


def _search(run: Run) -> None:
    no_digits = run.task.kind == "number"
    accept = CandidateFilter(run.position, no_digits)
    for i, text in enumerate(dict.fromkeys(run.initial)):
        accept.add(text)
        run.candidates.append(Candidate(START, i, _prompt(text, run.position), "initial"))
    _score_train(run, run.candidates, START)
    run.after_step(run, START)
    best, since = run.best(), 0
    for step in range(run.settings.steps):
        if run.settings.max_scored is not None and len(run.scored) >= run.settings.max_scored:
            return
        text = step_meta_prompt(run, step)
        run.meta_prompts.append(text)
        proposals = run.proposer.propose(text, step, run.settings.samples, run.settings.temperature_at(step))
        new = []
        for proposal in proposals:
            found = candidates.parse(proposal.output, run.meta.layout)
            instruction = None if found is None else candidates.normalise(found)
            closed = candidates.has_end(proposal.output, run.meta.layout)
            verdict = accept.verdict(instruction, proposal.finish_reason, closed)
            prompt = None if instruction is None else _prompt(instruction, run.position)
            new.append(Candidate(step, proposal.sample, prompt, verdict))
        run.candidates += new
        # A hybrid scorer leaves candidates without a score; they stay in its pool.
        _score_train(run, [c for c in run.candidates if c.verdict == ACCEPTED and c.train is None], step)
        run.after_step(run, step)
        since = 0 if run.best() > best else since + 1
        best = max(best, run.best())
        if run.settings.patience is not None and since >= run.settings.patience:
            return


def _prompt(text: str, position: str) -> Prompt:
    return Prompt(prompt_id(text, position), text, position)


def _score_train(run: Run, pending: Sequence[Candidate], step: int) -> None:
    if not pending:
        return
    limit = None if run.settings.max_scored is None else run.settings.max_scored - len(run.scored)
    scores = run.scorer.score([c.prompt for c in pending if c.prompt], run.parts.train, step, "train", limit)
    for candidate, score in zip(pending, scores):
        if score is not None:
            candidate.train, candidate.scored_at = score, step


def step_meta_prompt(run: Run, step: int) -> str:
    """The meta-prompt of a step, from the candidates scored so far."""
    history = [Scored(c.prompt.text, c.train.mean) for c in run.scored if c.prompt and c.train]
    order_seed = item_seed("order", run.seed, step)
    exemplars, failed_before = _exemplars(run, history, step)
    return meta_prompt(
        history, exemplars, run.meta, run.position, run.task.description, failed_before, order_seed
    )


def _exemplars(run: Run, history: Sequence[Scored], step: int) -> tuple[list[Question], bool]:
    """Exemplars in the order of the train part, and whether all of them were failed before."""
    train, k = run.parts.train, min(run.meta.exemplars, len(run.parts.train))
    policy = run.settings.exemplar_policy
    rng = random.Random(item_seed("exemplars", run.seed, 0 if policy == "constant" else step))
    order = rng.sample(range(len(train)), len(train))
    if policy in ("random", "constant"):
        return [train[i] for i in sorted(order[:k])], False
    shown = {pair.instruction for pair in shown_pairs(history, run.meta, 0)}
    counted = [
        c.train.values
        for c in run.scored
        if c.train and c.prompt and (policy == "hardest" or c.prompt.text in shown)
    ]
    wrong = np.sum([1.0 - values for values in counted], axis=0)
    picked = sorted(order, key=lambda i: -wrong[i])[:k]  # ties in random order
    return [train[i] for i in sorted(picked)], all(wrong[i] > 0 for i in picked)


def _choose(run: Run) -> None:
    """Measure initial instructions and finalists on validation, the winner and the initial ones on test.

    Without validation questions the best on train wins, as published.
    """
    initial = [c for c in run.candidates if c.step == START]
    found = [c for c in run.scored if c.step != START]
    found.sort(key=lambda c: (-c.train.mean if c.train else 0.0, c.step, c.sample))
    finalists = initial + found[: run.settings.finalists]
    last = run.settings.steps
    if run.parts.validation:
        prompts = [c.prompt for c in finalists if c.prompt]
        scores = run.final_scorer.score(prompts, run.parts.validation, last, "validation")
        for candidate, score in zip(finalists, scores):
            candidate.validation = score
    # On validation a tie goes to the better train score, then to the earlier candidate.
    run.winner = max(
        finalists,
        key=lambda c: (c.validation.mean if c.validation else -1.0, c.train.mean if c.train else -1.0),
    )
    tested = list(dict.fromkeys(id(c) for c in [*initial, run.winner]))
    last_ones = [c for c in finalists if id(c) in tested]
    scores = run.final_scorer.score([c.prompt for c in last_ones if c.prompt], run.parts.test, last, "test")
    for candidate, score in zip(last_ones, scores):
        candidate.test = score
