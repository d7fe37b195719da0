"""all-MiniLM-L6-v2 in ONNX Runtime, without torch: the vectors of sentence-transformers, sooner.

The graphs beside this file hold no weights (scripts/make_minilm_graph.py makes them): these come from the
verified files, so that there is no second copy to trust or to keep. Architecture: BERT (Devlin et al. 2019)
of six layers, its output averaged over the tokens and scaled to length 1 (Sentence-BERT, Reimers and Gurevych
2019).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.features.minilm_files import minilm_folder, minilm_info

LAYERS = 6
DIMENSION = 384
LARGEST = 63  # of an int8 weight: products of larger ones overflow on processors without VNNI
BATCH_TOKENS = 512  # larger products are no faster
SEVERAL = 64  # texts from which a terminal shows how far it is


class OnnxMiniLM:
    """The embedders minilm and minilm-int8.

    Texts of equally many tokens are computed together, batches side by side on all cores: no padding is
    computed, and a vector depends on its text only, to the last bit. Whole numbers have one scale per batch,
    so there each text is computed alone.

    Parameters
    ----------
    int8 : whole numbers in the products, in half the time: vectors of an embedder of its own
    """

    def __init__(self, int8: bool = False):
        self._folder, self._int8 = minilm_folder(), int8
        self.info = minilm_info()
        if int8:
            self.info = replace(self.info, name=f"{self.info.name} in int8")

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process, which loads the model anew."""
        return {name: getattr(self, name) for name in ("_folder", "_int8", "info")}

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        config = json.loads((self._folder / "sentence_bert_config.json").read_bytes())
        tokenizer.enable_truncation(config["max_seq_length"])
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        given = _initializers(self._folder, self._int8)
        kinds = {np.dtype(np.float32): 1, np.dtype(np.int8): 3}  # numbers of ONNX's TensorProto
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # `encode` has the threads
        options.log_severity_level = 3
        # Its nodes are fused already.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        wrap = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type  # without a copy
        options.add_external_initializers(
            list(given), [wrap(array, kinds[array.dtype]) for array in given.values()]
        )
        graph = Path(__file__).with_name("minilm_int8.onnx" if self._int8 else "minilm.onnx")
        session = onnxruntime.InferenceSession(
            graph.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._kept = given  # the session points into these arrays
        return session

    def fit(self, texts: Sequence[str]) -> None:
        """Pretrained: nothing to fit."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 (n, 384) of length 1."""
        vectors = np.empty((len(texts), DIMENSION), dtype=np.float32)
        session, tokenizer = self._session, self._tokenizer
        ids = [np.array(tokenizer.encode(text).ids, dtype=np.int64) for text in texts]

        def compute(batch: list[int]) -> int:
            for i, tokens in zip(batch, session.run(None, {"ids": np.stack([ids[i] for i in batch])})[0]):
                total = tokens.sum(0)  # has the direction of the mean
                vectors[i] = total / np.linalg.norm(total)
            return len(batch)

        batches = _batches([len(tokens) for tokens in ids], 1 if self._int8 else BATCH_TOKENS)
        with ThreadPoolExecutor(_cores()) as pool:
            _await(pool.map(compute, batches), len(texts))
        return vectors


def _batches(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Texts of one length in batches of at most `most` tokens, or of one text; the longest come first."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    found = []
    for length, same in groupby(order, key=lambda i: lengths[i]):
        texts, size = list(same), max(1, most // length)
        found += [texts[start : start + size] for start in range(0, len(texts), size)]
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _await(done: Iterator[int], total: int) -> None:
    """Wait for all batches; a terminal shows how many of many texts are done."""
    if total < SEVERAL:
        sum(done)
        return
    from tqdm import tqdm

    with tqdm(desc="embedding", total=total, disable=None) as shown:
        for texts in done:
            shown.update(texts)


def _initializers(folder: Path, int8: bool) -> dict[str, np.ndarray]:
    """The weights by their names in the graph; matrices (out, in) as stored, or int8 (in, out)."""
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    for i in range(LAYERS):
        attention = f"encoder.layer.{i}.attention."
        for kind in ("weight", "bias"):
            weights[f"{attention}qkv.{kind}"] = np.concatenate(
                [weights.pop(f"{attention}self.{name}.{kind}") for name in ("query", "key", "value")]
            )
    found = {}
    for name, array in weights.items():
        if name.startswith("pooler.") or name == "embeddings.position_ids":
            continue
        if int8 and name.startswith("encoder.") and array.ndim == 2:
            scales = np.abs(array).max(1) / np.float32(LARGEST)
            found[f"{name}.scale"] = scales
            array = np.ascontiguousarray((array / scales[:, None]).round().astype(np.int8).T)
        found[name] = array
    return found
