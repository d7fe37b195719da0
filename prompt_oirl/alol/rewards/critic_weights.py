"""Weights of the COMET critic, from a Keras file or a published `.bin`, as tensors under PyTorch's names.

Keras keeps a dense layer as kernel (in, out) where PyTorch has weight (out, in), and calls layers of the
encoder `layer_._0` where transformers has `layer.0`.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from prompt_oirl.alol.models.checkpoints import write_tensors
from prompt_oirl.alol.rewards.scorers import HEAD, _filled, _tensors, _tokenizer, read_state
from prompt_oirl.io.extras import missing
from prompt_oirl.io.files import InputError

Weights = dict[str, torch.Tensor]
HEAD_LAYERS = ("dense", "out_proj")
KERAS = (".h5", ".hdf5", ".keras")


def read(path: Path) -> tuple[Weights, Weights | None]:
    """Head, and the encoder if the file holds it."""
    if path.is_dir():
        raise InputError(
            f"{path} is a folder (TensorFlow's SavedModel?): save its weights as .h5 first, see "
            "scripts/convert_critic.py --help"
        )
    if not path.is_file():
        raise InputError(f"missing {path}: pass --weights FILE")
    if path.suffix in KERAS:
        return _from_keras(_keras_arrays(path), path)
    return _checked_head(_tensors(path, str(path)), path), None


def write(folder: Path, encoder_name: str, head: Weights, encoder: Weights | None) -> None:
    """Write what `scorers.load_critic` reads.

    Parameters
    ----------
    folder : made where missing
    encoder_name : RoBERTa, folder or hub id; gives config and tokenizer, and the weights if `encoder` is None
    head, encoder : what `read` returns: tensors under PyTorch's names, weights as (out, in)

    Raises: InputError if the encoder lacks its config or a weight, or its width is not the head's.
    """
    from transformers import RobertaConfig, RobertaModel

    try:
        config = RobertaConfig.from_pretrained(encoder_name)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--encoder {encoder_name}: no config of it ({str(error).splitlines()[0]}); pass a folder or "
            "hub id"
        ) from error
    model = RobertaModel(config)
    state = read_state(encoder_name) if encoder is None else encoder
    _filled(model, state, "roberta.", encoder_name)
    if head["dense.weight"].shape[1] != config.hidden_size:
        raise InputError(
            f"the head reads {head['dense.weight'].shape[1]} numbers, the encoder gives "
            f"{config.hidden_size}; pass its own --encoder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    _tokenizer(encoder_name).save_pretrained(folder)
    write_tensors(folder / HEAD, head, {})


def _checked_head(found: Weights, path: Path) -> Weights:
    names = [f"{layer}.{part}" for layer in HEAD_LAYERS for part in ("weight", "bias")]
    head = {k.removeprefix("classifier."): v.float() for k, v in found.items()}
    if not set(names) <= set(head):
        raise InputError(f"{path}: holds {', '.join(sorted(found)[:4])}, expected {', '.join(names)}")
    return {name: head[name].contiguous() for name in names}


def _keras_arrays(path: Path) -> dict[str, Any]:
    """All arrays of an HDF5 file, or of the one inside a .keras file, by their paths."""
    try:
        import h5py
    except ImportError as error:
        raise missing("Keras files need h5py", "train") from error
    found: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and not item.external:
            found[name.removesuffix(":0")] = item[()]

    try:
        source: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(source, "r") as file:
            file.visititems(keep)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable Keras file ({str(error).splitlines()[0]})") from error
    return found


def _from_keras(arrays: dict[str, Any], path: Path) -> tuple[Weights, Weights | None]:
    """Dense layers outside the encoder are the head: the one with a single output is its last."""
    encoder, kernels = {}, {}
    for name, array in arrays.items():
        inside = re.search(r"(?:^|/)(embeddings|encoder|pooler)/", name)
        if inside:
            at = name[inside.start(1) :]
            encoder[_torch_name(at)] = torch.from_numpy(
                array.T if at.endswith("/kernel") else array
            ).contiguous()
        elif name.endswith("/kernel"):
            kernels[name.removesuffix("/kernel")] = torch.from_numpy(array.T).contiguous()
    last = [layer for layer, kernel in kernels.items() if len(kernel) == 1]
    first = [layer for layer in kernels if layer not in last]
    if len(last) != 1 or len(first) != 1 or any(f"{layer}/bias" not in arrays for layer in kernels):
        raise InputError(
            f"{path}: expected two dense layers outside the encoder, found {sorted(kernels) or 'none'}"
        )
    head: Weights = {}
    for ours, layer in zip(HEAD_LAYERS, (first[0], last[0])):
        head |= {f"{ours}.weight": kernels[layer], f"{ours}.bias": torch.from_numpy(arrays[f"{layer}/bias"])}
    return head, encoder or None


def _torch_name(name: str) -> str:
    """encoder/layer_._0/attention/self/query/kernel -> encoder.layer.0.attention.self.query.weight"""
    name = re.sub(r"layer_\._(\d+)", r"layer/\1", name)
    path, _, last = name.rpartition("/")
    last = {"kernel": "weight", "gamma": "weight", "beta": "bias", "embeddings": "weight"}.get(last, last)
    return f"{path}/{last}".replace("/", ".")
