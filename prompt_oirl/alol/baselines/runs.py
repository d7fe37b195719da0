"""What all baselines share: pairs of responses, the best validated weights, and a loop of updates."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from prompt_oirl.alol.models.log_probabilities import Tokens
from prompt_oirl.alol.rows import LINE, LOGIT, Limits, Row
from prompt_oirl.alol.training.loop import TrainingRecipe, apply_update
from prompt_oirl.io.files import InputError


@dataclass(frozen=True)
class Pair:
    """Row numbers of the preferred and the other response, and by how much their scores differ.

    gap : of the raw logits where rows carry them, of the rewards elsewhere; below 0 where the data prefer the
        response that scores less.
    """

    chosen: int
    rejected: int
    gap: float


PairOrder = Literal["logged", "reward"]


def make_pairs(rows: Sequence[Row], seed: int, order: PairOrder = "reward") -> list[Pair]:
    """Pairs of responses to one prompt.

    Parameters
    ----------
    rows : n rows
    seed : of the draws of `reward`
    order : `logged`, a chosen row over each rejected one of the same line, as published, whatever they
        scored; `reward`, one pair per row whose prompt has a response of less reward, which of them is drawn

    Raises: InputError if there are none.
    """
    return _logged_pairs(rows) if order == "logged" else _pairs_by_reward(rows, seed)


def _gap(chosen: Row, rejected: Row) -> float:
    scores = [row.meta.get(LOGIT, row.reward) for row in (chosen, rejected)]
    return scores[0] - scores[1]


def _logged_pairs(rows: Sequence[Row]) -> list[Pair]:
    of_line: dict[tuple[str, Any], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        of_line[row.prompt, row.meta.get(LINE)].append(place)
    pairs = [
        Pair(chosen, rejected, _gap(rows[chosen], rows[rejected]))
        for places in of_line.values()
        for chosen in places
        for rejected in places
        if rows[chosen].chosen and not rows[rejected].chosen
    ]
    if not pairs:
        raise InputError(
            "no line has a chosen and a rejected response, so there are no logged pairs: pass --pairs reward"
        )
    return pairs


def _pairs_by_reward(rows: Sequence[Row], seed: int) -> list[Pair]:
    of_prompt: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        of_prompt[row.prompt].append(place)
    rng = np.random.default_rng([seed, 3])
    pairs = []
    for places in of_prompt.values():
        for chosen in places:
            worse = [i for i in places if rows[i].reward < rows[chosen].reward]
            if worse:
                rejected = worse[int(rng.integers(len(worse)))]
                pairs.append(Pair(chosen, rejected, _gap(rows[chosen], rows[rejected])))
    if not pairs:
        raise InputError(
            "no prompt has two responses of different reward, so there are no preference pairs: log several "
            "samples per prompt, or choose an algorithm of step 4 that needs none"
        )
    return pairs


@dataclass
class BestWeights:
    """Validates a model every so many updates and remembers its trained weights at the best score.

    every: updates between validations; 0: never, the last weights stay.
    """

    evaluate: Callable[[Any], float]
    every: int
    start_score: float | None = None
    best_score: float = -math.inf
    best_step: int = 0
    _weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def begin(self, model: Any) -> None:
        """Validate the untrained model."""
        if self.every:
            self.start_score = self.evaluate(model)

    def after(self, model: Any, step: int, last: bool) -> float | None:
        """To be called after update `step` = 1, 2, ...; returns the score if it was time for one.

        Parameters
        ----------
        model : the model in training; its trained weights are remembered if the score is the best so far
        step : number of the update that was just made
        last : true after the last update, which is validated whatever its number

        Returns: None where no validation was due, and always if `every` is 0.
        """
        if not self.every or (step % self.every and not last):
            return None
        score = self.evaluate(model)
        if score > self.best_score:
            self.best_score, self.best_step = score, step
            self._weights = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        return score

    @torch.no_grad()
    def restore(self, model: Any) -> None:
        """Put the best validated weights back."""
        for name, p in model.named_parameters():
            if name in self._weights:
                p.copy_(self._weights[name])


@dataclass
class BaselineRun:
    """What a baseline is trained on and how: rows with their tokens, pairs of them, recipe and validation.

    rewards : float32 (n,) of (row numbers, response texts); read by the baselines that answer themselves.
    bar : tqdm's, or None.
    """

    model: Any
    tokenizer: Any
    rows: Sequence[Row]
    tokens: Sequence[Tokens]
    pairs: Sequence[Pair]
    rewards: Callable[[Sequence[int], Sequence[str]], np.ndarray]
    limits: Limits
    recipe: TrainingRecipe
    selection: BestWeights
    bar: Any = None

    def follow(
        self, weights: list[torch.Tensor], gradients: Iterator[dict[str, float]]
    ) -> list[dict[str, float]]:
        """Update `weights` recipe.steps times, leave the best validated ones; returns the curve.

        gradients : each item, asked for once an update, leaves that update's gradients in the weights and is
            its row of the curve, with a `loss`.
        """
        recipe, curve = self.recipe, []
        optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self.model.eval()
        self.selection.begin(self.model)
        for step in range(1, recipe.steps + 1):
            optimiser.zero_grad(set_to_none=True)
            row = {"step": float(step)} | next(gradients)
            row |= apply_update(weights, optimiser, recipe, step - 1, row["loss"])
            score = self.selection.after(self.model, step, step == recipe.steps)
            curve.append(row if score is None else row | {"score": score})
            if self.bar is not None:
                self.bar.update(1)
        self.selection.restore(self.model)
        return curve
