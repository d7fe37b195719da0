"""The eight losses of A-LoL as presets over four choices: weight, importance, clip, KL.

One row is a prompt x with a whole response y = y_1..y_T (end of text included), a reward R and an advantage
A = R - V(x). With l_t = log pi(y_t | x, y_<t), l0_t the same under the frozen reference and NLL = -sum_t l_t,
always a sum over the response's tokens and never a mean, every loss has the form

    L = w * sum_t sg[c_t] * (-l_t)  +  beta * sum_t (l_t - l0_t)          (paper: Section 3, Equations 3 to 6)

sg is stop-gradient; clip(r) = min(max(r, 1 - eps), 1 + eps); A+ = max(A, 0). The batch loss is the mean over
rows.

| name           | w  | c_t                          | beta | reads             |
|----------------|----|------------------------------|------|-------------------|
| nll            | 1  | 1                            | 0    |                   |
| wbc            | R  | 1                            | 0    | R                 |
| r_gold         | R  | max(pi(y_t), 0.1)            | 0    | R                 |
| r_lol          | R  | clip(exp(sum_t (l_t - l0_t)))| 0    | R, l0             |
| a_lol          | A+ | clip(exp(sum_t (l_t - l0_t)))| 0    | A, l0             |
| a_lol_ref_free | A+ | 1                            | 0    | A                 |
| a_lol_seq      | A+ | clip(exp(l_t - l0_t))        | 0    | A, l0             |
| a_lol_kl       | A+ | 1                            | > 0  | A, l0 (for the log)|

Where paper and published code (abaheti95/LoL-RL) differ, and what is done here:

- The clipped ratio is a detached factor, not PPO's min(r A, clip(r) A): a row beyond the limits still has a
  gradient, at (1 - eps) or (1 + eps) times its weight. Same here.
- eps = 0 switched the clip off in one script for a_lol and r_lol, and set every ratio to one elsewhere. Here
  0 always means no clip.
- The paper's KL term holds a quotient of log-probabilities, the code their difference; here the difference.
  It is an estimate on logged responses, so its gradient is that of ref_free with A+ - beta as weight.
- a_lol_kl does not exist as an option of the published HH script; there `a_lol` and `r_lol` with a beta drop
  the ratio. Here the same: with --kl_beta, a_lol is a_lol_kl, and r_lol is R * NLL + beta * KL.
- r_gold is not Pang and He's GOLD: one reward per response instead of one per token.
- a_lol_seq is a heuristic: the product of token ratios times the sum of gradients is not the sum of each
  token's ratio times its gradient.
- ref_free took negative advantages as they were in one script (without a sampling strategy they pushed
  responses down) and clamped them in the other. Here A+ everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch

from prompt_oirl.alol.rows import check_at_least
from prompt_oirl.io.files import InputError

GOLD_FLOOR = 0.1


@dataclass(frozen=True)
class Loss:
    """What multiplies a response's tokens. `clip` is eps, 0 for none; `kl_beta` is beta."""

    weight: Literal["none", "reward", "advantage"] = "none"
    importance: Literal["none", "sequence", "token", "gold"] = "none"
    clip: float = 0.0
    kl_beta: float = 0.0

    @property
    def needs_reference(self) -> bool:
        """True if the reference's log-probabilities are read."""
        return self.importance in ("sequence", "token") or self.kl_beta > 0


PRESETS = {
    "nll": Loss(),
    "wbc": Loss("reward"),
    "r_gold": Loss("reward", "gold"),
    "r_lol": Loss("reward", "sequence"),
    "a_lol": Loss("advantage", "sequence"),
    "a_lol_ref_free": Loss("advantage"),
    "a_lol_seq": Loss("advantage", "token"),
    "a_lol_kl": Loss("advantage"),
}
Algorithm = Literal["nll", "wbc", "r_gold", "r_lol", "a_lol", "a_lol_ref_free", "a_lol_seq", "a_lol_kl"]
TAKES_KL = ("a_lol_kl", "a_lol", "r_lol")


