"""DPO, PRO, PPO and RLOO: their formulas by hand, their pairs, and that each learns on the toy task."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch

from prompt_oirl.alol.baselines import ppo
from prompt_oirl.alol.baselines.pro import pro_loss, train_pro
from prompt_oirl.alol.baselines.runs import BaselineRun, BestWeights, make_pairs
from prompt_oirl.alol.baselines.trl import train_trl
from prompt_oirl.alol.models.checkpoints import load_model, save_model
from prompt_oirl.alol.models.log_probabilities import collate, token_log_probs
from prompt_oirl.alol.rows import FINAL, Limits, Row, encode_rows
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.training.loop import TrainingRecipe
from prompt_oirl.io.files import InputError

LIMITS = Limits(8, 5)
needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is an extra")


def sampled_rows() -> list[Row]:
    """Two responses to each of 40 prompts, one of them right."""
    rows = []
    for row in toy.make_rows({"train": 40}, 0)["train"]:
        letters = row.prompt.split()[:4]
        for name, said in (("right", letters), ("wrong", ["q"] * 4)):
            new = Row(f"{row.id}/{name}", row.prompt, " ".join(said), {}, segment=row.segment)
            new.components.update(toy.rewards([new], [new.response])[0])
            rows.append(new)
    return rows


ROWS = sampled_rows()


def margin(model, tokens, pairs) -> float:
    """Mean log-probability gap of the pairs."""
    sides = [collate([tokens[getattr(p, side)] for p in pairs], 0) for side in ("chosen", "rejected")]
    with torch.no_grad():
        chosen, rejected = (token_log_probs(model, side).sum(1) for side in sides)
    return float((chosen - rejected).mean())


def test_pairs_put_the_better_response_first_and_repeat():
    pairs = make_pairs(ROWS, 0)
    assert pairs == make_pairs(ROWS, 0) and len(pairs) >= 38
    for pair in pairs:
        chosen, rejected = ROWS[pair.chosen], ROWS[pair.rejected]
        assert chosen.prompt == rejected.prompt
        assert chosen.reward - rejected.reward == pytest.approx(pair.gap) and pair.gap > 0
    with pytest.raises(InputError, match="no prompt has two responses"):
        make_pairs(toy.make_rows({"train": 5}, 0)["train"], 0)


def test_pro_by_hand_and_padding():
    chosen, rejected = torch.tensor([[-1.0, -3.0, 9.0]]), torch.tensor([[-2.0]])
    masks = torch.tensor([[1, 1, 0]]), torch.tensor([[1]])
    loss = pro_loss(chosen, masks[0], rejected, masks[1], torch.tensor([0.5]), sft_weight=0.05)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(0.5 * (-2 - -2))) + 0.05 * 4)
    loss = pro_loss(chosen, masks[0], rejected - 1, masks[1], torch.tensor([2.0]), sft_weight=0.0)
    assert loss.item() == pytest.approx(-math.log(math.exp(-4) / (math.exp(-4) + math.exp(-6))))


def test_generalised_advantages_by_hand():
    rewards = torch.tensor([[0.0, 1.0], [0.5, 7.0]], dtype=torch.float64)
    values = torch.tensor([[0.2, 0.4], [0.1, 7.0]], dtype=torch.float64)
    mask = torch.tensor([[1, 1], [1, 0]], dtype=torch.bool)
    advantages, returns = ppo.generalised_advantages(rewards, values, mask, gamma=0.9, lam=0.5)
    last = 1.0 - 0.4
    first = 0.0 + 0.9 * 0.4 - 0.2 + 0.9 * 0.5 * last
    assert advantages[0].tolist() == pytest.approx([first, last])
    assert advantages[1].tolist() == pytest.approx([0.4, 0.0])  # padding neither earns nor is a future
    assert returns[0].tolist() == pytest.approx([first + 0.2, 1.0])


def test_ppo_rewards_and_clip_by_hand():
    mask = torch.tensor([[1, 1, 0]], dtype=torch.bool)
    given = ppo.token_rewards(torch.tensor([1.0]), torch.tensor([[0.5, -1.0, 0.0]]), mask, 0.1)
    assert given[0].tolist() == pytest.approx([-0.05, 1.1, 0.0])
    recipe = ppo.PPORecipe(value_coefficient=0.0)
    old, one = torch.zeros(1, 1), torch.ones(1, 1)
    for ratio, advantage, loss in ((2.0, 1.0, -1.2), (0.5, 1.0, -0.5), (2.0, -1.0, 2.0), (0.5, -1.0, 0.8)):
        found = ppo.ppo_loss(torch.log(one * ratio), old, one * advantage, old, old, old, one, recipe)
        assert found.item() == pytest.approx(loss)
    recipe = ppo.PPORecipe(value_coefficient=1.0)
    found = ppo.ppo_loss(old, old, old, one, old, one * 2, one, recipe)  # value 1 clipped to .2, return 2
    assert found.item() == pytest.approx(max((1 - 2) ** 2, (0.2 - 2) ** 2) / 2)


def test_the_best_weights_come_back():
    model = torch.nn.Linear(1, 1, bias=False)
    scores = iter([0.0, 1.0, 3.0, 2.0])
    selection = BestWeights(lambda _: next(scores), every=2)
    selection.begin(model)
    for step in range(1, 7):
        with torch.no_grad():
            model.weight.fill_(step)
        selection.after(model, step, step == 6)
    selection.restore(model)
    assert model.weight.item() == 4 and (
        selection.best_step,
        selection.best_score,
        selection.start_score,
    ) == (4, 3.0, 0.0)


def trained(algorithm: str, folder=None, seed: int = 0, steps: int = 12):
    """(gap of the pairs before, after, curve, model) of one run on the toy rows."""
    model, tokenizer = toy.make_model(0)
    if folder is not None:  # TRL loads RLOO's reference from where the model came from
        save_model(folder / "model", model, tokenizer)
        model, tokenizer = load_model(str(folder / "model"), "cpu")
    tokens, pairs = encode_rows(ROWS, tokenizer, LIMITS), make_pairs(ROWS, 0)
    before = margin(model, tokens, pairs)
    recipe = TrainingRecipe(steps=steps, batch_size=16, learning_rate=3e-3, seed=seed)
    selection = BestWeights(lambda _: 0.0, 0)

    def rewards(places, texts):
        return np.array([c[FINAL] for c in toy.rewards([ROWS[i] for i in places], texts)], dtype=np.float32)

    run = BaselineRun(model, tokenizer, ROWS, tokens, pairs, rewards, LIMITS, recipe, selection)
    if algorithm == "pro":
        curve = train_pro(run)
    elif algorithm == "ppo":
        curve = ppo.train_ppo(run, ppo.PPORecipe())
    else:
        curve = train_trl(run, algorithm, 0.1)
    return before, margin(model, tokens, pairs), curve, model


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm", ["pro", pytest.param("dpo", marks=needs_trl), pytest.param("dpo_ref_free", marks=needs_trl)]
)
def test_pairs_are_learned(algorithm):
    before, after, curve, model = trained(algorithm)
    assert after > before + 2 and len(curve) == 12
    assert curve[0]["step"] == 1 and curve[-1]["learning_rate"] == pytest.approx(3e-3 / 12)
    _, again, *_ = trained(algorithm)
    assert again == after
    if algorithm != "pro":
        assert curve[0]["loss"] == pytest.approx(math.log(2), abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", pytest.param("rloo", marks=needs_trl)])
def test_online_baselines_earn_more(algorithm, tmp_path):
    *_, curve, _ = trained(algorithm, tmp_path, steps=48)
    rewards = [row["weight"] for row in curve if "weight" in row]  # TRL reports rounds
    assert len(curve) == 48 and np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.01
