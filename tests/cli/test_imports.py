"""Commands import what they use: a process that waits for libraries it does not need is slow to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prompt_oirl.examples import LOG

HEAVY = {
    *("torch", "transformers", "sentence_transformers", "xgboost", "lightgbm", "matplotlib", "networkx"),
    *("openai", "onnx", "anyio", "dask", "uvicorn", "huggingface_hub"),
}
LEARNING = {"sklearn", "scipy.stats", "scipy.linalg", "scipy.spatial"}
CODE = """
import sys
from prompt_oirl.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(*sys.modules, file=sys.stderr)
"""


def imported_by(*arguments: str, cwd: Path) -> set[str]:
    """Modules that a command has imported when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A folder with a log and a selector fitted with MiniLM, and what `fit` imported."""
    folder = tmp_path_factory.mktemp("imports")
    rows = [
        f"{name} has {i} apples and buys {i + k} more. How many are there?,{prompt},{(i + k) % 2}"
        for i, name in enumerate(["Ann", "Ben", "Cleo", "Dan"] * 2)
        for k, prompt in enumerate(["Think: ", "Answer: "])
    ]
    (folder / "log.csv").write_text("\n".join(["question,prompt,correct", *rows]) + "\n")
    (folder / "new.txt").write_text("What is 2 + 3?\n")
    return folder, imported_by("fit", "log.csv", "--out", "selector", cwd=folder)


def test_fit_imports_no_other_library(fitted: tuple[Path, set[str]]) -> None:
    _, modules = fitted
    assert "onnxruntime" in modules and not modules & (HEAVY | {"sklearn"})


@pytest.mark.parametrize("command", ["fit", "evaluate", "vote"])
def test_learning_from_a_whole_log_imports_no_scikit_learn(command: str, tmp_path: Path) -> None:
    flags = ["--out", "selector"] if command == "fit" else []
    modules = imported_by(command, str(LOG), *flags, cwd=tmp_path)
    assert "onnxruntime" in modules and "sklearn" not in modules


def test_select_imports_nothing_that_learns(fitted: tuple[Path, set[str]]) -> None:
    modules = imported_by("select", "selector", "new.txt", cwd=fitted[0])
    assert "onnxruntime" in modules and not modules & (HEAVY | LEARNING)


def test_help_imports_no_arrays(tmp_path: Path) -> None:
    modules = imported_by("--help", cwd=tmp_path)
    assert "tyro" in modules and not modules & (
        HEAVY | LEARNING | {"numpy", "pandas", "scipy", "onnxruntime"}
    )
