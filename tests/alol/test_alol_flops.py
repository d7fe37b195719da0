"""What LLaMA-7B on hh costs: operations counted on models without weights."""

from __future__ import annotations

import pytest

from prompt_oirl.alol.experiments.flops import CostOptions, RowCost, cost_rows, count_row, write_costs
from prompt_oirl.io.files import REPO_ROOT, InputError

SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 3}
SMALL |= {"vocab_size": 50}
PROMPT, RESPONSE = 30, 10


def count():
    llama, neox = {"model_type": "llama", **SMALL}, {"model_type": "gpt_neox", **SMALL}
    return count_row(llama, neox, 4, PROMPT, RESPONSE)


def test_reading_costs_two_operations_a_weight_and_token_and_attention():
    pytest.importorskip("peft")
    n = PROMPT + RESPONSE
    layer = 4 * 64 * 64 + 3 * 64 * 96
    attention = 2 * 2 * n * n * 64  # scores and their sums, of every pair of tokens
    head = 64 * 50  # for the tokens of the response alone
    assert count().read == pytest.approx(3 * (2 * layer * n + attention) + 2 * head * RESPONSE, rel=0.05)


def test_learning_an_adapter_costs_three_readings_and_the_adapter():
    pytest.importorskip("peft")
    cost = count()
    assert 3 * cost.read < cost.learned < 4.5 * cost.read


def test_hours_follow_from_what_is_assumed():
    cost = RowCost(1e12, 3e12, 1e11)
    usual = {row["work"]: row for row in cost_rows(cost, CostOptions())}
    dpo, loss = usual["DPO"], usual["step 4: each of the eight losses"]
    assert (loss["learned"], dpo["learned"], dpo["read"]) == (144_000, 288_000, 288_000)
    assert (usual["PPO"]["learned"], usual["PPO"]["answered"]) == (384_000, 96_000 + 280 * 11)
    free = usual["DPO without reference"]
    assert dpo["exaflops"] - free["exaflops"] == pytest.approx(0.288)
    assert dpo["hours_1_gpu"] - free["hours_1_gpu"] == pytest.approx(0.288e18 / 312e12 / 0.35 / 3600)
    # Eight GPUs share out what is learned, and DPO's reference; validation and all of step 3 is one's.
    rest = 280 * 11 * (1e12 / 0.05 + 1e11 / 0.35) / 312e12 / 3600
    assert dpo["hours_8_gpus"] == pytest.approx((dpo["hours_1_gpu"] - rest) / 7.2 + rest)
    assert dpo["dollars_8_gpus"] == pytest.approx(8 * 2 * dpo["hours_8_gpus"])
    step3 = usual["step 3: value and reference"]
    assert step3["hours_8_gpus"] == step3["hours_1_gpu"]
    twice = {row["work"]: row for row in cost_rows(cost, CostOptions(teraflops=624, price=4))}
    assert twice["PPO"]["hours_1_gpu"] == pytest.approx(usual["PPO"]["hours_1_gpu"] / 2)
    assert twice["PPO"]["dollars_1_gpu"] == pytest.approx(usual["PPO"]["dollars_1_gpu"])


def test_an_assumption_of_zero_is_refused():
    with pytest.raises(InputError, match="--utilisation"):
        cost_rows(RowCost(1, 1, 1), CostOptions(utilisation=0))


@pytest.mark.slow
def test_the_committed_table_is_what_the_script_counts(tmp_path):
    pytest.importorskip("peft")
    (tmp_path / "docs").mkdir()
    page = (REPO_ROOT / "docs" / "larger.md").read_text()
    (tmp_path / "docs" / "larger.md").write_text(page)
    write_costs(CostOptions(root=tmp_path))
    assert (tmp_path / "docs" / "larger.md").read_text() == page
