"""Which weights are trained: all, or a LoRA adapter's; and the model as it was before training.

The reference of a policy is the model it began as. Its trained weights are kept aside and put in place for
the passes that need it, so the frozen (perhaps 4-bit) weights are in memory once, and an adapter that the
model came with belongs to the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from prompt_oirl.alol.models.log_probabilities import recomputing
from prompt_oirl.alol.models.processes import in_shares
from prompt_oirl.io.extras import need
from prompt_oirl.io.files import InputError


def make_trainable(model: Any, tuning: str, rank: int, alpha: float, dropout: float = 0.0) -> Any:
    """The model with its trained weights unfrozen.

    An adapter the model came with is merged for `full` and trained on for `lora` (then rank, alpha and
    dropout are its own).

    Parameters
    ----------
    model : as `ModelSource.load` returns it
    tuning : `full`, all weights, or `lora`, low-rank updates of every linear layer
    rank : of a new adapter
    alpha : its scale is this, cut to a whole number, over the rank
    dropout : of what enters a new adapter, 0..1, see `gradient_pass`

    Raises: InputError if `full` is asked of 4-bit weights, or peft is not installed for `lora`.
    """
    adapted = hasattr(model, "merge_and_unload")
    four_bit = bool(getattr(model, "is_loaded_in_4bit", False))
    if tuning == "full":
        if four_bit:
            raise InputError("--load_in_4bit: 4-bit weights are not trained themselves; pass --tuning lora")
        model = model.merge_and_unload() if adapted else model
        return model.requires_grad_(True)
    need("--tuning lora", "train", "peft")
    from peft import LoraConfig, get_peft_model

    if adapted:
        for name, p in model.named_parameters():
            p.requires_grad_("lora_" in name)
        return model
    model.requires_grad_(False)
    scale: dict[str, Any] = {"r": rank, "lora_alpha": int(alpha), "lora_dropout": dropout}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LoraConfig(**scale, target_modules="all-linear", task_type="CAUSAL_LM")
        return get_peft_model(model, config).eval()


def trained_weights(model: Any) -> dict[str, torch.Tensor]:
    """The weights that are trained, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def weights_at_start(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the trained weights, by name; with an adapter, of its few alone."""
    return {name: p.detach().clone() for name, p in trained_weights(model).items()}


@contextmanager
def as_reference(model: Any, start: dict[str, torch.Tensor]) -> Iterator[None]:
    """Inside, without gradients, the model is the one it was when `weights_at_start` copied `start`."""
    weights = trained_weights(model)
    now = {name: p.detach().clone() if in_shares(p) else p.data for name, p in weights.items()}
    with torch.no_grad():
        try:
            _put(weights, start)
            yield
        finally:
            _put(weights, now)


def _put(weights: dict[str, torch.Tensor], values: dict[str, torch.Tensor]) -> None:
    for name, p in weights.items():
        if in_shares(p):
            p.copy_(values[name])  # FSDP2 sends from memory of its own, which `data` would leave as it is
        else:
            p.data = values[name]


@contextmanager
def gradient_pass(model: Any, recompute: bool, seed: int) -> Iterator[None]:
    """For a forward and backward pass: an adapter's dropout is on (as published), all other dropout off.

    Parameters
    ----------
    model : in eval mode
    recompute : keep no activations within layers, see `recomputing`
    seed : of the dropout; torch's own random state is left as it was
    """
    drops = [
        layer
        for name, layer in model.named_modules()
        if ".lora_dropout." in name and isinstance(layer, torch.nn.Dropout) and layer.p > 0
    ]
    with ExitStack() as stack:
        stack.enter_context(recomputing(model, recompute))
        if drops:
            device = next(model.parameters()).device
            stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
            torch.manual_seed(seed)
        for layer in drops:
            layer.train()
        try:
            yield
        finally:
            for layer in drops:
                layer.eval()
