"""Each text is embedded once: within a call, for all folds of a cross-fit, or ever, in a file of vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from prompt_oirl.features.embedders import Embedder, load_embedder
from prompt_oirl.io.files import InputError, atomic_write, content_key

CACHE_EVERY = 8192  # texts after which new vectors are stored


class RememberingEmbedder:
    """Encodes each text once; for the folds of a cross-fit, which share all their questions."""

    def __init__(self, embedder: Embedder):
        self._embedder, self.info = embedder, embedder.info
        self._vectors: dict[str, np.ndarray] = {}

    def __repr__(self) -> str:
        return f"shared_embedder({self.info.name!r})"

    def __sklearn_clone__(self) -> RememberingEmbedder:
        return self  # clones of a selector share what is embedded

    def fit(self, texts: Sequence[str]) -> None:
        """Pretrained: nothing to fit."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 (len(texts), d)."""
        new = [t for t in dict.fromkeys(texts) if t not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._embedder.encode(new)))
        return np.stack([self._vectors[t] for t in texts])


def shared_embedder(embedder: str | Embedder, seed: int = 0) -> str | Embedder:
    """One embedder for all folds, unless it is fitted, which every fold must do for itself."""
    loaded = load_embedder(embedder, seed) if isinstance(embedder, str) else embedder
    if loaded.info.fitted or isinstance(loaded, RememberingEmbedder):
        return embedder
    return RememberingEmbedder(loaded)


def encode_distinct(embedder: Embedder, texts: Sequence[str]) -> np.ndarray:
    """Encode each distinct text once; float32 (len(texts), d)."""
    return RememberingEmbedder(embedder).encode(texts)


def encode_cached(embedder: Embedder, texts: Sequence[str], folder: Path) -> np.ndarray:
    """Encode each distinct text once ever, shortest first; float32 (len(texts), d).

    Parameters
    ----------
    folder : keeps one file per embedder, vectors by the hash of their text
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
    damaged = f"{path} is damaged: delete it and run llama_step3_data_processing.py again"
    try:
        stored = load_file(path)
        keys, vectors = stored["keys"], stored["vectors"]
    except (SafetensorError, KeyError) as error:
        raise InputError(damaged) from error
    if len(keys) != len(vectors) or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise InputError(damaged)
    return dict(zip(map(bytes, keys), vectors))


def _write_cache(path: Path, known: dict[bytes, np.ndarray]) -> None:
    from safetensors.numpy import save

    keys = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(len(known), 16)
    with atomic_write(path) as temporary:
        temporary.write_bytes(
            save({"keys": keys, "vectors": np.array(list(known.values()), dtype=np.float32)})
        )
