"""Speed of generating answers with LLaMAs of random weights."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import clock_seconds, comparison


def generation(repeats: int) -> Iterator[dict[str, Any]]:
    """Step 1's batches against the published loop over dialogues: 64-token prompts, 96 new tokens."""
    from prompt_oirl.llms import random_llama as random
    from prompt_oirl.llms.transformers_llm import TransformersLLM

    for name, size in (
        ("vocabulary 2,000", random.SMALL),
        ("vocabulary 32,000", random.LLAMA2_VOCABULARY_SMALL),
    ):
        with tempfile.TemporaryDirectory() as folder:
            llm = TransformersLLM(str(random.save_random_llama(Path(folder), **size)))
        million = sum(p.numel() for p in llm.model.parameters()) / 1e6
        work = f"step 1, random LLaMA of {million:.1f} M parameters, {name}"
        yield _generation_line(llm, work, repeats, (4, 64))
    import torch

    if torch.cuda.is_available():
        yield from _generation_7b(repeats)
    else:
        print("LLaMA-2 7B is left out: it needs a GPU, and there is none")


def _generation_line(llm: Any, work: str, repeats: int, n: tuple[int, int]) -> dict[str, Any]:
    import torch

    from prompt_oirl.llms import Decoding

    rng = np.random.default_rng(0)
    words = rng.integers(1, llm.model.config.vocab_size, (n[1], 64))
    asked = [[{"role": "user", "content": " ".join(f"w{w}" for w in row)}] for row in words]

    sampling: dict[str, Any] = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}

    def one_at_a_time() -> None:
        with torch.inference_mode():
            for conversation in asked[: n[0]]:
                ids = torch.tensor([llm.encode(conversation)], device=llm.device)
                llm.model.generate(
                    ids, attention_mask=torch.ones_like(ids), pad_token_id=0, max_new_tokens=96, **sampling
                )

    def batched() -> None:
        answers = llm.generate(asked, decoding=Decoding(max_new_tokens=96), seeds=range(n[1]))
        assert all(answer.tokens_out == 96 for answer in answers)

    one_at_a_time()  # to warm up
    batched()
    times = [(clock_seconds(one_at_a_time), clock_seconds(batched)) for _ in range(repeats)]
    rates = np.array(n) / np.median(times, 0)
    return comparison(work, "questions per second", n[1], rates, higher_is_better=True)


def _generation_7b(repeats: int) -> Iterator[dict[str, Any]]:
    """LLaMA-2 7B, random weights in bf16; how near one token comes to reading all weights once."""
    import torch

    from prompt_oirl.llms import random_llama as random
    from prompt_oirl.llms.transformers_llm import TransformersLLM

    with tempfile.TemporaryDirectory() as folder:
        tiny = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
        path = random.save_random_llama(Path(folder), vocab_size=32000, **tiny)
        llm = TransformersLLM(str(path), max_batch_size=64)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        llm.model = random.random_llama(**random.LLAMA2_7B)
    torch.set_default_dtype(torch.float32)
    line = _generation_line(llm, "step 1, random LLaMA-2 7B, bf16", repeats, (2, 64))
    for side in ("baseline", "ours"):
        line[side] *= 96
    yield line | {"unit": "tokens per second"}
    block = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(block)

    def copy() -> None:
        for _ in range(20):
            target.copy_(block)
        torch.cuda.synchronize()

    copy()
    bandwidth = 2 * 20 * block.numel() / min(clock_seconds(copy) for _ in range(5))
    weights = sum(p.numel() * p.element_size() for p in llm.model.parameters())
    shares = (line["baseline"] * weights / bandwidth, line["ours"] / llm.batch_size * weights / bandwidth)
    work = "share of the memory-bandwidth limit, 7B: one at a time, and passes over the weights in batches"
    yield comparison(work, "share", 64, shares, higher_is_better=True)
