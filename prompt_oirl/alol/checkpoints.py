"""Safetensors files with a note, and model folders: written whole or not at all, refused in one line."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from prompt_oirl.artifacts import InputError, atomic_write, content_key, require, sha256


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # One entry only: the file holds several in no fixed order, and the same run should give the same bytes.
    note = {"about": json.dumps(about, sort_keys=True)}
    with atomic_write(path) as temporary:
        try:
            save_file({n: v.detach().cpu().contiguous() for n, v in tensors.items()}, temporary, note)
        except SafetensorError as error:  # a full disk, mostly
            raise OSError(None, str(error)) from error


def read_tensors(path: Path, remedy: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """All tensors and the note of a safetensors file; a damaged one is refused."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(require(path, remedy), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            return tensors, {str(k): str(v) for k, v in dict(about).items()}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}); {remedy}") from error


def load_model(name: str, device: str, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """A causal language model and its tokenizer from a folder or the hub; pad token and padding side are set."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise _cannot_load(name, error) from error
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer of {name!r} has no end of text: set eos_token in its folder")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return model.eval().to(device), tokenizer


def load_tokenizer(name: str) -> Any:
    """A tokenizer alone, where no model is needed."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise _cannot_load(name, error) from error


def _cannot_load(name: str, error: Exception) -> InputError:
    reason = str(error).split("\n")[0]
    return InputError(
        f"the model {name!r} cannot be loaded ({reason}): pass --model_name_or_path FOLDER or a hub id"
    )


def model_hash(name: str) -> str:
    """What a cache is filed under: a folder's files by content, a hub model by its commit."""
    folder = Path(name)
    if folder.is_dir():
        kept = (".safetensors", ".json", ".model")
        return content_key({p.name: sha256(p) for p in sorted(folder.iterdir()) if p.suffix in kept})
    from transformers import AutoConfig

    try:
        return content_key([name, AutoConfig.from_pretrained(name)._commit_hash])
    except (OSError, ValueError) as error:
        raise _cannot_load(name, error) from error


def save_model(folder: Path, model: Any, tokenizer: Any) -> list[Path]:
    """Write a folder that `from_pretrained` reads; it replaces an older one as a whole. Returns its files."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
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


def device_name() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
