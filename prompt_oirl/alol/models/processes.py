"""Several GPUs: every process takes its share of a step's rows, and the gradients are added up.

Under `accelerate launch` or `torchrun`, each process draws the same rows and goes over its own part of them,
so a run with several processes follows the same path as one with a single process, up to rounding. Process 0
validates and writes; the others wait for it.

A model larger than one GPU: with `accelerate launch --config_file configs/fsdp.yaml` weights, gradients and
AdamW's moments lie in equal shares in the processes (torch's FSDP2). A layer's weights are whole only while
it computes. All processes then validate, because each holds a part of the model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

from prompt_oirl.io.extras import need
from prompt_oirl.io.files import InputError


@lru_cache(maxsize=1)
def _state() -> Any:
    """accelerate's state, or None in a single process."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    need("training in several processes", "train", "accelerate")
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        raise InputError("DeepSpeed is not used here: pass --config_file configs/fsdp.yaml to spread weights")
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())  # without a word, it takes no processes on CPUs


def is_main() -> bool:
    """True in process 0, which validates and writes."""
    return _state() is None or _state().is_main_process


def shards() -> bool:
    """True if the launcher was told to spread the weights over the processes."""
    return _state() is not None and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


@contextmanager
def sharded(model: Any) -> Iterator[None]:
    """Inside, where `shards()`, each process holds its share of the weights; afterwards process 0 has them
    whole, on the CPU, and the others none.

    Parameters
    ----------
    model : causal language model, perhaps with an adapter; the same in every process

    Raises: InputError on 4-bit weights, which are not spread.
    """
    if not shards():
        yield
        return
    if getattr(model, "is_loaded_in_4bit", False):
        raise InputError("--load_in_4bit: 4-bit weights are not spread over processes; drop --config_file")
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = torch.distributed.init_device_mesh(_state().device.type, (_state().num_processes,))
    layers = set(getattr(model, "_no_split_modules", None) or ())
    for module in [m for m in model.modules() if type(m).__name__ in layers] + [model]:
        # Once by hand: buffers that were first made while answering could not be trained on.
        fully_shard(module, mesh=mesh, reshard_after_forward=True).unshard()
        module.reshard()
    register_fsdp_forward_method(model, "generate")  # an adapter's goes past its `forward`
    yield
    found: dict[int, torch.nn.Parameter] = {}  # weights that two modules share stay one
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            if id(p) not in found:
                kept = gathered({name: p}).get(name, torch.empty(0))
                found[id(p)] = torch.nn.Parameter(kept, p.requires_grad)
            setattr(module, name, found[id(p)])


def in_shares(tensor: torch.Tensor) -> bool:
    """True for a tensor of which each process holds a part."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> torch.Tensor:
    """The tensor itself, or all of one that lies in shares; every process must ask."""
    return tensor.full_tensor() if in_shares(tensor) else tensor


def gathered(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whole, on the CPU, in process 0, and {} elsewhere, if they lie in shares: every process
    must ask."""
    if not shards():
        return tensors
    on_cpu = ((name, whole(tensor).detach().cpu()) for name, tensor in tensors.items())
    return {name: tensor for name, tensor in on_cpu if is_main()}


def placed_like(tensor: torch.Tensor, like: Any) -> torch.Tensor:
    """The tensor on the other's device, or in shares as the other is; every process must ask."""
    if not in_shares(like):
        return tensor.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def share(places: list[int]) -> list[int]:
    """This process's part of a micro-batch."""
    state = _state()
    if shards() and len(places) < state.num_processes:
        raise InputError(
            f"--batch_size {len(places)}: where weights are spread, each of the {state.num_processes} "
            "processes needs a row; give more, or fewer --num_processes"
        )
    return places if state is None else places[state.process_index :: state.num_processes]


def add_up(tensors: list[torch.Tensor]) -> None:
    """Sum each tensor over the processes, in place. Gradients in shares have been averaged already."""
    if _state() is not None:
        for tensor in tensors:
            if in_shares(tensor):
                tensor.mul_(_state().num_processes)
            else:
                torch.distributed.all_reduce(tensor)


def from_main(compute: Callable[[], float]) -> float:
    """What process 0 computes, in every process."""
    state = _state()
    if state is None:
        return compute()
    value = torch.zeros(1, dtype=torch.float64, device=state.device)
    if state.is_main_process or shards():  # of a model in shares, no process can compute alone
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
