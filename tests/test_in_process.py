"""Scripts run in the test process say and leave what they do in a process of their own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from in_process import run_in_process

SCRIPT = """
import os, random, sys, warnings
import numpy as np
print(sys.argv[1:], os.getcwd(), os.environ.get("GIVEN"), __name__, "\\u00e9")
os.environ["LEFT"] = "behind"
os.chdir("/")
random.seed(1), np.random.seed(1)
warnings.warn("a remark")
print("said", file=sys.stderr)
sys.exit({status})
"""


@pytest.mark.parametrize(("status", "code"), [("0", 0), ("7", 7), ("None", 0), ("'why'", 1)])
def test_the_same_result_as_in_a_process_of_its_own(status: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(status=status), encoding="utf-8")
    command = [sys.executable, "script.py", "--flag", "value"]
    environment = {**os.environ, "GIVEN": "x"}
    alone = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    here = run_in_process(command, tmp_path, environment)
    assert alone.returncode == here.returncode == code
    assert (here.stdout, here.stderr.replace(f"{tmp_path}/", "")) == (
        alone.stdout,
        alone.stderr.replace(f"{tmp_path}/", ""),
    )


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(status="0"), encoding="utf-8")
    before = Path.cwd(), sys.argv[:], sys.path[:], dict(os.environ)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    drawn = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    run_in_process([sys.executable, "script.py"], tmp_path)
    assert (Path.cwd(), sys.argv, sys.path, dict(os.environ)) == before
    assert (random.getstate(), np.random.get_state()[1].tolist()) == drawn  # type: ignore[index]  # noqa: NPY002
