"""Back ends: one text per item whatever the batch, Meta's checkpoints, misbehaving servers, budgets."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import META_SIZE, write_meta_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_server import FAULTS, Handler
from scipy.stats import chisquare, kstest

from prompt_oirl.alol.tasks import toy
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import Decoding, Generation, item_seed
from prompt_oirl.llms.budget import Budget, ask
from prompt_oirl.llms.chat import conversation, render
from prompt_oirl.llms.meta_checkpoint import load_meta_checkpoint
from prompt_oirl.llms.openai_llm import OpenAILLM
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.llms.sampling import draw, exponential_noise
from prompt_oirl.llms.transformers_llm import TransformersLLM


def meta_forward(state: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """LLaMA as Meta defines it, neighbouring pairs turned as complex numbers: logits (length, vocabulary)."""
    dim, heads = META_SIZE["dim"], META_SIZE["n_heads"]
    size, length = dim // heads, len(tokens)
    angles = torch.outer(torch.arange(length).float(), 1 / 10000 ** (torch.arange(0, size, 2).float() / size))
    turn = torch.polar(torch.ones_like(angles), angles)[:, None, :]

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + META_SIZE["norm_eps"]) * weight

    def rotate(x: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(torch.view_as_complex(x.view(length, heads, size // 2, 2)) * turn).flatten(
            2
        )

    x = state["tok_embeddings.weight"][tokens]
    mask = torch.full((length, length), float("-inf")).triu(1)
    for layer in range(META_SIZE["n_layers"]):
        w = {
            name: state[f"layers.{layer}.{name}.weight"]
            for name in (
                "attention.wq",
                "attention.wk",
                "attention.wv",
                "attention.wo",
                "feed_forward.w1",
                "feed_forward.w2",
                "feed_forward.w3",
                "attention_norm",
                "ffn_norm",
            )
        }
        h = norm(x, w["attention_norm"])
        q, k = rotate(h @ w["attention.wq"].T), rotate(h @ w["attention.wk"].T)
        v = (h @ w["attention.wv"].T).view(length, heads, size)
        scores = torch.einsum("qhd,khd->hqk", q, k) / size**0.5 + mask
        x = x + torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(length, dim) @ w["attention.wo"].T
        h = norm(x, w["ffn_norm"])
        x = (
            x
            + (torch.nn.functional.silu(h @ w["feed_forward.w1"].T) * (h @ w["feed_forward.w3"].T))
            @ w["feed_forward.w2"].T
        )
    return norm(x, state["norm.weight"]) @ state["output.weight"].T


@pytest.mark.parametrize("shards", [1, 2])
def test_meta_checkpoint_gives_metas_logits(
    shards: int, tmp_path: Path, meta_state, sentencepiece_model
) -> None:
    folder = write_meta_folder(tmp_path, meta_state, shards, sentencepiece_model)
    model, _ = load_meta_checkpoint(folder, None, torch.float32)
    tokens = torch.arange(3, 40)
    with torch.inference_mode():
        logits = model.eval()(tokens[None]).logits[0]
    assert torch.allclose(logits, meta_forward(meta_state, tokens), atol=1e-4)
    assert logits.std() > 0.1


def test_meta_chat_tokens_are_sentencepieces_own(tmp_path: Path, meta_state, sentencepiece_model) -> None:
    import sentencepiece

    llm = TransformersLLM(str(write_meta_folder(tmp_path, meta_state, 1, sentencepiece_model)))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model))
    text = "Ann has 12 apples. The answer is:"
    assert llm.encode([{"role": "user", "content": text}]) == [1, *processor.encode(f"[INST] {text} [/INST]")]


def test_broken_meta_folders_are_refused(tmp_path: Path, meta_state, sentencepiece_model) -> None:
    folder = write_meta_folder(tmp_path, meta_state, 1, sentencepiece_model)
    (folder / "consolidated.00.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="consolidated|weights"):
        load_meta_checkpoint(folder, None, torch.float32)
    (folder / "consolidated.00.pth").unlink()
    with pytest.raises(InputError, match=r"no consolidated"):
        load_meta_checkpoint(folder, None, torch.float32)


@pytest.mark.parametrize("temperature", [0.0, 0.6])
def test_texts_do_not_depend_on_the_batch(
    temperature: float, tmp_path: Path, meta_state, sentencepiece_model
) -> None:
    folder = write_meta_folder(tmp_path, meta_state, 1, sentencepiece_model)
    asked = [[{"role": "user", "content": f"Ann has {i} apples. " * (1 + i % 4)}] for i in range(24)]
    texts = []
    for batch in (1, 7, 24):
        llm = TransformersLLM(str(folder), max_batch_size=batch)
        answers = llm.generate(asked, decoding=Decoding(temperature, 0.9, 16), seeds=range(24))
        texts.append([a.text for a in answers])
        assert all(a.tokens_out == 16 or a.finish_reason == "stop" for a in answers)
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0])) > 1


def test_the_number_format_is_the_one_asked_for(tmp_path: Path, meta_state, sentencepiece_model) -> None:
    folder = write_meta_folder(tmp_path, meta_state, 1, sentencepiece_model)
    usual = ModelOptions(ckpt_dir=str(folder))
    usual.load().model.save_pretrained(tmp_path / "tiny")  # type: ignore[attr-defined]
    usual.load().tokenizer.save_pretrained(tmp_path / "tiny")  # type: ignore[attr-defined]
    formats = {None: torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}
    for place in (folder, tmp_path / "tiny"):
        logits = {}
        for name, expected in formats.items():
            llm = ModelOptions(ckpt_dir=str(place), dtype=name).load()
            assert {weight.dtype for weight in llm.model.parameters()} == {expected}
            answers = llm.generate(
                [[{"role": "user", "content": "Ann has 3 apples."}]],
                decoding=Decoding(0.0, 0.9, 8),
                seeds=[0],
            )
            assert answers[0].tokens_out or answers[0].finish_reason == "stop"
            with torch.inference_mode():
                logits[name] = llm.model(torch.arange(3, 40)[None]).logits.float()
        assert torch.equal(logits[None], logits["float32"])
        parted = (logits[None] - logits["bfloat16"]).abs().max()
        assert 0 < parted < 0.5 * logits[None].std()


def test_a_log_keeps_the_number_format_that_was_asked_for() -> None:
    asked = [ModelOptions(ckpt_dir="m", dtype=name).identity() for name in (None, "float32", "bfloat16")]
    assert asked[0] == {"model": "m", "max_seq_len": 512}, "logs made before the flag stay valid"
    assert [about.get("dtype") for about in asked] == [None, "float32", "bfloat16"]
    for options in (
        ModelOptions(backend="openai", model="m", dtype="bfloat16"),
        ModelOptions(ckpt_dir="m", backend="vllm", dtype="bfloat16"),
    ):
        with pytest.raises(InputError, match="--lm.dtype is for --lm.backend transformers"):
            options.check("lm.")


def test_noise_is_exponential_and_a_function_of_the_seed() -> None:
    seeds = torch.tensor([item_seed(0, "a"), item_seed(0, "b"), 7])
    noise = exponential_noise(seeds, 3, 100_000)
    assert (noise > 0).all()
    for row in noise.numpy():
        assert kstest(row, "expon").pvalue > 1e-3
    assert abs(np.corrcoef(noise.numpy())[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[0, :-1].numpy(), noise[0, 1:].numpy())[0, 1]) < 0.02
    assert torch.equal(noise[2:], exponential_noise(seeds[2:], 3, 100_000))
    assert not torch.equal(noise, exponential_noise(seeds, 4, 100_000))
    across_steps = torch.stack([exponential_noise(seeds[:1], step, 1)[0, 0] for step in range(5_000)])
    assert kstest(across_steps.numpy(), "expon").pvalue > 1e-3


def test_sampling_follows_the_truncated_distribution() -> None:
    seeds = torch.tensor([item_seed(1, i) for i in range(20_000)])
    logits = (0.6 * torch.log(torch.tensor([0.05, 0.3, 0.15, 0.5]))).expand(len(seeds), -1)
    drawn = draw(logits, exponential_noise(seeds, 0, 4), 0.6, 0.9)
    counts = torch.bincount(drawn[:, 0], minlength=4).numpy()
    assert counts[0] == 0
    assert chisquare(counts[1:], len(seeds) * np.array([0.3, 0.15, 0.5]) / 0.95).pvalue > 1e-3


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.floats(0.05, 1), st.floats(0.2, 3), st.integers(2, 300))
def test_drawing_equals_sorting_out_the_nucleus_first(
    seed: int, top_p: float, temperature: float, vocabulary: int
) -> None:
    logits = torch.randn(5, vocabulary, generator=torch.Generator().manual_seed(seed)) * 2
    noise = exponential_noise(torch.arange(seed, seed + 5), 0, vocabulary)
    ranked, order = (logits / temperature).softmax(-1).double().sort(dim=-1, descending=True)
    ahead = ranked.cumsum(-1) - ranked
    kept = (ahead < top_p).gather(1, order.argsort(-1))
    plain = (logits / temperature - noise.log()).masked_fill(~kept, float("-inf")).argmax(-1)
    # A token on the very edge of the nucleus may fall either way.
    near = ((ahead - top_p).abs() < 1e-5).any(-1)
    drawn = draw(logits, noise, temperature, top_p)[:, 0]
    assert torch.equal(drawn[~near], plain[~near])


def test_prompt_positions() -> None:
    assert conversation("Q?", Prompt("p", "P", "after")) == [{"role": "user", "content": "Q?\nP"}]
    assert conversation("Q?", Prompt("p", "P", "after"), "")[0]["content"] == "Q?P"
    assert conversation("Q?", Prompt("p", "P", "before"))[0]["content"] == "P\nQ?"
    assert [t["role"] for t in conversation("Q?", Prompt("p", "P", "system"))] == ["system", "user"]
    assert conversation("Q?", Prompt("p", "P", "answer_start"))[-1] == {"role": "assistant", "content": "P"}


def test_a_chat_template_that_knows_no_system_message_is_one_line() -> None:
    tokenizer = toy.make_model(0)[1]
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(
        InputError, match="no conversation of system, user .System role not supported.: put the prompt"
    ):
        render(tokenizer, conversation("a", Prompt("x", "b", "system")))


def test_budget_flags_are_refused_with_their_prefix() -> None:
    with pytest.raises(InputError, match="--scorer_budget.max_calls -1"):
        BudgetOptions(max_calls=-1).budget(prefix="scorer_budget.")
    with pytest.raises(InputError, match="--budget.max_cost needs prices: give --budget.price_in"):
        BudgetOptions(max_cost=1.0).budget(prefix="budget.")


def test_budget_stops_before_it_is_overdrawn() -> None:
    budget = Budget(max_calls=5, max_cost=0.001, price_in=10, price_out=10)
    assert budget.calls_left(8, 10, 10) == 5
    for _ in range(4):
        assert budget.spend(Generation("x", "stop", 10, 10)) == pytest.approx(0.0002)
    assert budget.calls_left(8, 10, 10) == 1
    assert Budget(max_cost=0.0005, price_in=10, price_out=10).calls_left(8, 10, 10) == 2
    assert Budget(max_minutes=0).calls_left(8, 10, 10) == 0


def test_every_fault_of_a_server_ends_in_an_answer_or_stays_missing(server, monkeypatch) -> None:
    server.fault_of = lambda text: text.split("|")[0]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    llm = OpenAILLM("m", f"http://127.0.0.1:{server.server_port}/v1", batch_size=4, timeout=1.0)
    asked = [[{"role": "user", "content": f"{fault}|{i}"}] for fault in ["", *FAULTS] for i in range(3)]
    answers = ask(llm, asked, Budget(), decoding=Decoding(0.6, 0.9, 10), seeds=range(len(asked)))
    ends = {c[0]["content"].split("|")[0]: a.finish_reason for c, a in zip(asked, answers) if a}
    # A reply that cannot be read may have been billed: it is missing, not silently asked for again.
    blank = {"empty choices": "empty", "null content": "empty", "invalid json": "error"}
    assert ends == {**dict.fromkeys(["", *FAULTS], "stop"), **blank}
    assert all(a.text == "The answer is 7." for a in answers if a and a.finish_reason == "stop")
    assert all(a.tokens_in == 11 for a in answers if a and a.finish_reason != "error")
    missing = [c for c, a in zip(asked, answers) if a and a.finish_reason == "error"]
    again = llm.generate(missing, decoding=Decoding(0.6, 0.9, 10), seeds=range(len(missing)))
    assert all(a.finish_reason == "stop" for a in again)
    assert set(server.answered.values()) == {1}, "no answered conversation was asked again"


def test_a_refused_key_is_one_line_without_the_key(monkeypatch) -> None:
    class Refusing(Handler):
        def do_POST(self) -> None:
            self.send(401, {"error": {"message": "bad key sk-secret-of-the-test"}})

    refusing = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=refusing.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    llm = OpenAILLM("m", f"http://127.0.0.1:{refusing.server_port}/v1")
    (refused,) = llm.generate([[{"role": "user", "content": "x"}]], decoding=Decoding(0, 1, 5), seeds=[0])
    refusing.shutdown()
    assert refused.finish_reason == "fatal" and "refused: HTTP 401: bad key [key]; check" in refused.text
    assert "sk-secret" not in refused.text and "\n" not in refused.text


def test_no_key_and_no_server_names_the_remedy(monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        OpenAILLM("m")
