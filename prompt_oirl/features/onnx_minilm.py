"""all-MiniLM-L6-v2 in ONNX Runtime: the vectors of `SentenceEmbedder("minilm")`, one text in half the time.

The graph is made in memory from the verified weights, so there is no second file to trust or to keep.
Architecture: BERT (Devlin et al. 2019) of six layers, its output averaged over the tokens and scaled to
length 1 (Sentence-BERT, Reimers and Gurevych 2019).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.features.minilm_files import BATCH, minilm_folder, minilm_info

OPSET = 20  # the first with Gelu
LARGEST = 63  # of an int8 weight: products of larger ones overflow on processors without VNNI


class OnnxMiniLM:
    """The embedder minilm without torch, or minilm-int8; needs onnx and onnxruntime (extra serve).

    Parameters
    ----------
    threads : of one call; default: all cores
    int8 : whole numbers in the products, in half the time: vectors of an embedder of its own
    """

    def __init__(self, threads: int = 0, int8: bool = False):
        import onnxruntime
        from tokenizers import Tokenizer

        folder = minilm_folder()
        self.info = minilm_info()
        if int8:
            self.info = replace(self.info, name=f"{self.info.name} in int8")
        self._batch = 1 if int8 else BATCH  # one scale for all of a batch would let texts change each other
        limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(limit)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that wait for the next text sleep: others on the machine have work to do.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            _model(folder, int8).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def fit(self, texts: Sequence[str]) -> None:
        """Pretrained: nothing to fit."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 (n, 384) of length 1; texts of like length are computed together."""
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(texts), self._batch):
            some = order[start : start + self._batch]
            tokens = self._tokenizer.encode_batch([texts[i] for i in some])
            inputs = {
                "ids": np.array([t.ids for t in tokens], dtype=np.int64),
                "mask": np.array([t.attention_mask for t in tokens], dtype=np.float32),
            }
            vectors[some] = self._session.run(None, inputs)[0]
        return vectors


class _Graph:
    """Nodes and constants of an ONNX graph in the making; every method returns the name of its output."""

    def __init__(self, int8: bool) -> None:
        self.int8 = int8
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, operator: str, *inputs: str | np.ndarray, outputs: int = 1, **settings: Any) -> Any:
        from onnx import helper

        named = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        out = [f"{operator}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, named, out, **settings))
        return out[0] if outputs == 1 else out

    def dense(self, x: str, matrix: np.ndarray, bias: np.ndarray) -> str:
        """x @ matrix + bias; in int8 with a scale per column of the matrix, and one for x."""
        if not self.int8:
            return self("Add", self("MatMul", x, matrix), bias)
        scales = np.abs(matrix).max(0) / LARGEST
        whole, scale, zero = self("DynamicQuantizeLinear", x, outputs=3)
        product = self("MatMulInteger", whole, (matrix / scales).round().astype(np.int8), zero)
        scaled = self("Mul", self("Cast", product, to=1), self("Mul", scale, scales))
        return self("Add", scaled, bias)

    def constant(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _model(folder: Path, int8: bool) -> Any:
    """The ONNX model of a folder with BERT's weights and configuration."""
    from onnx import TensorProto, helper
    from safetensors.numpy import load_file

    weights, config = (
        load_file(folder / "model.safetensors"),
        json.loads((folder / "config.json").read_text()),
    )
    add = _Graph(int8)
    mask = add("Unsqueeze", "mask", np.array([1, 2]))  # (b, 1, 1, t)
    hidden = _embedded(add, weights, config)
    # What is padding gets a score so low that its softmax is 0.
    blocked = add("Mul", add("Sub", _scalar(1), mask), _scalar(-1e9))
    for prefix in (f"encoder.layer.{i}." for i in range(config["num_hidden_layers"])):
        hidden = _layer(add, hidden, blocked, weights, prefix, config)
    here = add("Unsqueeze", "mask", np.array([2]))
    total = add("ReduceSum", add("Mul", hidden, here), np.array([1]), keepdims=0)
    add("LpNormalization", total, axis=1, p=2)
    # The sum has the direction of the mean.
    last = add.nodes[-1].output[0]
    graph = helper.make_graph(
        add.nodes,
        "minilm",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "t"]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["b", "t"]),
        ],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["b", config["hidden_size"]])],
        add.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def _embedded(add: _Graph, weights: dict[str, np.ndarray], config: dict[str, Any]) -> str:
    """Words, positions and the one segment, (b, t, h)."""
    words = add("Gather", weights["embeddings.word_embeddings.weight"], "ids")
    length = add("Shape", "ids", start=1)  # (1,)
    places = add("Slice", weights["embeddings.position_embeddings.weight"], np.array([0]), length)
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    return _normalised(add, add("Add", add("Add", words, segment), places), weights, "embeddings.", config)


def _layer(
    add: _Graph, x: str, blocked: str, weights: dict[str, np.ndarray], prefix: str, config: dict[str, Any]
) -> str:
    """Self-attention, then the feed-forward part, each added to its input and normalised."""
    heads = config["num_attention_heads"]
    shape = np.array([0, 0, heads, config["hidden_size"] // heads])
    names = [f"{prefix}attention.self.{name}." for name in ("query", "key", "value")]
    matrix = np.concatenate([weights[f"{name}weight"].T for name in names], 1)
    bias = np.concatenate([weights[f"{name}bias"] for name in names])
    joined = add.dense(x, matrix, bias)
    query, key, value = (
        add("Transpose", add("Reshape", part, shape), perm=order)
        for part, order in zip(
            add("Split", joined, outputs=3, axis=2, num_outputs=3),
            ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]),
        )
    )
    scores = add("Mul", add("MatMul", query, key), _scalar(shape[3] ** -0.5))
    seen = add("MatMul", add("Softmax", add("Add", scores, blocked), axis=-1), value)
    seen = add("Reshape", add("Transpose", seen, perm=[0, 2, 1, 3]), np.array([0, 0, config["hidden_size"]]))
    attended = add("Add", _dense(add, seen, weights, f"{prefix}attention.output.dense."), x)
    x = _normalised(add, attended, weights, f"{prefix}attention.output.", config)
    wide = add("Gelu", _dense(add, x, weights, f"{prefix}intermediate.dense."))
    out = add("Add", _dense(add, wide, weights, f"{prefix}output.dense."), x)
    return _normalised(add, out, weights, f"{prefix}output.", config)


def _scalar(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def _dense(add: _Graph, x: str, weights: dict[str, np.ndarray], name: str) -> str:
    return add.dense(x, weights[f"{name}weight"].T, weights[f"{name}bias"])


def _normalised(
    add: _Graph, x: str, weights: dict[str, np.ndarray], name: str, config: dict[str, Any]
) -> str:
    scale, shift = weights[f"{name}LayerNorm.weight"], weights[f"{name}LayerNorm.bias"]
    return add("LayerNormalization", x, scale, shift, axis=-1, epsilon=config["layer_norm_eps"])
