"""The interaction log that runs share, and what each stage of a run needed of it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prompt_oirl.data import log_store
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import content_key
from prompt_oirl.io.json_files import read_jsonl


@dataclass
class Spending:
    """`spent.jsonl`: how many answers each stage needed, and how many of them had to be asked for; no path,
    no file.

    A stage is written down before its first call and only once, so a run that was killed and resumed tells
    the same. Totals are of the stages that this run came through; the file may hold others of a run with more
    or fewer steps.
    """

    path: Path | None
    rows: dict[tuple[int, str], dict[str, int | str]] = field(default_factory=dict)
    reached: set[tuple[int, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.is_file():
            log_store.cut_torn_line(self.path)
            for row in read_jsonl(self.path, hint="delete the run's folder and run the same command again"):
                self.rows[row["step"], row["part"]] = row

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
        row: dict[str, int | str] = {"step": step, "part": part, "needed": needed, "asked": pending}
        self.rows[step, part] = row
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(row) + "\n")

    def total(self, column: str) -> int:
        """Sum of needed or asked over the stages that this run came through."""
        return sum(int(row[column]) for stage, row in self.rows.items() if stage in self.reached)

    def before(self) -> int:
        """Answers that were asked for in stages that this run does not have."""
        return sum(int(row["asked"]) for stage, row in self.rows.items() if stage not in self.reached)


@dataclass
class SharedLog:
    """The interaction log of one (llm, task), which several runs may read and extend at the same time.

    Each run appends to a part file of its own; the last one to leave merges them all.
    """

    files: LogFiles
    run_key: str

    @property
    def part(self) -> Path:
        """The part file that this run appends to."""
        return self.files.parts_folder / f"{self.files.dataset}.rank_{self.run_key}.jsonl"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps others from merging meanwhile; on leaving, merges unless another run still holds the log."""
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


def run_key(*parts: object) -> str:
    """Short name of a run for its part file."""
    return content_key([str(part) for part in parts])[:10]
