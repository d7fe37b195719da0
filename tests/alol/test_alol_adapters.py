"""Every trainer trains an adapter, on float32 and on 4-bit weights, resumes, and takes published adapters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from prompt_oirl.alol.models.adapters import as_reference, make_trainable, trained_weights, weights_at_start
from prompt_oirl.alol.models.checkpoints import ModelSource, save_model
from prompt_oirl.alol.models.log_probabilities import collate, token_log_probs
from prompt_oirl.alol.policies import Baseline, LossAlgorithm, PolicyData, train_policy
from prompt_oirl.alol.rows import Limits, Row, encode_rows
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.training.advantages import Advantages
from prompt_oirl.alol.training.losses import PRESETS, choose_loss
from prompt_oirl.alol.training.recipe import TrainingRecipe

pytest.importorskip("peft")
LIMITS = Limits(8, 5)
BASELINES = ("dpo", "dpo_ref_free", "pro", "ppo", "rloo")
RECIPE = TrainingRecipe(
    7, 4, 2, 1e-2, "constant", tuning="lora", lora_rank=4, lora_dropout=0.1, eval_every=3, save_every=1
)


def make_rows() -> list[Row]:
    rows = []
    for row in toy.make_rows({"train": 12}, 0)["train"]:
        for said in (" ".join(row.prompt.split()[:4]), "q q q q"):
            new = Row(f"{row.id}/{said[0]}", row.prompt, said, {}, segment=row.segment)
            new.components.update(toy.rewards([new], [said])[0])
            rows.append(new)
    return rows


ROWS = make_rows()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    save_model(folder, *toy.make_model(0))
    return folder


def says(model) -> torch.Tensor:
    tokens = encode_rows(ROWS, toy.make_model(0)[1], LIMITS)
    with torch.no_grad():
        return token_log_probs(model.eval(), collate(tokens, 0))


def score(model) -> float:
    return float(sum(p.detach().double().sum() for p in trained_weights(model).values()))


class Killed(Exception):
    pass


def train(algorithm: str, source: ModelSource, folder: Path, recipe=RECIPE, kill_at: int | None = None):
    """Train; killed in the validation of that number, if one is given."""
    model, tokenizer = source.load("cpu")
    tokens = encode_rows(ROWS, tokenizer, LIMITS)
    log_probs = [row[mask] for row, mask in zip(says(model), collate(tokens, 0).mask)]
    rewards = np.array([row.reward for row in ROWS], dtype=np.float32)
    advantages = Advantages(rewards * 0, rewards, log_probs)
    data = PolicyData(toy.TASK, tokenizer, LIMITS, ROWS, tokens, ROWS, 8, 64, advantages)
    if algorithm in PRESETS:
        loss = choose_loss(algorithm, kl_beta=0.1 if algorithm == "a_lol_kl" else 0.0)
        by: LossAlgorithm | Baseline = LossAlgorithm(algorithm, loss)
    else:
        by = Baseline(algorithm)
    validations = 0

    def evaluate(model) -> float:
        nonlocal validations
        validations += 1
        if validations == kill_at:
            raise Killed
        return score(model)

    return train_policy(model, data, by, lambda _: recipe, recipe.seed, folder, evaluate=evaluate)


FAST = [(name, True) for name in (*BASELINES, "a_lol_seq")] + [("dpo", False), ("a_lol_seq", False)]
SLOW = [(name, bits) for name in (*BASELINES, *PRESETS) for bits in (False, True) if (name, bits) not in FAST]


@pytest.mark.parametrize(
    ("algorithm", "four_bit"), [*FAST, *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW)]
)
def test_an_adapter_is_trained_resumed_saved_and_loaded(algorithm, four_bit, base, tmp_path):
    if four_bit:
        pytest.importorskip("bitsandbytes")
    source = ModelSource(str(base), None, four_bit)
    whole = train(algorithm, source, tmp_path / "whole")
    with pytest.raises(Killed):
        train(algorithm, source, tmp_path / "killed", kill_at=3)  # after update 6
    resumed = train(algorithm, source, tmp_path / "killed")
    weights, again = trained_weights(whole.model), trained_weights(resumed.model)
    assert weights and all("lora_" in name for name in weights)
    assert any(p.abs().max() > 0 for name, p in weights.items() if "lora_B" in name)
    for name, p in weights.items():
        assert torch.equal(p, again[name]), name
    assert whole.curve == resumed.curve and whole.best_step == resumed.best_step > 0

    with whole.model.disable_adapter():  # the base is what it was
        assert torch.allclose(says(whole.model), says(source.load("cpu")[0]), atol=2e-3 if four_bit else 0)
    save_model(tmp_path / "adapter", whole.model, toy.make_model(0)[1])
    files = {p.name for p in (tmp_path / "adapter").iterdir()}
    assert "adapter_model.safetensors" in files and not any(name.endswith((".bin", ".pt")) for name in files)
    loaded, _ = ModelSource(str(tmp_path / "adapter"), None, four_bit).load("cpu")
    # bitsandbytes multiplies in another way in a model that was trained.
    assert torch.allclose(says(loaded), says(whole.model), atol=2e-3 if four_bit else 1e-6)


@pytest.mark.parametrize("algorithm", ["dpo", "ppo", "rloo"])
def test_all_weights_resume_too(algorithm, base, tmp_path):
    recipe = TrainingRecipe(7, 4, 2, 1e-3, eval_every=3, save_every=1)
    source = ModelSource(str(base))
    whole = train(algorithm, source, tmp_path / "whole", recipe)
    with pytest.raises(Killed):
        train(algorithm, source, tmp_path / "killed", recipe, kill_at=3)
    resumed = train(algorithm, source, tmp_path / "killed", recipe)
    assert all(torch.equal(*two) for two in zip(whole.model.parameters(), resumed.model.parameters()))


def published_adapter(folder: Path, base: Path, suffix: str) -> Path:
    """As PEFT of 2023 wrote them: fewer fields, `.bin` weights of a few layers."""
    folder.mkdir()
    about = {
        "base_model_name_or_path": str(base),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": 16.0,
        "lora_dropout": 0.05,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": 4,
        "revision": None,
        "target_modules": ["q_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(about))
    torch.manual_seed(1)
    model, tensors = toy.make_model(0)[0], {}
    for name, layer in model.named_modules():
        if name.endswith(("q_proj", "down_proj")):
            for side, shape in (("A", (4, layer.in_features)), ("B", (layer.out_features, 4))):
                tensors[f"base_model.model.{name}.lora_{side}.weight"] = torch.randn(shape) / 8
    if suffix == "bin":
        torch.save(tensors, folder / "adapter_model.bin")
    else:
        from safetensors.torch import save_file

        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_a_published_adapter_is_the_reference_that_training_begins_with(suffix, base, tmp_path):
    adapter = published_adapter(tmp_path / "adapter", base, suffix)
    alone, onto = ModelSource(str(adapter)), ModelSource(str(base), str(adapter))
    start, plain = says(onto.load("cpu")[0]), says(ModelSource(str(base)).load("cpu")[0])
    assert torch.equal(says(alone.load("cpu")[0]), start) and not torch.allclose(start, plain, atol=1e-2)
    model = make_trainable(onto.load("cpu")[0], "lora", 16, 16.0)
    assert {p.shape[0] for n, p in trained_weights(model).items() if "lora_A" in n} == {4}  # its own rank
    kept = weights_at_start(model)
    with torch.no_grad():
        for p in trained_weights(model).values():
            p.add_(1.0)
    changed = says(model)
    with as_reference(model, kept):
        assert torch.equal(says(model), start)
    assert torch.equal(says(model), changed)
    found = train("dpo", onto, tmp_path / "dpo")
    assert found.curve[0]["loss"] == pytest.approx(
        np.log(2), abs=0.05
    )  # its dropout moves the policy a little


def test_the_dropout_of_an_adapter_is_on_in_gradient_passes_only(base, tmp_path):
    from dataclasses import replace

    source, step = ModelSource(str(base)), replace(RECIPE, steps=3, eval_every=0)
    losses = [
        [row["loss"] for row in train("nll", source, tmp_path / str(i), recipe).curve]
        for i, recipe in enumerate((step, step, replace(step, lora_dropout=0.0), replace(step, seed=1)))
    ]
    assert losses[0] == losses[1] and losses[0][0] == losses[2][0]  # a new adapter adds nothing yet
    assert losses[0][2] != losses[2][2]
    assert not any(m.training for m in train("nll", source, tmp_path / "x", step).model.modules())


def test_a_four_bit_policy_has_the_same_gradient_after_a_pass_without_one(base):
    """bitsandbytes repacks the weights in such a pass on some processors, and then there is no gradient."""
    pytest.importorskip("bitsandbytes")
    tokens = collate(encode_rows(ROWS, toy.make_model(0)[1], LIMITS), 0)
    gradients = []
    for passes in (0, 1):
        model = make_trainable(ModelSource(str(base), None, True).load("cpu")[0], "lora", 4, 8)
        for _ in range(passes):
            says(model)
        token_log_probs(model, tokens).sum().backward()
        gradients.append({name: p.grad for name, p in trained_weights(model).items()})
    first, second = gradients
    assert any("layers.0" in name and g.abs().max() > 0 for name, g in first.items())
    for name, gradient in first.items():
        assert torch.allclose(gradient, second[name], atol=1e-6), name
