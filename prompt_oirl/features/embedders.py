"""Texts to float32 vectors, and a manifest of what made them; docs/prompt_oirl.md lists the embedders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from prompt_oirl.features.minilm_files import BATCH, EmbedderInfo, minilm_folder, minilm_info
from prompt_oirl.io.arrays import load_array
from prompt_oirl.io.files import InputError, on_one_line, sha256, sha256_texts, write_array, write_json
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.server_connection import NoReply, client, environment_key, parse, without_password

HINT = "run llama_step3_data_processing.py again"


class Embedder(Protocol):
    """What turns texts into vectors."""

    info: EmbedderInfo

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from training texts, if `info.fitted`."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 (n, d)."""
        ...


def load_embedder(spec: str, seed: int = 0) -> Embedder:
    """Embedder for a `--embedder` flag; raises InputError when its files are missing or altered."""
    if spec == "tfidf":
        return TfidfEmbedder(seed)
    if spec.startswith("openai:"):
        return OpenAIEmbedder(spec.removeprefix("openai:"))
    if spec in ("minilm", "minilm-int8"):
        from prompt_oirl.features.onnx_minilm import OnnxMiniLM

        return OnnxMiniLM(int8=spec == "minilm-int8")
    return SentenceEmbedder(spec)


def holds_no_code(spec: object) -> bool:
    """Whether a name stands for verified files or a service, not for a model that may bring code."""
    return spec in ("minilm", "minilm-bf16", "minilm-int8", "tfidf") or str(spec).startswith("openai:")


class SentenceEmbedder:
    """A sentence-transformers folder or hub id, or all-MiniLM-L6-v2 (minilm-bf16; minilm to compare with);
    unit vectors."""

    def __init__(self, spec: str):
        self._bf16 = spec == "minilm-bf16"
        folder = minilm_folder() if spec in ("minilm", "minilm-bf16") else Path(spec)
        if not folder.is_dir() and "/" not in spec:  # not worth a search on a hub: most likely a typing error
            raise InputError(
                f"--embedder {spec}: choose minilm, minilm-bf16, tfidf, openai:MODEL, a folder, or a hub id "
                "such as owner/model"
            )
        minilm = minilm_info()
        if spec in ("minilm", "minilm-bf16"):
            digest, revision = minilm.sha256, minilm.revision
        elif folder.is_dir():
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            digest, revision = sha256_texts(sha256(p) for p in files), str(folder)
        else:
            digest, revision = sha256_texts([spec]), "hub"
        name = {"minilm": minilm.name, "minilm-bf16": f"{minilm.name} in bfloat16"}.get(spec, spec)
        self.info = EmbedderInfo(name, revision, digest)
        self._source = str(folder) if folder.is_dir() else spec
        self._model: Any = None

    def fit(self, texts: Sequence[str]) -> None:
        """Pretrained: nothing to fit."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 (n, d)."""
        if self._model is None:
            import logging

            import transformers

            transformers.utils.logging.disable_progress_bar()
            logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
            from sentence_transformers import SentenceTransformer

            try:
                self._model = SentenceTransformer(self._source, trust_remote_code=False)
            except (OSError, ValueError) as error:
                reason = str(error).split("\n")[0]
                raise InputError(
                    f"embedder {self._source!r} cannot be loaded ({reason}): pass a sentence-transformers "
                    "folder, minilm or tfidf"
                ) from error
        import sys

        import torch

        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            vectors = self._model.encode(
                list(texts),  # sorted by length inside
                batch_size=BATCH,
                normalize_embeddings=True,
                show_progress_bar=sys.stderr.isatty() and len(texts) > BATCH,
                convert_to_numpy=True,
            )
        return vectors.astype(np.float32)


