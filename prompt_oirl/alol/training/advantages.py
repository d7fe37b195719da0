"""A = R - V(x) and the reference's log-probabilities of every training row, computed once and filed by
content.

With them, training needs no second model in memory and no second forward pass. The file's name is a hash of
reference, value head, rows and limits, so numbers of another model or other data are never taken by mistake
(the published caches were loaded whatever they held).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prompt_oirl.alol.models.checkpoints import read_tensors, write_tensors
from prompt_oirl.alol.models.log_probabilities import (
    Tokens,
    by_length,
    collate,
    log_probs_and_states,
    mixed_precision,
)
from prompt_oirl.alol.training.value_estimate import ValueHead
from prompt_oirl.io.files import InputError, content_key
from prompt_oirl.io.manifest import code_version

STEP3 = "run alol_step3_estimate_advantage.py"
SCHEMA = "1"


@dataclass(frozen=True)
class Advantages:
    """Per row: value V(x) and advantage float32 (n,), and the reference's log-probabilities, float32 (T_i,)
    each."""

    values: np.ndarray
    advantages: np.ndarray
    log_probs: list[torch.Tensor]

    def reference_batch(self, rows: Sequence[int], device: str) -> torch.Tensor:
        """l0_t of some rows, float32 (B, T), 0 on padding."""
        block = torch.nn.utils.rnn.pad_sequence([self.log_probs[i] for i in rows], batch_first=True)
        return block.to(device)


def cache_key(model: str, head: str, rows: str, limits: Any, precision: str) -> str:
    """Name of the cache: hashes of reference, head's file and the rows, limits, precision, code.

    Parameters
    ----------
    model, head, rows : hashes of the reference, the head's file and the rows
    limits : tokens of prompts and responses
    precision : fp32 or bf16, of the reference's pass

    Returns: 16 hexadecimal digits.
    """
    code = code_version(__name__)
    parts = {"model": model, "head": head, "rows": rows, "limits": repr(limits), "precision": precision}
    return content_key(parts | {"code": code})


def compute(
    model: Any,
    head: ValueHead | np.ndarray,
    rows: Sequence[Tokens],
    rewards: np.ndarray,
    pad_id: int,
    device: str,
    batch_size: int,
    precision: str = "fp32",
    report: Callable[[int], Any] = lambda n: None,
) -> Advantages:
    """One pass of the frozen reference over all rows, without dropout.

    Parameters
    ----------
    model : the reference
    head : gives V from the prompts' states, or is V itself, float32 (n,)
    rows : n rows as token ids
    rewards : float (n,)
    pad_id : token id that fills up a batch
    device : where the model is
    batch_size : rows at once
    precision : fp32, or bf16 for matrix products in bfloat16
    report : called after each batch with the number of its rows; default: does nothing

    Returns: V, A = rewards - V, and the reference's log-probabilities in nats.
    """
    model.eval()
    if isinstance(head, ValueHead):
        head.eval().to(device)
    values = np.zeros(len(rows), dtype=np.float32) if isinstance(head, ValueHead) else head
    log_probs: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    for places in by_length(rows, batch_size):
        batch = collate([rows[i] for i in places], pad_id, device)
        with mixed_precision(device, precision):
            found, states = log_probs_and_states(model, batch)
        if isinstance(head, ValueHead):
            with torch.no_grad():
                values[places] = head(states, batch.prompt_mask).cpu().numpy()
        for i, row, mask in zip(places, found.cpu(), batch.mask.cpu()):
            log_probs[i] = row[mask].clone()
        report(len(places))
    return Advantages(values, (rewards - values).astype(np.float32), log_probs)


def save(path: Path, key: str, found: Advantages) -> None:
    """Write the cache of a key.

    Parameters
    ----------
    path : the file, which is written whole or not at all
    key : see `cache_key`; `load` asks for the same
    found : what `compute` returned
    """
    tensors = {
        "values": torch.from_numpy(found.values),
        "advantages": torch.from_numpy(found.advantages),
        "lengths": torch.tensor([len(row) for row in found.log_probs]),
        "log_probs": torch.cat(found.log_probs),
    }
    write_tensors(path, tensors, {"key": key, "schema": SCHEMA})


def load(path: Path, key: str, rows: Sequence[Tokens]) -> Advantages:
    """Read the cache of these rows.

    Parameters
    ----------
    path : file that `save` wrote
    key : see `cache_key`
    rows : n rows as token ids

    Raises: InputError if the file is missing, damaged, of another key, or of rows of other lengths.
    """
    hint = f"delete it and {STEP3}"
    if not path.is_file():
        raise InputError(f"missing {path}, the advantages of this model, head and data: {STEP3}")
    tensors, about = read_tensors(path, hint)
    if about.get("key") != key or about.get("schema") != SCHEMA:
        raise InputError(f"{path}: belongs to another model, head or data; {hint}")
    names = ("values", "advantages", "lengths", "log_probs")
    if set(tensors) != set(names):
        raise InputError(f"{path}: holds {sorted(tensors)}, expected {sorted(names)}; {hint}")
    values, advantages, lengths, flat = (tensors[name] for name in names)
    if lengths.tolist() != [len(row.response) for row in rows] or int(lengths.sum()) != len(flat):
        raise InputError(f"{path}: lengths are not those of the rows; {hint}")
    if len(values) != len(rows) or len(advantages) != len(rows):
        raise InputError(f"{path}: {len(values)} rows, expected {len(rows)}; {hint}")
    if not all(torch.isfinite(t).all() for t in (values, advantages, flat)):
        raise InputError(f"{path}: holds NaN or infinity; {hint}")
    return Advantages(values.numpy(), advantages.numpy(), list(flat.split(lengths.tolist())))


def statistics(found: Advantages, rewards: np.ndarray, segments: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of advantage_stats.csv: value, reward and advantage, over all rows and per segment.

    Parameters
    ----------
    found : values and advantages of n rows
    rewards : float (n,)
    segments : segment of each row, empty for none

    Returns: mean, standard deviation and percentiles; `share_kept` is the share of advantages above 0.
    """
    rows = []
    names = ["all", *sorted(set(segments) - {""})]
    for segment in names:
        here = np.array([segment in ("all", s) for s in segments])
        kept = float((found.advantages[here] > 0).mean())
        for name, values in (("value", found.values), ("reward", rewards), ("advantage", found.advantages)):
            v = values[here].astype(np.float64)
            row = {"segment": segment, "quantity": name, "n": len(v), "mean": v.mean(), "std": v.std()}
            row |= {f"p{q}": np.percentile(v, q) for q in PERCENTILES}
            rows.append(row | {"share_kept": kept if name == "advantage" else None})
    return rows


PERCENTILES = (0, 10, 25, 50, 75, 90, 100)
