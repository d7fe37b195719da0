"""Boosters out of files that somebody else may have written: read and checked here, then written anew.

XGBoost and LightGBM trust their model files: a changed child's index makes them read beyond an array or turn
in a circle for ever. So neither library sees a byte of such a file. What is read here is one kind of booster,
that of `boosted.py` (one number a leaf, numeric splits), and the libraries get what is written from it.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np

MOST_FEATURES = 2**20
_TYPED = {"d": ">f4", "D": ">f8", "l": ">i4", "L": ">i8", "U": ">u1", "i": ">i1", "I": ">i2"}
_DEEPEST = 12  # of objects and arrays in each other; XGBoost's files have 7
# Columns of a tree's nodes in XGBoost's file, each with its type in UBJSON.
_NODES = {
    "base_weights": "d",
    "default_left": "U",
    "left_children": "l",
    "loss_changes": "d",
    "parents": "l",
    "right_children": "l",
    "split_conditions": "d",
    "split_indices": "l",
    "split_type": "U",
    "sum_hessian": "d",
}
_CATEGORIES = {
    "categories": "l",
    "categories_nodes": "l",
    "categories_segments": "L",
    "categories_sizes": "L",
}
_ROOT = 2**31 - 1  # the parent of a root
_NUMBERS = re.compile(r"[-+.eE\d ]*", re.ASCII)


def checked_xgboost(data: bytes) -> bytearray:
    """A booster in UBJSON, as XGBoost 3.0 would have written it (later ones read that as well).

    Parameters
    ----------
    data : what `Booster.save_raw("ubj")` gave, or anything else

    Raises: ValueError saying what is wrong with it.
    """
    try:
        found, end = _read(data, 0, 0)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("the booster is no whole UBJSON file") from error
    if end != len(data):
        raise ValueError("more stands behind the booster")
    learner = _at(found, "learner")
    about, booster = _at(learner, "learner_model_param"), _at(learner, "gradient_booster")
    if _at(booster, "name") != "gbtree" or _at(learner, "objective", "name") != "binary:logistic":
        raise ValueError("the booster is none of a binary:logistic gbtree")
    features = _whole(_at(about, "num_feature"))
    start = float(str(_at(about, "base_score")).strip("[]"))
    if not 0 <= start <= 1 or not 1 <= features <= MOST_FEATURES:
        raise ValueError(f"the booster has base_score {start} and {features} features")
    trees = _at(booster, "model", "trees")
    if not isinstance(trees, list):
        raise ValueError("the booster has no list of trees")
    written = [_xgboost_tree(tree, i, features) for i, tree in enumerate(trees)]
    model = {
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
        "iteration_indptr": list(range(len(trees) + 1)),
        "tree_info": [0] * len(trees),
        "trees": written,
    }
    learner = {
        "attributes": {},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": {"model": model, "name": "gbtree"},
        "learner_model_param": {
            "base_score": np.format_float_scientific(np.float32(start), unique=True),
            "boost_from_average": "1",
            "num_class": "0",
            "num_feature": str(features),
            "num_target": "1",
        },
        "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}},
    }
    out = bytearray()
    _write(out, {"learner": learner, "version": [3, 0, 0]})
    return out


def _xgboost_tree(tree: Any, place: int, features: int) -> dict[str, Any]:
    """The tree as it is written; children stand behind their parent, so no path turns in a circle."""
    nodes = {name: np.asarray(_at(tree, name)) for name in _NODES}
    n = nodes["left_children"].size
    if n == 0 or any(column.shape != (n,) or column.dtype.kind not in "fiu" for column in nodes.values()):
        raise ValueError(f"tree {place} of the booster: its columns are no {n} numbers each")
    left, right = nodes["left_children"].astype(np.int64), nodes["right_children"].astype(np.int64)
    inner = left != -1
    _check_children(left[inner], right[inner], np.flatnonzero(inner), n, place)
    split = np.where(inner, nodes["split_indices"], 0)
    if (right[~inner] != -1).any() or (split < 0).any() or (split >= features).any():
        raise ValueError(f"tree {place} of the booster: it splits by a feature that is not there")
    if nodes["split_type"].any() or any(np.size(_at(tree, name)) for name in _CATEGORIES):
        raise ValueError(f"tree {place} of the booster: it splits by categories")
    if not all(np.isfinite(nodes[name]).all() for name, kind in _NODES.items() if kind == "d"):
        raise ValueError(f"tree {place} of the booster: it holds NaN or infinity")
    parents = np.full(n, _ROOT)
    parents[left[inner]] = parents[right[inner]] = np.flatnonzero(inner)
    nodes |= {"split_indices": split, "parents": parents, "default_left": nodes["default_left"] != 0}
    return {
        **{name: (kind, nodes[name]) for name, kind in _NODES.items()},
        **{name: (kind, np.empty(0)) for name, kind in _CATEGORIES.items()},
        "id": place,
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(features),
            "num_nodes": str(n),
            "size_leaf_vector": "1",
        },
    }


def _check_children(left: np.ndarray, right: np.ndarray, inner: np.ndarray, n: int, place: int) -> None:
    both = np.concatenate([left, right])
    if (both <= np.tile(inner, 2)).any() or (both >= n).any() or len(np.unique(both)) < len(both):
        raise ValueError(f"tree {place} of the booster: a node's child is not one of the nodes behind it")


def _at(value: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"the booster has no {key}")
        value = value[key]
    return value


def _whole(text: Any) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ValueError(f"the booster has {text!a:.40} in place of a whole number")
    return int(text)


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins at a place of UBJSON, and the place behind it."""
    kind, at = chr(data[at]), at + 1
    if depth > _DEEPEST:
        raise ValueError("the booster is nested too deep")
    if kind == "S":
        return _read_text(data, at)
    if kind in _TYPED:
        return _read_numbers(data, at, kind, 1)
    if kind == "{":
        found: dict[str, Any] = {}
        while data[at] != ord("}"):
            key, at = _read_text(data, at)
            if key in found:
                raise ValueError(f"the booster has {key!a:.40} twice")
            found[key], at = _read(data, at, depth + 1)
        return found, at + 1
    if kind != "[":
        raise ValueError(f"the booster holds an unknown value {kind!a}")
    typed = data[at] == ord("$")
    item, at = (chr(data[at + 1]), at + 2) if typed else ("", at)
    if data[at : at + 2] != b"#L":
        raise ValueError("the booster has an array of unknown length")
    [length] = struct.unpack_from(">q", data, at + 2)
    at += 10
    if not 0 <= length <= len(data) - at:  # each item takes a byte or more
        raise ValueError("the booster has an array longer than its file")
    if typed:
        return _read_numbers(data, at, item, length, as_array=True)
    items = []
    for _ in range(length):
        value, at = _read(data, at, depth + 1)
        items.append(value)
    return items, at


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    [length] = struct.unpack_from(">q", data, at + 1)
    end = at + 9 + length
    if data[at] != ord("L") or not 0 <= length <= len(data) - at - 9:
        raise ValueError("the booster has a text longer than its file")
    return data[at + 9 : end].decode(), end


