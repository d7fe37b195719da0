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

import torch

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
