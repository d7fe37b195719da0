"""The loop of the baselines, and which weights of a run they keep: the best validated ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from prompt_oirl.alol.training.loop import TrainingRecipe, apply_update


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
        """To be called after update `step` = 1, 2, ...; returns the score if it was time for one."""
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


def follow(
    model: Any,
    weights: list[torch.Tensor],
    gradients: Iterator[dict[str, float]],
    recipe: TrainingRecipe,
    selection: BestWeights,
    bar: Any = None,
) -> list[dict[str, float]]:
    """Update `weights` recipe.steps times and leave the best validated ones in `model`; returns the curve.

    gradients : each item, asked for once an update, leaves that update's gradients in the weights and is its
        row of the curve, with a `loss`.
    """
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    curve = []
    model.eval()
    selection.begin(model)
    for step in range(1, recipe.steps + 1):
        optimiser.zero_grad(set_to_none=True)
        row = {"step": float(step)} | next(gradients)
        row |= apply_update(weights, optimiser, recipe, step - 1, row["loss"])
        score = selection.after(model, step, step == recipe.steps)
        curve.append(row if score is None else row | {"score": score})
        if bar is not None:
            bar.update(1)
    selection.restore(model)
    return curve
