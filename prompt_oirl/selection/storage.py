"""A saved selector: selector.json and the safetensors it names. No code in it, nothing altered is loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.data.log_columns import POSITIONS
from prompt_oirl.features.embedders import Embedder, TfidfEmbedder, holds_no_code, load_embedder
from prompt_oirl.features.segments import Segments
from prompt_oirl.io.files import (
    InputError,
    atomic_write,
    content_key,
    is_file_name,
    on_one_line,
    sha256,
    write_json,
)
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.locks import held

if TYPE_CHECKING:
    from prompt_oirl.selection.selector import PromptSelector

SCHEMA = 3
HEADER = "selector.json"
FIT_FIRST = "save a fitted PromptSelector there first (prompt-oirl fit LOG --out DIR)"


def save(selector: PromptSelector, folder: Path) -> Path:
    """Write selector.json and the files it names; the old selector stays whole until the new one is.

    Nothing in the folder is code; a file that is not the one selector.json names is refused by `load`.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose a folder for the selector")
    with held(folder / ".lock", f"another process is saving {folder}: try again", wait=60):
        return _save(selector, folder)


def _save(selector: PromptSelector, folder: Path) -> Path:
    files = {"model": _write_tensors(folder, "model", selector.model_.arrays())}
    header: dict[str, Any] = {
        "schema": SCHEMA,
        "params": {
            "model": selector.model,
            "cost_weight": float(selector.cost_weight),
            "seed": int(selector.seed),
        },
        "embedder": selector.embedder if isinstance(selector.embedder, str) else None,
        "embedder_info": asdict(selector.embedder_.info),
        "model": selector.model_name_,
        "settings": selector.model_.settings,
        "best": selector.best_,
        "prompts": [
            {
                "name": name,
                "text": text,
                "success": float(success),
                "standing": float(standing),
                "cost": None if np.isnan(cost) else float(cost),
                "position": position,
            }
            for name, text, success, standing, cost, position in zip(
                selector.names_,
                selector.prompts_,
                selector.success_,
                selector.standing_,
                selector.cost_,
                selector.positions_,
            )
        ],
        "llms": selector.llms_,
        "segments": [
            {"name": name, "share": share}
            for name, share in zip(selector.segments_.names, selector.segments_.shares)
        ],
    }
    if selector.embedder_.info.fitted:
        if not isinstance(selector.embedder_, TfidfEmbedder):
            raise InputError(
                "an embedder object of your own that is fitted cannot be saved; use tfidf or a fixed one"
            )
        header["words"], arrays = selector.embedder_.state()
        files["embedder"] = _write_tensors(folder, "embedder", arrays)
    header["files"] = files
    header["check"] = content_key(header)
    write_json(folder / HEADER, header)
    current = {entry["name"] for entry in files.values()}
    for path in folder.glob("*.safetensors"):
        if path.name not in current and path.name.startswith(("model-", "embedder-")):
            path.unlink()
    return folder


def load(kind: type[PromptSelector], folder: Path, embedder: Embedder | str | None) -> PromptSelector:
    """Read what `save` wrote.

    Parameters
    ----------
    kind : class of the selector
    folder : holds selector.json and the files that it names
    embedder : what made the vectors, needed if that was a model's folder or hub id, or an object of your own
        (then of the same `info`); None: the one that selector.json names, if it is one of ours or OpenAI's

    Returns: the fitted selector.
    Raises: InputError if a file is missing, altered or damaged, or the embedder is not the one that was used.
    """
    header = read_json(folder / HEADER, hint=FIT_FIRST)
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise InputError(f"{folder / HEADER}: not a selector of this version; fit and save it again")
    if header.pop("check", None) != content_key(header):
        raise InputError(
            f"{folder / HEADER} was altered after it was saved; change settings with set_params and save, or "
            "fit again"
        )
    try:
        named = header["embedder"] if embedder is None else embedder
        selector = kind(embedder=named, **header["params"])
        prompts, info = header["prompts"], header["embedder_info"]
        if selector.embedder is None:
            raise InputError(
                f"{folder}: made with an embedder object; pass the same as PromptSelector.load(dir, "
                "embedder=...)"
            )
        if embedder is None and not holds_no_code(named):  # whoever wrote the folder also chose that model
            raise InputError(
                f"{folder}: names the embedder {on_one_line(str(named), 80)!a}, a model that may bring code; "
                "if you trust it, name it yourself: --embedder, or PromptSelector.load(dir, embedder=...)"
            )
        selector.embedder_ = load_embedder(named, selector.seed) if isinstance(named, str) else named
        if asdict(selector.embedder_.info) != info:
            raise InputError(
                f"{folder}: made with embedder {info['name']} ({info['revision']}), here is "
                f"{selector.embedder_.info.name} "
                f"({selector.embedder_.info.revision}); install the former, or fit again"
            )
        if isinstance(selector.embedder_, TfidfEmbedder):
            selector.embedder_.restore(header["words"], _read_tensors(folder, header["files"]["embedder"]))
        selector.prompts_, selector.names_ = [p["text"] for p in prompts], [p["name"] for p in prompts]
        selector.llms_ = _llms(header.get("llms"), len(prompts))
        selector.positions_ = [_position(p.get("position")) for p in prompts]
        segments = header.get("segments", [])
        selector.segments_ = Segments(
            tuple(str(s["name"]) for s in segments), tuple(float(s["share"]) for s in segments)
        )
        selector.success_ = np.array([p["success"] for p in prompts], dtype=np.float64)
        selector.standing_ = np.array([p["standing"] for p in prompts], dtype=np.float64)
        selector.cost_ = np.array(
            [np.nan if p["cost"] is None else p["cost"] for p in prompts], dtype=np.float64
        )
        selector.best_ = int(header["best"])
        selector.model_name_ = header["model"]
        selector.model_ = reward_models.make(selector.model_name_, seed=selector.seed)
        selector.model_.restore(_read_tensors(folder, header["files"]["model"]))
        selector.model_.settings = header["settings"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder / HEADER}: damaged ({error!r}); fit and save the selector again"
        ) from error
    return selector


def version_id(folder: str | Path) -> str:
    """The version of a saved selector: 16 hexadecimal digits of the hash of its selector.json."""
    return sha256(Path(folder) / HEADER)[:16]


def _llms(found: Any, n_prompts: int) -> list[str] | None:
    if found is None:
        return None
    if not isinstance(found, list) or [type(llm) for llm in found] != [str] * n_prompts:
        raise ValueError("llms are not one text per prompt")
    return found


def _position(found: Any) -> str | None:
    if found is not None and found not in POSITIONS:
        raise ValueError(f"position {found!a}")
    return found


def _write_tensors(folder: Path, kind: str, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Write arrays to <kind>-<hash>.safetensors; its name and sha256."""
    import hashlib

    from safetensors.numpy import save as to_bytes

    data = to_bytes({name: np.ascontiguousarray(a) for name, a in arrays.items()})
    digest = hashlib.sha256(data).hexdigest()
    name = f"{kind}-{digest[:12]}.safetensors"
    with atomic_write(folder / name) as temporary:
        temporary.write_bytes(data)
    return {"name": name, "sha256": digest}


def _read_tensors(folder: Path, entry: dict[str, str]) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    path = folder / entry["name"]
    if not is_file_name(entry["name"]) or not path.is_file() or sha256(path) != entry["sha256"]:
        raise InputError(f"{path} is missing or not the file {HEADER} names; fit and save the selector again")
    return load_file(path)
