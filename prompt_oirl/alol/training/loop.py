"""Training of a policy: one loop for all eight losses and the baselines.

Step s is a function of the weights before it and of (seed, s): which rows, which rate, an adapter's dropout.
All other dropout is off. So a run that was stopped resumes from its checkpoint to the same weights. Unlike
the published code, gradients are averaged over the accumulated micro-batches, and the schedule counts
optimiser steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.adapters import gradient_pass, trained_weights
from prompt_oirl.alol.models.checkpoints import write_tensors
from prompt_oirl.alol.models.log_probabilities import Tokens, collate, mixed_precision, token_log_probs
from prompt_oirl.alol.training import checkpoint
from prompt_oirl.alol.training.advantages import Advantages
from prompt_oirl.alol.training.checkpoint import TrainingProgress
from prompt_oirl.alol.training.losses import Loss, policy_loss
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import RowSampler
from prompt_oirl.io.files import InputError, content_key
from prompt_oirl.io.manifest import code_version
from prompt_oirl.io.tracking import Report

DIAGNOSTICS = ("nll", "weight", "ratio", "clipped_low", "clipped_high", "kl")
CURVE = ["step", "loss", *DIAGNOSTICS, "gradient_norm", "learning_rate", "score"]
Evaluate = Callable[[Any], float]


class Objective(Protocol):
    """What is minimised.

    recipe : how.
    about : JSON-like, its settings, for a checkpoint of others is refused.
    round : updates on one set of answers; checkpoints are written between rounds.
    weights : trained besides the model's, by name.
    """

    recipe: TrainingRecipe

    @property
    def about(self) -> Any: ...
    @property
    def round(self) -> int: ...
    @property
    def weights(self) -> dict[str, torch.Tensor]: ...

    def gradients(self, model: Any, step: int) -> dict[str, float]:
        """Leave this process's gradients of step 0, 1, ... in the weights; returns its row of the curve, a
        `loss` among it."""


@dataclass(frozen=True)
class TrainingRows:
    """What training reads: tokens, the rows' weights (n,) for the loss, the reference's log-probabilities."""

    tokens: Sequence[Tokens]
    weights: np.ndarray | None = None
    reference: Advantages | None = None


@dataclass
class LoggedRows:
    """One of the eight losses on logged rows; `sampler` says which of them each step sees."""

    rows: TrainingRows
    loss: Loss
    sampler: RowSampler
    recipe: TrainingRecipe
    pad_id: int
    round: int = 1
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def about(self) -> Any:
        """The loss."""
        return asdict(self.loss)

    def gradients(self, model: Any, step: int) -> dict[str, float]:
        """Means over the rows of the step."""
        recipe, rows, device = self.recipe, self.rows, next(model.parameters()).device
        drawn = self.sampler.draw(step, recipe.batch_size * recipe.accumulation)
        sums = torch.zeros(1 + len(DIAGNOSTICS), dtype=torch.float64, device=device)
        for at in range(0, len(drawn), recipe.batch_size):
            places = processes.share(drawn[at : at + recipe.batch_size].tolist())
            if not places:
                continue
            batch = collate([rows.tokens[i] for i in places], self.pad_id, device)
            weight = None if rows.weights is None else torch.from_numpy(rows.weights[places]).to(device)
            reference = rows.reference.reference_batch(places, str(device)) if rows.reference else None
            with gradient_pass(model, recipe.gradient_checkpointing, noise(recipe.seed, step, at)):
                with mixed_precision(device, recipe.precision):
                    log_probs = token_log_probs(model, batch)
                per_row, diagnostics = policy_loss(
                    log_probs, batch.mask, self.loss, weight=weight, reference=reference
                )
                (per_row.sum() / len(drawn)).backward()
            seen = [per_row.detach(), *(getattr(diagnostics, name) for name in DIAGNOSTICS)]
            sums += torch.stack([value.double().sum() for value in seen])
        processes.add_up([sums])
        return dict(zip(("loss", *DIAGNOSTICS), (sums / len(drawn)).tolist()))


def noise(seed: int, step: int, at: int) -> int:
    """Seed of the dropout of one micro-batch.

    Parameters
    ----------
    seed, step : of the run, and updates made before this one
    at : place of the micro-batch's first row in its step
    """
    return int(np.random.SeedSequence([seed, step, at]).generate_state(1)[0])


def train(
    model: Any,
    objective: Objective,
    folder: Path,
    inputs: Any,
    evaluate: Evaluate | None = None,
    bar: Any = None,
    report: Report | None = None,
    stop_at: int | None = None,
) -> TrainingProgress:
    """Train `model` in place and leave the best validated weights in it (the last ones without validation).

    Parameters
    ----------
    model, objective : what is trained, and what is minimised
    folder : of the checkpoint, from which a run of the same objective, inputs and code resumes; any other is
        refused
    inputs : JSON-like, names model and data
    evaluate : validation score of the weights and nothing else, higher is better; default: no validation
    bar : tqdm's, or None
    report : told every row of the curve, those of a resumed run first
    stop_at : end after so many steps, as a kill would, with a checkpoint if a round is over; default: go on
        to the end

    Raises: InputError on a foreign or damaged checkpoint, or a loss or gradient that is not finite.
    """
    recipe = objective.recipe
    code = code_version(__name__, type(objective).__module__)
    key = content_key({"recipe": asdict(recipe), "loss": objective.about, "inputs": inputs, "code": code})
    weights = trained_weights(model) | objective.weights
    optimiser = make_optimiser(weights, recipe)
    path, best = folder / "checkpoint.safetensors", folder / "best.safetensors"
    outcome = checkpoint.resume(path, key, weights, optimiser)
    saved = outcome.step
    model.eval()
    validate = evaluate if recipe.eval_every > 0 else None
    if validate and outcome.start_score is None:
        outcome.start_score = processes.from_main(lambda: validate(model))
    if report is not None:
        if outcome.start_score is not None:
            report(0, {"step": 0.0, "score": outcome.start_score})
        for row in outcome.curve:
            report(int(row["step"]), row)
    while outcome.step < recipe.steps and not outcome.finished:
        row = one_step(model, weights, objective, optimiser, outcome.step)
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
        if report is not None:
            report(outcome.step, row)
        outcome.finished = outcome.finished or last
        stop, whole = outcome.step == stop_at, outcome.step % objective.round == 0
        due = stop or outcome.step // recipe.save_every > saved // recipe.save_every
        if outcome.finished or (due and whole):
            checkpoint.save(path, key, weights, optimiser, outcome)
            saved = outcome.step
        if bar is not None:
            bar.update(outcome.step - bar.n)
            bar.set_postfix_str(
                f"loss {row['loss']:.3f}" + (f", nll {row['nll']:.3f}" if "nll" in row else "")
            )
        if stop:
            return outcome
    processes.wait()
    if validate:
        checkpoint.restore_best(best, key, weights, outcome.best_step)
    return outcome


def make_optimiser(weights: dict[str, torch.Tensor], recipe: TrainingRecipe) -> torch.optim.Optimizer:
    """AdamW over the trained weights."""
    rate, epsilon, decay = recipe.learning_rate, recipe.adam_epsilon, recipe.weight_decay
    return torch.optim.AdamW(weights.values(), lr=rate, eps=epsilon, weight_decay=decay, foreach=False)


def one_step(
    model: Any,
    weights: dict[str, torch.Tensor],
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> dict[str, float]:
    """One update; returns its row of the curve.

    Parameters
    ----------
    model, objective : as in `train`
    weights, optimiser : the trained weights by name, and what updates them
    step : updates made before this one

    Raises: InputError on a loss or gradient that is not finite.
    """
    optimiser.zero_grad(set_to_none=True)
    row = {"step": float(step + 1)} | objective.gradients(model, step)
    for p in weights.values():
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    processes.add_up([p.grad for p in weights.values() if p.grad is not None])
    recipe = objective.recipe
    limit = recipe.max_grad_norm or math.inf
    norm = processes.whole(torch.nn.utils.clip_grad_norm_(weights.values(), limit)).item()
    rate = recipe.rate(step)
    if not (math.isfinite(row["loss"]) and math.isfinite(norm)):
        raise InputError(
            f"step {step + 1}: the loss is {row['loss']}, its gradient {norm}; lower --learning_rate, or "
            "clip the ratios with --ppo_clip 0.9"
        )
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    return row | {"gradient_norm": norm, "learning_rate": rate}
