"""The wheel in an empty environment: built, installed without extras, and used in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

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
    "diagnose {log} --embedder tfidf",
    "fit {log} --out selector --embedder tfidf",
    "select selector {questions}",
    "evaluate {log} --embedder tfidf --format csv",
    "vote {log} --embedder tfidf",
    "report {log} --embedder tfidf --out page.html",
    "plan {log} --budget 50 --embedder tfidf --out plan.csv",
)


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it; megabytes of what pip installed, and seconds it took."""

    folder: Path
    megabytes: float
    bytecode_megabytes: float
    seconds: float

    def run(self, *command: str | Path, cwd: Path, **more: str) -> str:
        """Output of a program of the environment; fails the test where it fails."""
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        program = self.folder / ("Scripts" if os.name == "nt" else "bin") / str(command[0])
        done = subprocess.run(
            [program, *command[1:]], cwd=cwd, env=environment | more, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


def newest_python() -> str:
    """The newest Python here that runs: of the path, or of pyenv."""
    found = {sys.version_info[:2]: sys.executable}
    pyenv = [str(p) for p in (Path.home() / ".pyenv" / "versions").glob("3.*/bin/python3")]
    for name in [shutil.which(f"python3.{minor}") for minor in range(11, 20)] + pyenv:
        if not name:
            continue
        asked = subprocess.run(
            [name, "-c", "import sys, venv; print(*sys.version_info[:2])"], capture_output=True, text=True
        )
        if asked.returncode == 0:
            found.setdefault(tuple(map(int, asked.stdout.split())), name)
    return found[max(found)]


def build_wheel(folder: Path) -> Path:
    """Build the wheel from what git tracks, or would."""
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO_ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if (
            name.startswith(("prompt_oirl/", "pyproject", "README", "LICENSE", "NOTICE"))
            and (REPO_ROOT / name).is_file()
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO_ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder / "wheel")]
    subprocess.run([*pip, str(source)], check=True)
    [wheel] = (folder / "wheel").glob("*.whl")
    return wheel


def install(python: str, wheel: Path, folder: Path, extra: str = "") -> Installed:
    """Install a wheel into a new environment.

    Parameters
    ----------
    python : interpreter of the environment
    wheel : what to install
    folder : where the environment lies
    extra : of the wheel; default: core
    """
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    before, _ = _megabytes(folder)
    pip = [str(folder / ("Scripts" if os.name == "nt" else "bin") / "python"), "-m", "pip", "install", "-q"]
    began = time.monotonic()
    subprocess.run([*pip, f"{wheel}[{extra}]" if extra else str(wheel)], check=True)
    seconds = time.monotonic() - began
    size, bytecode = _megabytes(folder)
    return Installed(folder, size - before, bytecode, seconds)


def _megabytes(folder: Path) -> tuple[float, float]:
    """Megabytes of all files, and of those among them that Python compiled."""
    sizes = [(p.suffix == ".pyc", p.lstat().st_size) for p in folder.rglob("*") if p.is_file()]
    return sum(size for _, size in sizes) / 1e6, sum(size for compiled, size in sizes if compiled) / 1e6
