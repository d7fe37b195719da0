"""litellm[proxy] in an environment of its own, beside the packages that are installed here."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from prompt_oirl.io.files import REPO_ROOT

pytestmark = pytest.mark.install


def test_the_hook_holds_in_a_real_proxy(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    [own] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    [here] = [path for path in sys.path if path.endswith("site-packages")]
    (own / "beside.pth").write_text(f"{here}\n")
    extras = tomllib.loads((REPO_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    python = str(tmp_path / "venv" / "bin" / "python")
    environment = os.environ | {"PYTHONPATH": str(REPO_ROOT)}
    subprocess.run([python, "-m", "pip", "install", "-q", *extras["litellm"]], env=environment, check=True)
    tests = [python, "-m", "pytest", "-p", "no:xdist", "-m", "slow", "tests/serving/test_litellm_hook.py"]
    done = subprocess.run(tests, cwd=REPO_ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
    assert "skipped" not in done.stdout.splitlines()[-1]