def _read_numbers(data: bytes, at: int, kind: str, length: int, as_array: bool = False) -> tuple[Any, int]:
    if kind not in _TYPED:
        raise ValueError(f"the booster has an array of unknown values {kind!a}")
    dtype = np.dtype(_TYPED[kind])
    end = at + length * dtype.itemsize
    if end > len(data):
        raise ValueError("the booster has an array longer than its file")
    found = np.frombuffer(data, dtype, length, at)
    return (found if as_array else found[0].item()), end


def _write(out: bytearray, value: Any) -> None:
    """Append UBJSON: texts, whole numbers, objects, lists, and (type, numbers)."""
    if isinstance(value, str):
        out += b"S"
        _write_text(out, value)
    elif isinstance(value, int):
        out += b"l" + struct.pack(">i", value)
    elif isinstance(value, tuple):
        kind, numbers = value
        out += f"[${kind}#L".encode() + struct.pack(">q", len(numbers))
        out += np.asarray(numbers).astype(_TYPED[kind]).tobytes()
    elif isinstance(value, list):
        out += b"[#L" + struct.pack(">q", len(value))
        for item in value:
            _write(out, item)
    else:
        out += b"{"
        for key, item in value.items():
            _write_text(out, key)
            _write(out, item)
        out += b"}"


