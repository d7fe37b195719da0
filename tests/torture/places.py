"""Odd places and clocks: a folder that may only be read, a full TMPDIR, clocks that jump on the way."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

from torture.commands import COMMANDS, run, some_name, undisturbed
from torture.kill import check_after, check_said, contents_of_whole_files

CASES = tuple(f"{kind}: {name}" for kind in ("clock", "TMPDIR full", "read-only") for name in COMMANDS)
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

# Loaded by every Python process of the command: the clock jumps by up to ten years, anew every hundred looks.
JUMPING = """
import os, random, time
rng, now, looks, jump = random.Random(int(os.environ["CLOCK_SEED"])), time.time, 0, 0.0
def jumping():
    global looks, jump
    if looks % 100 == 0:
        jump = rng.uniform(-3e8, 3e8)
    looks += 1
    return now() + jump
time.time = jumping
"""


def attempt(case: str, rng: random.Random, work: Path) -> None:
    """One run of a command in such a place."""
    kind, _, name = case.partition(": ")
    whole = undisturbed(name, work)
    place = some_name(rng, work)
    root, temporary = place / "root", place / "temporary"
    shutil.copytree(whole.before, root)
    if kind == "clock":
        hooks = place / "hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(JUMPING)
        done = run(name, root, temporary, PYTHONPATH=str(hooks), CLOCK_SEED=str(rng.getrandbits(32)))
        assert done.status == 0, done.stderr
        check_after(root, whole, name)
    elif kind == "TMPDIR full":
        temporary.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "none", str(temporary)]
        if os.geteuid() == 0:
            subprocess.run(mount, check=True, capture_output=True)
            (temporary / "full").write_bytes(b"x" * 4096)
        try:
            done = run(name, root, temporary)
        finally:
            if os.geteuid() == 0:
                subprocess.run(["umount", "-l", str(temporary)], check=True)
        check_said(done.stderr, "error: ", done.status)
        if done.status == 0:
            check_after(root, whole, name)
    else:
        before = contents_of_whole_files(root)
        done = run(name, root, temporary, before=NOBODY if os.geteuid() == 0 else ())
        if os.geteuid() == 0:
            assert done.status == 1, (done.status, done.stderr)
            check_said(done.stderr, "error: ", 1)
            assert contents_of_whole_files(root) == before
    shutil.rmtree(place, ignore_errors=True)
