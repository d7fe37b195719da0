"""LLaMAs with random weights, for benchmarks: the work of a trained one, and no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SMALL = {"hidden_size": 224, "num_hidden_layers": 4, "num_attention_heads": 7, "intermediate_size": 464}
LLAMA2_VOCABULARY_SMALL = {
    "vocab_size": 32000,
    "hidden_size": 40,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 320,
}
LLAMA2_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
}


def random_llama(seed: int = 0, **size: Any) -> Any:
    """A LlamaForCausalLM that never ends an answer by itself, with peaked predictions."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(**{"vocab_size": 2000, **size}, tie_word_embeddings=False, initializer_range=0.1)
    config.eos_token_id = config.bos_token_id = None
    return LlamaForCausalLM(config).eval()


def save_random_llama(folder: Path, seed: int = 0, **size: Any) -> Path:
    """The same as a folder with a tokenizer whose words are w0, w1, ...; one word is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model = random_llama(seed, **size)
    model.save_pretrained(folder)
    words = {f"w{i}": i for i in range(model.config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))  # type: ignore[call-arg]
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="w0", chat_template="{{ messages[0]['content'] }}"
    ).save_pretrained(folder)
    return folder
