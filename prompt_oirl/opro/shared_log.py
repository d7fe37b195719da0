"""The interaction log that runs share, and what each stage of a run needed of it."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path

from filelock import FileLock, Timeout

from prompt_oirl.data import interactions, log_store
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import content_key, decode_lines, read_lines
from prompt_oirl.io.json_files import as_record, numbered_objects, parse_jsonl

PLACES = 256  # locks that all instructions share: two of them may wait for each other without need
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
        places = sorted({int(run_key(text), 16) % PLACES for text in instructions})  # sorted: no deadlock
        with ExitStack() as claims:
            for place in places:
                lock = self._lock(f"claim{place}")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    print(
                        "another run asks for the same instruction: waiting for its answers", file=sys.stderr
                    )
                    lock.acquire()
                claims.callback(lock.release)
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps others from merging meanwhile; on leaving, merges unless another run still holds the log."""
        gate = self._lock("gate")  # held for a moment, and while merging
        mine = self._lock(f"run{secrets.token_hex(8)}")
        with gate:
            mine.acquire()
        try:
            yield
        finally:
            with gate:
                mine.release()
                if not self._others_run() and self.files.parts():
                    log_store.merge(self.files, [])

    def _lock(self, name: str) -> FileLock:
        self.files.parts_folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.files.parts_folder / f"{self.files.dataset}.{name}.lock")

    def _others_run(self) -> bool:
        """Whether another run holds the log; the locks of those that ended are removed."""
        for path in self.files.parts_folder.glob(f"{self.files.dataset}.run*.lock"):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return True
            lock.release()
            path.unlink(missing_ok=True)
        return False


def run_key(*parts: object) -> str:
    """Short name of a run for its part file."""
    return content_key([str(part) for part in parts])[:10]
