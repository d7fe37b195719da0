"""Log-probabilities, value head, advantages and generations: nothing depends on a row's neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prompt_oirl.alol.evaluation import responses as evaluation
from prompt_oirl.alol.models.checkpoints import read_tensors
from prompt_oirl.alol.models.log_probabilities import Tokens, collate, log_probs_and_states, token_log_probs
from prompt_oirl.alol.rows import Limits, encode_rows
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.training import advantages
from prompt_oirl.alol.training.losses import choose_loss, policy_loss
from prompt_oirl.alol.training.value_estimate import (
    ValueHead,
    ValueRecipe,
    fit_value_head,
    padded,
    predict,
    save_head,
)
from prompt_oirl.io.files import InputError
from prompt_oirl.llms.generation import Decoding

RAGGED = [Tokens([4, 5, 6, 7, 8, 3], [4, 5, 1]), Tokens([9, 3], [9, 10, 11, 12, 1]), Tokens([5, 6, 3], [1])]


def make_gpt2() -> torch.nn.Module:
    """Learned positions: wrong position ids would show."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=24, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=1
        )
    ).eval()


@pytest.fixture(params=["llama", "gpt2"])
def model(request):
    return toy.make_model(0)[0] if request.param == "llama" else make_gpt2()


@torch.no_grad()
def test_log_probs_of_a_row_are_the_same_alone_and_padded(model):
    together = token_log_probs(model, collate(RAGGED, 0))
    for i, row in enumerate(RAGGED):
        batch = collate([row], 0)
        alone = token_log_probs(model, batch)[0]
        n = len(row.response)
        assert torch.allclose(together[i, :n], alone, atol=1e-5)
        assert not together[i, n:].any()
        full = model(input_ids=batch.ids).logits.log_softmax(-1)[0, len(row.prompt) - 1 : -1]
        assert torch.allclose(alone, full.gather(1, batch.ids[0, len(row.prompt) :, None])[:, 0], atol=1e-5)


def test_losses_and_gradients_of_a_batch_are_the_means_of_its_rows(model):
    loss = choose_loss("a_lol_seq")
    weight = torch.tensor([0.5, 0.2, 0.9])

    def run(places: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        batch = collate([RAGGED[i] for i in places], 0)
        found = token_log_probs(model, batch)
        per_row, _ = policy_loss(
            found, batch.mask, loss, weight=weight[places], reference=found.detach() - 0.1
        )
        (per_row.sum() / len(RAGGED)).backward()
        return per_row.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])

    together, gradient = run([0, 1, 2])
    alone = [run([i]) for i in range(3)]
    assert torch.allclose(together, torch.cat([a for a, _ in alone]), atol=1e-5)
    assert torch.allclose(gradient, sum(g for _, g in alone), atol=1e-5)


def test_prompt_states_see_no_response_and_values_no_padding(model):
    width = model.config.hidden_size
    head = ValueHead(width, 2.0).eval()
    _, states = log_probs_and_states(model, batch := collate(RAGGED, 0))
    together = head(states, batch.prompt_mask)
    for i, row in enumerate(RAGGED):
        one = collate([Tokens(row.prompt, [])], 0)
        _, alone = log_probs_and_states(model, one)
        assert torch.allclose(head(alone, one.prompt_mask)[0], together[i], atol=1e-5)
    assert ((together > 0) & (together < 2)).all()


def test_value_head_learns_what_prompts_are_worth(tmp_path):
    rng = np.random.default_rng(0)
    states = [torch.from_numpy(rng.normal(size=(n, 16)).astype(np.float32)) for n in rng.integers(2, 6, 200)]
    worth = np.array([float(s[0, 0] > 0) for s in states])
    for s, w in zip(states, worth):
        s[:, 1] = float(w) * 2
    rewards = (rng.random((200, 4)) < (0.1 + 0.8 * worth)[:, None]).astype(float)
    clusters = [f"c{i // 2}" for i in range(200)]
    recipe = ValueRecipe(epochs=40, learning_rate=3e-3, patience=5, seed=1)
    fit = fit_value_head(states, rewards, clusters, 1.0, recipe)
    assert fit.summary["held_out_mse"] < 0.6 * fit.summary["held_out_mse_of_the_mean"]
    assert fit.summary["held_out_prompts"] == 20 and len(fit.curve) <= 40
    again = fit_value_head(states, rewards, clusters, 1.0, recipe)
    assert torch.equal(*(head(*padded(states, "cpu")) for head in (fit.head, again.head)))
    save_head(tmp_path / "head.safetensors", fit.head)
    tensors, about = read_tensors(tmp_path / "head.safetensors", "")
    kept = ValueHead(int(about["width"]), float(about["max_value"]))
    kept.load_state_dict(tensors)
    assert np.array_equal(predict(kept, states, "cpu"), predict(fit.head, states, "cpu"))
    (tmp_path / "head.safetensors").write_bytes(b"\x08" + b"\0" * 20)
    with pytest.raises(InputError, match="not a whole safetensors file.*run step 3"):
        read_tensors(tmp_path / "head.safetensors", "run step 3")


