"""DPO, reference-free DPO and PRO: losses of pairs of responses, on the token ids that all losses see.

With l the log-probability of a whole response and l0 that under the reference, the loss of a pair is

    dpo            -log sigmoid(beta ((l_chosen - l0_chosen) - (l_rejected - l0_rejected)))
    dpo_ref_free   -log sigmoid(beta (l_chosen - l_rejected)),  as published: a uniform reference
    pro            see `pro_loss`

(Rafailov et al. 2023, Equation 7). TRL has the first two; tests hold these to TRL's losses. TRL's trainers
tokenise texts themselves, cut no response, and compare a model whose adapter is 4-bit's in bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from prompt_oirl.alol.baselines.pro import pro_loss
from prompt_oirl.alol.baselines.runs import Pair
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.adapters import as_reference, gradient_pass
from prompt_oirl.alol.models.log_probabilities import (
    TokenBatch,
    Tokens,
    collate,
    mixed_precision,
    token_log_probs,
)
from prompt_oirl.alol.training.loop import noise
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import RowSampler


def dpo_loss(margin: torch.Tensor, reference_margin: torch.Tensor | float, beta: float) -> torch.Tensor:
    """Loss of each pair, (B,).

    Parameters
    ----------
    margin : (B,), log-probability of the chosen response minus that of the rejected one, nats
    reference_margin : the same under the reference; 0 for none
    beta : temperature

    Source: Rafailov et al. 2023, Equation 7.
    """
    return torch.nn.functional.softplus(-beta * (margin - reference_margin))


@dataclass
class PairLoss:
    """A baseline's loss of pairs; `sampler` says which of them each step sees.

    name : dpo, dpo_ref_free or pro.
    beta : temperature of DPO; not read by pro.
    start : the reference's trained weights, see `as_reference`; read by dpo.
    """

    name: str
    beta: float
    tokens: Sequence[Tokens]
    pairs: Sequence[Pair]
    sampler: RowSampler
    recipe: TrainingRecipe
    pad_id: int
    start: dict[str, torch.Tensor] = field(default_factory=dict)
    round: int = 1
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def about(self) -> Any:
        """Which loss."""
        return [self.name, self.beta]

    def gradients(self, model: Any, step: int) -> dict[str, float]:
        """Means over the pairs of the step; `nll` is that of the chosen responses."""
        recipe, device = self.recipe, next(model.parameters()).device
        drawn = self.sampler.draw(step, recipe.batch_size * recipe.accumulation).tolist()
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        for at in range(0, len(drawn), recipe.batch_size):
            pairs = [self.pairs[i] for i in processes.share(drawn[at : at + recipe.batch_size])]
            if not pairs:
                continue
            sides = [
                collate([self.tokens[i] for i in places], self.pad_id, device)
                for places in ([p.chosen for p in pairs], [p.rejected for p in pairs])
            ]
            seed = noise(recipe.seed, step, at)
            reference_margin = self.reference_margin(model, sides) if self.name == "dpo" else 0.0
            with gradient_pass(model, recipe.gradient_checkpointing, seed):
                chosen, rejected = self.log_probs(model, sides)
                if self.name == "pro":
                    gap = torch.tensor([p.gap for p in pairs], device=device)
                    loss = pro_loss(chosen, sides[0].mask, rejected, sides[1].mask, gap)
                else:
                    loss = dpo_loss(chosen.sum(1) - rejected.sum(1), reference_margin, self.beta)
                (loss.sum() / len(drawn)).backward()
            sums += torch.stack([loss.detach().double().sum(), -chosen.detach().double().sum()])
        processes.add_up([sums])
        return dict(zip(("loss", "nll"), (sums / len(drawn)).tolist()))

    def log_probs(self, model: Any, sides: Sequence[TokenBatch]) -> list[torch.Tensor]:
        """Token log-probabilities (B, T) of the chosen and the rejected responses."""
        with mixed_precision(sides[0].ids.device, self.recipe.precision):
            return [token_log_probs(model, side) for side in sides]

    def reference_margin(self, model: Any, sides: Sequence[TokenBatch]) -> torch.Tensor:
        """(B,), by how much the reference prefers the chosen responses, nats."""
        with as_reference(model, self.start):
            chosen, rejected = self.log_probs(model, sides)
        return chosen.sum(1) - rejected.sum(1)
