"""PPO as an online baseline: clipped surrogate, value head, KL penalty per token.

Sources: Schulman et al. 2017; Ziegler et al. 2019.

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

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch

from prompt_oirl.alol.baselines.runs import BaselineRun
from prompt_oirl.alol.models.log_probabilities import (
    TokenBatch,
    Tokens,
    collate,
    log_probs_and_response_states,
    token_log_probs,
)
from prompt_oirl.alol.training.sampling import RowSampler


@dataclass(frozen=True)
class PPORecipe:
    """A round is rounds_of * batch_size responses, gone over `epochs` times."""

    rounds_of: int = 2
    epochs: int = 2
    clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 0.1
    kl_coefficient: float = 0.05
    gamma: float = 1.0
    lam: float = 0.95


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
    """The loss of a batch, a scalar: the clipped surrogate and the value loss, a mean over response tokens.

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
    return ((policy + recipe.value_coefficient * value) * mask).sum() / mask.sum()


@torch.no_grad()
def sample(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], limit: int, seed: int
) -> list[list[int]]:
    """One response per prompt at temperature 1, as token ids with its end of text unless it was cut off.

    Parameters
    ----------
    model : causal language model
    tokenizer : its tokenizer, which has a pad token and an end of text
    prompts : token ids of each prompt
    limit : new tokens of a response at most
    seed : of the sampling; torch's own random state is left as it was
    """
    width, pad = max(map(len, prompts)), tokenizer.pad_token_id
    device = next(model.parameters()).device
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        sampling = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": limit}
        ends = {"pad_token_id": pad, "eos_token_id": tokenizer.eos_token_id}
        out = model.generate(input_ids=ids, attention_mask=mask, **sampling, **ends)
    found = []
    for row in out[:, width:].tolist():
        end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
        found.append(row[:end])
    return found


def train_ppo(run: BaselineRun, ppo: PPORecipe) -> list[dict[str, float]]:
    """Train the model in place; returns the curve."""
    model, tokenizer, recipe = run.model, run.tokenizer, run.recipe
    reference = copy.deepcopy(model).eval().requires_grad_(False)
    device = next(model.parameters()).device
    head = torch.nn.Linear(model.config.get_text_config().hidden_size, 1).to(device)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    weights = [p for p in model.parameters() if p.requires_grad] + list(head.parameters())
    sampler = RowSampler(np.arange(len(run.tokens)), None, recipe.seed)
    size, pad = recipe.batch_size * recipe.accumulation, tokenizer.pad_token_id

    @torch.no_grad()
    def freeze(rows: list[Tokens], scores: np.ndarray) -> _Frozen:
        """The numbers of the policy as it is now."""
        batch = collate(rows, pad, device)
        log_probs, states = log_probs_and_response_states(model, batch)
        gap = log_probs - token_log_probs(reference, batch)
        values = head(states.float())[..., 0] * batch.mask
        given = token_rewards(torch.from_numpy(scores).to(device), gap, batch.mask, ppo.kl_coefficient)
        advantages, returns = generalised_advantages(given, values, batch.mask, ppo.gamma, ppo.lam)
        real = advantages[batch.mask]
        scaled = (advantages - real.mean()) / (real.std() + 1e-6) * batch.mask
        reward, kl = float(scores.mean()), float(gap.sum(1).mean())
        return _Frozen(batch, log_probs, values, scaled, returns, reward, kl)

    def gradients() -> Iterator[dict[str, float]]:
        for number in count():
            asked = sampler.draw(number, ppo.rounds_of * size).tolist()
            seed, prompts = recipe.seed * 1_000_003 + number, [run.tokens[i].prompt for i in asked]
            said = sample(model, tokenizer, prompts, run.limits.max_response_length, seed)
            scores = run.rewards(asked, tokenizer.batch_decode(said, skip_special_tokens=True))
            rows = [Tokens(prompt, ids) for prompt, ids in zip(prompts, said)]
            # All batches of a round before any update.
            parts = [slice(at, at + size) for at in range(0, len(rows), size)]
            batches = [freeze(rows[part], scores[part]) for part in parts]
            rng = np.random.default_rng(recipe.seed + number + 1)
            for i in (i for _ in range(ppo.epochs) for i in rng.permutation(len(batches)).tolist()):
                old = batches[i]
                log_probs, states = log_probs_and_response_states(model, old.batch)
                values, mask = head(states.float())[..., 0], old.batch.mask
                loss = ppo_loss(
                    log_probs, old.log_probs, old.advantages, values, old.values, old.returns, mask, ppo
                )
                loss.backward()
                yield {"loss": loss.item(), "weight": old.reward, "kl": old.kl}

    return run.follow(weights, gradients())


@dataclass(frozen=True)
class _Frozen:
    """What the policy that answered says about a batch, all (B, T); its mean reward and divergence."""

    batch: TokenBatch
    log_probs: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    reward: float
    kl: float
