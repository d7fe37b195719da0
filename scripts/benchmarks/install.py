"""What `pip install prompt-oirl` brings, by extra: the wheel in an empty environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import comparison
from prompt_oirl.io.files import REPO_ROOT

EXTRAS = ("", "boost", "llm", "serve")


def installs(repeats: int) -> Iterator[dict[str, Any]]:
    """Megabytes and seconds of the core and of some extras, once, beside those of everything."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        everything = _measured(wheel, folder, "all")
        for extra in EXTRAS:
            found = _measured(wheel, folder, extra)
            work = f"pip install prompt-oirl{f'[{extra}]' if extra else ''}; baseline: prompt-oirl[all]"
            for unit, sides in zip(("MB", "seconds by the clock"), zip(everything, found)):
                yield comparison(work, unit, 1, sides, repeats=1)


def _measured(wheel: Path, folder: Path, extra: str) -> tuple[float, float]:
    installed = install(newest_python(), wheel, folder / "venv", extra)
    shutil.rmtree(installed.folder)
    return installed.megabytes, installed.seconds


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it; megabytes (2**20 bytes) that pip added, and seconds it took."""

    folder: Path
    megabytes: float
    seconds: float

    def run(self, *command: str | Path, cwd: Path, **more: str) -> str:
        """Output of a program of the environment; fails the test where it fails."""
        program = self.folder / ("Scripts" if os.name == "nt" else "bin") / str(command[0])
        done = subprocess.run(
            [program, *command[1:]], cwd=cwd, env=_alone() | more, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


def _alone() -> dict[str, str]:
    """The environment variables less those that lead to another installation."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}


def newest_python() -> str:
    """The newest Python here that runs: of the path, or of pyenv."""
    found = {sys.version_info.minor: sys.executable}
    pyenv = [str(p) for p in (Path.home() / ".pyenv" / "versions").glob("3.*/bin/python3")]
    for name in [shutil.which(f"python3.{minor}") for minor in range(11, 20)] + pyenv:
        if not name:
            continue
        asked = subprocess.run(
            [name, "-c", "import sys, venv; print(sys.version_info.minor)"], capture_output=True, text=True
        )
        if asked.returncode == 0:
            found.setdefault(int(asked.stdout), name)
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
            name.startswith(("prompt_oirl/", "pyproject", "setup.py", "README", "LICENSE", "NOTICE"))
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
    before = _megabytes(folder)
    pip = [str(folder / ("Scripts" if os.name == "nt" else "bin") / "python"), "-m", "pip", "install", "-q"]
    began = time.monotonic()
    listed = (REPO_ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    exact = folder.with_name(f"{folder.name}.txt")  # torch's version, which decides most of the size
    exact.write_text("\n".join(line for line in listed if line.startswith("torch==")), encoding="utf-8")
    what = f"{wheel}[{extra}]" if extra else str(wheel)
    subprocess.run([*pip, what, "-c", str(exact)], check=True, env=_alone())
    seconds = time.monotonic() - began
    return Installed(folder, _megabytes(folder) - before, seconds)


def _megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
