"""A small LLaMA for training: the arithmetic of `LlamaForCausalLM` in few kernels, weights stacked over
layers.

On a CPU the library's own module takes several times as long. `to_hugging_face` names the weights as it does.

Muon moves the hidden matrices, AdamW embedding and norms: about half the steps of AdamW alone. Muon (Jordan
et al., 2024, https://kellerjordan.github.io/posts/muon/) replaces a matrix's momentum by its nearest
orthogonal matrix, found by five Newton-Schulz iterations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

Weights = dict[str, torch.Tensor]
EPSILON = 1e-6
ROPE_BASE = 10_000.0
MOMENTUM, BETA1, BETA2, ADAM_EPSILON = 0.95, 0.9, 0.98, 1e-8
MATRICES = ("qkv", "out", "gate_up", "down")  # the hidden matrices; the rest are the embedding and norms


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; `heads` must divide `hidden`."""

    vocabulary: int = 1024
    hidden: int = 160
    layers: int = 4
    heads: int = 5
    feed_forward: int = 448

    def config(self, end_id: int, pad_id: int) -> dict[str, Any]:
        """config.json of a LlamaForCausalLM with these sizes."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "hidden_act": "silu",
            "max_position_embeddings": 512,
            "rms_norm_eps": EPSILON,
            "rope_theta": ROPE_BASE,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": None,
            "eos_token_id": end_id,
            "pad_token_id": pad_id,
            "torch_dtype": "float16",
        }


def initial_weights(shape: Shape, seed: int) -> Weights:
    """Normal(0, 0.02) embedding; matrices scaled by their inputs, those that write to the stream by depth
    too."""
    generator = torch.Generator().manual_seed(seed)
    h, ff, n = shape.hidden, shape.feed_forward, shape.layers

    def normal(scale: float, *size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator) * scale

    return {
        "embedding": normal(0.02, shape.vocabulary, h),
        "qkv": normal(h**-0.5, n, 3, h, h),
        "out": normal((2 * n * h) ** -0.5, n, h, h),
        "gate_up": normal(h**-0.5, n, 2, ff, h),
        "down": normal((2 * n * ff) ** -0.5, n, h, ff),
        "norm1": torch.ones(n, h),
        "norm2": torch.ones(n, h),
        "norm": torch.ones(h),
    }


def rotary(
    shape: Shape, length: int, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of the rotary embedding, float32 (length, head size / 2) each.

    Parameters
    ----------
    shape : sizes of the network
    length : number of positions, counted from 0
    device : where both tensors are made; default: the CPU
    """
    size = shape.hidden // shape.heads
    frequencies = 1 / (ROPE_BASE ** (torch.arange(0, size, 2, device=device) / size))
    angles = torch.outer(torch.arange(length, device=device), frequencies)
    return angles.cos(), angles.sin()


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x @ weight.T in the weight's precision, back in float32."""
    return F.linear(x.to(weight.dtype), weight).float()


def logits(
    weights: Weights, shape: Shape, ids: torch.Tensor, keep: torch.Tensor, half: bool = False
) -> torch.Tensor:
    """Next-token logits float32 (kept positions, vocabulary) where `keep` is true.

    Rows attend to their own past only, so padding on the right needs no mask.

    Parameters
    ----------
    weights : named and shaped as by `initial_weights`
    shape : sizes of the network
    ids : int64 (rows, length), token ids
    keep : bool (rows, length), positions whose logits are wanted, row by row
    half : run the layers' matrix products in bfloat16; default: in float32
    """
    rows, length = ids.shape
    heads, size = shape.heads, shape.hidden // shape.heads
    cos, sin = rotary(shape, length, ids.device)
    precision = torch.bfloat16 if half else torch.float32
    m = {name: weights[name].to(precision) for name in MATRICES}
    x = F.embedding(ids, weights["embedding"])
    for i in range(shape.layers):
        y = F.rms_norm(x, (shape.hidden,), weights["norm1"][i], EPSILON)
        q, k, v = (
            _linear(y, m["qkv"][i].flatten(0, 1)).view(rows, length, 3, heads, size).permute(2, 0, 3, 1, 4)
        )
        y = F.scaled_dot_product_attention(_rotate(q, cos, sin), _rotate(k, cos, sin), v, is_causal=True)
        x = x + _linear(y.transpose(1, 2).reshape(rows, length, -1), m["out"][i])
        y = F.rms_norm(x, (shape.hidden,), weights["norm2"][i], EPSILON)
        gate, up = _linear(y, m["gate_up"][i].flatten(0, 1)).chunk(2, -1)
        x = x + _linear(F.silu(gate) * up, m["down"][i])
    # In float32: the number of kept positions differs by batch, and bfloat16 kernels are made per shape.
    return F.linear(F.rms_norm(x[keep], (shape.hidden,), weights["norm"], EPSILON), weights["embedding"])


def to_hugging_face(weights: Weights, shape: Shape) -> Weights:
    """The weights under LlamaForCausalLM's names, as float16."""
    named = {"model.embed_tokens.weight": weights["embedding"], "model.norm.weight": weights["norm"]}
    for i in range(shape.layers):
        at = f"model.layers.{i}"
        for j, part in enumerate("qkv"):
            named[f"{at}.self_attn.{part}_proj.weight"] = weights["qkv"][i, j]
        named[f"{at}.self_attn.o_proj.weight"] = weights["out"][i]
        named[f"{at}.mlp.gate_proj.weight"] = weights["gate_up"][i, 0]
        named[f"{at}.mlp.up_proj.weight"] = weights["gate_up"][i, 1]
        named[f"{at}.mlp.down_proj.weight"] = weights["down"][i]
        named[f"{at}.input_layernorm.weight"] = weights["norm1"][i]
        named[f"{at}.post_attention_layernorm.weight"] = weights["norm2"][i]
    return {
        name: value.detach().to("cpu", torch.float16).contiguous() for name, value in sorted(named.items())
    }


def initial_memory(weights: Weights) -> Weights:
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
    """One step of Muon for the hidden matrices and of AdamW for the rest, in place.

    Parameters
    ----------
    weights : named and shaped as by `initial_weights`; changed
    gradients : of the loss, named and shaped like `weights`
    state : what `initial_memory` gave, or an earlier step left; changed
    step : number of the step, from 0
    matrix_rate : learning rate of the hidden matrices
    vector_rate : learning rate of the rest
    decay : the hidden matrices shrink by the share `matrix_rate` * `decay`; the rest does not

    Source: Muon, Jordan et al. 2024.
    """
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
            scale = (second / (1 - BETA2 ** (step + 1))).sqrt_().add_(ADAM_EPSILON)
            weight.addcdiv_(first, scale, value=-vector_rate / (1 - BETA1 ** (step + 1)))
