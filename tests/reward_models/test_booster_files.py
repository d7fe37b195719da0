"""Boosters of strangers: no changed one reaches XGBoost or LightGBM, and none crashes them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from prompt_oirl.io.files import InputError, sha256
from prompt_oirl.reward_models import load, make, save
from prompt_oirl.reward_models.booster_files import checked_lightgbm, checked_xgboost

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(400, 5)).astype(np.float32)
LABELS = (ROWS[:, 0] * ROWS[:, 1] > 0).astype(np.float32)


def xgboost_bytes(labels: np.ndarray = LABELS, **more: object) -> bytes:
    parameters = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, **more}
    return bytes(xgboost.train(parameters, xgboost.DMatrix(ROWS, labels), 8).save_raw("ubj"))


def lightgbm_text(labels: np.ndarray = LABELS, **more: object) -> str:
    parameters = {"objective": "cross_entropy", "verbosity": -1, "num_leaves": 9, "num_threads": 1, **more}
    return lightgbm.train(parameters, lightgbm.Dataset(ROWS, labels), 8).model_to_string()


@pytest.mark.parametrize(
    "more", [{}, {"base_score": 0.3}, {"gamma": 5.0}, {"labels": 0 * LABELS}, {"labels": LABELS**0}]
)
def test_what_xgboost_wrote_predicts_the_same(more: dict[str, Any]) -> None:
    raw = xgboost_bytes(**more)
    before, after = xgboost.Booster(), xgboost.Booster()
    before.load_model(bytearray(raw))
    written = checked_xgboost(raw)
    after.load_model(written)
    assert np.array_equal(before.inplace_predict(ROWS), after.inplace_predict(ROWS))
    assert after.num_boosted_rounds() == 8 and checked_xgboost(bytes(after.save_raw("ubj"))) == written


@pytest.mark.parametrize("labels", [LABELS, np.ones_like(LABELS)])
def test_what_lightgbm_wrote_predicts_the_same(labels: np.ndarray) -> None:
    text = lightgbm_text(labels)
    written = checked_lightgbm(text)
    before, after = lightgbm.Booster(model_str=text), lightgbm.Booster(model_str=written)
    assert np.array_equal(before.predict(ROWS), after.predict(ROWS)) and checked_lightgbm(written) == written


def test_boosters_of_another_kind_are_refused() -> None:
    for more in ({"booster": "dart"}, {"objective": "reg:squarederror"}):
        with pytest.raises(ValueError, match="none of a binary:logistic gbtree"):
            checked_xgboost(xgboost_bytes(**more))
    with pytest.raises(ValueError, match="none of the objective cross_entropy"):
        checked_lightgbm(lightgbm_text(objective="binary"))
    with pytest.raises(ValueError, match="linear leaves"):
        checked_lightgbm(lightgbm_text(linear_tree=True))


def changed(raw: bytes, column: str, place: int, value: int) -> bytes:
    """XGBoost's bytes with one number of the first tree's column replaced."""
    start = raw.index(b"[$l#L", raw.index(column.encode())) + 13 + 4 * place
    return raw[:start] + value.to_bytes(4, "big", signed=True) + raw[start + 4 :]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("left_children", 0, "not one of the nodes behind it"),  # a circle: XGBoost would never return
        ("left_children", 10**6, "not one of the nodes behind it"),
        ("left_children", -7, "not one of the nodes behind it"),
        ("split_indices", 10**8, "a feature that is not there"),
        ("split_indices", -2, "a feature that is not there"),
    ],
)
def test_a_changed_index_of_xgboost_is_refused(column: str, value: int, said: str) -> None:
    with pytest.raises(ValueError, match=f"tree 0 of the booster: .*{said}"):
        checked_xgboost(changed(xgboost_bytes(), column, 0, value))


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("left_child", "0", "not one of the nodes behind it"),
        ("right_child", "-99", "not one of the nodes behind it"),
        ("split_feature", "5", "a feature or a way that is not there"),
        ("decision_type", "1", "a feature or a way that is not there"),
        ("threshold", "nan", "holds no"),
        ("leaf_value", "1e999", "holds no"),
        ("num_leaves", "999999999", "holds no"),
        ("num_cat", "1", "categories"),
    ],
)
def test_a_changed_number_of_lightgbm_is_refused(entry: str, value: str, said: str) -> None:
    text = re.sub(rf"(?m)^{entry}=\S+", f"{entry}={value}", lightgbm_text(), count=1)
    with pytest.raises(ValueError, match=f"tree 0 of the booster: .*{said}"):
        checked_lightgbm(text)


def test_a_model_of_step_4_that_is_none_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = make("xgboost")
    model.features = None  # type: ignore[attr-defined]
    model.booster = xgboost.Booster()  # type: ignore[attr-defined]
    model.booster.load_model(bytearray(xgboost_bytes()))  # type: ignore[attr-defined]
    raw = changed(xgboost_bytes(), "left_children", 0, 0)
    model.arrays = lambda: {"booster": np.frombuffer(raw, np.uint8)}  # type: ignore[method-assign]
    save(model, path)
    with pytest.raises(InputError, match=r"model.safetensors: no model of this kind \(tree 0") as refused:
        load(make("xgboost"), path, sha256(path))
    assert "\n" not in str(refused.value)


MUTATE = """
import sys, resource, numpy as np, xgboost, lightgbm
from prompt_oirl.reward_models.booster_files import checked_lightgbm, checked_xgboost
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
kind, seed, tries = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
raw = sys.stdin.buffer.read()
rng, taken = np.random.default_rng(seed), 0
rows = rng.normal(size=(20, 5)).astype(np.float32)
for _ in range(tries):
    data = bytearray(raw)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(data) - 8))
        match rng.integers(4):
            case 0: data[at] = rng.integers(256)
            case 1: data[at : at + 4] = int(rng.integers(-20, 20)).to_bytes(4, "big", signed=True)
            case 2: data[at] = data[at] + 1 & 255 if kind == "xgboost" else rng.choice(list(b"0123456789-. "))
            case 3: del data[at : at + int(rng.integers(1, 9))]
    try:
        if kind == "xgboost":
            model = checked_xgboost(bytes(data))
        else:
            model = checked_lightgbm(data.decode())
    except ValueError as error:
        assert chr(10) not in str(error) and len(str(error)) < 200
        continue
    taken += 1
    booster = xgboost.Booster({"nthread": 1}) if kind == "xgboost" else lightgbm.Booster(model_str=model)
    if kind == "xgboost":
        booster.load_model(model)
    try:
        found = booster.inplace_predict(rows) if kind == "xgboost" else booster.predict(rows, num_threads=1)
        assert np.isfinite(found).all()
    except (ValueError, lightgbm.basic.LightGBMError) as error:
        assert "feature" in str(error), error  # of another width than the rows
print("taken", taken)
"""


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_mutated_boosters_neither_crash_nor_hang(kind: str) -> None:
    raw = xgboost_bytes() if kind == "xgboost" else lightgbm_text().split("feature_importances")[0].encode()
    done = subprocess.run(
        [sys.executable, "-c", MUTATE, kind, "0", "500"], input=raw, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()[-1500:]
    assert int(done.stdout.split()[1]) > 5  # of those that were still boosters
