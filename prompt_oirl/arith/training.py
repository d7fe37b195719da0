"""Training of the tiny model: examples are drawn by step, so a killed run ends in the same bytes.

The tokenizer is byte-level BPE in which every digit stands alone, so no text is unknown.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from prompt_oirl.arith import mix, network
from prompt_oirl.arith.network import Shape, Weights
from prompt_oirl.arith.phrasings import all_phrasings
from prompt_oirl.io.files import InputError, atomic_write, content_key, write_json, write_text

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
WIDTH = 16  # lengths are padded to multiples of this


@dataclass(frozen=True)
class Recipe:
    """Everything the weights depend on, beside the code and the forbidden questions.

    Examples come in pools; each is sorted by length and cut into batches of about `tokens` tokens, one step
    each.
    """

    seed: int = 0
    pools: int = 200
    pool: int = 1024  # examples in a pool
    tokens: int = 6144  # in a batch, padding included
    shape: Shape = field(default_factory=Shape)
    matrix_rate: float = 0.02
    vector_rate: float = 0.004
    decay: float = 0.01
    warmup: float = 0.01  # share of the run
    vocabulary_texts: int = 20_000
    half: bool = False  # matrix products in bfloat16

    def rate(self, done: float) -> float:
        """Share of the learning rate when a share `done` of the run is over: up, then straight down to
        zero."""
        return min((done + 1e-3) / self.warmup, 1 - done)


def training_texts(n: int, seed: int) -> Iterator[str]:
    """Texts that the vocabulary is counted on: `n` training examples and every prompt training may show."""
    for i in range(n):
        example = mix.draw_example(random.Random(f"tokenizer/{seed}/{i}"), frozenset())
        yield "".join(text for text, _ in example.pieces)
    yield from (p.prompt.text for p in all_phrasings() if not p.unseen)


def train_tokenizer(vocabulary: int, n: int, seed: int) -> Any:
    """A `tokenizers.Tokenizer` with `vocabulary` entries, END and PAD first.

    Parameters
    ----------
    vocabulary : number of entries, END and PAD included
    n, seed : number of training examples that the entries are counted on, and their seed
    """
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


@dataclass(frozen=True)
class Batch:
    """ids and targets int64 (rows, length); a target of -1 is not counted."""

    ids: torch.Tensor
    targets: torch.Tensor


Row = tuple[list[int], list[int]]


def encode(example: mix.Example, tokens: Any) -> tuple[list[int], list[int]]:
    """Token ids and, for every one, the next token where the loss counts it, else -1."""
    ids: list[int] = []
    counted: list[bool] = []
    for text, counts in example.pieces:
        piece = tokens.encode(text).ids
        ids += piece
        counted += [counts] * len(piece)
    ids.append(END_ID)
    counted.append(True)
    targets = [token if counts else -1 for token, counts in zip(ids[1:], counted[1:])]
    return ids[:-1], targets


def examples(pool: int, recipe: Recipe, forbidden: frozenset[str]) -> Iterator[mix.Example]:
    """The examples of a pool; each is a function of seed and place alone.

    Parameters
    ----------
    pool, recipe, forbidden : as in `batches`
    """
    for i in range(recipe.pool):
        yield mix.draw_example(random.Random(f"train/{recipe.seed}/{pool}/{i}"), forbidden)


def batches(pool: int, recipe: Recipe, tokens: Any, forbidden: frozenset[str]) -> list[Batch]:
    """A pool's batches in random order. Few shapes occur: the width decides the number of rows.

    Parameters
    ----------
    pool : its number, from 0
    recipe : `seed`, `pool` and `tokens` count
    tokens : the tokenizer, a `tokenizers.Tokenizer`
    forbidden : keys (`text_key`) of questions that must not occur
    """
    rows = [encode(e, tokens) for e in examples(pool, recipe, forbidden)]
    rows.sort(key=lambda row: -len(row[0]))
    found = []
    while rows:
        width = -(-len(rows[0][0]) // WIDTH) * WIDTH
        n = max(1, recipe.tokens // width)
        found.append(_padded(rows[:n], n, width))
        rows = rows[n:]
    random.Random(f"order/{recipe.seed}/{pool}").shuffle(found)
    return found


def _padded(rows: list[Row], n: int, width: int) -> Batch:
    ids = torch.full((n, width), PAD_ID)
    targets = torch.full((n, width), -1)
    for i, (row, wanted) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        targets[i, : len(row)] = torch.tensor(wanted)
    return Batch(ids, targets)


def loss_of(weights: Weights, recipe: Recipe, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of a batch over the tokens that are learned, float32 () in nats.

    Parameters
    ----------
    weights : named and shaped as by `network.initial_weights`
    recipe : `shape` and `half` count
    batch : on the device of the weights
    """
    keep = batch.targets >= 0
    found = network.logits(weights, recipe.shape, batch.ids, keep, recipe.half)
    return F.cross_entropy(found, batch.targets[keep])


