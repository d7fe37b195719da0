"""scripts/bench.py: what it needs is said before it begins, and nothing that it started outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from in_process import run_in_process

from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, Paths

BENCH = [sys.executable, str(REPO_ROOT / "scripts" / "bench.py")]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--repeats", "0"], "--repeats 0: give 1 or more"),
        (["--parts", "log"], "--parts log: choose all or from generation"),
        (["--parts", "logs"], "run scripts/fetch_data.py, then steps 2 and 3"),
    ],
)
def test_what_is_wrong_is_one_clear_line(flags: list[str], words: str, tmp_path: Path) -> None:
    if flags == ["--parts", "logs"] and Paths().labels(LLM).is_dir():
        pytest.skip("this checkout has the released logs")
    command = [*BENCH, *flags, "--out", str(tmp_path / "bench.csv")]
    result = run_in_process(command, REPO_ROOT)
    assert result.returncode == 1 and result.stdout == ""
    assert words in result.stderr and result.stderr.count("\n") == 1


def test_children_end_with_a_terminated_bench(tmp_path: Path) -> None:
    command = [*BENCH, "--parts", "scale", "--out", str(tmp_path / "bench.csv")]
    folder = tmp_path / "temporary"
    folder.mkdir()
    bench = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(folder)})
    while not (children := psutil.Process(bench.pid).children(recursive=True)):
        assert bench.poll() is None
        time.sleep(0.05)
    bench.terminate()
    assert bench.wait(timeout=30) == 143
    assert not psutil.wait_procs(children, timeout=5)[1]
    assert list(folder.iterdir()) == []