def choose_loss(algorithm: str, ppo_clip: float = 0.9, kl_beta: float = 0.0) -> Loss:
    """The preset of that name with clip and beta filled in; combinations without a meaning are refused.

    Parameters
    ----------
    algorithm : one of `PRESETS`
    ppo_clip : eps of losses with a ratio to the reference; 0: no clip
    kl_beta : beta, above 0 for a_lol_kl, a_lol and r_lol only; the latter two then drop the ratio

    Raises: InputError on an unknown name, a value below 0, or a beta that is missing or has no meaning.
    """
    if algorithm not in PRESETS:
        raise InputError(f"--algorithm {algorithm}: choose one of {', '.join(PRESETS)}")
    check_at_least(0, ppo_clip=ppo_clip, kl_beta=kl_beta)
    preset = PRESETS[algorithm]
    if algorithm == "a_lol_kl" and kl_beta == 0:
        raise InputError("--algorithm a_lol_kl needs --kl_beta above 0; without it, it is a_lol_ref_free")
    if kl_beta > 0:
        if algorithm not in TAKES_KL:
            raise InputError(
                f"--kl_beta has no meaning for {algorithm}: choose {', '.join(TAKES_KL)}, or drop the flag"
            )
        return replace(preset, importance="none", kl_beta=kl_beta)
    return replace(preset, clip=ppo_clip) if preset.importance in ("sequence", "token") else preset


@dataclass(frozen=True)
class Diagnostics:
    """What a loss saw, per row (B,) and without gradient: sums over rows can be pooled over micro-batches."""

    nll: torch.Tensor
    weight: torch.Tensor
    ratio: torch.Tensor  # mean over the row's tokens, after the clip
    clipped_low: torch.Tensor  # share of the row's ratios below 1 - eps
    clipped_high: torch.Tensor
    kl: torch.Tensor  # sum_t (l_t - l0_t), 0 without a reference


def policy_loss(
    log_probs: torch.Tensor,
    mask: torch.Tensor,
    loss: Loss,
    *,
    weight: torch.Tensor | None = None,
    reference: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Diagnostics]:
    """Loss of every row, float32 (B,), with its diagnostics.

    Parameters
    ----------
    log_probs, reference : (B, T), l_t and l0_t in nats; l0_t is read where `loss.needs_reference`
    mask : (B, T), 1 on the response's tokens
    loss : which one
    weight : (B,), the rows' rewards or advantages, as `loss.weight` says; advantages below 0 count as 0

    Raises: ValueError without the weights or the reference that the loss needs.
    Source: the paper's Section 3, Equations 3 to 6; the module says what is done otherwise here.
    """
    mask = mask.to(torch.float32)
    tokens = mask.sum(1).clamp(min=1)
    current = log_probs * mask
    nll = -current.sum(1)
    w = torch.ones_like(nll) if loss.weight == "none" else _given(weight, loss.weight)
    if loss.weight == "advantage":
        w = w.clamp(min=0)
    gap = torch.zeros_like(current)
    if loss.needs_reference:
        gap = current - _given(reference, "reference log-probabilities") * mask
    with torch.no_grad():
        ratio = _ratio(loss, current, gap)
        low, high = (1 - loss.clip, 1 + loss.clip) if loss.clip > 0 else (0.0, math.inf)
        clipped = ratio.clamp(low, high)
        ratios, lows, highs = ((of * mask).sum(1) / tokens for of in (clipped, ratio < low, ratio > high))
        diagnostics = Diagnostics(nll.detach(), w.detach(), ratios, lows, highs, gap.detach().sum(1))
    per_row = w.detach() * (clipped * -current).sum(1)
    if loss.kl_beta > 0:
        per_row = per_row + loss.kl_beta * gap.sum(1)
    return per_row, diagnostics


def _ratio(loss: Loss, current: torch.Tensor, gap: torch.Tensor) -> torch.Tensor:
    """c_t before the clip, (B, T); padding has gap 0."""
    if loss.importance == "sequence":
        return gap.sum(1, keepdim=True).exp().expand_as(gap)
    if loss.importance == "token":
        return gap.exp()
    if loss.importance == "gold":
        return current.exp().clamp(min=GOLD_FLOOR)
    return torch.ones_like(gap)


def _given(value: torch.Tensor | None, name: str) -> torch.Tensor:
    if value is None:
        raise ValueError(f"this loss needs the rows' {name}")
    return value.to(torch.float32)
