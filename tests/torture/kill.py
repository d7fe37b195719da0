"""Stop a command at a random moment, or fill its disk; run again, it ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from stop_at_write import stopping_environment

from torture.commands import COMMANDS, Undisturbed, contents, run, some_name, start, undisturbed

CASES = tuple(COMMANDS)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STOPPED = ("stopped; run the same command again to continue\n", "stopped; nothing was written\n")
LONG_AGO = 3600.0  # older than what a writer that may still live leaves


def attempt(case: str, rng: random.Random, work: Path) -> None:
    """One stop of the command `case` and the run after it."""
    whole = undisturbed(case, work)
    place = some_name(rng, work)
    how = rng.choice(("clock", "clock", "write", "full disk"))
    if how == "full disk" and os.geteuid() != 0:
        how = "clock"  # only root has a disk to fill
    with _disk(place, whole, rng if how == "full disk" else None) as free_space:
        root, temporary = place / "root", place / "temporary"
        shutil.copytree(whole.before, root)
        if how == "full disk":
            done = run(case, root, temporary)
            assert done.status in (0, 1), (done.status, done.stderr)
            check_said(done.stderr, "error: ", done.status)
        else:
            _stop(case, root, temporary, whole, rng, how)
        free_space()
        _check_between(root, whole, case)
        for path in root.rglob("*.tmp"):
            os.utime(path, (time.time() - LONG_AGO,) * 2)
        done = run(case, root, temporary)
        assert done.status == 0, done.stderr
        check_after(root, whole, case)
    shutil.rmtree(place, ignore_errors=True)


def _stop(case: str, root: Path, temporary: Path, whole: Undisturbed, rng: random.Random, how: str) -> None:
    sent = rng.choice(SIGNALS)
    group = rng.random() < 0.5
    environment = {}
    if how == "write":
        old, new = contents(whole.before), contents(whole.after)
        written = sum(old.get(path) != data for path, data in new.items())
        environment = stopping_environment(
            root.parent / "hooks", rng.randint(1, max(written, 1)), sent, cut=rng.random() < 0.5
        )
    process = start(case, root, temporary, **environment)
    if how == "clock":
        try:
            process.wait(timeout=whole.seconds * rng.uniform(0, 1.1))
        except subprocess.TimeoutExpired:
            (os.killpg if group else os.kill)(process.pid, sent)
    try:
        _, stderr = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"{case} does not end after {sent.name}") from None
    assert process.returncode in (0, -sent, 130), (process.returncode, stderr)
    if process.returncode == 130:
        assert stderr.endswith(STOPPED), stderr
        assert "Traceback" not in stderr, stderr
    _check_nobody_left(root)


def check_said(stderr: str, begin: str, status: int) -> None:
    lines = stderr.splitlines()
    assert "Traceback" not in stderr, stderr
    assert not status or sum(line.startswith(begin) for line in lines) == 1, stderr


def _check_nobody_left(root: Path) -> None:
    """Workers end within seconds of their parent."""
    deadline = time.monotonic() + 20
    while left := [p.cmdline() for p in psutil.process_iter() if _belongs(p, root)]:
        assert time.monotonic() < deadline, f"left running: {left}"
        time.sleep(0.2)


def _belongs(process: psutil.Process, root: Path) -> bool:
    try:
        return process.environ().get("TORTURE_ROOT") == str(root)
    except psutil.Error:
        return False


def _check_between(root: Path, whole: Undisturbed, case: str) -> None:
    """Nothing that the command does not write has changed; a table that it replaces is the old or the new."""
    old, new, found = contents(whole.before), contents(whole.after), contents_of_whole_files(root)
    for path, data in old.items():
        if not _is_free(path, case) and path not in whole.unstable and not path.endswith(".safetensors"):
            assert found.get(path) in (data, new.get(path)), f"{path} is neither the old file nor the new one"
    if case.startswith("fit") and (root / "selector" / "selector.json").exists():
        from prompt_oirl import PromptSelector

        PromptSelector.load(root / "selector")


def contents_of_whole_files(root: Path) -> dict[str, bytes]:
    """As `contents`, without what a killed process was writing."""
    for path in root.rglob("*.tmp"):
        assert path.name.startswith("."), f"{path} would be taken for a file"
    return {path: data for path, data in contents(root).items() if not path.endswith(".tmp")}


def check_after(root: Path, whole: Undisturbed, case: str) -> None:
    expected, found = contents(whole.after), contents(root)
    extra = {path for path in found.keys() - expected.keys() if not _is_free(path, case)}
    missing = {path for path in expected.keys() - found.keys() if not _is_free(path, case)}
    assert not extra, f"left behind: {sorted(extra)}"
    assert not missing, f"missing: {sorted(missing)}"
    differs = [
        path
        for path, data in expected.items()
        if path not in whole.unstable and not _is_free(path, case) and found[path] != data
    ]
    assert not differs, f"differ from an undisturbed run: {differs}"


def _is_free(path: str, case: str) -> bool:
    return any(part in path for part in COMMANDS[case].free)


@contextmanager
def _disk(place: Path, whole: Undisturbed, rng: random.Random | None) -> Iterator:
    """The try's folder; with `rng` a disk of its own that soon is full. Yields what makes room on it."""
    place.mkdir()
    if rng is None:
        yield lambda: None
        return
    size = sum(p.stat().st_size for p in whole.before.rglob("*") if p.is_file())
    grown = sum(p.stat().st_size for p in whole.after.rglob("*") if p.is_file())
    pages = sum(1 for p in whole.before.rglob("*")) * 4096
    limit = size + pages + int(rng.uniform(0.1, 1.2) * max(grown - size, 8192)) + 16384
    mount = ["mount", "-t", "tmpfs", "-o", f"size={limit}", "none", str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield lambda: subprocess.run(
            ["mount", "-o", "remount,size=1g", str(place)], check=True, capture_output=True
        )
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
