"""Reward models of the published formats with random weights, small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

TEXT = "alex robin go goes home happy feels sad city paris big the a is it to and yes no knowledge wants"
WORDS = TEXT.split()
END = "<|endoftext|>"


def tokenizer(folder: Path, roberta: bool) -> Any:
    """Word-level, with the special tokens of RoBERTa or GPT-2."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"] if roberta else [END, "<unk>"]
    words = {word: i for i, word in enumerate([*special, *WORDS])}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # type: ignore[call-arg]
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    if roberta:
        core.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), False, False)
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"} if roberta else {"eos_token": END}
    found = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", **names)
    found.save_pretrained(folder)
    return found


def roberta_config(**more: Any) -> Any:
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=4 + len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        type_vocab_size=1,
        **more,
    )


def gpt2_config(**more: Any) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=2 + len(WORDS),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
        **more,
    )


def classifier(folder: Path, seed: int, gpt2: bool = False, as_bin: bool = False) -> Path:
    """CoLA, FaithCritic (RoBERTa, two labels) or DialogRPT (GPT-2, one logit)."""
    from transformers import GPT2ForSequenceClassification, RobertaForSequenceClassification

    torch.manual_seed(seed)
    model: Any = (
        GPT2ForSequenceClassification(gpt2_config(num_labels=1))
        if gpt2
        else RobertaForSequenceClassification(roberta_config(num_labels=2))
    )
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    tokenizer(folder, roberta=not gpt2)
    save(model, folder, as_bin)
    return folder


def save(model: Any, folder: Path, as_bin: bool, state: dict[str, torch.Tensor] | None = None) -> None:
    if state is None and not as_bin:
        model.save_pretrained(folder)
        return
    model.config.save_pretrained(folder)
    torch.save(model.state_dict() if state is None else state, folder / "pytorch_model.bin")


def toxichat(folder: Path) -> tuple[Any, torch.nn.Linear]:
    """GPT-2 with a language-model head and `off_classifier`, in one .bin."""
    from transformers import GPT2LMHeadModel

    torch.manual_seed(5)
    model, layer = GPT2LMHeadModel(gpt2_config()).eval(), torch.nn.Linear(16, 2)
    tokenizer(folder, roberta=False)
    state = dict(model.state_dict()) | {f"off_classifier.{k}": v for k, v in layer.state_dict().items()}
    save(model, folder, True, state | {"transformer.h.0.attn.bias": torch.ones(1)})
    return model, layer


def open_assistant(folder: Path, pooling: str = "last") -> tuple[Any, torch.nn.Linear]:
    """GPT-NeoX with `out_proj`, in shards, under a model type that transformers does not know."""
    from transformers import GPTNeoXConfig, GPTNeoXModel

    torch.manual_seed(6)
    config = GPTNeoXConfig(
        vocab_size=2 + len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        eos_token_id=0,
        bos_token_id=0,
    )
    model, layer = GPTNeoXModel(config).eval(), torch.nn.Linear(16, 1)
    tokenizer(folder, roberta=False)
    about = config.to_dict() | {"model_type": "gpt_neox_reward_model", "pooling": pooling}
    (folder / "config.json").write_text(json.dumps(about, default=str))
    state = {f"gpt_neox.{k}": v for k, v in model.state_dict().items()}
    state |= {f"out_proj.{k}": v for k, v in layer.state_dict().items()}
    names = sorted(state)
    shards = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, kept in shards.items():
        torch.save({name: state[name] for name in kept}, folder / file)
    index = {"weight_map": {name: file for file, kept in shards.items() for name in kept}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return model, layer


def critic(folder: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """RoBERTa with its pooler, and the critic's head apart."""
    from transformers import RobertaModel

    torch.manual_seed(7)
    model = RobertaModel(roberta_config()).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    tokenizer(folder, roberta=True)
    model.save_pretrained(folder)
    head = {
        "dense.weight": torch.randn(8, 16),
        "dense.bias": torch.randn(8),
        "out_proj.weight": torch.randn(1, 8),
        "out_proj.bias": torch.randn(1),
    }
    return model, head
