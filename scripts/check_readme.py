"""Run every command of README.md at small size, in a copy of the checkout.

    python scripts/check_readme.py

A ```bash block may follow `<!-- small: COMMANDS -->`, which says how to do the same at small size, `<!-- skip:
REASON -->`, or `<!-- needs: released logs -->`, which skips it where PROMPT_OIRL_MIRROR (or ../shared/mirror) is
not there. Blocks run in order with .venv/bin first on the PATH. Relative links are checked too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.artifacts import REPO_ROOT, InputError
from prompt_oirl.steps import run_step

_BLOCK = re.compile(
    r"(?P<notes>(?:<!-- (?:small|skip|needs): .*?-->\n)*)```(?P<language>\w*)\n(?P<body>.*?)^```", re.S | re.M
)
_NOTE = re.compile(r"<!-- (small|skip|needs): (.*?) ?-->", re.S)
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


@dataclass
class Args:
    minutes: float = 30.0
    """Longest time for all commands together."""


def main(args: Args) -> None:
    readme = (REPO_ROOT / "README.md").read_text(encoding="utf-8")
    missing = [link for link in _LINK.findall(readme) if not (REPO_ROOT / link).exists()]
    if missing:
        raise InputError(f"README.md links to files that are not there: {', '.join(missing)}")
    mirror = find_mirror()
    deadline = time.monotonic() + 60 * args.minutes
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        copy_checkout(copy)
        for block in _BLOCK.finditer(readme):
            if block["language"] not in ("bash", "python"):
                continue
            notes = dict(_NOTE.findall(block["notes"]))
            commands = (notes.get("small") or str(block["body"])).strip()
            reason = notes.get("skip") or (
                "the released logs are not here" if "needs" in notes and mirror is None else ""
            )
            outcome = "skipped" if reason else run_block(commands, block["language"], copy, mirror, deadline)
            counts[outcome] += 1
            print(f"--- {outcome}{': ' + reason if reason else ''}\n{commands}\n", flush=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    if counts["failed"]:
        raise SystemExit(1)


def find_mirror() -> Path | None:
    folder = Path(os.environ.get("PROMPT_OIRL_MIRROR") or REPO_ROOT.parent / "shared" / "mirror")
    return folder.resolve() if (folder / "Prompt-OIRL").is_dir() else None


def copy_checkout(target: Path) -> None:
    """Tracked and new files, and the checkout's .venv as a link, so that `make` installs nothing."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO_ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in listed.decode().split("\0"):
        if name and (REPO_ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO_ROOT / name, target / name)
    if (REPO_ROOT / ".venv").is_dir():
        (target / ".venv").symlink_to(REPO_ROOT / ".venv")


def run_block(commands: str, language: str, copy: Path, mirror: Path | None, deadline: float) -> str:
    """Run one block in a shell that stops at the first failure; prints the end of what a failed one said."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PATH": f"{copy / '.venv' / 'bin'}:{os.environ['PATH']}",
    }
    if mirror:
        environment["PROMPT_OIRL_MIRROR"] = str(mirror)
    command = (
        ["bash", "-euo", "pipefail", "-c", commands]
        if language == "bash"
        else [sys.executable, "-c", commands]
    )
    started = time.monotonic()
    try:
        result = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=max(deadline - started, 1),
        )
    except subprocess.TimeoutExpired:
        print("the time for all commands is over")
        return "failed"
    if result.returncode:
        print("\n".join(result.stdout.splitlines()[-30:]))
    print(f"{time.monotonic() - started:.0f} s")
    return "failed" if result.returncode else "passed"


if __name__ == "__main__":
    run_step(main, Args)
