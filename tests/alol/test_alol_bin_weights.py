"""Base models of which only `.bin` weights were published: read as tensors, written as safetensors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prompt_oirl.alol.models.checkpoints import ModelSource, load_model, save_model
from prompt_oirl.alol.tasks import toy
from prompt_oirl.io.files import InputError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The toy model with its weights in one `.bin`."""
    folder = tmp_path / "base"
    save_model(folder, *toy.make_model(0))
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    return folder


def same(model: torch.nn.Module) -> bool:
    pairs = zip(model.parameters(), toy.make_model(0)[0].parameters())
    return all(torch.equal(a, b) for a, b in pairs)


def test_one_file_is_read_hashed_and_saved_as_safetensors(base, tmp_path):
    source = ModelSource(str(base))
    model, tokenizer = source.load("cpu")
    assert same(model)
    assert os.environ["DISABLE_SAFETENSORS_CONVERSION"] == "true"  # no service of the hub is asked
    names = {path.name for path in save_model(tmp_path / "saved", model, tokenizer)}
    assert "model.safetensors" in names and not any(name.endswith(".bin") for name in names)
    before, state = source.hash, torch.load(base / "pytorch_model.bin", weights_only=True)
    name = next(iter(state))
    torch.save(state | {name: state[name] + 1}, base / "pytorch_model.bin")
    assert source.hash != before


def test_shards_are_read_too(base):
    state = torch.load(base / "pytorch_model.bin", weights_only=True)
    (base / "pytorch_model.bin").unlink()
    names, files = sorted(state), ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    for i, file in enumerate(files):
        torch.save({name: state[name] for name in names[i::2]}, base / file)
    index = {"metadata": {}, "weight_map": {name: files[i % 2] for i, name in enumerate(names)}}
    (base / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert same(load_model(str(base), "cpu")[0])


def test_four_bits(base):
    pytest.importorskip("bitsandbytes")
    model, _ = ModelSource(str(base), None, True).load("cpu")
    assert any(type(layer).__name__ == "Linear4bit" for layer in model.modules())


class Writes:
    """What a hostile file would hold."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("damage", ["object", "cut"])
def test_a_file_of_objects_is_refused_and_runs_nothing(damage, base, tmp_path):
    file = base / "pytorch_model.bin"
    if damage == "object":
        torch.save({"weight": Writes(tmp_path / "written")}, file)
    else:
        file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be loaded") as error:
        load_model(str(base), "cpu")
    assert "\n" not in str(error.value) and not (tmp_path / "written").exists()
