"""The eight losses: by hand, at the reference, at the clip's limits, and against one another."""

from __future__ import annotations

import math

import pytest
import torch

from prompt_oirl.alol.training.losses import PRESETS, Loss, choose_loss, policy_loss
from prompt_oirl.io.files import InputError

LOG_PROBS = torch.tensor([[-0.5, -2.0, -9.0], [-0.1, -0.3, -0.2]])
REFERENCE = torch.tensor([[-1.0, -1.5, -9.0], [-0.2, -0.2, -0.6]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])  # the first row has two tokens; its third is padding
REWARD, ADVANTAGE = torch.tensor([0.7, 0.4]), torch.tensor([0.5, -0.2])


def value(name: str, **flags: float) -> list[float]:
    loss = choose_loss(name, **flags)
    weight = REWARD if loss.weight == "reward" else ADVANTAGE
    per_row, _ = policy_loss(LOG_PROBS, MASK, loss, weight=weight, reference=REFERENCE)
    return per_row.tolist()


def test_every_loss_by_hand():
    # Row 1: NLL 2.5, l - l0 = (+0.5, -0.5), sum 0. Row 2: NLL 0.6, l - l0 = (+0.1, -0.1, +0.4), sum 0.4, A <
    # 0.
    e = math.exp
    expected = {
        "nll": [2.5, 0.6],
        "wbc": [0.7 * 2.5, 0.4 * 0.6],
        "r_gold": [
            0.7 * (e(-0.5) * 0.5 + e(-2.0) * 2.0),
            0.4 * (e(-0.1) * 0.1 + e(-0.3) * 0.3 + e(-0.2) * 0.2),
        ],
        "r_lol": [0.7 * 2.5, 0.4 * e(0.4) * 0.6],
        "a_lol": [0.5 * 2.5, 0.0],
        "a_lol_ref_free": [0.5 * 2.5, 0.0],
        "a_lol_seq": [0.5 * (e(0.5) * 0.5 + e(-0.5) * 2.0), 0.0],
    }
    for name, wanted in expected.items():
        assert value(name) == pytest.approx(wanted, rel=1e-5), name
    assert value("a_lol_kl", kl_beta=0.2) == pytest.approx([0.5 * 2.5 + 0.2 * 0.0, 0.2 * 0.4], rel=1e-5)
    assert value("r_lol", kl_beta=0.2) == pytest.approx([0.7 * 2.5, 0.4 * 0.6 + 0.2 * 0.4], rel=1e-5)
    assert value("a_lol", kl_beta=0.2) == value("a_lol_kl", kl_beta=0.2)


def gradient(
    loss: Loss, log_probs: torch.Tensor, weight: torch.Tensor, reference: torch.Tensor
) -> torch.Tensor:
    log_probs = log_probs.clone().requires_grad_()
    per_row, _ = policy_loss(log_probs, MASK, loss, weight=weight, reference=reference)
    return torch.autograd.grad(per_row.mean(), log_probs)[0]


def test_the_family_has_one_first_gradient_at_the_reference():
    weight = torch.tensor([0.5, 0.3])
    grads = [
        gradient(choose_loss(name), REFERENCE, weight, REFERENCE)
        for name in ("a_lol", "a_lol_seq", "a_lol_ref_free")
    ]
    assert grads[0].abs().sum() > 0
    assert torch.equal(grads[0], grads[1]) and torch.equal(grads[0], grads[2])
    away = [
        gradient(choose_loss(name), LOG_PROBS, weight, REFERENCE) for name in ("a_lol_seq", "a_lol_ref_free")
    ]
    assert not torch.allclose(away[0], away[1])


def test_the_kl_term_shifts_the_advantage():
    """Gradient of A+ NLL + beta sum(l - l0) = (A+ - beta) gradient of NLL, row by row."""
    beta, weight = 0.2, torch.tensor([0.5, 0.1])
    found = gradient(choose_loss("a_lol_kl", kl_beta=beta), LOG_PROBS, weight, REFERENCE)
    shifted = gradient(Loss("reward"), LOG_PROBS, weight - beta, REFERENCE)
    assert torch.allclose(found, shifted, atol=1e-7)


def test_ratios_stop_at_the_clip_and_keep_their_gradient():
    far = torch.tensor([[0.0, 0.0, 0.0], [-60.0, -60.0, -60.0]])
    reference = far.flip(0)
    weight = torch.ones(2)
    for name in ("a_lol", "a_lol_seq"):
        _, seen = policy_loss(far, MASK, choose_loss(name), weight=weight, reference=reference)
        assert seen.ratio.tolist() == pytest.approx([1.9, 0.1])
        assert (seen.clipped_high.tolist(), seen.clipped_low.tolist()) == ([1.0, 0.0], [0.0, 1.0])
        found = gradient(choose_loss(name), far, weight, reference)
        plain = gradient(choose_loss("a_lol_ref_free"), far, weight, reference)
        assert torch.allclose(found, plain * torch.tensor([[1.9], [0.1]]))


def test_a_narrow_clip_is_ref_free_and_zero_is_none():
    weight = torch.tensor([0.5, 0.3])
    free = gradient(choose_loss("a_lol_ref_free"), LOG_PROBS, weight, REFERENCE)
    for name in ("a_lol", "a_lol_seq"):
        assert torch.allclose(
            gradient(choose_loss(name, ppo_clip=1e-9), LOG_PROBS, weight, REFERENCE), free, atol=1e-7
        )
        _, seen = policy_loss(
            LOG_PROBS + 3 * MASK, MASK, choose_loss(name, ppo_clip=0), weight=weight, reference=REFERENCE
        )
        assert seen.ratio[1] > 10 and not seen.clipped_high.any()


def test_no_gradient_reaches_what_only_weights():
    for name in PRESETS:
        loss = choose_loss(name, kl_beta=0.1 if name == "a_lol_kl" else 0.0)
        log_probs = LOG_PROBS.clone().requires_grad_()
        weight = torch.tensor([0.5, 0.3], requires_grad=True)
        per_row, seen = policy_loss(log_probs, MASK, loss, weight=weight, reference=REFERENCE)
        found, into_weight = torch.autograd.grad(per_row.sum(), [log_probs, weight], allow_unused=True)
        assert into_weight is None, name
        assert not any(getattr(seen, field).requires_grad for field in seen.__dataclass_fields__), name
        assert found[0, 2] == 0, f"{name}: gradient into padding"
        if name in ("a_lol", "r_lol"):  # the ratio is a factor: the gradient is ratio * w for every token
            ratio = (LOG_PROBS - REFERENCE).mul(MASK).sum(1).exp()
            assert torch.allclose(-found[:, 0], ratio * weight)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"algorithm": "a_lol_kl"}, "needs --kl_beta"),
        ({"algorithm": "a_lol_seq", "kl_beta": 0.1}, "no meaning"),
        ({"algorithm": "nll", "kl_beta": 0.1}, "no meaning"),
        ({"algorithm": "a_lol", "ppo_clip": -0.1}, "0 or more"),
        ({"algorithm": "a_lol", "ppo_clip": math.nan}, "0 or more"),
        ({"algorithm": "ppo"}, "choose one of"),
    ],
)
def test_settings_without_a_meaning_are_refused(flags, said):
    with pytest.raises(InputError, match=said):
        choose_loss(**flags)
