"""The tiny log through steps 2 to 5, made once for all test processes, and readers of what steps write."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from conftest import STEPS, run_step, write_tiny_log

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.io.files import Paths

SEEN, HELD_OUT = ["nan", "CoT", "APE"], ["gpt4_0", "gpt4_1"]
SMALL = {"n_train": 40, "n_test": 16}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(root: Path, *suffixes: str) -> dict[str, bytes]:
    """Contents by relative path of all files with one of the suffixes."""
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.suffix in suffixes
    }


def times(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and modification time of every file: both stay only if it was not written again."""
    return {
        p.relative_to(root).as_posix(): (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in root.rglob("*")
        if p.is_file()
    }


def write_log(root: Path, rows: list[LogRow]) -> Path:
    path = Paths(root).labels("tiny") / "toy_interactions.jsonl"
    interactions.write(path, rows)
    return path


def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny root as it is before each step (2, 3, 4, 5) and at the end (finished).

    Made once for all test processes, by steps in processes of their own; read only. seconds.json holds their
    durations.
    """
    base = tmp_path_factory.getbasetemp()
    runs = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny_runs"
    with open(f"{runs}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (runs / "finished").is_dir():
            shutil.rmtree(runs, ignore_errors=True)
            root = runs / "growing"
            write_tiny_log(root, **SMALL)
            seconds = {}
            for number in STEPS:
                shutil.copytree(root, runs / str(number))
                started = time.perf_counter()
                assert run_step(number, root, own_process=True).stderr == ""
                seconds[number] = time.perf_counter() - started
            (runs / "seconds.json").write_text(json.dumps(seconds))
            root.rename(runs / "finished")
    return runs
