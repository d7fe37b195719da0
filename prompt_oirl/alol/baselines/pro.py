"""Preference pairs out of reward-labelled rows, and PRO, preference ranking optimisation, on them.

PRO is a baseline (Song et al. 2023, Equations 4 to 7; two candidates).

With s = mean log-probability of a response's tokens and T = R_chosen - R_rejected,

    L = -log( exp(T s_chosen) / (exp(T s_chosen) + exp(T s_rejected)) )  +  w * NLL_chosen
    w = 0.05 (2 - 1)^2

as in the code published with A-LoL, whose mask was shifted by one token (the first of a response dropped, one
of padding counted) and whose T was a difference of raw scores that could be negative. Neither is repeated
here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from prompt_oirl.alol.models.log_probabilities import Tokens, collate, token_log_probs
from prompt_oirl.alol.rows import Row
from prompt_oirl.alol.training.best_weights import BestWeights, follow
from prompt_oirl.alol.training.loop import TrainingRecipe
from prompt_oirl.alol.training.sampling import RowSampler
from prompt_oirl.io.files import InputError

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


@dataclass(frozen=True)
class Pair:
    """Row numbers of the better and the worse response, and by how much their rewards differ (above 0)."""

    chosen: int
    rejected: int
    gap: float


def make_pairs(rows: Sequence[Row], seed: int) -> list[Pair]:
    """One pair per row whose prompt has a response of less reward; which of them is drawn from the seed.

    Rewards decide, also where the data mark a response as chosen: a published pair whose chosen response
    scores less is turned round instead of trained on with a negative gap.
    """
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
                pairs.append(Pair(chosen, rejected, rows[chosen].reward - rows[rejected].reward))
    if not pairs:
        raise InputError(
            "no prompt has two responses of different reward, so there are no preference pairs: log several "
            "samples per prompt, or choose an algorithm of step 4 that needs none"
        )
    return pairs


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
    sampler = RowSampler(np.arange(len(pairs)), None, recipe.seed)
    device = weights[0].device

    def gradients() -> Iterator[dict[str, float]]:
        for step in range(recipe.steps):
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
            yield {"loss": total / len(drawn), "nll": nll / len(drawn)}

    return follow(model, weights, gradients(), recipe, selection, bar)
