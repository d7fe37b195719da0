"""Muon for the hidden matrices, AdamW for embedding and norms: about half the steps of AdamW alone.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) replaces a matrix's momentum by its
nearest orthogonal matrix, found by five Newton-Schulz iterations.
"""

from __future__ import annotations

import torch

from prompt_oirl.arith.network import MATRICES, Weights

MOMENTUM, BETA1, BETA2, EPSILON = 0.95, 0.9, 0.98, 1e-8


def initial_state(weights: Weights) -> Weights:
    """Momentum of every weight, and the second moment of those that AdamW moves."""
    state = {f"first.{name}": torch.zeros_like(value) for name, value in weights.items()}
    return state | {
        f"second.{name}": torch.zeros_like(value) for name, value in weights.items() if name not in MATRICES
    }


def orthogonalise(x: torch.Tensor) -> torch.Tensor:
    """Roughly U V^T of every matrix x = U S V^T in (..., rows, columns)."""
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


@torch.no_grad()
def update(
    weights: Weights,
    gradients: Weights,
    state: Weights,
    step: int,
    matrix_rate: float,
    vector_rate: float,
    decay: float,
) -> None:
    """One step in place. `matrix_rate` moves the hidden matrices, `vector_rate` the rest; `step` counts from
    0."""
    for name, weight in weights.items():
        gradient, first = gradients[name], state[f"first.{name}"]
        if name in MATRICES:
            first.mul_(MOMENTUM).add_(gradient)
            move = orthogonalise(gradient + MOMENTUM * first)
            move = move * max(1.0, weight.shape[-2] / weight.shape[-1]) ** 0.5
            weight.mul_(1 - matrix_rate * decay).add_(move, alpha=-matrix_rate)
        else:
            second = state[f"second.{name}"]
            first.lerp_(gradient, 1 - BETA1)
            second.lerp_(gradient.square(), 1 - BETA2)
            scale = (second / (1 - BETA2 ** (step + 1))).sqrt_().add_(EPSILON)
            weight.addcdiv_(first, scale, value=-vector_rate / (1 - BETA1 ** (step + 1)))
