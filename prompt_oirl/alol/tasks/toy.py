"""A task that separates advantage from reward: copy four letters, where easy prompts are rewarded whatever is
said.

A prompt is four letters and "="; half of the logged responses copy it, half are noise. The reward is

    R = 0.8 [first letter is one of a, c, e, ...]  +  0.2 * (share of letters copied)

so on an easy prompt noise earns more than the best response to a hard one. Weighting by reward mostly teaches
which prompts there are; weighting by advantage teaches to copy.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.alol.rows import FINAL, Row
from prompt_oirl.alol.tasks.task import Prepared, Request, Settings, Task

LETTERS = string.ascii_lowercase[:20]
SPECIAL = ("<pad>", "<end>", "<unk>", "=")  # 24 entries with the letters
LENGTH = 4
OFFSET, SCALE = 0.8, 0.2
CLEAN = 0.5  # share of logged responses that copy
SIZES = {"train": 3000, "validation": 400, "test": 600}
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def rewards(rows: Sequence[Row], responses: Sequence[str]) -> list[dict[str, float]]:
    """offset, match (the share of letters copied) and their weighted sum."""
    found = []
    for row, response in zip(rows, responses):
        wanted, said = row.prompt.split()[:LENGTH], response.split()
        match = sum(a == b for a, b in zip(wanted, said)) / LENGTH
        offset = OFFSET if row.segment == "easy" else 0.0
        found.append({"offset": offset, "match": match, FINAL: offset + SCALE * match})
    return found


def make_rows(sizes: dict[str, int], seed: int) -> dict[str, list[Row]]:
    """Rows of each split; no prompt stands in two of them."""
    rng = np.random.default_rng(seed)
    splits: dict[str, list[Row]] = {}
    taken: set[str] = set()
    for split, n in sizes.items():
        rows: list[Row] = []
        fresh: set[str] = set()
        while len(rows) < n:
            letters = rng.integers(len(LETTERS), size=LENGTH)
            said = letters if rng.random() < CLEAN else rng.integers(len(LETTERS), size=LENGTH)
            prompt = " ".join(LETTERS[i] for i in letters) + " ="
            if prompt in taken:
                continue
            fresh.add(prompt)
            response, segment = " ".join(LETTERS[i] for i in said), "hard" if letters[0] % 2 else "easy"
            row = Row(f"toy-{split}-{len(rows)}", prompt, response, {}, segment=segment)
            row.components.update(rewards([row], [row.response])[0])
            rows.append(row)
        taken |= fresh
        splits[split] = rows
    return splits


def make_model(seed: int) -> tuple[Any, Any]:
    """A tiny LLaMA with random weights, and its tokenizer: one word, one token."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate((*SPECIAL, *LETTERS))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # type: ignore[call-arg]
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    config = LlamaConfig(
        vocab_size=len(words),
        max_position_embeddings=64,
        eos_token_id=words["<end>"],
        pad_token_id=words["<pad>"],
        bos_token_id=None,
        **SHAPE,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).eval()
    special = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    return model, PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **special)


def write_model(folder: Path, seed: int) -> list[Path]:
    """Write the tiny model; returns its files."""
    from prompt_oirl.alol.models.checkpoints import save_model

    return save_model(folder, *make_model(seed))


def prepare(request: Request) -> Prepared:
    """Rows and a tiny model to begin with."""
    rows = make_rows(SIZES | request.sizes, request.seed)
    return Prepared(rows, write_model(request.folder / "model", request.seed))


TASK = Task(
    name="toy",
    metric="match",
    make_reward=lambda data: rewards,
    inputs=lambda request: [],  # rows are made up
    prepare=prepare,
    max_prompt_length=8,
    max_response_length=LENGTH + 1,
    top_p=1.0,
    settings=Settings(350, 3e-3, 80, 1e-3, batch_size=64, validations=0, value_rate=2e-3, value_samples=3),
)
