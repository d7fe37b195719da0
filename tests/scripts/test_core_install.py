"""The wheel alone, on the newest Python here, without extras: every command, and the core's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_install import COMMANDS, CORE_TESTS, build_wheel, install, newest_python

from prompt_oirl.io.files import REPO_ROOT

pytestmark = pytest.mark.install


def test_the_wheel_works_without_extras_and_without_a_checkout(tmp_path: Path) -> None:
    installed = install(newest_python(), build_wheel(tmp_path), tmp_path / "venv")
    print(
        f"{installed.megabytes:.0f} MB, of them {installed.bytecode_megabytes:.0f} compiled by pip; "
        f"{installed.seconds:.0f} s"
    )
    assert installed.megabytes - installed.bytecode_megabytes <= 450
    empty = tmp_path / "an empty folder"
    empty.mkdir()
    paths = "from prompt_oirl.examples import LOG, QUESTIONS; print(LOG); print(QUESTIONS)"
    log, questions = installed.run("python", "-c", paths, cwd=empty).splitlines()
    for command in COMMANDS:
        words = [word.format(log=log, questions=questions) for word in command.split()]
        installed.run("prompt-oirl", *words, cwd=empty)
    absent = (
        "import importlib.util as u; print([n for n in ('torch', 'pyarrow', 'xgboost') if u.find_spec(n)])"
    )
    assert installed.run("python", "-c", absent, cwd=empty) == "[]\n"
    installed.run("python", "-m", "pip", "install", "-q", "pytest<10", "hypothesis<7", cwd=empty)
    tests = ["python", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *CORE_TESTS]
    installed.run(*tests, cwd=REPO_ROOT, PYTHONPATH=str(REPO_ROOT))
