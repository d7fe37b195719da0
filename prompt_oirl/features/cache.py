"""Vectors by the content of their text: what one run or log has embedded, no other embeds again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from prompt_oirl.features.embedders import Embedder
from prompt_oirl.io.files import InputError, atomic_write, content_key

CACHE_EVERY = 8192  # texts after which new vectors are stored


def encode_cached(embedder: Embedder, texts: Sequence[str], folder: Path) -> np.ndarray:
    """Encode each distinct text once ever; float32 (len(texts), d).

    `folder` keeps one file per embedder, vectors by the hash of their text; what an earlier run or another log has
    embedded is not embedded again. New texts go in order of length, and are stored every `CACHE_EVERY` texts.
    """
    path = folder / f"{content_key(asdict(embedder.info))}.safetensors"
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts]
    known = _read_cache(path)
    new = sorted(
        {text: key for text, key in zip(texts, keys) if key not in known}.items(), key=lambda t: len(t[0])
    )
    for start in range(0, len(new), CACHE_EVERY):
        some = new[start : start + CACHE_EVERY]
        known.update(zip((key for _, key in some), embedder.encode([text for text, _ in some])))
        _write_cache(path, known)
    return np.array([known[key] for key in keys], dtype=np.float32)


def _read_cache(path: Path) -> dict[bytes, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        return {}
    try:
        stored = load_file(path)
        keys, vectors = stored["keys"], stored["vectors"]
    except (SafetensorError, KeyError) as error:
        raise InputError(
            f"{path} is damaged: delete it and run llama_step3_data_processing.py again"
        ) from error
    if len(keys) != len(vectors) or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise InputError(f"{path} is damaged: delete it and run llama_step3_data_processing.py again")
    return dict(zip(map(bytes, keys), vectors))


def _write_cache(path: Path, known: dict[bytes, np.ndarray]) -> None:
    from safetensors.numpy import save

    keys = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(len(known), 16)
    with atomic_write(path) as temporary:
        temporary.write_bytes(
            save({"keys": keys, "vectors": np.array(list(known.values()), dtype=np.float32)})
        )
