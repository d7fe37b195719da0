"""Safetensors files with a note, and model and adapter folders: written whole or not at all, refused in one
line."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prompt_oirl.io import files
from prompt_oirl.io.extras import need
from prompt_oirl.io.files import InputError, atomic_write, content_key, require, sha256
from prompt_oirl.io.json_files import parse_json, read_json


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str]) -> None:
    """Write tensors with the note `about` to one safetensors file, the same bytes for the same content.

    Parameters
    ----------
    path : the file, which is written whole or not at all
    tensors : by name
    about : texts that `read_tensors` returns beside the tensors

    Raises: OSError if the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # One entry only: the file holds several in no fixed order, and the same run should give the same bytes.
    note = {"about": json.dumps(about, sort_keys=True)}
    with atomic_write(path) as temporary:
        try:
            save_file({n: v.detach().cpu().contiguous() for n, v in tensors.items()}, temporary, note)
        except SafetensorError as error:  # a full disk, mostly
            raise OSError(None, str(error)) from error


def read_tensors(path: Path, hint: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """All tensors and the note of a safetensors file; a damaged one is refused."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(require(path, hint), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = parse_json((file.metadata() or {}).get("about", "{}"))
            return tensors, {str(k): str(v) for k, v in dict(about).items()}
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}); {hint}") from error


@dataclass(frozen=True)
class ModelSource:
    """A causal language model: a folder or hub id, perhaps an adapter to put on it, perhaps in 4 bits
    (NF4)."""

    name: str
    adapter: str | None = None
    four_bit: bool = False

    @property
    def parts(self) -> tuple[str, str | None]:
        """Base model and adapter. A folder that holds only an adapter names its base itself."""
        config = Path(self.name) / "adapter_config.json"
        if self.adapter is None and config.is_file():
            about = read_json(config, hint="train the policy again")
            base = about.get("base_model_name_or_path") if isinstance(about, dict) else None
            if not isinstance(base, str) or not base:
                raise InputError(
                    f"{config}: names no base model; pass --model_name_or_path BASE --adapter_path "
                    f"{self.name}"
                )
            return base, self.name
        return self.name, self.adapter

    @property
    def base_name(self) -> str:
        """The base model for people: a hub id, or the name of a folder."""
        base = self.parts[0]
        return Path(base).name if Path(base).is_dir() else base

    @property
    def hash(self) -> str:
        """What a cache is filed under: folders by content, hub models by their commit."""
        base, adapter = self.parts
        if adapter is None and not self.four_bit:
            return _hash_of(base)
        return content_key([_hash_of(base), adapter and _hash_of(adapter, "--adapter_path"), self.four_bit])

    def load(self, device: str) -> tuple[Any, Any]:
        """Model in eval mode and tokenizer; pad token and padding side are set."""
        base, adapter = self.parts
        model, tokenizer = load_model(base, device, four_bit=self.four_bit)
        return (model if adapter is None else _with_adapter(model, adapter)), tokenizer


def load_model(name: str, device: str, four_bit: bool = False) -> tuple[Any, Any]:
    """A causal language model in float32, or 4 bits, and its tokenizer, from a folder or the hub.

    Parameters
    ----------
    name : folder or hub id, with weights as safetensors, or else `.bin` files, read as tensors only
    device : where the model goes
    four_bit : hold the weights in 4 bits (NF4, bitsandbytes); default: float32

    Returns: the model in eval mode, and the tokenizer, which has a pad token and pads on the left.
    Raises: InputError if it cannot be loaded, has weights missing or not finite, or has no end of text, and
        without bitsandbytes if `four_bit`.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    name = str(Path(name).resolve()) if Path(name).is_dir() else name  # an adapter notes it as its base
    flags = _four_bits(device) if four_bit else {}
    # Else transformers asks a service of the hub to convert .bin weights for everybody.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "true")
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=torch.float32,
            weights_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            **flags,
        )
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # damaged files of a tokenizer, say, fail in many ways
        raise _cannot_load(name, error) from error
    model, report = loaded
    lost = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if lost or not all(torch.isfinite(p).all() for p in model.parameters() if p.is_floating_point()):
        reason = f"no weights for {lost[0]}" if lost else "weights that are not numbers"
        raise InputError(f"the model {name!r} is damaged ({reason}): download or train it again")
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer of {name!r} has no end of text: set eos_token in its folder")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    if not four_bit:
        return model.eval().to(device), tokenizer
    for layer in model.modules():
        # On processors with AVX-512 bitsandbytes repacks a layer in eval() for a product without gradient,
        # and a policy is trained in eval().
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return model.eval(), tokenizer


def _four_bits(device: str) -> dict[str, Any]:
    need("--load_in_4bit", "train", "bitsandbytes")
    from transformers import BitsAndBytesConfig

    half = torch.bfloat16 if device != "cpu" else torch.float32
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=half,
        bnb_4bit_use_double_quant=True,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _with_adapter(model: Any, adapter: str) -> Any:
    need("--adapter_path", "train", "peft")
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, adapter).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise _cannot_load(adapter, error, "--adapter_path") from error


def load_tokenizer(name: str) -> Any:
    """A tokenizer alone, where no model is needed."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _cannot_load(name, error) from error


def _cannot_load(name: str, error: Exception, flag: str = "--model_name_or_path") -> InputError:
    missing = name.startswith((".", "/", "~")) or name.count("/") > 1
    said = str(error).split("\n")[0] or type(error).__name__
    reason = "there is no such folder" if missing and not Path(name).is_dir() else said
    what = "adapter" if flag == "--adapter_path" else "model"
    return InputError(f"the {what} {name!r} cannot be loaded ({reason}): pass {flag} FOLDER or a hub id")


def _hash_of(name: str, flag: str = "--model_name_or_path") -> str:
    folder = Path(name)
    if folder.is_dir():
        kept = (".safetensors", ".bin", ".json", ".model")
        return content_key({p.name: sha256(p) for p in sorted(folder.iterdir()) if p.suffix in kept})
    from huggingface_hub import model_info
    from transformers import AutoConfig

    try:
        return content_key([name, AutoConfig.from_pretrained(name, trust_remote_code=False)._commit_hash])
    except (OSError, ValueError) as error:
        try:  # an adapter has no config of a model
            return content_key([name, model_info(name).sha])
        except Exception:  # each network library has errors of its own
            raise _cannot_load(name, error, flag) from error


def save_model(folder: Path, model: Any, tokenizer: Any) -> list[Path]:
    """Write a folder that `from_pretrained` reads; it replaces an older one as a whole. Returns its files.

    Parameters
    ----------
    folder : its parent folders are made where missing
    model : causal language model; of one with an adapter, the adapter alone is written
    tokenizer : its tokenizer

    Raises: InputError if the folder cannot be written.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left_behind in folder.parent.glob(f".{folder.name}.*.tmp"):  # by a killed run
            if time.time() - left_behind.stat().st_mtime > files.STALE_SECONDS:
                shutil.rmtree(left_behind, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    except OSError as error:
        raise _cannot_save(folder, error) from error
    try:
        fresh.chmod(0o755)
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    except Exception as error:  # safetensors and tokenizers raise types of their own on a full disk
        raise _cannot_save(folder, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return sorted(p for p in folder.iterdir() if p.is_file())


def _cannot_save(folder: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"cannot write {folder}: {reason}; free some space and run the same command again")
