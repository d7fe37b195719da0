"""Two and four processes at once on one folder: each ends in order, what lies there is one whole run's."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from torture.commands import COMMANDS, run, some_name, start, undisturbed
from torture.kill import check_after

# A run of OPRO, and step 1, hold their folder: the second process is refused in one line.
CASES = tuple(name for name in COMMANDS if name not in ("fit --update", "alol2", "alol4", "alol5", "alol6"))


def attempt(case: str, rng: random.Random, work: Path) -> None:
    """Start the command several times at once, then once more."""
    whole = undisturbed(case, work)
    place = some_name(rng, work)
    root = place / "root"
    shutil.copytree(whole.before, root)
    started = [start(case, root, place / f"temporary{i}") for i in range(rng.choice((2, 4)))]
    ended = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    for stderr, status in ended:
        assert "Traceback" not in stderr and status in (0, 1), (status, stderr)
        assert status == 0 or "another " in stderr, stderr
    assert any(status == 0 for _, status in ended), ended
    done = run(case, root, place / "temporary")
    assert done.status == 0, done.stderr
    check_after(root, whole, case)
    shutil.rmtree(place, ignore_errors=True)
