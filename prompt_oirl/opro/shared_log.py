"""The interaction log that runs share, and what each stage of a run needed of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from prompt_oirl.data import interactions, log_store
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import InputError, content_key, decode_lines, read_lines
from prompt_oirl.io.json_files import as_record, numbered_objects, parse_jsonl

HINT = "delete that line and run the same command again"


@dataclass(frozen=True)
class Stage:
    """What a stage of a run needed: answers it uses, and those among them that no log held."""

    step: int
    part: str
    needed: int
    asked: int


@dataclass
class Spending:
    """`spent.jsonl`: how many answers each stage needed, and how many of them had to be asked for; no path,
    no file.

    A stage is written down before its first call and only once, so a run that was killed and resumed tells
    the same. Totals are of the stages that this run came through; the file may hold others of a run with more
    or fewer steps.
    """

    path: Path | None
    rows: dict[tuple[int, str], Stage] = field(default_factory=dict)
    reached: set[tuple[int, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.is_file():
            log_store.cut_torn_line(self.path)
            hint = "delete the run's folder and run the same command again"
            for number, row in numbered_objects(read_lines(self.path, hint=hint), self.path, hint):
                stage = as_record(Stage, row, f"{self.path}:{number}", hint)
                self.rows[stage.step, stage.part] = stage

    def begin(self, step: int, part: str, needed: int, pending: int) -> None:
        """Write down what a stage needs, before its first call.

        Parameters
        ----------
        step : of the loop; a negative one is of instructions that the user gave
        part : train, validation or test
        needed : answers that the stage uses
        pending : those among them that no log holds, which are to be asked for
        """
        self.reached.add((step, part))
        if (step, part) in self.rows:
            return
        row = self.rows[step, part] = Stage(step, part, needed, pending)
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def total(self, column: str) -> int:
        """Sum of needed or asked over the stages that this run came through."""
        return sum(getattr(row, column) for stage, row in self.rows.items() if stage in self.reached)

    def before(self) -> int:
        """Answers that were asked for in stages that this run does not have."""
        return sum(row.asked for stage, row in self.rows.items() if stage not in self.reached)


@dataclass
class SharedLog:
    """The interaction log of one (llm, task), which several runs may read and extend at the same time.

    Each run appends to a part file of its own and reads those of others; the last one to leave merges all.
    """

    files: LogFiles
    run_key: str
    _read: dict[Path, int] = field(default_factory=dict)  # bytes of each part file that were read

    @property
    def part(self) -> Path:
        """The part file that this run appends to."""
        return self.files.parts_folder / f"{self.files.dataset}.rank_{self.run_key}.jsonl"

    def rows(self) -> Iterator[LogRow]:
        """All rows that are there now; the same answer may come more than once."""
        self._read.clear()
        if self.files.merged.is_file():
            yield from interactions.stream(self.files.merged, hint=HINT)
        yield from self.news()

    def news(self) -> Iterator[LogRow]:
        """Rows that this or another run has added since they were last read; a line that is being written is
        left for the next time."""
        for path in self.files.parts():
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            lines = decode_lines(BytesIO(whole), path, HINT)
            for row in parse_jsonl(lines, path, HINT):
                yield interactions.checked(row, str(path), HINT)

    @contextmanager
    def claimed(self, instructions: Iterable[str]) -> Iterator[None]:
        """Have these instructions to oneself: a run that needs one of them waits, then reads the answers.

        A process that ends, killed or not, lets go by itself.
        """
        # Places in one file, and below a lock that many hold at once: io/locks.py has neither.
        fcntl = _record_locks()
        places = sorted({int(run_key(text), 16) % 2**31 for text in instructions})  # sorted: no deadlock
        self.files.parts_folder.mkdir(parents=True, exist_ok=True)
        with (self.files.parts_folder / f"{self.files.dataset}.claims").open("w") as file:
            for place in places:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                except (BlockingIOError, PermissionError):  # which of them, POSIX leaves open
                    print(
                        "another run asks for the same instruction: waiting for its answers", file=sys.stderr
                    )
                    fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps others from merging meanwhile; on leaving, merges unless another run still holds the log."""
        fcntl = _record_locks()
        self.files.parts_folder.mkdir(parents=True, exist_ok=True)
        with (self.files.parts_folder / f"{self.files.dataset}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            try:
                yield
            finally:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass
                else:
                    if self.files.parts():
                        log_store.merge(self.files, [])


def _record_locks() -> Any:
    """POSIX's locks on parts of a file, and those that several hold; Windows has neither."""
    try:
        import fcntl
    except ImportError:
        raise InputError(
            "OPRO's runs share a log through POSIX locks: run them on Linux, macOS or WSL"
        ) from None
    return fcntl


def run_key(*parts: object) -> str:
    """Short name of a run for its part file."""
    return content_key([str(part) for part in parts])[:10]
