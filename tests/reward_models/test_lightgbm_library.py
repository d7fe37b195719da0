"""LightGBM without its system library is one line that names the package to install."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from conftest import run_step, step_command, write_tiny_log

from prompt_oirl.io.files import REPO_ROOT


def test_missing_libgomp_names_the_remedy(tmp_path: Path) -> None:
    write_tiny_log(tmp_path)
    for step in (2, 3):
        run_step(step, tmp_path)
    # What the dynamic loader says on a machine without the library.
    (tmp_path / "lightgbm.py").write_text(
        "raise OSError('libgomp.so.1: cannot open shared object file: No such file or directory')\n"
    )
    command = step_command(4, tmp_path, "--model", "lightgbm")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        command, cwd=REPO_ROOT / "llama_exps", env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: LightGBM") and result.stderr.count("\n") == 1
    assert "apt-get install libgomp1" in result.stderr and "--model xgboost" in result.stderr
