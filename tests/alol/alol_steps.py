"""A-LoL's step scripts, called from tests, and what several tests give them."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from conftest import tiny_interactions
from in_process import run_in_process

from prompt_oirl.data import interactions
from prompt_oirl.io.files import REPO_ROOT

STEPS = {
    1: "alol_step1_prepare_data",
    2: "alol_step2_train_reference",
    3: "alol_step3_estimate_advantage",
    4: "alol_step4_train_policy",
    5: "alol_step5_evaluate",
    6: "alol_step6_aggregate",
}
SMALL = ["--train_rows", "120", "--validation_rows", "40", "--test_rows", "30"]


def step(number: int, root: Path, *flags: str, fails: bool = False, own_process: bool = False) -> str:
    """Run a step script; returns what it printed, or its complaint."""
    command, cwd = (
        [sys.executable, f"{STEPS[number]}.py", "--root", str(root), *flags],
        REPO_ROOT / "alol_exps",
    )
    if own_process:
        result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    else:
        result = run_in_process(command, cwd)
    if fails:
        lines = result.stderr.strip().split("\n")
        assert result.returncode == 1 and len(lines) == 1 and lines[0].startswith("error: "), result.stderr
        return lines[0]
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def script(number: int) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        STEPS[number], REPO_ROOT / "alol_exps" / f"{STEPS[number]}.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[STEPS[number]] = module
    spec.loader.exec_module(module)
    return module


def call(number: int, root: Path, **flags: Any) -> None:
    """The same in this process."""
    module = script(number)
    module.main(module.Args(root=root, **flags))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def synthetic_log(path: Path) -> Path:
    """Answers of three splits in words that the toy tokenizer does not know; finish reasons of both kinds."""
    rows = tiny_interactions(n_train=12, n_test=12)
    for i, row in enumerate(rows):
        row.split = "validation" if row.split == "test" and i % 2 else row.split
        row.dataset, row.llm, row.group = "arith", "nano", f"g{i // 6}"
        row.finish_reason = "length" if i % 5 == 0 else "stop"
        if i % 3 == 0:
            row.answer = "The answer is 100000."
    interactions.write(path, rows)
    return path


def with_chat_template(tokenizer: Any) -> Any:
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{{ '\\n' }}{% endfor %}"
    return tokenizer
