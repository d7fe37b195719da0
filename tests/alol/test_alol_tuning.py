"""LoRA, 4-bit weights, recomputed activations and several processes, on the toy model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from alol_steps import call, table

from prompt_oirl.alol.models.adapters import make_trainable, trained_weights
from prompt_oirl.alol.models.checkpoints import ModelSource, save_model
from prompt_oirl.alol.models.log_probabilities import collate, token_log_probs
from prompt_oirl.alol.rows import Limits, encode_rows
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.training.loop import LoggedRows, TrainingRows, make_optimiser, one_step
from prompt_oirl.alol.training.losses import choose_loss
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import RowSampler
from prompt_oirl.io.files import REPO_ROOT, InputError

ROWS = toy.make_rows({"train": 24}, 0)["train"]
TOKENS = encode_rows(ROWS, toy.make_model(0)[1], Limits(8, 5))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 1 to 3 done."""
    root = tmp_path_factory.mktemp("tuning")
    call(1, root, train_rows=60, validation_rows=20, test_rows=10)
    call(2, root, max_steps=4, batch_size=8, eval_every=0)
    call(3, root, value_epochs=1, value_samples=1)
    return root


def says(source: ModelSource) -> torch.Tensor:
    model, _ = source.load("cpu")
    with torch.no_grad():
        return token_log_probs(model, collate(TOKENS, 0))


def test_a_lora_policy_is_an_adapter_that_step_5_and_more_training_read(root):
    pytest.importorskip("peft")
    call(
        4,
        root,
        tuning="lora",
        lora_rank=4,
        max_steps=3,
        batch_size=8,
        learning_rate=1e-2,
        policy="lora",
        eval_every=0,
    )
    folder = root / "alol_exps" / "toy" / "main"
    files = {p.name for p in (folder / "policies" / "lora" / "model").iterdir()}
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    adapter, base = str(folder / "policies" / "lora" / "model"), str(folder / "reference")
    alone, onto = says(ModelSource(adapter)), says(ModelSource(base, adapter))
    assert torch.equal(alone, onto) and not torch.allclose(alone, says(ModelSource(base)), atol=1e-4)
    assert ModelSource(adapter).hash != ModelSource(base).hash
    call(5, root, policies="lora")
    call(5, root, model_name_or_path=base, adapter_path=adapter, output_dir=root / "elsewhere")
    results = root / "results" / "alol" / "toy" / "main" / "lora" / "test"
    assert (root / "elsewhere" / "test" / "predictions.jsonl").read_bytes() == (
        results / "predictions.jsonl"
    ).read_bytes()
    call(3, root, model_name_or_path=base, adapter_path=adapter, value_epochs=1, value_samples=1)
    flags = {
        "model_name_or_path": base,
        "adapter_path": adapter,
        "max_steps": 1,
        "batch_size": 8,
        "eval_every": 0,
    }
    call(4, root, **flags, tuning="lora", policy="further")
    curve = table(folder / "policies" / "further" / "curve.csv")
    assert float(curve[0]["ratio"]) == pytest.approx(1, abs=1e-4)  # the adapter is part of the reference
    call(4, root, **flags, tuning="full", policy="merged")
    assert (folder / "policies" / "merged" / "model" / "model.safetensors").is_file()


def test_lora_trains_the_adapter_only():
    pytest.importorskip("peft")
    model = make_trainable(toy.make_model(0)[0], "lora", 4, 8.0)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in n for n in trained)
    again = make_trainable(toy.make_model(0)[0], "lora", 4, 8.0)
    for (_, a), (_, b) in zip(model.named_parameters(), again.named_parameters()):
        assert torch.equal(a, b)
    with torch.no_grad():  # a new adapter changes nothing yet
        batch = collate(TOKENS, 0)
        assert torch.equal(token_log_probs(model, batch), token_log_probs(toy.make_model(0)[0], batch))


def test_qlora_learns_on_the_cpu(tmp_path):
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("peft")
    save_model(tmp_path / "base", *toy.make_model(0))
    source = ModelSource(str(tmp_path / "base"), None, True)
    model, tokenizer = source.load("cpu")
    assert any(type(m).__name__ == "Linear4bit" for m in model.modules())
    with pytest.raises(InputError, match="--tuning lora"):
        make_trainable(model, "full", 4, 8.0)
    model = make_trainable(model, "lora", 4, 8.0)
    losses = [row["nll"] for row in steps(model, 6)]
    assert losses[-1] < losses[0] - 0.2
    save_model(tmp_path / "adapter", model, tokenizer)
    again, _ = ModelSource(str(tmp_path / "adapter"), None, True).load("cpu")
    with torch.no_grad():
        batch = collate(TOKENS, 0)
        # bitsandbytes multiplies in another way in a model that was trained: equal to about 3e-4.
        assert torch.allclose(token_log_probs(model, batch), token_log_probs(again, batch), atol=2e-3)


def steps(model, n: int, **flags) -> list[dict[str, float]]:
    weights = trained_weights(model)
    recipe = TrainingRecipe(steps=n, batch_size=12, learning_rate=1e-2, **flags)
    sampler, optimiser = RowSampler(np.arange(len(TOKENS)), None, 0), make_optimiser(weights, recipe)
    objective = LoggedRows(TrainingRows(TOKENS), choose_loss("nll"), sampler, recipe, 0)
    return [one_step(model, weights, objective, optimiser, i) for i in range(n)]


def test_recomputed_activations_change_nothing():
    curves, weights = [], []
    for recomputed in (False, True):
        model, _ = toy.make_model(0)
        curves.append(steps(model.eval(), 3, gradient_checkpointing=recomputed))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert not any(m.training for m in model.modules())
    assert curves[0] == curves[1] and torch.equal(*weights)


@pytest.mark.slow
def test_two_processes_follow_the_path_of_one(root, tmp_path):
    pytest.importorskip("accelerate")
    flags = [
        "--root",
        str(root),
        "--algorithm",
        "nll",
        "--max_steps",
        "4",
        "-bs",
        "7",
        "-as",
        "2",
        "--eval_every",
        "2",
        "--validation_prompts",
        "6",
    ]
    name = "alol_step4_train_policy.py"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    plain = ["--cpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    spread = ["--config_file", str(REPO_ROOT / "configs" / "fsdp.yaml")]
    runs = {"one": [sys.executable], "two": [*launch, *plain], "spread": [*launch, *spread]}
    for policy, command in runs.items():
        done = subprocess.run(
            [*command, name, *flags, "--policy", policy],
            cwd=REPO_ROOT / "alol_exps",
            capture_output=True,
            text=True,
            timeout=200,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
    folder = root / "alol_exps" / "toy" / "main" / "policies"
    one, *others = (table(folder / policy / "curve.csv") for policy in runs)
    for other in others:
        for a, b in zip(one, other, strict=True):
            for name in ("loss", "gradient_norm", "score"):
                assert (a[name] == b[name] == "") or float(a[name]) == pytest.approx(float(b[name]), rel=1e-4)
    weights = [ModelSource(str(folder / policy / "model")).load("cpu")[0] for policy in runs]
    for a, *rest in zip(*(model.parameters() for model in weights)):
        assert all(torch.allclose(a, b, atol=1e-5) for b in rest)


def test_what_does_not_fit_together_is_said(root):
    with pytest.raises(InputError, match="nobody: not in"):
        call(5, root, output_dir=root / "x", policies="reference,nobody")
    broken = root / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_text(json.dumps({"r": 4}))
    with pytest.raises(InputError, match="names no base model"):
        ModelSource(str(broken)).load("cpu")
