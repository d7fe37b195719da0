"""The published tasks' reward models: texts in, scores in 0..1 out.

| loader             | reads                                       | score of a text                         |
|--------------------|---------------------------------------------|-----------------------------------------|
| `load_classifier`  | any sequence classifier of transformers     | P(one label), or sigmoid of the logit   |
| `load_last_end`    | GPT-2, linear layer on the last end of text | P(first label): ToxiChat's "safe"       |
| `load_pooled_neox` | GPT-NeoX, linear layer on one pooled state  | sigmoid of the logit: Open Assistant's  |
| `load_critic`      | RoBERTa's pooler under two layers           | sigmoid: the COMET critic               |

Each takes a folder or hub id, so another model of the same form can stand in. The last three are classes that
their authors defined, so their weights are read here; a tensor that is missing is an error, never a random
layer. Weights are safetensors, or `.bin` files read as tensors only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prompt_oirl.alol.models.processes import device_name
from prompt_oirl.io.files import InputError
from prompt_oirl.io.json_files import read_json

Text = str | tuple[str, str]
Score = Callable[[Sequence[Any]], np.ndarray]
HEAD = "head.safetensors"
BATCH = 32


def load_classifier(name: str, label: int = 1) -> Score:
    """P(label) of texts or of (premise, hypothesis) pairs; cut at the end beyond the model's length."""
    from transformers import AutoModelForSequenceClassification

    tokenizer = _tokenizer(name)
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            name, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _unusable(name, str(error)) from error
    if lost := sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]):
        raise _unusable(name, f"no weights for {lost[0]}")
    if model.config.num_labels > 1 and label >= model.config.num_labels:
        raise _unusable(name, f"{model.config.num_labels} labels, label {label} is wanted")
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id

    def read(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        logits = model(**batch).logits
        return logits[:, 0].sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, label]

    return _scorer(model, tokenizer, read, "right")