class TfidfEmbedder:
    """Word 1-2-gram TF-IDF reduced by SVD to at most 256 unit-length dimensions; fitted on training texts."""

    def __init__(self, seed: int = 0, dimensions: int = 256):
        self.info = EmbedderInfo(
            "tfidf-svd",
            f"{dimensions}d seed {seed}",
            sha256_texts(["tfidf-svd", str(dimensions), str(seed)]),
            fitted=True,
        )
        self._seed, self._dimensions = seed, dimensions
        self._vectorizer: Any = None

    def fit(self, texts: Sequence[str]) -> None:
        """Learn words and axes from training texts."""
        from sklearn.decomposition import TruncatedSVD

        vectorizer = self._new_vectorizer(min_df=2 if len(texts) > 50 else 1)
        try:
            counts = vectorizer.fit_transform(texts)
            size = max(1, min(self._dimensions, counts.shape[1] - 1, len(texts) - 1))
            with np.errstate(invalid="ignore"):  # shares of a variance of 0, which nobody asks for
                svd = TruncatedSVD(size, random_state=self._seed).fit(counts)
        except ValueError as error:
            raise InputError(
                f"tfidf found too few words in the training questions ({error}): pass --embedder minilm"
            ) from error
        self._vectorizer, self._components = vectorizer, svd.components_

    def _new_vectorizer(self, **settings: Any) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32, **settings)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 (n, d)."""
        from sklearn.preprocessing import normalize

        return normalize(self._vectorizer.transform(list(texts)) @ self._components.T).astype(np.float32)

    def state(self) -> tuple[list[str], dict[str, np.ndarray]]:
        """What `fit` learned: words in column order, their inverse document frequencies, the axes."""
        words = self._vectorizer.get_feature_names_out().tolist()
        return words, {"idf": self._vectorizer.idf_, "components": self._components}

    def restore(self, words: Sequence[str], arrays: dict[str, np.ndarray]) -> None:
        """Undo `state`; raises ValueError where words and arrays do not fit together."""
        n = len(words)
        if (
            arrays["idf"].shape != (n,)
            or arrays["components"].ndim != 2
            or arrays["components"].shape[1] != n
        ):
            raise ValueError(f"the embedder's arrays are not those of {n} words")
        self._vectorizer = self._new_vectorizer(vocabulary=list(words))
        self._vectorizer.idf_ = arrays["idf"]
        self._components = arrays["components"]


class OpenAIEmbedder:
    """Any OpenAI-compatible endpoint; OPENAI_API_KEY and OPENAI_BASE_URL come from the environment."""

    def __init__(self, model: str, batch: int = 256):
        self._key = environment_key(None, "--embedder openai")
        base_url = without_password(str(self._client().base_url))
        self.info = EmbedderInfo(f"openai:{model}", base_url, sha256_texts([base_url, model]))
        self._model, self._batch = model, batch

    def _client(self) -> Any:
        # 256 texts x 3,072 numbers are 17 MB.
        return client(self._key, None, 60.0, seconds=300.0, largest=64 * 2**20, retries=5)

    def fit(self, texts: Sequence[str]) -> None:
        """Pretrained: nothing to fit."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 (n, d)."""
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal() as portal:  # notebooks have a loop that runs already
            vectors = portal.call(self._encode, texts)
        if len(set(map(len, vectors))) > 1:
            raise self._refusal("returned vectors of unequal length; check the server")
        array = np.array(vectors, dtype=np.float32)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise self._refusal("returned vectors with NaN; check the model name")
        return array

    async def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        from tqdm import tqdm

        vectors: list[np.ndarray] = []
        async with self._client() as asking:
            for start in tqdm(range(0, len(texts), self._batch), desc="embedding", disable=None):
                vectors += await self._embed(asking, list(texts[start : start + self._batch]))
        return vectors

    async def _embed(self, asking: Any, batch: list[str]) -> list[np.ndarray]:
        from openai import OpenAIError

        create = asking.embeddings.with_raw_response.create
        try:
            reply = await create(model=self._model, input=batch, encoding_format="float")
        except (OpenAIError, NoReply) as error:
            cause = error.__cause__ if isinstance(error.__cause__, NoReply) else error
            said = str(cause) if isinstance(cause, NoReply) else type(error).__name__
            reason = f"did not embed the texts ({said})"
            raise self._refusal(f"{reason}; check the server and run step 3 again") from error
        try:
            items = sorted(parse(reply.content)["data"], key=lambda item: item["index"])
            found = [np.array(item["embedding"]) for item in items]
            if len(found) == len(batch) != len({item["index"] for item in items}):
                raise ValueError("one index twice")
            if any(vector.ndim != 1 or vector.dtype.kind not in "fi" for vector in found):
                raise ValueError("no numbers")
        except (ValueError, TypeError, KeyError) as error:
            reason = f"returned something else than embeddings ({type(error).__name__})"
            raise self._refusal(f"{reason}; check OPENAI_BASE_URL") from error
        if len(found) != len(batch):
            raise self._refusal(f"returned {len(found)} vectors for {len(batch)} texts; check the server")
        return found

    def _refusal(self, problem: str) -> InputError:
        return InputError(f"{on_one_line(self.info.revision, 200)} {problem}")


# --- the store: embeddings/<llm>/<dataset>/ ------------------------------------------------------------


def save_embeddings(folder: Path, arrays: dict[str, np.ndarray], info: EmbedderInfo) -> list[Path]:
    """Write `<name>.npy` for each array, then `embedder.json` (embedder, shapes, hashes); return the files.

    Parameters
    ----------
    folder, arrays, info : where to write; arrays (n, d) by name, one of them "questions..."; what made them
    """
    files = {}
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)
        files[name] = {"shape": list(array.shape), "sha256": sha256(folder / f"{name}.npy")}
    dimension = next(a.shape[1] for name, a in arrays.items() if name.startswith("questions"))
    write_json(folder / "embedder.json", {**asdict(info), "dimension": dimension, "files": files})
    return [folder / f"{name}.npy" for name in arrays] + [folder / "embedder.json"]


def load_embeddings(
    folder: Path, names: Sequence[str], rows: Sequence[int]
) -> tuple[list[np.ndarray], EmbedderInfo]:
    """Map float32 arrays of one embedder into memory; refuse foreign, altered, misshapen or non-finite ones.

    Parameters
    ----------
    folder, names, rows : where `save_embeddings` wrote, which arrays, and how many rows each must have
    """
    manifest = read_json(folder / "embedder.json", hint="run llama_step3_data_processing.py first")
    try:
        info = EmbedderInfo(*(manifest[key] for key in ("name", "revision", "sha256", "fitted")))
        files = {name: dict(entry) for name, entry in manifest["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / 'embedder.json'}: not an embedder manifest; {HINT}") from error
    arrays = []
    for name, expected_rows in zip(names, rows):
        path = folder / f"{name}.npy"
        if name not in files:
            more = " with --assignments as here" if info.fitted else ""
            raise InputError(f"{path} is not among the files {info.name} made; {HINT}{more}")
        array = load_array(path, hint=HINT, ndim=2, dtype="f", mapped=True)
        if len(array) != expected_rows or array.dtype != np.float32:
            raise InputError(
                f"{path}: {array.dtype} of shape {array.shape}, expected float32 with {expected_rows} rows; "
                f"{HINT}"
            )
        if sha256(path) != files[name].get("sha256"):
            raise InputError(
                f"{path} is not the file {info.name} wrote (mixing embedders is refused); {HINT}"
            )
        arrays.append(array)
    if len({array.shape[1] for array in arrays}) > 1:
        raise InputError(f"{folder}: question and prompt vectors differ in dimension; {HINT}")
    return arrays, info
