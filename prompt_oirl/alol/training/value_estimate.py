"""V(x): what reward the reference is expected to earn on a prompt, from its own states of that prompt.

The head is the published one: a learned query attends to the frozen reference's last states of the prompt, a
linear layer and a sigmoid times the largest possible reward follow. Differences from the published code:
padding is masked (there V depended on the other prompts of a batch), dropout is off outside training, several
responses per prompt may be drawn from the reference instead of one that is searched for, and the epoch is
chosen on prompts held out, not by the loss on those trained on.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prompt_oirl.alol.models.checkpoints import write_tensors
from prompt_oirl.alol.models.log_probabilities import Tokens, by_length, collate, log_probs_and_states
from prompt_oirl.alol.rows import EXPECTED, Row, check_at_least
from prompt_oirl.io.files import InputError

HEADS, DROPOUT = 8, 0.1


class ValueHead(nn.Module):
    """states (B, L, d) and mask bool (B, L) -> V (B,), in 0..max_value."""

    def __init__(self, width: int, max_value: float):
        super().__init__()
        heads = next(h for h in range(HEADS, 0, -1) if width % h == 0)
        self.width, self.max_value = width, max_value
        self.query = nn.Parameter(torch.randn(width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.out = nn.Linear(width, 1)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """V of every prompt (B,), from its states and their mask."""
        states = self.dropout(states.to(self.query.dtype))
        query = self.query.expand(len(states), 1, -1)
        pooled, _ = self.attention(query, states, states, key_padding_mask=~mask, need_weights=False)
        return torch.sigmoid(self.out(self.dropout(pooled[:, 0]))[:, 0]) * self.max_value


@dataclass(frozen=True)
class ValueRecipe:
    """How the head is trained."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    held_out: float = 0.1  # share of the prompts' groups that chooses the epoch
    patience: int = 3  # epochs without a better held-out loss before training ends
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, value_epochs=self.epochs)
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"--value_rate {self.learning_rate}: give a number above 0")


@dataclass(frozen=True)
class ValueHeadFit:
    """A trained head and how it got there: one dict per epoch, held-out figures of the one kept."""

    head: ValueHead
    curve: list[dict[str, float]]
    summary: dict[str, float]


def prompt_states(
    model: Any, rows: Sequence[Tokens], pad_id: int, batch_size: int, device: str
) -> list[torch.Tensor]:
    """The frozen reference's last states of every prompt, (length, d) each.

    Parameters
    ----------
    model : the reference
    rows : n rows as token ids, of which the prompts are read
    pad_id : token id that fills up a batch
    batch_size : prompts at once
    device : where the model is

    Returns: tensors on the CPU, in the model's precision.
    """
    found: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    for places in by_length(rows, batch_size):
        batch = collate([Tokens(rows[i].prompt, []) for i in places], pad_id, device)
        _, states = log_probs_and_states(model, batch)
        for i, state, mask in zip(places, states, batch.prompt_mask):
            found[i] = state[mask].cpu()
    return found


