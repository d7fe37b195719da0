"""Weights spread over processes: what two of them train and save is what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.checkpoints import read_tensors
from prompt_oirl.io.files import REPO_ROOT, InputError


@pytest.mark.slow
def test_two_processes_with_half_the_weights_each_follow_the_path_of_one(tmp_path):
    pytest.importorskip("accelerate")
    pytest.importorskip("peft")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sharded_training.py")), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO_ROOT)},
    )
    assert done.returncode == 0, done.stderr
    for name in ("full/model", "lora/adapter_model", "full_training/checkpoint", "lora_training/best"):
        one, two = (read_tensors(tmp_path / n / f"{name}.safetensors", "")[0] for n in ("one", "two"))
        assert set(one) == set(two)
        for tensor in one:
            assert torch.allclose(one[tensor], two[tensor], atol=1e-5), (name, tensor)
    about = json.loads((tmp_path / "two" / "full" / "config.json").read_text())
    assert about["architectures"] == ["LlamaForCausalLM"]


@pytest.fixture
def two_processes(monkeypatch):
    """As if this were process 1 of 2."""
    state = SimpleNamespace(process_index=1, num_processes=2, is_main_process=False)
    monkeypatch.setattr(processes, "_state", lambda: state)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")


def test_what_cannot_be_spread_is_said(two_processes):
    assert processes.share([4, 5, 6]) == [5]
    with pytest.raises(InputError, match="--batch_size 1: .* each of the 2 processes needs a row"):
        processes.share([4])
    with (
        pytest.raises(InputError, match="4-bit weights are not spread"),
        processes.sharded(SimpleNamespace(is_loaded_in_4bit=True)),
    ):
        pass


def test_a_config_of_deepspeed_is_refused(monkeypatch):
    pytest.importorskip("accelerate")
    monkeypatch.setattr(processes, "_state", processes._state.__wrapped__)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(InputError, match="DeepSpeed is not used here: pass --config_file"):
        processes.is_main()
