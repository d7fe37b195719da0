"""Selectors whose hashes were computed anew after a change: each is one line, or answers as any other."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_logs import made_log
from safetensors.numpy import load_file, save_file

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import InputError, content_key
from prompt_oirl.selection.storage import HEADER

ODD: list[Any] = [
    None,
    True,
    -1,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "a\nb",
    "\ud800",
    [],
    {},
    [[1]],
]


@pytest.fixture(scope="module", params=["interaction", "xgboost", "lightgbm", "linear", "knn"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PromptSelector("tfidf", request.param).fit(made_log(40)).save(tmp_path_factory.mktemp("selector"))


def write(folder: Path, header: dict[str, Any]) -> None:
    """What anybody can do who knows this project."""
    header = {key: value for key, value in header.items() if key != "check"}
    (folder / HEADER).write_text(json.dumps(header | {"check": content_key(header)}))


def loads_or_says_so(folder: Path, what: str) -> bool:
    """Whether the selector loads; if it does not, the refusal is one line that names a file in it."""
    try:
        selector = PromptSelector.load(folder)
    except InputError as error:
        assert str(error).isprintable() and str(folder) in str(error), what
        return False
    assert np.isfinite(selector.predict_proba(["Why?", "How many?"])).all(), what
    selector.select(["Why?"])
    return True


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values in JSON; of long lists to the first two items."""
    found = [path] if path else []
    if isinstance(value, dict):
        return found + [p for key in value for p in places(value[key], (*path, key))]
    if isinstance(value, list):
        return found + [p for i in range(min(2, len(value))) for p in places(value[i], (*path, i))]
    return found


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_any_value_in_the_header_may_be_of_any_kind(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    text = (folder / HEADER).read_text()
    rng = np.random.default_rng(0)
    refused = 0
    for path in places(json.loads(text)):
        for odd in [ODD[i] for i in rng.permutation(len(ODD))[:3]]:
            header = json.loads(text)
            at = header
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = odd
            write(copy, header)
            refused += not loads_or_says_so(copy, f"{path} = {odd!a}")
            del at[path[-1]]
        write(copy, header)  # without it
        loads_or_says_so(copy, f"without {path}")
    assert refused > 50


def changes(array: np.ndarray) -> list[np.ndarray]:
    flat = array.ravel()
    found = [array[:0], array[1:], np.concatenate([array, array]), flat, array[None], flat[:1]]
    found += [array.astype(kind) for kind in (np.float16, np.int64, np.uint8)]
    if array.dtype.kind == "f" and array.size:
        found += [np.full_like(array, np.nan), np.full_like(array, np.inf), array.T.copy()]
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_tensor_may_be_of_any_shape_and_kind(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    header = json.loads((folder / HEADER).read_text())
    refused = 0
    for kind, entry in header["files"].items():
        arrays = load_file(folder / entry["name"])
        for name, array in arrays.items():
            for i, other in enumerate([None, *changes(array)]):
                changed = {key: value for key, value in arrays.items() if key != name}
                if other is not None:
                    changed[name] = np.ascontiguousarray(other)
                path = copy / "changed.safetensors"
                save_file(changed, path)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                files = header["files"] | {kind: {"name": path.name, "sha256": digest}}
                write(copy, header | {"files": files})
                refused += not loads_or_says_so(copy, f"{name}, change {i}")
    assert refused > 10
