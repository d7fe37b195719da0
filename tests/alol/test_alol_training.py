"""The training loop: accumulation, resume, selection on validation, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from prompt_oirl.alol.rows import Limits, encode_rows
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.training import advantages
from prompt_oirl.alol.training.loop import LoggedRows, TrainingRows, train
from prompt_oirl.alol.training.losses import choose_loss
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import make_sampler, with_share_of_rows
from prompt_oirl.alol.training.value_estimate import ValueHead
from prompt_oirl.io.files import InputError
from prompt_oirl.io.tracking import reporting

ROWS = toy.make_rows({"train": 60}, 0)["train"]
TOKENS = encode_rows(ROWS, toy.make_model(0)[1], Limits(8, 5))
RECIPE = TrainingRecipe(steps=8, batch_size=4, accumulation=2, learning_rate=1e-2, warmup=2, save_every=3)


@pytest.fixture(scope="module")
def reference():
    model, _ = toy.make_model(0)
    torch.manual_seed(0)
    rewards = np.array([row.reward for row in ROWS])
    return advantages.compute(model, ValueHead(64, 1.0), TOKENS, rewards, 0, "cpu", 64)


def reference_sampler(reference, seed=0):
    return make_sampler("good_priority", reference.advantages, np.ones(len(ROWS), dtype=bool), seed)


def run(folder, reference, recipe=RECIPE, algorithm="a_lol_seq", rows=TOKENS, **flags):
    model, _ = toy.make_model(0)
    sampler = reference_sampler(reference, recipe.seed)
    given = TrainingRows(rows, reference.advantages, reference)
    objective = LoggedRows(given, choose_loss(algorithm), sampler, recipe, 0)
    outcome = train(model, objective, folder, {"model": "toy"}, **flags)
    return outcome, torch.cat([p.detach().flatten() for p in model.parameters()])


def score(model) -> float:
    return float(sum(p.detach().double().sum() for p in model.parameters()))


@pytest.mark.parametrize("stop", [1, 4, 7])
@pytest.mark.parametrize("evaluate", [None, score])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, reference, stop, evaluate):
    recipe = replace(RECIPE, eval_every=2 if evaluate else 0)
    whole, weights = run(tmp_path / "whole", reference, recipe, evaluate=evaluate)
    part, _ = run(tmp_path / "parts", reference, recipe, evaluate=evaluate, stop_at=stop)
    assert part.step == stop
    outcome, resumed = run(tmp_path / "parts", reference, recipe, evaluate=evaluate)
    assert torch.equal(resumed, weights) and outcome == whole
    for name in ("checkpoint", *(["best"] if evaluate else [])):
        files = [tmp_path / part / f"{name}.safetensors" for part in ("whole", "parts")]
        assert files[0].read_bytes() == files[1].read_bytes()
    again, weights = run(tmp_path / "parts", reference, recipe, evaluate=evaluate)
    assert again == whole and torch.equal(resumed, weights)


def test_a_run_that_died_between_checkpoints_goes_on_to_the_same_weights(tmp_path, reference):
    _, weights = run(tmp_path / "whole", reference)

    class Killed(Exception):
        pass

    class Bar:
        n = 0

        def update(self, steps):
            self.n += steps
            if self.n == 5:
                raise Killed

        def set_postfix_str(self, text):
            pass

    with pytest.raises(Killed):
        run(tmp_path / "killed", reference, bar=Bar())
    outcome, resumed = run(tmp_path / "killed", reference)
    assert torch.equal(resumed, weights) and len(outcome.curve) == 8


def test_a_tracker_is_told_every_update_once_and_changes_nothing(tmp_path, reference):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = replace(RECIPE, eval_every=2)
    whole, weights = run(tmp_path / "silent", reference, recipe, evaluate=score)
    told = tmp_path / "told"
    for stop in (5, None):  # stopped after update 5, then to the end
        with reporting(["tensorboard"], told, "a run") as report:
            shares = with_share_of_rows(report, reference_sampler(reference), 8, len(ROWS))
            flags = {"evaluate": score, "report": shares, "stop_at": stop}
            outcome, resumed = run(told, reference, recipe, **flags)
    assert torch.equal(resumed, weights) and outcome == whole
    assert (told / "checkpoint.safetensors").read_bytes() == (
        tmp_path / "silent" / "checkpoint.safetensors"
    ).read_bytes()
    read = EventAccumulator(str(told / "tensorboard"))
    read.Reload()
    for name in ("loss", "learning_rate", "gradient_norm"):
        assert [(e.step, e.value) for e in read.Scalars(name)] == [
            (int(row["step"]), pytest.approx(row[name], rel=1e-6)) for row in whole.curve
        ]
    assert [e.step for e in read.Scalars("score")] == [0, 2, 4, 6, 8]
    seen = [e.value for e in read.Scalars("share_of_rows")]
    drawn = {i for step in range(8) for i in reference_sampler(reference).draw(step, 8).tolist()}
    assert seen == sorted(seen) and seen[-1] == pytest.approx(len(drawn) / len(ROWS))


def test_accumulation_changes_nothing(tmp_path, reference):
    weights = [
        run(tmp_path / str(k), reference, replace(RECIPE, batch_size=16 // k, accumulation=k, steps=3))[1]
        for k in (1, 4)
    ]
    # Sums in another order, which Adam enlarges where gradients are next to nothing.
    assert torch.allclose(*weights, atol=1e-4)


def test_the_first_update_is_the_same_across_the_family_on_one_batch(tmp_path, reference):
    recipe = replace(RECIPE, steps=1, warmup=0)
    weights = [
        run(tmp_path / name, reference, recipe, name)[1] for name in ("a_lol", "a_lol_seq", "a_lol_ref_free")
    ]
    assert torch.allclose(weights[0], weights[1], atol=1e-6)
    assert torch.allclose(weights[0], weights[2], atol=1e-6)


def test_ratios_begin_at_one(tmp_path, reference):
    outcome, _ = run(tmp_path, reference, replace(RECIPE, steps=1))
    assert outcome.curve[0]["ratio"] == pytest.approx(1, abs=1e-5)
    assert outcome.curve[0]["kl"] == pytest.approx(0, abs=1e-5)


def test_the_best_validated_weights_are_kept_and_patience_ends(tmp_path, reference):
    told = iter([0.0, 0.5, 0.3, 0.2, 0.1])
    seen = []

    def evaluate(model):
        seen.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        return next(told)

    recipe = replace(RECIPE, eval_every=1, patience=2)
    outcome, weights = run(tmp_path, reference, recipe, evaluate=evaluate)
    assert (outcome.step, outcome.best_step, outcome.best_score, outcome.start_score) == (3, 1, 0.5, 0.0)
    assert torch.equal(weights, seen[1])


def test_other_settings_and_damaged_checkpoints_are_refused(tmp_path, reference):
    run(tmp_path, reference, stop_at=4)
    with pytest.raises(InputError, match="other settings"):
        run(tmp_path, reference, replace(RECIPE, learning_rate=1e-3))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        run(tmp_path, reference)


def test_a_loss_that_is_not_finite_ends_training_in_one_line(tmp_path, reference):
    broken = advantages.Advantages(
        reference.values, reference.advantages, [row - 1e4 for row in reference.log_probs]
    )
    model, _ = toy.make_model(0)
    sampler = make_sampler("none", None, np.ones(len(ROWS), dtype=bool), 0)
    with pytest.raises(InputError, match="step 1: the loss is .*--ppo_clip 0.9"):
        given = TrainingRows(TOKENS, broken.advantages, broken)
        train(model, LoggedRows(given, choose_loss("a_lol", ppo_clip=0), sampler, RECIPE, 0), tmp_path, {})


def test_mixed_precision_trains(tmp_path, reference):
    outcome, weights = run(tmp_path, reference, replace(RECIPE, precision="bf16"))
    assert weights.dtype == torch.float32 and torch.isfinite(weights).all()
    assert outcome.curve[0]["ratio"] == pytest.approx(1, abs=0.1)


def test_rates():
    recipe = replace(RECIPE, steps=10, warmup=2, learning_rate=1.0)
    assert [round(recipe.rate(s), 3) for s in (0, 1, 2, 6, 9)] == [0.5, 1.0, 1.0, 0.5, 0.125]
    assert replace(recipe, schedule="constant").rate(9) == 1.0
    with pytest.raises(InputError, match="--steps 0"):
        replace(recipe, steps=0)