def _write_text(out: bytearray, text: str) -> None:
    data = text.encode()
    out += b"L" + struct.pack(">q", len(data)) + data


def checked_lightgbm(text: str) -> str:
    """A booster in LightGBM's text form, with only what predicting needs.

    Parameters
    ----------
    text : what `Booster.model_to_string()` gave, or anything else

    Raises: ValueError saying what is wrong with it.
    """
    parts = text.split("end of trees", 1)[0].split("\nTree=")
    about = _entries(parts[0])
    if about.get("num_class") != "1" or about.get("num_tree_per_iteration") != "1":
        raise ValueError("the booster is none of one number a leaf")
    if about.get("objective") != "cross_entropy" or "average_output" in parts[0].split():
        raise ValueError("the booster is none of the objective cross_entropy")
    features = _whole(about.get("max_feature_idx")) + 1
    if features > MOST_FEATURES:
        raise ValueError(f"the booster has {features} features")
    columns = [f"Column_{i}" for i in range(features)]
    out = ["tree", "version=v4", "num_class=1", "num_tree_per_iteration=1", "label_index=0"]
    out += [f"max_feature_idx={features - 1}", "objective=cross_entropy"]
    out += [f"feature_names={' '.join(columns)}", f"feature_infos={' '.join(['[0:1]'] * features)}", ""]
    for place, part in enumerate(parts[1:]):
        out += [f"Tree={place}", *_lightgbm_tree(_entries(part), place, features), "", ""]
    return "\n".join([*out, "end of trees", ""])


def _entries(part: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in part.split("\n") if "=" in line)
    return {name: value for name, _, value in pairs}


def _lightgbm_tree(found: dict[str, str], place: int, features: int) -> list[str]:
    """Lines of the tree; a child of 0 or more is an inner node behind its parent, a negative one a leaf."""
    leaves = _whole(found.get("num_leaves"))
    if found.get("num_cat") != "0" or found.get("is_linear", "0") != "0" or leaves < 1:
        raise ValueError(f"tree {place} of the booster: it has categories, linear leaves or none")

    def numbers(name: str, n: int, whole: bool = False) -> np.ndarray:
        line = found.get(name, "")
        values = np.array(line.split() if _NUMBERS.fullmatch(line) else [np.nan], dtype=np.float64)
        if len(values) != n or not np.isfinite(values).all() or (whole and (values % 1).any()):
            raise ValueError(f"tree {place} of the booster: {name} holds no {n} numbers")
        return values.astype(np.int64) if whole else values

    inner = leaves - 1
    split, kinds = numbers("split_feature", inner, True), numbers("decision_type", inner, True)
    left, right = numbers("left_child", inner, True), numbers("right_child", inner, True)
    if ((split < 0) | (split >= features)).any() or not np.isin(kinds, [0, 2, 4, 6, 8, 10]).all():
        raise ValueError(f"tree {place} of the booster: it splits by a feature or a way that is not there")
    both, parents = np.concatenate([left, right]), np.tile(np.arange(inner), 2)
    behind = (both < 0) | ((both > parents) & (both < inner))
    if not behind.all() or (both < -leaves).any() or len(np.unique(both)) < len(both):
        raise ValueError(f"tree {place} of the booster: a node's child is not one of the nodes behind it")
    numbers("threshold", inner), numbers("leaf_value", leaves), numbers("shrinkage", 1)
    kept = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value")
    return [
        f"num_leaves={leaves}",
        "num_cat=0",
        *(f"{n}={found.get(n, '')}" for n in kept),
        "is_linear=0",
    ] + [f"shrinkage={found['shrinkage']}"]
