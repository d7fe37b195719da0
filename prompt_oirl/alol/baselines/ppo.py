"""PPO and RLOO, the online baselines: their formulas, see own_answers.py for the answers they learn from.

PPO has a clipped surrogate, a value head and a KL penalty per token (Schulman et al. 2017; Ziegler et al.
2019); RLOO compares each answer with the others to its prompt (Ahmadian et al. 2024).

A round answers prompts with the policy at temperature 1, rewards the whole responses, and makes several
updates on them. With l_t, l0_t the log-probabilities under the policy that answered and under the reference,
R the response's reward and V_t a linear value of the last state before token t,

    r_t     = -kl_coefficient (l_t - l0_t) + [t = T] R
    delta_t = r_t + gamma V_{t+1} - V_t
    A_t     = sum_k (gamma lambda)^k delta_{t+k}                (GAE), made mean 0, variance 1
    L       = -mean_t min(q_t A_t, clip(q_t, 1 - e, 1 + e) A_t)
              + c mean_t max((V - G)^2, (V_clipped - G)^2) / 2

with q_t = exp(new l_t - l_t) and G = A + V, means over the tokens of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PPORecipe:
    """A round is `batches` batches of answers, one to a prompt, gone over `epochs` times."""

    batches: int = 2
    epochs: int = 2
    group: int = 1  # answers per prompt
    clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 0.1
    kl_coefficient: float = 0.05
    gamma: float = 1.0
    lam: float = 0.95


@dataclass(frozen=True)
class RLOORecipe:
    """A round is `batches` batches of answers, `group` to a prompt, gone over once."""

    batches: int = 4
    epochs: int = 1
    group: int = 4
    clip: float = 0.2
    kl_coefficient: float = 0.05


def token_rewards(
    scores: torch.Tensor, gap: torch.Tensor, mask: torch.Tensor, kl_coefficient: float
) -> torch.Tensor:
    """r_t (B, T): the KL penalty on every token, the score on the last one.

    Parameters
    ----------
    scores : (B,), reward of each response
    gap : (B, T), log-probability of each token under the policy minus that under the reference, nats
    mask : bool (B, T), true on response tokens, which stand at the left
    kl_coefficient : weight of the penalty, reward per nat

    Returns: (B, T) in the dtype of `gap`, 0 on padding.
    Source: Ziegler et al. 2019.
    """
    last = torch.zeros_like(gap)
    last[torch.arange(len(mask)), mask.sum(1) - 1] = scores.to(gap.dtype)
    return (last - kl_coefficient * gap) * mask


def generalised_advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """GAE advantages and returns, both (B, T); responses stand at the left, padding counts as ended.

    Parameters
    ----------
    rewards : (B, T), of each token, see `token_rewards`
    values : (B, T), V of the state before each token
    mask : (B, T), true on response tokens
    gamma : discount per token, 0..1
    lam : lambda of GAE, 0..1; 0 looks one token ahead, 1 takes all rewards to come

    Source: Schulman et al. 2017, Equations 11 and 12.
    """
    advantages = torch.zeros_like(rewards)
    running = torch.zeros(len(rewards), dtype=rewards.dtype, device=rewards.device)
    following = torch.zeros_like(running)
    for t in reversed(range(rewards.shape[1])):
        alive = mask[:, t].to(rewards.dtype)
        running = alive * (rewards[:, t] + gamma * following - values[:, t] + gamma * lam * running)
        following = alive * values[:, t]
        advantages[:, t] = running
    return advantages, advantages + values * mask


def ppo_loss(
    log_probs: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    values: torch.Tensor,
    old_values: torch.Tensor,
    returns: torch.Tensor,
    mask: torch.Tensor,
    recipe: PPORecipe,
) -> torch.Tensor:
    """PPO's loss of each token, (B, T), 0 on padding: the clipped surrogate and the value loss.

    Parameters
    ----------
    log_probs, old : (B, T), log-probabilities under the policy as it is now and as it answered, nats
    advantages, returns : (B, T), see `generalised_advantages`; advantages should have mean 0 and variance 1
    values, old_values : (B, T), V of the state before each token, now and when the policy answered
    mask : (B, T), true on response tokens
    recipe : its `clip`, `value_clip` and `value_coefficient` are read

    Source: Schulman et al. 2017, Equation 7, for the clipped surrogate.
    """
    ratio = (log_probs - old).exp()
    clipped = ratio.clamp(1 - recipe.clip, 1 + recipe.clip)
    policy = -torch.minimum(ratio * advantages, clipped * advantages)
    near = old_values + (values - old_values).clamp(-recipe.value_clip, recipe.value_clip)
    value = torch.maximum((values - returns) ** 2, (near - returns) ** 2) / 2
    return (policy + recipe.value_coefficient * value) * mask


def left_out_advantages(scores: torch.Tensor, group: int) -> torch.Tensor:
    """RLOO's advantage of each answer, (n,): its score minus the mean of the others to its prompt.

    Parameters
    ----------
    scores : (n,), rewards less the penalty; the answers to one prompt stand side by side
    group : answers per prompt, 2 or more, of which n is a multiple

    Source: Ahmadian et al. 2024, Equation 6.
    """
    of_prompt = scores.view(-1, group)
    others = (of_prompt.sum(1, keepdim=True) - of_prompt) / (group - 1)
    return (of_prompt - others).flatten()


def rloo_loss(
    log_probs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, clip: float
) -> torch.Tensor:
    """RLOO's loss of each answer, (B,): the clipped surrogate with the ratio of the whole answer, as TRL's.

    Parameters
    ----------
    log_probs, old : (B, T), log-probabilities under the policy as it is now and as it answered, 0 on padding
    advantages : (B,), see `left_out_advantages`
    clip : ratios count up to 1 - clip and 1 + clip
    """
    ratio = (log_probs - old).sum(1).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
