"""A saved selector: selector.json and the safetensors it names. No code in it, nothing altered is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
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
from prompt_oirl.io.json_files import as_record, read_json
from prompt_oirl.io.locks import held
from prompt_oirl.selection.card import FittedOn, write_selector_card
from prompt_oirl.selection.signatures import check_signature, signature_of

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
    with saving(folder):
        return write(selector, folder)


def saving(folder: Path) -> AbstractContextManager[None]:
    """The lock of a selector's folder, which whoever writes there holds."""
    return held(folder / ".lock", f"another process is saving {folder}: try again", wait=60)


def write(selector: PromptSelector, folder: Path) -> Path:
    """As `save`, for the holder of the lock; with a key in the environment selector.json is signed."""
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
        "fitted_on": asdict(selector.fitted_on_),
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
    signature = signature_of(header)
    signed = {} if signature is None else {"signature": signature}
    write_json(folder / HEADER, {**header, "check": content_key(header), **signed})
    current = {entry["name"] for entry in files.values()}
    for path in folder.glob("*.safetensors"):
        if path.name not in current and path.name.startswith(("model-", "embedder-")):
            path.unlink()
    write_selector_card(selector, folder)
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
    Raises: InputError if a file is missing, altered or damaged, the embedder is not the one that was used, or
        the environment has a key and the selector is not signed with it.
    """
    while True:
        before = _header_bytes(folder)
        try:
            return _load(kind, folder, embedder)
        except (InputError, FileNotFoundError):
            if _header_bytes(folder) == before:  # else another process has saved meanwhile
                raise


def _header_bytes(folder: Path) -> bytes | None:
    try:
        return (folder / HEADER).read_bytes()
    except OSError:
        return None


def _load(kind: type[PromptSelector], folder: Path, embedder: Embedder | str | None) -> PromptSelector:
    header = read_json(folder / HEADER, hint=FIT_FIRST)
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise InputError(f"{folder / HEADER}: not a selector of this version; fit and save it again")
    signature, check = header.pop("signature", None), header.pop("check", None)
    if check != content_key(header):
        raise InputError(
            f"{folder / HEADER} was altered after it was saved; change settings with set_params and save, or "
            "fit again"
        )
    check_signature(header, signature, folder / HEADER)
    try:
        named = header["embedder"] if embedder is None else embedder
        selector = kind(embedder=named, **header["params"])
        info = header["embedder_info"]
        if type(selector.seed) is not int or not 0 <= selector.seed < 2**32:
            raise ValueError("the seed is none")
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
                f"{folder}: made with embedder {on_one_line(str(info['name']))} "
                f"({on_one_line(str(info['revision']))}), here is {selector.embedder_.info.name} "
                f"({selector.embedder_.info.revision}); install the former, or fit again"
            )
        _restore(selector, header, folder)
    except InputError:
        raise
    except Exception as error:  # libraries have kinds of their own for what they cannot read
        reason = on_one_line(f"{type(error).__name__}: {error}", 200)
        raise InputError(f"{folder / HEADER}: damaged ({reason}); fit and save the selector again") from error
    return selector


def _restore(selector: PromptSelector, header: dict[str, Any], folder: Path) -> None:
    """Fill the selector from its header and the files that this names; raises an error of any kind where they
    do not fit together."""
    if isinstance(selector.embedder_, TfidfEmbedder):
        words = _texts(header["words"])
        selector.embedder_.restore(words, _read_tensors(folder, header["files"]["embedder"]))
    prompts = header["prompts"]
    selector.prompts_, selector.names_ = (
        _texts(p["text"] for p in prompts),
        _texts(p["name"] for p in prompts),
    )
    selector.llms_ = _llms(header.get("llms"), len(prompts))
    selector.positions_ = [_position(p.get("position")) for p in prompts]
    segments = header.get("segments", [])
    shares = tuple(_number(s["share"], 0, 1) for s in segments)
    selector.segments_ = Segments(tuple(_texts(s["name"] for s in segments)), shares)
    selector.success_ = np.array([_number(p["success"], 0, 1) for p in prompts])
    selector.standing_ = np.array([_number(p["standing"], -np.inf, np.inf) for p in prompts])
    costs = [np.nan if p["cost"] is None else _number(p["cost"], 0, np.inf) for p in prompts]
    selector.cost_ = np.array(costs, dtype=np.float64)
    selector.fitted_on_ = as_record(FittedOn, header.get("fitted_on", {}), str(folder / HEADER), FIT_FIRST)
    selector.best_ = header["best"]
    if type(selector.best_) is not int or not 0 <= selector.best_ < len(prompts):
        raise ValueError(f"best is {selector.best_!a:.40} of {len(prompts)} prompts")
    try:
        selector._check_settings()
        selector.model_name_ = header["model"]
        selector.model_ = reward_models.make(selector.model_name_, seed=selector.seed)
    except InputError as error:  # which names no file
        raise ValueError(str(error)) from error
    selector.model_.restore(_read_tensors(folder, header["files"]["model"]))
    selector.model_.settings = dict(header["settings"])
    # What does not fit the embedder or the prompts shows when it is asked, for some number of questions.
    for n in (2, 3):
        tried = selector.predict_proba(["Does it answer?", "All of them?", "Each?"][:n])
        if tried.shape != (n, len(prompts)) or not np.isfinite(tried).all():
            raise ValueError("the reward model gives no probability for each prompt")


def version_id(folder: str | Path) -> str:
    """The version of a saved selector: 16 hexadecimal digits of the hash of its selector.json."""
    return sha256(Path(folder) / HEADER)[:16]


def _texts(found: Iterable[Any]) -> list[str]:
    texts = list(found)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{text!a:.40} is no text")
        text.encode()  # half a surrogate pair is none
    return texts


def _number(value: Any, low: float, high: float) -> float:
    if type(value) not in (int, float) or not low <= value <= high or np.isinf(value):
        raise ValueError(f"{value!a:.40} is no number from {low} to {high}")
    return float(value)


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
    from safetensors.numpy import save as to_bytes

    data = to_bytes({name: np.ascontiguousarray(a) for name, a in arrays.items()})
    digest = hashlib.sha256(data).hexdigest()
    name = f"{kind}-{digest[:12]}.safetensors"
    with atomic_write(folder / name) as temporary:
        temporary.write_bytes(data)
    return {"name": name, "sha256": digest}


def _read_tensors(folder: Path, entry: dict[str, str]) -> dict[str, np.ndarray]:
    path = folder / entry["name"]
    data = path.read_bytes() if is_file_name(entry["name"]) and path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise InputError(f"{path} is missing or not the file {HEADER} names; fit and save the selector again")
    return reward_models.known_numbers(data)  # the very bytes that were hashed
