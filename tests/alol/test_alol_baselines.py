"""DPO, PRO, PPO and RLOO: their formulas by hand, their pairs, and that each learns on the toy task."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from prompt_oirl.alol.baselines import ppo
from prompt_oirl.alol.baselines.pair_losses import PairLoss
from prompt_oirl.alol.baselines.pro import pro_loss
from prompt_oirl.alol.baselines.runs import make_pairs
from prompt_oirl.alol.models.adapters import weights_at_start
from prompt_oirl.alol.models.log_probabilities import collate, token_log_probs
from prompt_oirl.alol.policies import Baseline, PolicyData, train_policy
from prompt_oirl.alol.rows import Limits, Row, encode_rows
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import RowSampler
from prompt_oirl.io.files import InputError

LIMITS = Limits(8, 5)


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


def test_rloo_by_hand():
    advantages = ppo.left_out_advantages(torch.tensor([1.0, 0.0, 0.5, 2.0, 2.0, 5.0]), group=3)
    assert advantages.tolist() == pytest.approx([0.75, -0.75, 0.0, -1.5, -1.5, 3.0])
    now, old = torch.log(torch.tensor([[2.0, 1.0], [0.5, 0.5]])), torch.zeros(2, 2)
    loss = ppo.rloo_loss(now, old, torch.tensor([1.0, -1.0]), clip=0.2)
    assert loss.tolist() == pytest.approx([-1.2, 0.8])  # the ratio of the whole answer, held


def data(tokenizer, task=toy.TASK) -> PolicyData:
    return PolicyData(task, tokenizer, LIMITS, ROWS, encode_rows(ROWS, tokenizer, LIMITS), ROWS, 8, 64)


def trained(algorithm: str, folder, steps: int = 12, **flags):
    """(gap of the pairs before, after, policy) of one run on the toy rows."""
    model, tokenizer = toy.make_model(0)
    given = data(tokenizer)
    pairs = make_pairs(ROWS, 0)
    before = margin(model, given.tokens, pairs)
    recipe = TrainingRecipe(steps, batch_size=16, learning_rate=3e-3, **flags)
    found = train_policy(model, given, Baseline(algorithm), lambda _: recipe, 0, folder)
    return before, margin(found.model, given.tokens, pairs), found


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["pro", "dpo", "dpo_ref_free"])
def test_pairs_are_learned(algorithm, tmp_path):
    before, after, found = trained(algorithm, tmp_path / "a")
    assert after > before + 2 and len(found.curve) == 12
    assert found.curve[0]["step"] == 1 and found.curve[-1]["learning_rate"] == pytest.approx(3e-3 / 12)
    _, again, _ = trained(algorithm, tmp_path / "b")
    assert again == after


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_online_baselines_earn_more(algorithm, tmp_path):
    *_, found = trained(algorithm, tmp_path, steps=48)
    rewards = [row["weight"] for row in found.curve]
    assert len(rewards) == 48 and np.mean(rewards[-8:]) > np.mean(rewards[:8]) + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["dpo", "dpo_ref_free"])
def test_the_losses_of_pairs_are_those_of_trl(algorithm, tmp_path):
    """On one batch, of a policy that is not its reference: loss and gradient."""
    pytest.importorskip("trl")
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    (model, tokenizer), (reference, _) = toy.make_model(0), toy.make_model(1)
    pairs, n = make_pairs(ROWS, 0), 16
    objective = PairLoss(
        algorithm,
        0.3,
        data(tokenizer).tokens,
        pairs[:n],
        RowSampler(np.arange(n), None, 0),
        TrainingRecipe(1, batch_size=4, accumulation=4),
        tokenizer.pad_token_id,
        weights_at_start(reference),
    )
    found = objective.gradients(model.eval(), 0)["loss"]
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item()
    texts = [(ROWS[pair.chosen], ROWS[pair.rejected]) for pair in pairs[:n]]
    # TRL tokenises prompt and response in one: "=" and "r" would be one word.
    lines = [{"prompt": a.prompt, "chosen": f" {a.response}", "rejected": f" {b.response}"} for a, b in texts]
    flags = {"output_dir": str(tmp_path), "max_steps": 1, "per_device_train_batch_size": n, "beta": 0.3}
    flags |= {"logging_steps": 1, "report_to": "none", "save_strategy": "no", "max_grad_norm": 1e9}
    flags |= {"use_cpu": True, "bf16": False, "disable_tqdm": True, "disable_dropout": True}
    model.zero_grad()
    told = {"train_dataset": Dataset.from_list(lines), "processing_class": tokenizer}
    if algorithm == "dpo":
        trainer = DPOTrainer(model, reference, args=DPOConfig(**flags, loss_type=["sigmoid"]), **told)
    else:
        trainer = CPOTrainer(model, CPOConfig(**flags, loss_type="sigmoid", cpo_alpha=0.0), **told)
    trainer.train()
    logged = trainer.state.log_history[0]
    assert found == pytest.approx(logged["loss"], abs=1e-4)
    assert norm == pytest.approx(logged["grad_norm"], rel=1e-3)
