"""Several GPUs: every process takes its share of a step's rows, and the gradients are added up.

Under `accelerate launch` or `torchrun`, each process draws the same rows and goes over its own part of them,
so a run with several processes follows the same path as one with a single process, up to rounding. Process 0
validates and writes; the others wait for it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from prompt_oirl.io.files import InputError


@lru_cache(maxsize=1)
def _state() -> Any:
    """accelerate's state, or None in a single process."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    if importlib.util.find_spec("accelerate") is None:
        raise InputError('several processes need accelerate: pip install -e ".[alol]"')
    from accelerate import PartialState

    return PartialState()


def is_main() -> bool:
    """True in process 0, which validates and writes."""
    return _state() is None or _state().is_main_process


def share(places: list[int]) -> list[int]:
    """This process's part of a micro-batch."""
    state = _state()
    return places if state is None else places[state.process_index :: state.num_processes]


def add_up(tensors: list[torch.Tensor]) -> None:
    """Sum each tensor over the processes, in place."""
    if _state() is not None:
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def from_main(compute: Callable[[], float]) -> float:
    """What process 0 computes, in every process."""
    state = _state()
    if state is None:
        return compute()
    value = torch.zeros(1, dtype=torch.float64, device=state.device)
    if state.is_main_process:
        value[0] = compute()
    torch.distributed.broadcast(value, 0)
    return float(value)


def wait() -> None:
    """Wait until all processes are here."""
    if _state() is not None:
        _state().wait_for_everyone()


def device_name() -> str:
    """Where this process computes."""
    state = _state()
    if state is not None:
        return str(state.device)
    return "cuda" if torch.cuda.is_available() else "cpu"
