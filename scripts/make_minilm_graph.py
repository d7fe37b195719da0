"""Write MiniLM's ONNX graphs without weights: prompt_oirl/features/minilm.onnx and minilm_int8.onnx.

    python scripts/make_minilm_graph.py

Needs the package onnx. features/onnx_minilm.py gives the weights by the names that stand here. Operators of
com.microsoft do in one node what takes several elsewhere; every ONNX Runtime has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from prompt_oirl.features.onnx_minilm import DIMENSION, LAYERS
from prompt_oirl.io.files import REPO_ROOT, atomic_write
from prompt_oirl.io.manifest import run_step

OPSET = 17  # the first with LayerNormalization
FUSED = "com.microsoft"
HEADS = 12
WIDE = 1536
WORDS = 30522
POSITIONS = 512
EPSILON = 1e-12  # layer_norm_eps


@dataclass
class Args:
    out: Path = REPO_ROOT / "prompt_oirl" / "features"
    """Folder of the two files."""


class Graph:
    """Nodes and weights of a graph in the making; methods return the name of what they add."""

    def __init__(self, int8: bool) -> None:
        self.int8 = int8
        self.nodes: list[Any] = []
        self.initializers: list[TensorProto] = []

    def __call__(
        self, operator: str, *inputs: str, domain: str = "", outputs: int = 1, **settings: Any
    ) -> Any:
        names = [f"{operator}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, domain=domain, **settings))
        return names[0] if outputs == 1 else names

    def weight(self, name: str, *shape: int, kind: int = TensorProto.FLOAT) -> str:
        """A weight that is given when the graph is loaded."""
        tensor = TensorProto(
            name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL
        )  # its place is never looked up
        tensor.external_data.add(key="location", value="given")
        self.initializers.append(tensor)
        return name

    def constant(self, *values: int) -> str:
        """Whole numbers that are part of the graph."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(values), name))
        return name

    def dense(self, x: str, name: str, out: int, width: int = DIMENSION) -> str:
        """x @ weight.T without the bias; in int8 with a scale per output, and one for x."""
        if not self.int8:
            weight = self.weight(f"{name}.weight", out, width)
            return self("FusedMatMul", x, weight, domain=FUSED, transB=1)
        whole = self.weight(f"{name}.weight", width, out, kind=TensorProto.INT8)
        return self("DynamicQuantizeMatMul", x, whole, self.weight(f"{name}.weight.scale", out), domain=FUSED)

    def add_and_normalise(self, x: str, to: str, name: str) -> str:
        """x + bias + to, normalised."""
        biased = self("Add", x, self.weight(f"{name}.dense.bias", DIMENSION))
        return self.normalise(self("Add", biased, to), name)

    def normalise(self, x: str, name: str) -> str:
        """Each token by its own mean and variance; SkipLayerNormalization takes three times as long."""
        norm = [self.weight(f"{name}.LayerNorm.{kind}", DIMENSION) for kind in ("weight", "bias")]
        return self("LayerNormalization", x, *norm, axis=-1, epsilon=EPSILON)


def make_graph(int8: bool) -> ModelProto:
    """From the ids of the tokens of texts of one length, int64 (b, t), to their vectors, (b, t, 384)."""
    add = Graph(int8)
    x = _embedded(add)
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        joined = add.dense(x, f"{layer}.attention.qkv", 3 * DIMENSION)
        query, key, value = add("Split", joined, add.constant(*[DIMENSION] * 3), outputs=3, axis=2)
        bias = add.weight(f"{layer}.attention.qkv.bias", 3 * DIMENSION)
        seen = add("MultiHeadAttention", query, key, value, bias, domain=FUSED, num_heads=HEADS)
        attended = add.dense(seen, f"{layer}.attention.output.dense", DIMENSION)
        x = add.add_and_normalise(attended, x, f"{layer}.attention.output")
        wide = add.dense(x, f"{layer}.intermediate.dense", WIDE)
        wide = add("BiasGelu", wide, add.weight(f"{layer}.intermediate.dense.bias", WIDE), domain=FUSED)
        x = add.add_and_normalise(
            add.dense(wide, f"{layer}.output.dense", DIMENSION, WIDE), x, f"{layer}.output"
        )
    graph = helper.make_graph(
        add.nodes,
        "minilm",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "t"])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["b", "t", DIMENSION])],
        add.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="prompt-oirl")


def _embedded(add: Graph) -> str:
    """Words, positions and the one segment, (b, t, 384), normalised."""
    zero = add.constant(0)
    words = add("Gather", add.weight("embeddings.word_embeddings.weight", WORDS, DIMENSION), "ids")
    length = add("Shape", "ids", start=1)
    rows = add.weight("embeddings.position_embeddings.weight", POSITIONS, DIMENSION)
    segment = add("Gather", add.weight("embeddings.token_type_embeddings.weight", 2, DIMENSION), zero)
    x = add("Add", add("Add", words, segment), add("Slice", rows, zero, length))
    return add.normalise(x, "embeddings")


def main(args: Args) -> None:
    """Write both graphs."""
    for name, int8 in (("minilm.onnx", False), ("minilm_int8.onnx", True)):
        with atomic_write(args.out / name) as temporary:
            temporary.write_bytes(make_graph(int8).SerializeToString(deterministic=True))


if __name__ == "__main__":
    run_step(main, Args)
