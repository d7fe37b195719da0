"""PPO and RLOO learn from answers of their own, of which they are told the rewards.

A round answers prompts with the policy at temperature 1, rewards the whole answers, and makes several updates
on them; all numbers of the policy that answered are kept before any. Several processes draw the same answers,
and share out the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from prompt_oirl.alol.baselines.ppo import (
    PPORecipe,
    RLOORecipe,
    generalised_advantages,
    left_out_advantages,
    ppo_loss,
    rloo_loss,
    token_rewards,
)
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.adapters import as_reference, gradient_pass
from prompt_oirl.alol.models.log_probabilities import (
    TokenBatch,
    Tokens,
    collate,
    log_probs_and_response_states,
    mixed_precision,
    token_log_probs,
)
from prompt_oirl.alol.training.loop import noise
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import RowSampler


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


@dataclass
class AnsweredBatch:
    """Answers and what the policy that gave them says, (B, T); RLOO has advantages (B,) and no values."""

    batch: TokenBatch
    log_probs: torch.Tensor
    gap: torch.Tensor  # to the reference
    rewards: torch.Tensor  # (B,)
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor


@dataclass
class OwnAnswers:
    """The loss of PPO or RLOO on answers to the training prompts.

    rewards : float32 (n,) of (row numbers, response texts).
    limit : tokens of an answer.
    start : the reference's trained weights, see `as_reference`.
    sampler : draws the rows whose prompts a round answers.
    """

    online: PPORecipe | RLOORecipe
    tokenizer: Any
    tokens: Sequence[Tokens]
    rewards: Callable[[Sequence[int], Sequence[str]], np.ndarray]
    limit: int
    recipe: TrainingRecipe
    start: dict[str, torch.Tensor]
    sampler: RowSampler
    head: torch.nn.Linear | None = None
    _batches: list[AnsweredBatch] = field(default_factory=list)

    @property
    def about(self) -> Any:
        """Its settings."""
        return [type(self.online).__name__, asdict(self.online), self.limit]

    @property
    def round(self) -> int:
        """Updates on one set of answers."""
        return self.online.batches * self.online.epochs

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """PPO's value head."""
        return {} if self.head is None else {f"value_head.{n}": p for n, p in self.head.named_parameters()}

    def gradients(self, model: Any, step: int) -> dict[str, float]:
        """Means over the answers of the step; `weight` is their reward, `kl` their divergence."""
        recipe, online = self.recipe, self.online
        number, place = divmod(step, self.round)
        if place == 0:
            self._batches = self._answer(model, number)
        rng = np.random.default_rng(recipe.seed + number + 1)
        order = [i for _ in range(online.epochs) for i in rng.permutation(len(self._batches)).tolist()]
        old = self._batches[order[place]]
        total = torch.zeros(1, dtype=torch.float64, device=old.gap.device)
        n = len(old.rewards) if isinstance(online, RLOORecipe) else int(old.batch.mask.sum())
        for part in self._parts(len(old.rewards), share=True):
            with gradient_pass(model, recipe.gradient_checkpointing, noise(recipe.seed, step, part[0])):
                log_probs, values = self._log_probs_and_values(model, old.batch.part(part))
                if isinstance(online, RLOORecipe):
                    loss = rloo_loss(log_probs, old.log_probs[part], old.advantages[part], online.clip)
                else:
                    then = (old.advantages[part], values, old.values[part], old.returns[part])
                    loss = ppo_loss(log_probs, old.log_probs[part], *then, old.batch.mask[part], online)
                (loss.sum() / n).backward()
            total += loss.detach().double().sum() / n
        processes.add_up([total])
        kl = float(old.gap.sum(1).mean())
        return {"loss": total.item(), "weight": float(old.rewards.mean()), "kl": kl}

    def _parts(self, n: int, share: bool = False) -> list[list[int]]:
        """Places of n rows in micro-batches."""
        size = self.recipe.batch_size
        parts = [list(range(at, min(at + size, n))) for at in range(0, n, size)]
        return [part for part in (processes.share(part) if share else part for part in parts) if part]

    def _log_probs_and_values(self, model: Any, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
        with mixed_precision(batch.ids.device, self.recipe.precision):
            if self.head is None:
                log_probs = token_log_probs(model, batch)
                return log_probs, torch.zeros_like(log_probs)
            log_probs, states = log_probs_and_response_states(model, batch)
        return log_probs, self.head(states.float())[..., 0] * batch.mask

    def _answer(self, model: Any, number: int) -> list[AnsweredBatch]:
        """The batches of a round."""
        recipe, online = self.recipe, self.online
        size = recipe.batch_size * recipe.accumulation
        drawn = self.sampler.draw(number, online.batches * size // online.group)
        asked = drawn.repeat(online.group).tolist()
        prompts = [self.tokens[i].prompt for i in asked]
        said = sample(model, self.tokenizer, prompts, self.limit, recipe.seed * 1_000_003 + number)
        scores = self.rewards(asked, self.tokenizer.batch_decode(said, skip_special_tokens=True))
        rows = [Tokens(prompt, ids) for prompt, ids in zip(prompts, said)]
        parts = [slice(at, at + size) for at in range(0, len(rows), size)]
        batches = [self._frozen(model, rows[part], scores[part]) for part in parts]
        if isinstance(online, RLOORecipe):
            scored = [b.rewards - online.kl_coefficient * b.gap.sum(1) for b in batches]
            advantages = left_out_advantages(torch.cat(scored), online.group)
            for batch, found in zip(batches, advantages.split(size)):
                batch.advantages = found
        return batches

    @torch.no_grad()
    def _frozen(self, model: Any, rows: list[Tokens], scores: np.ndarray) -> AnsweredBatch:
        """The numbers of the policy as it is now."""
        batch = collate(rows, self.tokenizer.pad_token_id, next(model.parameters()).device)
        parts = self._parts(len(rows))
        own = [self._log_probs_and_values(model, batch.part(part)) for part in parts]
        log_probs, values = (torch.cat(found) for found in zip(*own))
        with as_reference(model, self.start):
            reference = [self._log_probs_and_values(model, batch.part(part))[0] for part in parts]
        gap, rewards = log_probs - torch.cat(reference), torch.from_numpy(scores).to(log_probs.device)
        found = AnsweredBatch(batch, log_probs, gap, rewards, values, rewards, values)
        if isinstance(self.online, PPORecipe):
            given = token_rewards(rewards, gap, batch.mask, self.online.kl_coefficient)
            advantages, found.returns = generalised_advantages(
                given, values, batch.mask, self.online.gamma, self.online.lam
            )
            real = advantages[batch.mask]
            found.advantages = (advantages - real.mean()) / (real.std() + 1e-6) * batch.mask
        return found


def value_head(model: Any) -> torch.nn.Linear:
    """PPO's linear value of a state, 0 at the start."""
    head = torch.nn.Linear(model.config.get_text_config().hidden_size, 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return head.to(next(model.parameters()).device)
