"""Reading a shared start once: never a wrong start, never more to read, and the same texts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig

from prompt_oirl.alol.tasks import toy
from prompt_oirl.data.prompts import Prompt, load_prompts
from prompt_oirl.data.questions import load_own_questions
from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.llms import Decoding, generation, item_seed, shared_prefix
from prompt_oirl.llms.chat import conversation
from prompt_oirl.llms.random_llama import SMALL, random_llama
from prompt_oirl.llms.shared_prefix import can_share, fixed_cache, read_starts, shared_starts
from prompt_oirl.llms.transformers_llm import TransformersLLM

ARITH = REPO_ROOT / "data" / "arith"


def test_prompts_that_follow_a_question_share_it() -> None:
    first, second = list(range(10, 40)), list(range(50, 75))
    rows = [first + [1], second + [1, 2], first + [2, 3], second + [2], first + [1], first + [2, 3, 4]]
    assert shared_starts(rows) == [30, 25, 30, 25, 30, 30]
    assert shared_starts([first + [1]] * 3) == [30] * 3, "one token is left to go on from"
    assert shared_starts([first, second]) == [0, 0]
    assert shared_starts([first]) == [0]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12))
def test_starts_leave_a_token_and_save_what_they_promise(rows: list[list[int]]) -> None:
    starts = shared_starts(rows)
    assert all(0 <= start < len(row) for row, start in zip(rows, starts))
    if any(starts):
        distinct = {tuple(row[:start]) for row, start in zip(rows, starts)}
        rest = max(len(row) - start for row, start in zip(rows, starts))
        read = len(distinct) * max(starts) + len(rows) * rest
        assert read < shared_prefix.WORTH * len(rows) * max(map(len, rows))


def tiny(config: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


MISTRAL: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "eos_token_id": None,
}
GPT2: dict[str, Any] = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
MODELS = {
    "llama": lambda: random_llama(**{**SMALL, "vocab_size": 99}),
    "grouped heads": lambda: tiny(MistralConfig(**MISTRAL, sliding_window=None)),
    "learned positions": lambda: tiny(GPT2Config(**GPT2, eos_token_id=None)),
}


def test_a_start_read_once_leaves_the_keys_and_values_of_every_row() -> None:
    model = random_llama(**{**SMALL, "vocab_size": 99})
    ids = torch.tensor([[0, 5, 6, 7], [8, 9, 8, 9], [0, 5, 6, 7], [5, 6, 0, 7]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]])
    cache = fixed_cache(model, 6)
    with torch.inference_mode():
        read_starts(model, ids, mask, cache)
        whole = model(ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0))
    assert cache.get_seq_length() == 4
    for found, expected in zip(cache.layers, whole.past_key_values.layers):
        for row, column in mask.nonzero().tolist():
            assert torch.allclose(found.keys[row, :, column], expected.keys[row, :, column], atol=1e-5)
            assert torch.allclose(found.values[row, :, column], expected.values[row, :, column], atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("name", MODELS)
def test_random_models_answer_the_same(name: str, temperature: float, monkeypatch: Any) -> None:
    draw = torch.Generator().manual_seed(1)
    asked = [torch.randint(2, 99, (size,), generator=draw).tolist() for size in (31, 17, 24)]
    rows = [question + [2 + i] * (1 + 2 * i) for i in range(5) for question in asked]
    tokenizer = toy.make_model(0)[1]
    monkeypatch.setattr(tokenizer, "decode", lambda ids, **_: str(ids))
    llm = TransformersLLM.of(MODELS[name](), tokenizer, 60, len(rows))
    decoding = Decoding(temperature, 0.95, 12)
    assert can_share(llm.model) and len(set(shared_starts(rows))) == 3
    shared = llm.complete(rows, decoding, range(len(rows)))
    monkeypatch.setattr(shared_prefix, "WORTH", 0)
    assert not any(shared_starts(rows))
    assert llm.complete(rows, decoding, range(len(rows))) == shared
    assert len({answer.text for answer in shared}) > 3


def test_a_sliding_window_takes_the_plain_path() -> None:
    assert not can_share(tiny(MistralConfig(**MISTRAL, sliding_window=8)))


@pytest.mark.parametrize(
    ("temperature", "position"), [(0.0, "after"), (0.6, "after"), (0.6, "answer_start"), (0.6, "before")]
)
def test_the_tiny_model_answers_the_same(temperature: float, position: str, monkeypatch: Any) -> None:
    llm = TransformersLLM(str(REPO_ROOT / "data" / "nano_llama"))
    prompts = [Prompt(p.id, p.text, position) for p in load_prompts(ARITH / "prompts.csv")[:6]]
    asked = load_own_questions(ARITH / "test.jsonl", "arith")[:8]
    pairs = [(question, prompt) for question in asked for prompt in prompts]
    talks = [conversation(question.text, prompt) for question, prompt in pairs]
    seeds = [item_seed(question.id, prompt.id) for question, prompt in pairs]
    decoding = Decoding(temperature, 0.9, 48)
    assert any(shared_starts([llm.encode(talk) for talk in talks]))
    shared = llm.generate(talks, decoding=decoding, seeds=seeds)
    monkeypatch.setattr(shared_prefix, "WORTH", 0)
    assert llm.generate(talks, decoding=decoding, seeds=seeds) == shared


def test_items_that_start_alike_are_asked_together() -> None:
    asked = load_own_questions(ARITH / "test.jsonl", "arith")[:3]
    prompts = [Prompt("a", "A"), Prompt("b", "B", "before"), Prompt("c", "C", "answer_start")]
    order = sorted(generation.all_items(asked, prompts, 2), key=generation.asking_order)
    ids = [q.id for q in sorted(asked, key=lambda q: -len(q.text))]
    follow = [(q, p, sample) for q in ids for p in "ac" for sample in (0, 1)]
    assert [item.key for item in order] == follow + [(q, "b", sample) for q in ids for sample in (0, 1)]
