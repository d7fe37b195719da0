"""Run every command of README.md and docs/ at small size, in a copy of the checkout, and follow their links.

    python scripts/check_readme.py

Before a ```bash block may stand `<!-- small: COMMANDS -->`, which says how to do the same at small size,
`<!-- skip: REASON -->`, or `<!-- needs: released logs -->`, which skips it where PROMPT_OIRL_MIRROR (or
../shared/mirror) is not there; any other `needs` names a program, and skips it where that is not installed.
Blocks run in order, each from the root of the same copy, in the environment that runs this script. A ```text
block under `<!-- prints: COMMAND -->` shows what COMMAND prints, and fails if it prints anything else;
numbers may differ in the last place, as they do between machines. ```python blocks under `<!-- cell: NAME
-->` are the cells of one notebook and share their variables; the ```text blocks under the same note show all
that they print.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2, which
from typing import Any

from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.io.manifest import run_step
from prompt_oirl.reports.readme import pages

_BLOCK = re.compile(
    r"((?:<!-- (?:small|skip|needs|prints|cell): .*?-->\s*\n)*)^```(bash|python|text)\n(.*?)^```", re.S | re.M
)
_FENCE = re.compile(r"^\s*```\s*(?:bash|sh|shell|console|python)", re.M)
_NOTE = re.compile(r"<!-- (small|skip|needs|prints|cell): (.*?)\s*-->", re.S)
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_LINK = re.compile(r"""(?:\]\(|(?:src|href)=")(?!https?:|#|mailto:)([^)#"\s]+)""")
RELEASED_LOGS = "released logs"
# Takes over folder and exported variables from the command before, and hands them on.
_SHELL = 'source "$STATE"; eval "$1"; { export -p; printf "cd %q\\n" "$PWD"; } > "$STATE"'


@dataclass
class Args:
    pages: tuple[Path, ...] = tuple(pages(REPO_ROOT))
    """The pages whose blocks are run, each from the root of this checkout."""
    minutes: float = 45.0
    """Longest time for all commands together."""


@dataclass
class Block:
    """Commands of a page; `prints` is all that they print, or None: anything."""

    notes: dict[str, str]
    language: str
    body: str
    prints: str | None = None


def main(args: Args) -> None:
    """Follow the links, run the blocks, count what passed."""
    texts = {page: page.read_text(encoding="utf-8") for page in args.pages}
    mirror = find_mirror()
    deadline = time.monotonic() + 60 * args.minutes
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for problem in (problem for page, text in texts.items() for problem in problems(page, text)):
        counts["failed"] += 1
        print(f"FAILED  {problem}")
    with tempfile.TemporaryDirectory(prefix="readme-") as folder:
        checkout = Path(folder) / "checkout"
        copy_checkout(checkout)
        environment = environment_of(checkout, mirror) | {"STATE": f"{folder}/state"}
        for block in blocks_of("\n".join(texts.values())):
            notes = block.notes
            if notes.get("needs") == RELEASED_LOGS and mirror is None:
                notes["skip"] = f"the {RELEASED_LOGS} are not here: set PROMPT_OIRL_MIRROR"
            elif notes.get("needs", RELEASED_LOGS) != RELEASED_LOGS and not which(notes["needs"]):
                notes["skip"] = f"{notes['needs']} is not installed"
            whole = block.language != "bash" or block.prints is not None
            commands = [block.body] if whole else list(split_commands(notes.get("small") or block.body))
            Path(environment["STATE"]).write_text(f"cd '{checkout}'\n", encoding="utf-8")
            for command in commands:
                if "skip" in notes:
                    print(f"skipped {command}  ({notes['skip']})", flush=True)
                    counts["skipped"] += 1
                elif run(command, block.language, checkout, environment, deadline, block.prints):
                    counts["passed"] += 1
                else:
                    counts["failed"] += 1
                    notes["skip"] = "the command before it failed"
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    if counts["failed"]:
        raise SystemExit(1)


def blocks_of(text: str) -> list[Block]:
    """What is to be run, in order; all cells of a notebook stand where its first one does."""
    blocks: list[Block] = []
    notebooks: dict[str, Block] = {}
    for comments, language, body in _BLOCK.findall(text):
        notes = dict(_NOTE.findall(comments))
        if "cell" in notes:
            if notes["cell"] not in notebooks:
                notebooks[notes["cell"]] = Block(notes, "python", "", "")
                blocks.append(notebooks[notes["cell"]])
            notebook = notebooks[notes["cell"]]
            if language == "python":
                notebook.body += body
            else:
                notebook.prints = f"{notebook.prints}{body}"
        elif language != "text":
            blocks.append(Block(notes, language, body))
        elif "prints" in notes:
            blocks.append(Block(notes, "bash", notes["prints"], body))
    return blocks


def problems(page: Path, text: str) -> Iterator[str]:
    """Links to files that are not there, and fences that this script would overlook."""
    for link in dict.fromkeys(_LINK.findall(text)):
        if not (page.parent / link).exists():
            yield f"{page.name} links to {link}, which is not there"
    found, seen = len(_FENCE.findall(text)), sum(b[1] != "text" for b in _BLOCK.findall(text))
    if found != seen:
        yield f"{page.name}: only {seen} of {found} blocks start with ```bash or ```python at the margin"


def find_mirror() -> Path | None:
    """The folder of the released logs, if it is there."""
    folder = Path(os.environ.get("PROMPT_OIRL_MIRROR") or REPO_ROOT.parent / "shared" / "mirror")
    return folder.resolve() if (folder / "Prompt-OIRL").is_dir() else None


def copy_checkout(target: Path) -> None:
    """Copy tracked and new files; .venv is links and its own stamp, so `make` leaves the real one alone."""
    listed = subprocess.check_output(["git", "ls-files", "-zco", "--exclude-standard"], cwd=REPO_ROOT)
    for name in listed.decode().split("\0")[:-1]:
        if (REPO_ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(REPO_ROOT / name, target / name)
    if sys.prefix != sys.base_prefix:
        (target / ".venv").mkdir()
        for part in os.listdir(sys.prefix):
            (target / ".venv" / part).symlink_to(Path(sys.prefix) / part)
        (target / ".venv" / ".installed").unlink(missing_ok=True)
        (target / ".venv" / ".installed").touch()


def environment_of(checkout: Path, mirror: Path | None) -> dict[str, str]:
    """The copy's package goes before the installed one, and pip leaves alone what is behind the links."""
    folders = [str(checkout / ".venv" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    changed = {"PYTHONPATH": str(checkout), "PATH": os.pathsep.join(folders)}
    changed |= {"PIP_DRY_RUN": "1"} if (checkout / ".venv").exists() else {}
    return {**os.environ, **changed} | ({"PROMPT_OIRL_MIRROR": str(mirror)} if mirror else {})


def split_commands(block: str) -> Iterator[str]:
    """Whole commands of a block: continued lines and loops stay together, comments are left out."""
    command = ""
    for line in block.splitlines():
        if not command and (not line.strip() or line.lstrip().startswith("#")):
            continue
        command += line + "\n"
        whole = subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0
        if whole and not line.endswith("\\"):
            yield command.strip()
            command = ""
    yield from filter(None, [command.strip()])


def alike(shown: str, printed: str) -> bool:
    """Whether two texts have the same words and numbers, these to one unit of their last place or 1 %."""
    if _NUMBER.sub("#", shown).split() != _NUMBER.sub("#", printed).split():
        return False
    for a, b in zip(_NUMBER.findall(shown), _NUMBER.findall(printed)):
        x, y = float(a.replace(",", "")), float(b.replace(",", ""))
        last = 10.0 ** -len(a.partition(".")[2])
        if abs(x - y) > max(1.01 * last, 0.01 * abs(x)):
            return False
    return True


def run(
    command: str,
    language: str,
    checkout: Path,
    environment: dict[str, str],
    deadline: float,
    expected: str | None = None,
) -> bool:
    """Run one command and print it with its seconds; and the end of what it said, where that is wrong.

    Parameters
    ----------
    deadline : of the monotonic clock, seconds
    expected : what it must print; default: anything, as long as it does not fail

    Returns: whether all is well.
    """
    shell = ["python", "-c"] if language == "python" else ["bash", "-eo", "pipefail", "-c", _SHELL, "bash"]
    started = time.monotonic()
    # `timeout` ends what the command started as well.
    limit = ["timeout", "-k", "5", f"{max(deadline - started, 0.1):.1f}"]
    where: dict[str, Any] = {"cwd": checkout, "env": environment, "stdin": subprocess.DEVNULL}
    done = subprocess.run(
        [*limit, *shell, command], **where, capture_output=True, text=True, errors="replace"
    )
    said = done.stdout + done.stderr + "\nno time is left (--minutes)" * (done.returncode == 124)
    fine = done.returncode == 0 and (expected is None or alike(expected, done.stdout))
    seconds = time.monotonic() - started
    print(f"{'ok     ' if fine else 'FAILED '} {command}  ({seconds:.1f} s)", flush=True)
    if not fine:
        print("\n".join(said.splitlines()[-30:]), flush=True)
    return fine


if __name__ == "__main__":
    run_step(main, Args)
