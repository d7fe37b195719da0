"""Scorers that predict: `reward_model` asks nobody, `hybrid` measures where prediction says it is worth it.

Predicted scores never enter the interaction log, so no reward model ever learns from another's guesses.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import item_seed
from prompt_oirl.opro.prompt_rewards import MIN_INSTRUCTIONS, Measured, PromptRewards, rank_correlation
from prompt_oirl.opro.scorers import Prompts, Questions, Score, Scorer
from prompt_oirl.opro.tasks import Parts, QuestionTask

Cells = list[tuple[str, str, float]]


def cells_for(parts: Parts, rows: Iterable[LogRow], llm: str) -> Cells:
    """What logs of this llm say of questions that share no group with the validation or test part.

    Parameters
    ----------
    parts : of the run; rows of questions that its task does not have are passed over
    rows : of one or several logs
    llm : name of the language model in the logs; rows of others are passed over

    Returns: question text, prompt text and success in 0..1 of each row that is left.
    """
    closed = {parts.groups[q.id] for q in (*parts.validation, *parts.test)}
    return [
        (row.question, row.prompt, row.correct)
        for row in rows
        if row.llm == llm and row.question_id in parts.groups and parts.groups[row.question_id] not in closed
    ]


@dataclass(frozen=True)
class Prediction:
    """One line of predictions.csv: what was expected of an instruction before anyone measured it."""

    step: int
    prompt: Prompt
    value: float
    lower_bound: float
    picked: str


class RewardModelScorer:
    """Scores are lower bounds of predicted success; zero scorer calls.

    Raises InputError where the ensemble does not rank left-out instructions of its own log.
    """

    name = "reward_model"

    def __init__(self, rewards: PromptRewards, cells: Cells, groups: dict[str, int]):
        measured = Measured.of(cells)
        hint = "measure more instructions (opro_step2_evaluate_prompts.py), or use --score_by hybrid"
        if len(measured.prompts) < MIN_INSTRUCTIONS:
            raise InputError(
                f"--score_by reward_model: --reward_log holds {len(measured.prompts)} instructions on "
                f"questions that may be learned from, at least {MIN_INSTRUCTIONS} are needed; {hint}"
            )
        clusters = np.array([groups[text] for text in measured.questions])
        self.correlation = rank_correlation(measured.labels, rewards.fit(measured), clusters)
        value, low, high = self.correlation
        if not value >= rewards.settings.threshold:
            raise InputError(
                f"--score_by reward_model: predictions rank left-out instructions with Spearman {value:.2f} "
                f"({low:.2f} to {high:.2f}), below --reward.threshold {rewards.settings.threshold}; {hint}"
            )
        self._rewards = rewards
        self.predictions: list[Prediction] = []

    def score(
        self, prompts: Prompts, asked: Questions, step: int, part: str, limit: int | None = None
    ) -> list[Score | None]:
        """Lower bounds of predicted success.

        Parameters
        ----------
        prompts, asked, limit : as in `Scorer.score`; the first `limit` prompts are scored
        step, part : not used
        """
        values, spread = self._rewards.predict([q.text for q in asked], [p.text for p in prompts[:limit]])
        bounds = np.clip(values - self._rewards.settings.beta * spread, 0, 1)
        scores: list[Score | None] = [
            Score(bounds[:, j], "predicted", float(s)) for j, s in enumerate(spread)
        ]
        return scores + [None] * (len(prompts) - len(scores))


class HybridScorer:
    """Ranks every candidate not yet measured, measures the few best and some at random, learns from them.

    Until there are enough measurements, and whenever predictions do not rank left-out instructions, all picks
    are random.
    """

    name = "hybrid"

    def __init__(self, measure: Scorer, rewards: PromptRewards, cells: Cells, seed: int):
        self._measure, self._rewards, self._seed = measure, rewards, seed
        self.threshold = rewards.settings.threshold
        self._cells = list(cells)
        self._last_fit = -(10**9)
        self.predictions: list[Prediction] = []
        self.correlations: dict[int, float] = {}

    def score(
        self, prompts: Prompts, asked: Questions, step: int, part: str, limit: int | None = None
    ) -> list[Score | None]:
        """Measured success of the candidates that are chosen.

        Parameters
        ----------
        prompts, asked, step, part, limit : as in `Scorer.score`. Only on train and from step 0 on are prompts
        chosen; otherwise all are measured, up to `limit`.
        """
        if part != "train" or step < 0:
            scores = self._measure.score(prompts, asked, step, part, limit)
            if part == "train":
                self._learn(prompts, asked, scores)
            return scores
        if step - self._last_fit >= self._rewards.settings.refit_every:
            self._refit(step)
        chosen = self._choose(prompts, asked, step, limit)
        found = self._measure.score([prompts[i] for i in chosen], asked, step, part)
        self._learn([prompts[i] for i in chosen], asked, found)
        scores = [None] * len(prompts)
        for i, score in zip(chosen, found):
            scores[i] = score
        return scores

    def _choose(self, prompts: Prompts, asked: Questions, step: int, limit: int | None) -> list[int]:
        settings = self._rewards.settings
        rng = random.Random(item_seed("explore", self._seed, step))
        drawn = rng.sample(range(len(prompts)), len(prompts))
        size = settings.top + settings.explore
        size = size if limit is None else min(size, limit)
        if not self._rewards.fitted:
            return sorted(drawn[:size])
        texts = [p.text for p in prompts]
        values, spread = self._rewards.predict([q.text for q in asked], texts)
        bounds = values.mean(0) - settings.beta * spread
        best = sorted(drawn, key=lambda i: -round(float(bounds[i]), 9))[: min(settings.top, size)]
        others = [i for i in drawn if i not in best][: size - len(best)]
        for i in sorted([*best, *others]):
            why = "best" if i in best else "random"
            self.predictions.append(
                Prediction(step, prompts[i], float(values[:, i].mean()), float(bounds[i]), why)
            )
        return sorted([*best, *others])

    def _learn(self, prompts: Prompts, asked: Questions, scores: Sequence[Score | None]) -> None:
        for prompt, score in zip(prompts, scores):
            if score is not None:
                self._cells += [(q.text, prompt.text, float(v)) for q, v in zip(asked, score.values)]

    def _refit(self, step: int) -> None:
        measured = Measured.of(self._cells)
        if len(measured.prompts) < MIN_INSTRUCTIONS:
            return
        self._last_fit = step
        predicted = self._rewards.fit(measured)
        each = np.arange(len(measured.questions))
        self.correlations[step] = rank_correlation(measured.labels, predicted, each, resamples=1)[0]
        if not self.correlations[step] >= self._rewards.settings.threshold:
            self._rewards.forget()


def load_scorer(
    kind: str,
    measure: Scorer,
    rewards: PromptRewards,
    rows: Sequence[LogRow],
    llm: str,
    task: QuestionTask,
    parts: Parts,
    seed: int,
) -> Scorer:
    """The scorer of a run by its name.

    Parameters
    ----------
    kind : llm (which is `measure`), reward_model or hybrid
    measure : asks the language model
    rewards : the ensemble that predicts; the kind llm does not use it
    rows : of logs, what predictions learn from; questions near validation or test are left out
    llm : name of the language model whose rows count
    task : of the run
    parts : of the run
    seed : of the random picks of the kind hybrid

    Raises: InputError for the kind reward_model if the log is too small or predictions do not rank.
    """
    if kind == "llm":
        return measure
    cells = cells_for(parts, rows, llm)
    if kind == "hybrid":
        return HybridScorer(measure, rewards, cells, seed)
    return RewardModelScorer(rewards, cells, {q.text: parts.groups[q.id] for q in task.questions})
