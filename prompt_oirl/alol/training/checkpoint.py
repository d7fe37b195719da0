"""A run's checkpoint: trained weights, AdamW's moments and the story so far in one safetensors file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.checkpoints import read_tensors, write_tensors
from prompt_oirl.io.files import InputError
from prompt_oirl.io.json_files import as_record, parse_json

Weights = dict[str, torch.Tensor]
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
HINT = "pass --force to train anew"


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


def save(
    path: Path, key: str, weights: Weights, optimiser: torch.optim.Optimizer, progress: TrainingProgress
) -> None:
    """Write the checkpoint of a run; every process must call it.

    Parameters
    ----------
    path : the file, which is written whole or not at all
    key : names recipe, loss, model, data and code; `resume` asks for the same
    weights, optimiser : the trained weights by name, and what updates them
    progress : where the run stands
    """
    tensors = {f"weight.{name}": p for name, p in weights.items()}
    for name, p in weights.items():
        tensors |= {f"{m}.{name}": optimiser.state[p][m] for m in MOMENTS if m in optimiser.state[p]}
    tensors = processes.gathered(tensors)
    if processes.is_main():
        write_tensors(path, tensors, {"key": key, "outcome": json.dumps(asdict(progress))})


def resume(path: Path, key: str, weights: Weights, optimiser: torch.optim.Optimizer) -> TrainingProgress:
    """Put a checkpoint's weights and moments in place; where there is none, a run that has not begun.

    Parameters
    ----------
    path, key : as `save` was given them
    weights, optimiser : what is filled

    Raises: InputError on a damaged checkpoint, or one of another key.
    """
    if not path.is_file():
        return TrainingProgress()
    tensors, about = read_tensors(path, HINT)
    if about.get("key") != key:
        raise InputError(
            f"{path} belongs to a run with other settings, model, data or code: {HINT}, "
            "or choose another --policy or --run"
        )
    put(weights, {n.removeprefix("weight."): v for n, v in tensors.items() if n.startswith("weight.")}, path)
    for name, p in weights.items():
        state = {m: tensors[f"{m}.{name}"] for m in MOMENTS if f"{m}.{name}" in tensors}
        optimiser.state[p] |= {m: v if m == "step" else processes.placed_like(v, p) for m, v in state.items()}
    try:
        return as_record(TrainingProgress, parse_json(about["outcome"]), str(path), HINT)
    except (KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: does not say where the run stood; {HINT}") from error


def restore_best(path: Path, key: str, weights: Weights, step: int) -> None:
    """Put the weights of the best validated step in place.

    Parameters
    ----------
    path, key : file of these weights, and the run's key that stands in it
    weights : what is filled
    step : the best validated step

    Raises: InputError if the file is damaged, or of another run or step.
    """
    tensors, about = read_tensors(path, HINT)
    if about.get("key") != key or about.get("step") != str(step):
        raise InputError(f"{path}: not the best weights of this run; {HINT}")
    put(weights, tensors, path)


@torch.no_grad()
def put(weights: Weights, tensors: Weights, path: Path) -> None:
    """Copy tensors into weights of the same names and shapes, else refuse the file they came from."""
    if set(tensors) != set(weights) or any(tensors[n].shape != p.shape for n, p in weights.items()):
        raise InputError(f"{path}: weights of another model; {HINT}")
    for name, p in weights.items():
        p.copy_(processes.placed_like(tensors[name], p))
