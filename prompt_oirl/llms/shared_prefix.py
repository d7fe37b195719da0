"""What rows of a batch have in common at their start, such as a question that several prompts follow, is read
once: its keys and values are copied to the rows, which then read only their rest."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch

WORTH = 0.8  # rows are read in two parts if that leaves at most this share of the tokens to read


def fixed_cache(model: Any, length: int) -> Any:
    """A cache of fixed size for `length` tokens, or None for a model that takes none.

    Growing a cache copies all of it at every token; one of fixed size suits any model that can be compiled.
    Compiling itself would take longer than a batch of yet another width lives.
    """
    from transformers import StaticCache

    if not getattr(model, "_can_compile_fullgraph", False):
        return None
    return StaticCache(config=model.config, max_cache_len=length)


def can_share(model: Any) -> bool:
    """Whether the model's cache keeps every token where it was put: no sliding window, no running state."""
    from transformers.cache_utils import StaticLayer

    cache = fixed_cache(model, 1)
    return cache is not None and all(type(layer) is StaticLayer for layer in cache.layers)


def shared_starts(rows: Sequence[list[int]]) -> list[int]:
    """How many tokens of each row to read ahead, together with the rows that start with the same ones.

    Rows that share at least some number of tokens form a group; of all such numbers the one that leaves the
    fewest tokens to read is taken, padding included.

    Parameters
    ----------
    rows : token ids, at least one of each row

    Returns: one number per row, less than its length; all 0 if it isn't worth it.
    """
    order = np.array(sorted(range(len(rows)), key=lambda i: rows[i]))
    lengths = np.array([len(rows[i]) for i in order])
    # Of each row with the next one in order; rows between two that share a start share it too.
    common = np.array([*(_common(rows[a], rows[b]) for a, b in zip(order, order[1:])), 0])
    starts, fewest = np.zeros(len(rows), dtype=np.int64), WORTH * len(rows) * lengths.max()
    for least in np.unique(common[common > 0]):
        last = common < least
        first = np.append(0, np.flatnonzero(last)[:-1] + 1)
        of_group = np.minimum.reduceat(np.minimum(lengths - 1, np.where(last, lengths, common)), first)
        of_row = np.repeat(of_group, np.diff(np.append(first, len(rows))))
        to_read = len(first) * of_group.max() + len(rows) * (lengths - of_row).max()
        if to_read < fewest:
            starts[order], fewest = of_row, to_read
    return starts.tolist()


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def cache_argument(model: Any, cache: Any) -> dict[str, Any]:
    """The cache as `generate` takes it: under another name since transformers 5."""
    name = "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
    return {name: cache}


def read_starts(model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> None:
    """Fill an empty cache with the keys and values of these starts, each distinct one computed once.

    Parameters
    ----------
    model : causal language model of the library transformers, see `can_share`
    ids : int64 (rows, width), padded left
    mask : same shape, 0 where there is padding
    cache : of `fixed_cache`, longer than `width`
    """
    from transformers import DynamicCache, GenerationConfig

    distinct, owner = torch.unique(ids.masked_fill(mask == 0, -1), dim=0, return_inverse=True)
    read: Any = DynamicCache()
    model.generate(
        input_ids=distinct.clamp(min=0),
        attention_mask=(distinct >= 0).long(),
        generation_config=GenerationConfig(max_new_tokens=1, do_sample=False, pad_token_id=0),
        **cache_argument(model, read),
    )
    for number, layer in enumerate(read.layers):
        cache.update(layer.keys[owner], layer.values[owner], number)
