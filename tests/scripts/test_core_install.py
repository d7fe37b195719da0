"""The wheel alone, on the newest Python here, without extras: every command, and the core's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.install import build_wheel, install, newest_python

from prompt_oirl.features.minilm_files import minilm_folder
from prompt_oirl.io.files import REPO_ROOT

# What the core has to pass without its extras, quickly, on any Python.
CORE_TESTS = (
    "tests/cli/test_cli.py::test_folders_with_spaces_and_letters_beyond_ascii",
    "tests/data/test_prompt_log.py",
    "tests/features/test_minilm_files.py",
    "tests/grading/test_answers.py",
    "tests/io/test_portability.py",
    "tests/selection/test_log_facts.py",
)
COMMANDS = (
    "--help",
    "doctor",
    "demo",
    "diagnose {log} --embedder tfidf",
    "fit {log} --out selector --embedder tfidf",
    "select selector {questions}",
    "evaluate {log} --embedder tfidf --format csv",
    "vote {log} --embedder tfidf",
    "report {log} --embedder tfidf --out page.html",
    "plan {log} --budget 50 --embedder tfidf --out plan.csv",
)

pytestmark = pytest.mark.install


def test_the_wheel_works_without_extras_and_without_a_checkout(tmp_path: Path) -> None:
    installed = install(newest_python(), build_wheel(tmp_path), tmp_path / "venv")
    print(f"{installed.megabytes:.0f} MB, {installed.seconds:.0f} s")
    assert installed.megabytes <= 475  # 448 when written; others' releases may grow a little
    empty = tmp_path / "an empty folder"
    empty.mkdir()
    paths = "from prompt_oirl.examples import LOG, QUESTIONS; print(LOG); print(QUESTIONS)"
    log, questions = installed.run("python", "-c", paths, cwd=empty).splitlines()
    for command in COMMANDS:
        words = [word.format(log=log, questions=questions) for word in command.split()]
        installed.run("prompt-oirl", *words, cwd=empty, PROMPT_OIRL_MINILM=str(minilm_folder()))
    heavy = "from importlib.util import find_spec; print(*map(find_spec, ('torch', 'pyarrow', 'xgboost')))"
    assert installed.run("python", "-c", heavy, cwd=empty) == "None None None\n"
    installed.run("python", "-m", "pip", "install", "-q", "pytest<10", "hypothesis<7", cwd=empty)
    tests = ["python", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *CORE_TESTS]
    installed.run(*tests, cwd=REPO_ROOT, PYTHONPATH=str(REPO_ROOT))
