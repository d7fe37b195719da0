"""PRO, preference ranking optimisation, for pairs: a baseline (Song et al. 2023, Equations 4 to 7; two
candidates).

With s = mean log-probability of a response's tokens and T = R_chosen - R_rejected,

    L = -log( exp(T s_chosen) / (exp(T s_chosen) + exp(T s_rejected)) )  +  w * NLL_chosen
    w = 0.05 (2 - 1)^2

as in the code published with A-LoL, whose mask was shifted by one token (the first of a response dropped, one
of padding counted) and whose T was a difference of raw scores that could be negative. Neither is repeated
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from prompt_oirl.alol.baselines.pairs import Pair
from prompt_oirl.alol.models.log_probabilities import Tokens, collate, token_log_probs
from prompt_oirl.alol.training.best_weights import BestWeights
from prompt_oirl.alol.training.loop import TrainingRecipe, apply_update
from prompt_oirl.alol.training.sampling import RowSampler

SFT_WEIGHT = 0.05


def pro_loss(
    chosen: torch.Tensor,
    chosen_mask: torch.Tensor,
    rejected: torch.Tensor,
    rejected_mask: torch.Tensor,
    gap: torch.Tensor,
    sft_weight: float = SFT_WEIGHT,
) -> torch.Tensor:
    """Loss per pair (B,) from token log-probabilities (B, T), their masks and the gaps T (B,)."""
    totals = [(lp * mask).sum(1) for lp, mask in ((chosen, chosen_mask), (rejected, rejected_mask))]
    means = [total / mask.sum(1).clamp(min=1) for total, mask in zip(totals, (chosen_mask, rejected_mask))]
    return torch.nn.functional.softplus(gap * (means[1] - means[0])) - sft_weight * totals[0]


def train_pro(
    model: Any,
    tokens: Sequence[Tokens],
    pairs: Sequence[Pair],
    recipe: TrainingRecipe,
    pad_id: int,
    selection: BestWeights,
    bar: Any = None,
) -> list[dict[str, float]]:
    """Train `model` in place on batches of batch_size pairs; returns the curve."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    sampler = RowSampler(np.arange(len(pairs)), None, recipe.seed)
    device, curve = weights[0].device, []
    model.eval()
    selection.begin(model)
    for step in range(recipe.steps):
        optimiser.zero_grad(set_to_none=True)
        drawn = sampler.draw(step, recipe.batch_size * recipe.accumulation).tolist()
        total = nll = 0.0
        for at in range(0, len(drawn), recipe.batch_size):
            batch = [pairs[i] for i in drawn[at : at + recipe.batch_size]]
            sides = [[tokens[p.chosen] for p in batch], [tokens[p.rejected] for p in batch]]
            collated = [collate(side, pad_id, device) for side in sides]
            chosen, rejected = (token_log_probs(model, side) for side in collated)
            gap = torch.tensor([p.gap for p in batch], device=device)
            loss = pro_loss(chosen, collated[0].mask, rejected, collated[1].mask, gap)
            (loss.sum() / len(drawn)).backward()
            total += loss.sum().item()
            nll -= chosen.sum().item()
        row = {"loss": total / len(drawn), "nll": nll / len(drawn)}
        row |= apply_update(weights, optimiser, recipe, step, row["loss"])
        score = selection.after(model, step + 1, step + 1 == recipe.steps)
        curve.append({"step": float(step + 1)} | row | ({} if score is None else {"score": score}))
        if bar is not None:
            bar.update(1)
    selection.restore(model)
    return curve
