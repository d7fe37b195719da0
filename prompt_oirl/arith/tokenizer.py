"""The tiny model's tokenizer: byte-level BPE in which every digit stands alone, so no text is unknown."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from prompt_oirl.arith import mix
from prompt_oirl.arith.phrasings import all_phrasings

END, PAD = "<|end|>", "<|pad|>"
END_ID, PAD_ID = 0, 1
# Question, line break, prompt, line break, answer: `mix.model_input` as a chat template. Turns are trimmed.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] + (eos_token if not loop.last else '') }}"
    "{% else %}{{ message['content'] | trim + '\\n' }}{% endif %}"
    "{% endfor %}"
)
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": END,
    "pad_token": PAD,
    "model_max_length": 512,
    "padding_side": "left",
    "clean_up_tokenization_spaces": False,
    "chat_template": CHAT_TEMPLATE,
}


def training_texts(n: int, seed: int) -> Iterator[str]:
    """Texts that the vocabulary is counted on: `n` training examples and every prompt training may show."""
    for i in range(n):
        example = mix.draw_example(random.Random(f"tokenizer/{seed}/{i}"), frozenset())
        yield "".join(text for text, _ in example.pieces)
    yield from (p.prompt.text for p in all_phrasings() if not p.unseen)


def train_tokenizer(vocabulary: int, n: int, seed: int) -> Any:
    """A `tokenizers.Tokenizer` with `vocabulary` entries, END and PAD first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_texts(n, seed), trainer)
    return tokenizer
