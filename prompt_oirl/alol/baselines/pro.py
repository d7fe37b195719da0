"""PRO, preference ranking optimisation, for pairs: a baseline (Song et al. 2023, Equations 4 to 7; two
candidates).

With s = mean log-probability of a response's tokens and T the gap of the pair (baselines/runs.py: on hh the
difference of raw logits, below 0 where the rejected response scores higher, as published),

    L = -log( exp(T s_chosen) / (exp(T s_chosen) + exp(T s_rejected)) )  +  w * NLL_chosen
    w = 0.05 (2 - 1)^2

as in the code published with A-LoL, whose mask was shifted by one token (the first of a response dropped, one
of padding counted), which is not repeated here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from prompt_oirl.alol.baselines.runs import BaselineRun
from prompt_oirl.alol.models.log_probabilities import collate, token_log_probs
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
    """Loss of each pair, (B,): that of ranking its two responses, and the NLL of the chosen one.

    Parameters
    ----------
    chosen, rejected : (B, T), token log-probabilities in nats; T may differ between the two
    chosen_mask, rejected_mask : (B, T), true on response tokens
    gap : (B,), score of the chosen response minus that of the rejected one
    sft_weight : weight of the NLL

    Source: Song et al. 2023, Equations 4 to 7, for two candidates.
    """
    totals = [(lp * mask).sum(1) for lp, mask in ((chosen, chosen_mask), (rejected, rejected_mask))]
    means = [total / mask.sum(1).clamp(min=1) for total, mask in zip(totals, (chosen_mask, rejected_mask))]
    return torch.nn.functional.softplus(gap * (means[1] - means[0])) - sft_weight * totals[0]


def train_pro(run: BaselineRun) -> list[dict[str, float]]:
    """Train the model in place on batches of batch_size pairs; returns the curve."""
    weights = [p for p in run.model.parameters() if p.requires_grad]
    model, recipe, device, pad = run.model, run.recipe, weights[0].device, run.tokenizer.pad_token_id
    sampler = RowSampler(np.arange(len(run.pairs)), None, recipe.seed)

    def gradients() -> Iterator[dict[str, float]]:
        for step in range(recipe.steps):
            drawn = sampler.draw(step, recipe.batch_size * recipe.accumulation).tolist()
            total = nll = 0.0
            for at in range(0, len(drawn), recipe.batch_size):
                batch = [run.pairs[i] for i in drawn[at : at + recipe.batch_size]]
                sides = [[run.tokens[p.chosen] for p in batch], [run.tokens[p.rejected] for p in batch]]
                collated = [collate(side, pad, device) for side in sides]
                chosen, rejected = (token_log_probs(model, side) for side in collated)
                gap = torch.tensor([p.gap for p in batch], device=device)
                loss = pro_loss(chosen, collated[0].mask, rejected, collated[1].mask, gap)
                (loss.sum() / len(drawn)).backward()
                total += loss.sum().item()
                nll -= chosen.sum().item()
            yield {"loss": total / len(drawn), "nll": nll / len(drawn)}

    return run.follow(weights, gradients())