def load_last_end(name: str) -> Score:
    """P(first label) at the last end of text of a thread; ToxiChat's offence classifier, whose labels are
    safe, offensive."""
    from transformers import GPT2Config, GPT2Model

    tokenizer = _tokenizer(name)
    state = read_state(name)
    model = _filled(GPT2Model(GPT2Config.from_pretrained(name)), state, "transformer.", name)
    layer = _linear(state, "off_classifier", name)

    def read(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        states = model(**batch).last_hidden_state
        last = batch["attention_mask"].sum(1) - 1
        return layer(states[torch.arange(len(last)), last]).softmax(1)[:, 0]

    layer.to(device_name())
    return _scorer(model, tokenizer, read, "left")


def load_pooled_neox(name: str) -> Score:
    """sigmoid(logit) of a dialogue; the last `pooling` state, or the mean over them, decides, as config.json
    says."""
    from transformers import GPTNeoXConfig, GPTNeoXModel

    tokenizer = _tokenizer(name)
    state, about = read_state(name), _json(name, "config.json")
    pooling = about.get("pooling", "last")
    if pooling not in ("last", "mean"):
        raise _unusable(name, f"pooling {pooling!r} in its config.json")
    config = GPTNeoXConfig.from_dict({k: v for k, v in about.items() if k != "model_type"})
    model = _filled(GPTNeoXModel(config), state, "gpt_neox.", name)
    layer = _linear(state, "out_proj", name).to(device_name())

    def read(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        states, mask = model(**batch).last_hidden_state, batch["attention_mask"]
        if pooling == "mean":
            pooled = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        else:
            pooled = states[torch.arange(len(mask)), mask.sum(1) - 1]
        return layer(pooled)[:, 0].sigmoid()

    return _scorer(model, tokenizer, read, "left", 1024)


def load_critic(name: str) -> Score:
    """P(the statement holds) of (head, relation and tail) pairs; the folder is convert_critic.py's."""
    from transformers import RobertaConfig, RobertaModel

    tokenizer = _tokenizer(name)
    head = _state_file(name, HEAD)
    if head is None:
        raise _unusable(name, f"no {HEAD}: run scripts/convert_critic.py")
    weights = _tensors(head, name)
    first, second = _linear(weights, "dense", name), _linear(weights, "out_proj", name)
    model = _filled(RobertaModel(RobertaConfig.from_pretrained(name)), read_state(name), "roberta.", name)
    first.to(device_name()), second.to(device_name())

    def read(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return second(torch.nn.functional.gelu(first(model(**batch).pooler_output)))[:, 0].sigmoid()

    return _scorer(model, tokenizer, read, "right")


# --- batches ---------------------------------------------------------------------------------------------


def _scorer(
    model: Any,
    tokenizer: Any,
    read: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    truncation: str,
    limit: int | None = None,
) -> Score:
    """Right-padded batches of about one length; what is too long loses its beginning (left) or end
    (right)."""
    device = device_name()
    model.eval().to(device)
    tokenizer.padding_side, tokenizer.truncation_side = "right", truncation
    positions = model.config.max_position_embeddings
    if model.config.model_type == "roberta":
        positions -= model.config.pad_token_id + 1
    longest = min(positions, tokenizer.model_max_length, limit or positions)

    @torch.no_grad()
    def score(texts: Sequence[Any]) -> np.ndarray:
        found = np.zeros(len(texts))
        order = sorted(range(len(texts)), key=lambda i: (-len("".join(texts[i])), i))
        for at in range(0, len(order), BATCH):
            places = order[at : at + BATCH]
            flags = {"return_tensors": "pt", "padding": True, "truncation": True, "max_length": longest}
            batch = tokenizer([texts[i] for i in places], **flags)
            batch.pop("token_type_ids", None)
            found[places] = read({k: v.to(device) for k, v in batch.items()}).double().cpu().numpy()
        return found

    return score


# --- files -----------------------------------------------------------------------------------------------


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(name, str(error)) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def read_state(name: str) -> dict[str, torch.Tensor]:
    """All weights of a model folder or hub id, whole or in shards, safetensors or `.bin`."""
    for whole in ("model.safetensors", "pytorch_model.bin"):
        path = _state_file(name, whole)
        if path is not None:
            return _tensors(path, name)
        if _state_file(name, f"{whole}.index.json") is not None:
            shards = sorted(set(_json(name, f"{whole}.index.json")["weight_map"].values()))
            paths = [_state_file(name, shard) for shard in shards]
            if None in paths:
                raise _unusable(name, f"{shards[paths.index(None)]} is missing")
            return {k: v for path in paths if path is not None for k, v in _tensors(path, name).items()}
    raise _unusable(name, "neither model.safetensors nor pytorch_model.bin")


def _state_file(name: str, file: str) -> Path | None:
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() and path.resolve().is_relative_to(Path(name).resolve()) else None
    from transformers.utils import cached_file

    try:
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError) as error:
        raise _unusable(name, str(error)) from error
    return Path(found) if found else None


def _json(name: str, file: str) -> dict[str, Any]:
    path = _state_file(name, file)
    if path is None:
        raise _unusable(name, f"{file} is missing")
    return read_json(path, hint="download the model again")


def _tensors(path: Path, name: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file, or one that holds objects, fails in many ways
        raise _unusable(name, f"{path.name}: {str(error) or 'not a file of weights'}") from error
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise _unusable(name, f"{path.name} holds something else than weights")
    return found


def _filled(model: Any, state: dict[str, torch.Tensor], prefix: str, name: str) -> Any:
    """The model with its weights, which stand under `prefix` or under none. Buffers of older versions are
    left out."""
    under = {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)} or state
    try:
        missing, _ = model.load_state_dict(under, strict=False)
    except RuntimeError as error:
        raise _unusable(name, str(error)) from error
    if missing:
        raise _unusable(name, f"no weights for {missing[0]}")
    return model


def _linear(state: dict[str, torch.Tensor], layer: str, name: str) -> torch.nn.Linear:
    weight, bias = state.get(f"{layer}.weight"), state.get(f"{layer}.bias")
    if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise _unusable(name, f"no weights for {layer}")
    found = torch.nn.Linear(weight.shape[1], weight.shape[0])
    found.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return found


def _unusable(name: str, reason: str) -> InputError:
    reason = (reason.strip().splitlines() or ["no reason given"])[0]
    return InputError(
        f"the reward model {name!r} cannot be used ({reason}): pass --reward_models "
        "COMPONENT=FOLDER_OR_HUB_ID"
    )
