"""requirements.txt alone, in an empty environment, makes the published commands work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import STEPS, mirror_folder, write_tiny_log

from prompt_oirl.io.files import REPO_ROOT

pytestmark = pytest.mark.install


def test_requirements_alone_run_steps_2_to_5(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO_ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (REPO_ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO_ROOT / name, checkout / name)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{tmp_path / 'venv' / 'bin'}:{environment['PATH']}"

    def run(*command: str, folder: str = "llama_exps") -> str:
        done = subprocess.run(
            command, cwd=checkout / folder, env=environment, capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    run("pip", "install", "-q", "-r", "requirements.txt", folder=".")
    write_tiny_log(checkout)
    for step in (2, 3, 4, 5):
        run("python3", STEPS[step], "--llm", "tiny")
    assert (checkout / "results" / "tiny" / "toy" / "crossfit" / "summary.csv").is_file()
    mirror = mirror_folder()
    if mirror is None:
        return
    run(
        "python3",
        "scripts/fetch_data.py",
        "--mirror",
        str(mirror.resolve()),
        "--datasets",
        "mawps",
        folder=".",
    )
    for step in (2, 3, 4, 5):
        flags = ("--subsets", "6", "--split", "paper") if step > 3 else ()
        printed = run("python3", STEPS[step], "--dataset", "mawps", *flags)
    assert "lookup of the identical question" in printed