@pytest.fixture
def computed():
    model, tokenizer = toy.make_model(0)
    rows = toy.make_rows({"train": 30}, 0)["train"]
    tokens = encode_rows(rows, tokenizer, Limits(8, 5))
    rewards = np.array([row.reward for row in rows])
    torch.manual_seed(0)
    head = ValueHead(64, 1.0)
    found = [advantages.compute(model, head, tokens, rewards, 0, "cpu", size) for size in (4, 30)]
    return found, tokens, rewards


def test_advantages_are_reward_minus_value_for_any_batch_size(computed, tmp_path):
    (found, other), tokens, rewards = computed
    assert np.allclose(found.advantages, rewards - found.values) and np.allclose(
        found.values, other.values, atol=1e-5
    )
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found.log_probs, other.log_probs))
    path = tmp_path / "advantages.safetensors"
    advantages.save(path, "key", found)
    read = advantages.load(path, "key", tokens)
    assert np.array_equal(read.advantages, found.advantages)
    assert all(torch.equal(a, b) for a, b in zip(read.log_probs, found.log_probs))
    assert read.reference_batch([3, 4], "cpu").shape == (2, 5)


@pytest.mark.parametrize("damage", ["cut", "garbage", "foreign", "rows", "nan", "missing"])
def test_a_damaged_or_foreign_cache_is_refused_in_one_line(computed, tmp_path, damage):
    (found, _), tokens, _ = computed
    path, key = tmp_path / "advantages.safetensors", "key"
    if damage == "nan":
        found.advantages[3] = np.nan
    if damage != "missing":
        advantages.save(path, key, found)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    if damage == "garbage":
        path.write_bytes(b"garbage" * 100)
    with pytest.raises(InputError, match="alol_step3_estimate_advantage.py") as error:
        advantages.load(
            path, "other" if damage == "foreign" else key, tokens[:-1] if damage == "rows" else tokens
        )
    assert "\n" not in str(error.value)


def test_responses_do_not_depend_on_the_batch():
    model, tokenizer = toy.make_model(0)
    rows = toy.make_rows({"test": 9}, 0)["test"]
    limits = Limits(8, 5)
    tokens = encode_rows(rows, tokenizer, limits)
    found = [
        evaluation.respond(
            evaluation.llm_of(model, tokenizer, limits, size), rows, tokens, Decoding(1.0, 1.0, 5, 3), 2
        )
        for size in (1, 4, 64)
    ]
    assert found[0] == found[1] == found[2]
    assert any(a != b for a, b in found[0])


def test_distinct_and_metrics():
    assert evaluation.distinct(["a b a", "A b"], 1) == pytest.approx(2 / 5)
    assert evaluation.distinct(["a b a", "A b"], 2) == pytest.approx(2 / 3)
    rows = toy.make_rows({"test": 40}, 0)["test"]
    said = [[" ".join(row.prompt.split()[:4]), "x x x x"] for row in rows]
    components = evaluation.reward_responses(toy.TASK, rows, said)
    table = evaluation.metric_rows(rows, said, components, np.full(40, 5.0), np.full(40, 5))
    values = {(row["segment"], row["metric"]): row for row in table}
    assert values["all", "match"]["value"] == 0.5 and values["all", "match"]["n"] == 40
    assert values["easy", "final_reward"]["value"] == pytest.approx(0.9)
    assert values["hard", "final_reward"]["value"] == pytest.approx(0.1)
    assert values["all", "perplexity_of_data"]["value"] == pytest.approx(np.e)
    assert values["all", "length_words"]["value"] == 4