@dataclass
class State:
    """Where a run stands: pools and steps done, weights, and what the optimiser remembers."""

    pools: int
    steps: int
    weights: Weights
    memory: Weights


def train(
    recipe: Recipe,
    tokens: Any,
    forbidden: frozenset[str],
    checkpoint: Path,
    save_every: int = 20,
    report: Callable[[int, float, int], None] = lambda pool, loss, tokens: None,
    device: str = "cpu",
    stop_at: int | None = None,
) -> Weights:
    """Train from `checkpoint`, where there is one of this recipe, to the last pool; returns the weights.

    Parameters
    ----------
    recipe, tokens, forbidden : as in `batches`
    checkpoint : file that is read at the start, if it is there, and written in between
    save_every : pools between checkpoints; one is written after the last pool too
    report : is told after every step the pools done, the loss in nats and the tokens, padding included
    device : of the weights and batches; default: the CPU
    stop_at : end after so many pools; default: all of the recipe's

    Raises: InputError if the checkpoint is damaged, or was not made with these first three arguments.
    """
    torch.use_deterministic_algorithms(True)
    # Every kernel here writes all that it reads; filling memory first would only cost time.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    key = content_key({"recipe": asdict(recipe), "forbidden": sorted(forbidden), "tokens": tokens.to_str()})
    state = _load(checkpoint, key) or _begin(recipe)
    weights = {name: value.to(device).requires_grad_() for name, value in state.weights.items()}
    memory = {name: value.to(device) for name, value in state.memory.items()}
    step = state.steps
    for pool in range(state.pools, recipe.pools if stop_at is None else stop_at):
        found = batches(pool, recipe, tokens, forbidden)
        for i, batch in enumerate(found):
            batch = Batch(batch.ids.to(device), batch.targets.to(device))
            loss = loss_of(weights, recipe, batch)
            gradients = dict(zip(weights, torch.autograd.grad(loss, list(weights.values()))))
            share = recipe.rate((pool + i / len(found)) / recipe.pools)
            network.update(
                weights,
                gradients,
                memory,
                step,
                recipe.matrix_rate * share,
                recipe.vector_rate * share,
                recipe.decay,
            )
            step += 1
            report(pool, loss.item(), batch.ids.numel())
        if (pool + 1) % save_every == 0 or pool + 1 in (recipe.pools, stop_at):
            _save(checkpoint, key, State(pool + 1, step, weights, memory))
    return {name: value.detach() for name, value in weights.items()}


def _begin(recipe: Recipe) -> State:
    weights = network.initial_weights(recipe.shape, recipe.seed)
    return State(0, 0, weights, network.initial_memory(weights))


def _save(path: Path, key: str, state: State) -> None:
    from safetensors.torch import save_file

    tensors = {f"weight.{n}": v.detach().cpu() for n, v in state.weights.items()}
    tensors |= {f"memory.{n}": v.cpu() for n, v in state.memory.items()}
    about = {"key": key, "pools": str(state.pools), "steps": str(state.steps)}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=about)


def _load(path: Path, key: str) -> State | None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: not a whole checkpoint ({error}); delete it and train again") from error
    if about.get("key") != key:
        raise InputError(f"{path} belongs to another recipe: delete it, or name another --checkpoint")
    weights = {n.removeprefix("weight."): v for n, v in tensors.items() if n.startswith("weight.")}
    memory = {n.removeprefix("memory."): v for n, v in tensors.items() if n.startswith("memory.")}
    return State(int(about["pools"]), int(about["steps"]), weights, memory)


def export(folder: Path, weights: Weights, recipe: Recipe, tokens: Any) -> None:
    """Write the folder that `AutoModelForCausalLM` and `AutoTokenizer` read.

    Parameters
    ----------
    folder : made if it is missing
    weights : as `train` returns them
    recipe, tokens : those that `train` was given
    """
    from safetensors.torch import save_file

    ends = {"eos_token_id": END_ID, "pad_token_id": PAD_ID}
    write_json(folder / "config.json", recipe.shape.config(END_ID, PAD_ID))
    write_json(folder / "generation_config.json", ends)
    write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    write_text(folder / "tokenizer.json", json.dumps(json.loads(tokens.to_str()), ensure_ascii=True) + "\n")
    with atomic_write(folder / "model.safetensors") as temporary:
        save_file(network.to_hugging_face(weights, recipe.shape), temporary, metadata={"format": "pt"})
