"""Which weights of a run are kept: the best validated ones, for loops that are not
prompt_oirl.alol.training's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


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