def padded(states: Sequence[torch.Tensor], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """States (B, L, d) and their mask bool (B, L)."""
    block = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
    lengths = torch.tensor([len(s) for s in states])
    return block.to(device), (torch.arange(block.shape[1]) < lengths[:, None]).to(device)


@torch.no_grad()
def predict(head: ValueHead, states: Sequence[torch.Tensor], device: str, batch_size: int = 64) -> np.ndarray:
    """V of every prompt, float32 (n,); the same in any batch.

    Parameters
    ----------
    head : put into eval mode
    states : of each prompt, (length, d)
    device : where the head is
    batch_size : prompts at once
    """
    head.eval()
    found = [head(*padded(states[at : at + batch_size], device)) for at in range(0, len(states), batch_size)]
    return torch.cat(found).cpu().numpy()


def fit_value_head(
    states: Sequence[torch.Tensor],
    rewards: np.ndarray,
    clusters: Sequence[str],
    max_value: float,
    recipe: ValueRecipe,
    device: str = "cpu",
    report: Callable[[dict[str, float]], Any] = lambda epoch: None,
) -> ValueHeadFit:
    """Least squares of V(x) on the rewards of responses that the reference gave to each prompt.

    The mean of k rewards has the same gradient as each of them and less noise. The epoch is chosen on prompts
    held out.

    Parameters
    ----------
    states : of each of n prompts, (length, d), see `prompt_states`
    rewards : float (n, k), of k responses to each prompt
    clusters : group of each prompt; prompts of one group lie on one side of the held-out split
    max_value : largest possible reward, and the upper end of V
    recipe : how the head is trained
    device : where the head is trained
    report : called after each epoch with its row of the curve; default: does nothing

    Raises: InputError if the prompts are all of one group, or the held-out loss is no number.
    """
    train, held = _split(clusters, recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        head = ValueHead(states[0].shape[1], max_value)
        targets = torch.from_numpy(rewards.mean(1)).to(torch.float32)
        optimiser = torch.optim.AdamW(head.to(device).parameters(), lr=recipe.learning_rate)
        rng = np.random.default_rng([recipe.seed, 1])
        curve: list[dict[str, float]] = []
        best, best_loss, stale = copy.deepcopy(head), float("inf"), 0
        for epoch in range(recipe.epochs):
            head.train()
            total = 0.0
            order = rng.permutation(train)
            for at in range(0, len(order), recipe.batch_size):
                places = order[at : at + recipe.batch_size]
                value = head(*padded([states[i] for i in places], device))
                loss = ((value - targets[places].to(device)) ** 2).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(places)
            value = predict(head, [states[i] for i in held], device)
            held_loss = float(((value - targets[held].numpy()) ** 2).mean())
            curve.append({"epoch": epoch + 1, "train_mse": total / len(train), "held_out_mse": held_loss})
            report(curve[-1])
            if held_loss < best_loss:
                best, best_loss, stale = copy.deepcopy(head), held_loss, 0
            else:
                stale += 1
                if stale == recipe.patience:
                    break
    if not math.isfinite(best_loss):
        raise InputError(
            f"the value head's held-out loss is no number: lower --value_rate {recipe.learning_rate}"
        )
    constant = float(((targets[held] - targets[train].mean()) ** 2).mean())
    summary = {
        "epochs": min(curve, key=lambda row: row["held_out_mse"])["epoch"],
        "held_out_prompts": len(held),
        "held_out_mse": best_loss,
        "held_out_mse_of_the_mean": constant,
    }
    return ValueHeadFit(best.eval(), curve, summary)


def _split(clusters: Sequence[str], recipe: ValueRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to train on and held out, by whole clusters."""
    names, cluster = np.unique(np.array(clusters), return_inverse=True)
    n = max(1, round(recipe.held_out * len(names)))
    if len(names) < 2:
        raise InputError("the value estimate needs at least 2 different validation prompts: add rows")
    out = np.random.default_rng([recipe.seed, 0]).permutation(len(names))[:n]
    held = np.isin(cluster, out)
    return np.flatnonzero(~held), np.flatnonzero(held)


def save_head(path: Path, head: ValueHead) -> None:
    """Write the head; its hash names the advantages computed with it."""
    write_tensors(path, head.state_dict(), {"width": str(head.width), "max_value": repr(head.max_value)})


def expected_rewards(rows: Sequence[Row]) -> np.ndarray:
    """V of training rows as step 1 noted it from Prompt-OIRL's reward model, float32 (n,)."""
    noted = [row.meta.get(EXPECTED) for row in rows]
    if not all(isinstance(value, float) and math.isfinite(value) for value in noted):
        raise InputError(
            "--value reward_model: the training rows hold no expected reward; it is for prompt_writer, and "
            "for arith after alol_step1_prepare_data.py --expected_reward"
        )
    return np.array(noted, dtype=np.float32)


def save_values(path: Path, values: np.ndarray) -> None:
    """The values in the head's place, so that advantages computed from them are filed apart."""
    write_tensors(path, {"values": torch.from_numpy(values)}, {"kind": "values"})
