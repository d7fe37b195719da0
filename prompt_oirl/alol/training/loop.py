"""Training of a policy on given rows: one loop for all eight losses.

Step s is a function of the weights before it and of (seed, s): which rows, which rate. Nothing else is drawn,
for dropout is off in the policy (with it, ratios at the reference would not be one). So a run that was
stopped resumes from its checkpoint to the same weights. Unlike the published code, gradients are averaged
over the accumulated micro-batches, and the schedule counts optimiser steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.checkpoints import read_tensors, write_tensors
from prompt_oirl.alol.models.log_probabilities import (
    Tokens,
    collate,
    mixed_precision,
    recomputing,
    token_log_probs,
)
from prompt_oirl.alol.rows import check_at_least
from prompt_oirl.alol.training.advantages import Advantages
from prompt_oirl.alol.training.losses import Loss, policy_loss
from prompt_oirl.alol.training.sampling import RowSampler
from prompt_oirl.io.files import InputError, content_key
from prompt_oirl.io.manifest import code_version

DIAGNOSTICS = ("nll", "weight", "ratio", "clipped_low", "clipped_high", "kl")
CURVE = ["step", "loss", *DIAGNOSTICS, "gradient_norm", "learning_rate", "score"]


@dataclass(frozen=True)
class TrainingRecipe:
    """How the loss is followed. A step is one update, on batch_size * accumulation rows."""

    steps: int
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float = 2e-5
    schedule: Literal["linear", "constant"] = "linear"
    warmup: int = 0  # steps
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    eval_every: int = 0  # steps between validations; 0: none, the last weights are kept
    patience: int = 0  # validations without a better score before training ends; 0: never
    save_every: int = 100  # steps between checkpoints
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        at_least_1 = ("steps", "batch_size", "accumulation", "save_every")
        check_at_least(1, **{name: getattr(self, name) for name in at_least_1})
        at_least_0 = ("warmup", "eval_every", "patience", "learning_rate", "max_grad_norm")
        check_at_least(0, **{name: getattr(self, name) for name in at_least_0})

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: up over the warm-up, then constant or straight down to zero."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (self.steps - step) / max(1, self.steps - self.warmup)


@dataclass(frozen=True)
class TrainingRows:
    """What training reads: tokens, the rows' weights (n,) for the loss, the reference's log-probabilities."""

    tokens: Sequence[Tokens]
    weights: np.ndarray | None = None
    reference: Advantages | None = None


@dataclass
class TrainingProgress:
    """Where a run stands: steps done, one dict per step, and the best validated step."""

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_score: float = -math.inf
    start_score: float | None = None  # the model's before the first step
    stale: int = 0  # validations since the best one
    finished: bool = False


Evaluate = Callable[[Any], float]


def train(
    model: Any,
    rows: TrainingRows,
    loss: Loss,
    sampler: RowSampler,
    recipe: TrainingRecipe,
    folder: Path,
    pad_id: int,
    inputs: Any,
    evaluate: Evaluate | None = None,
    bar: Any = None,
    stop_at: int | None = None,
) -> TrainingProgress:
    """Train `model` in place and leave the best validated weights in it (the last ones without validation).

    Parameters
    ----------
    model, rows, sampler : what is trained, on which rows, and which of them each step sees
    loss, recipe : what is minimised, and how
    folder : of the checkpoint, gone on from if it is of the same recipe, loss, inputs and code, else refused
    pad_id : token id that fills up a batch
    inputs : JSON-like, names model and data
    evaluate : validation score of the weights and nothing else, higher is better; default: no validation
    bar : tqdm's, or None
    stop_at : end after so many steps, as a kill would, with a checkpoint; default: go on to the end

    Raises: InputError on a foreign or damaged checkpoint, or a loss or gradient that is not finite.
    """
    code = code_version(__name__)
    key = content_key({"recipe": asdict(recipe), "loss": asdict(loss), "inputs": inputs, "code": code})
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(
        weights.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=False
    )
    path, best = folder / "checkpoint.safetensors", folder / "best.safetensors"
    outcome = _resume(path, key, weights, optimiser)
    model.eval()  # no dropout; there are no other differences in the models trained here
    validate = evaluate if recipe.eval_every > 0 else None
    if validate and outcome.start_score is None:
        outcome.start_score = processes.from_main(lambda: validate(model))
    while outcome.step < recipe.steps and not outcome.finished:
        row = one_step(model, weights, rows, loss, sampler, recipe, pad_id, optimiser, outcome.step)
        outcome.step += 1
        last = outcome.step == recipe.steps
        if validate and (outcome.step % recipe.eval_every == 0 or last):
            row["score"] = processes.from_main(lambda: validate(model))
            if row["score"] > outcome.best_score:
                outcome.best_score, outcome.best_step, outcome.stale = row["score"], outcome.step, 0
                kept = processes.gathered(weights)
                if processes.is_main():
                    write_tensors(best, kept, {"key": key, "step": str(outcome.step)})
            else:
                outcome.stale += 1
                outcome.finished = 0 < recipe.patience <= outcome.stale
        outcome.curve.append(row)
        outcome.finished = outcome.finished or last
        due = outcome.finished or outcome.step % recipe.save_every == 0 or outcome.step == stop_at
        if due:
            _save(path, key, weights, optimiser, outcome)
        if bar is not None:
            bar.update(outcome.step - bar.n)
            bar.set_postfix_str(f"loss {row['loss']:.3f}, nll {row['nll']:.3f}")
        if outcome.step == stop_at:
            return outcome
    processes.wait()
    if validate:
        tensors, about = read_tensors(best, "pass --force to train anew")
        if about.get("key") != key or about.get("step") != str(outcome.best_step):
            raise InputError(f"{best}: not the best weights of this run; pass --force to train anew")
        _put(weights, tensors, best)
    return outcome


def one_step(
    model: Any,
    weights: dict[str, torch.Tensor],
    rows: TrainingRows,
    loss: Loss,
    sampler: RowSampler,
    recipe: TrainingRecipe,
    pad_id: int,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> dict[str, float]:
    """One update; returns its row of the curve, means over the rows of the step.

    Parameters
    ----------
    model, rows, loss, sampler, recipe, pad_id : as in `train`
    weights, optimiser : the trained weights by name, and what updates them
    step : updates made before this one
    """
    device = next(iter(weights.values())).device
    drawn = sampler.draw(step, recipe.batch_size * recipe.accumulation)
    optimiser.zero_grad(set_to_none=True)
    sums = torch.zeros(1 + len(DIAGNOSTICS), dtype=torch.float64, device=device)
    for at in range(0, len(drawn), recipe.batch_size):
        places = processes.share(drawn[at : at + recipe.batch_size].tolist())
        if not places:
            continue
        batch = collate([rows.tokens[i] for i in places], pad_id, device)
        with mixed_precision(device, recipe.precision), recomputing(model, recipe.gradient_checkpointing):
            log_probs = token_log_probs(model, batch)
        per_row, diagnostics = policy_loss(
            log_probs,
            batch.mask,
            loss,
            weight=None if rows.weights is None else torch.from_numpy(rows.weights[places]).to(device),
            reference=rows.reference.reference_batch(places, str(device)) if rows.reference else None,
        )
        (per_row.sum() / len(drawn)).backward()
        seen = [per_row.detach(), *(getattr(diagnostics, name) for name in DIAGNOSTICS)]
        sums += torch.stack([value.double().sum() for value in seen])
    for p in weights.values():
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    processes.add_up([sums, *(p.grad for p in weights.values() if p.grad is not None)])
    means = dict(zip(("loss", *DIAGNOSTICS), (sums / len(drawn)).tolist()))
    row = {"step": float(step + 1)} | means
    return row | apply_update(list(weights.values()), optimiser, recipe, step, row["loss"])


def apply_update(
    weights: list[torch.Tensor],
    optimiser: torch.optim.Optimizer,
    recipe: TrainingRecipe,
    step: int,
    loss: float,
) -> dict[str, float]:
    """Clip the gradients, set the rate of the step and update.

    Parameters
    ----------
    weights, optimiser, recipe : what is updated, by what, and how
    step : updates made before this one
    loss : of this update

    Returns: the gradient's norm before the clip, and the rate.
    Raises: InputError on a loss or gradient that is not finite.
    """
    norm = processes.whole(torch.nn.utils.clip_grad_norm_(weights, recipe.max_grad_norm or math.inf)).item()
    rate = recipe.rate(step)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise InputError(
            f"step {step + 1}: the loss is {loss}, its gradient {norm}; lower --learning_rate, or clip the "
            "ratios with --ppo_clip 0.9"
        )
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    return {"gradient_norm": norm, "learning_rate": rate}


# --- checkpoints: trained weights, AdamW's moments and the story so far in one file ------------------------

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def _save(
    path: Path,
    key: str,
    weights: dict[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    outcome: TrainingProgress,
) -> None:
    tensors = {f"weight.{name}": p for name, p in weights.items()}
    for name, p in weights.items():
        tensors |= {f"{m}.{name}": optimiser.state[p][m] for m in _MOMENTS if m in optimiser.state[p]}
    tensors = processes.gathered(tensors)
    if processes.is_main():
        write_tensors(path, tensors, {"key": key, "outcome": json.dumps(asdict(outcome))})


def _resume(
    path: Path, key: str, weights: dict[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> TrainingProgress:
    """Put a checkpoint's weights and moments in place; a new outcome where there is none."""
    if not path.is_file():
        return TrainingProgress()
    hint = "pass --force to train anew"
    tensors, about = read_tensors(path, hint)
    if about.get("key") != key:
        raise InputError(
            f"{path} belongs to a run with other settings, model, data or code: pass --force to train anew, "
            "or choose another --policy or --run"
        )
    _put(weights, {n.removeprefix("weight."): v for n, v in tensors.items() if n.startswith("weight.")}, path)
    for name, p in weights.items():
        state = {m: tensors[f"{m}.{name}"] for m in _MOMENTS if f"{m}.{name}" in tensors}
        optimiser.state[p] |= {m: v if m == "step" else processes.placed_like(v, p) for m, v in state.items()}
    try:
        return TrainingProgress(**json.loads(about["outcome"]))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: does not say where the run stood; {hint}") from error


@torch.no_grad()
def _put(weights: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], path: Path) -> None:
    if set(tensors) != set(weights) or any(tensors[n].shape != p.shape for n, p in weights.items()):
        raise InputError(f"{path}: weights of another model; pass --force to train anew")
    for name, p in weights.items():
        p.copy_(processes.placed_like(tensors[name], p))
