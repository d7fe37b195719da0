"""The files of a log in the making: part files that ranks append to, merged by key into one log with its
labels.

Every rank appends finished rows to a part file of its own, so a kill loses what is in flight and nothing
else. Merging goes by item key: no row is ever doubled.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.io.files import InputError, Paths, read_lines, write_csv, write_json
from prompt_oirl.io.json_files import parse_jsonl, read_json
from prompt_oirl.io.locks import held

Key = tuple[str, str, int]  # question_id, prompt_id, sample
MERGED = "_interactions.jsonl"  # how the names of merged logs end
CHANGES = "request_changes"


def row_key(row: LogRow) -> Key:
    """What an answer is an answer to; no log holds two rows of one key."""
    return (row.question_id, row.prompt_id, row.sample)


@dataclass
class LogFiles:
    """The merged log of one (llm, dataset) and the part files that ranks append to."""

    folder: Path
    dataset: str

    @property
    def merged(self) -> Path:
        """The log itself, LM<llm>/<dataset>_interactions.jsonl."""
        return self.folder / f"{self.dataset}{MERGED}"

    @property
    def parts_folder(self) -> Path:
        """Where part files lie until they are merged."""
        return self.folder / "parts"

    def part(self, rank: int) -> Path:
        """The file that one process appends to."""
        return self.parts_folder / f"{self.dataset}.rank{rank}.jsonl"

    def parts(self) -> list[Path]:
        """Part files not yet merged."""
        return sorted(self.parts_folder.glob(f"{self.dataset}.rank*.jsonl"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the log for one run; a second one is refused, and a killed one lets go by itself."""
        busy = f"another run is writing {self.merged}: wait for it, or give this one another --llm name"
        with held(self.parts_folder / f"{self.dataset}.lock", busy):
            yield

    def check_model(self, model: dict[str, Any]) -> None:
        """Note whose answers the log holds; refuse another model's, or the same under another limit."""
        known = self._manifest()
        known.pop(CHANGES, None)
        if not known:
            write_json(self.manifest, model | self._manifest())
        elif known != model:
            raise InputError(
                f"{self.merged} holds answers of {known}, not of {model}: give the new run another --llm name"
            )

    def request_changes(self) -> dict[str, dict[str, str | None]]:
        """Fields of requests that the server refuses: under which name they are sent, if at all, and why."""
        changes = self._manifest().get(CHANGES, {})
        for name, change in changes.items() if isinstance(changes, dict) else [("", None)]:
            if not isinstance(change, dict) or not isinstance(change.get("sent_as", 0), str | None):
                raise InputError(f"{self.manifest}: {CHANGES} {name!a} is damaged; delete it")
        return changes

    def keep_request_changes(self, changes: dict[str, dict[str, str | None]]) -> None:
        """Note them beside the log, for its readers and for the next run."""
        write_json(self.manifest, self._manifest() | {CHANGES: changes})

    @property
    def manifest(self) -> Path:
        """Whose answers the log holds, and what of the decoding was not sent to the server."""
        return self.folder / f"{self.dataset}_model.json"

    def _manifest(self) -> dict[str, Any]:
        about = read_json(self.manifest, hint="delete it") if self.manifest.is_file() else {}
        if not isinstance(about, dict):
            raise InputError(f"{self.manifest}: not a JSON object; delete it")
        return about

    def rows(self) -> Iterator[LogRow]:
        """Merged rows, then every part's; the same key may come more than once."""
        if self.merged.is_file():
            yield from interactions.read(self.merged, hint="delete that line and run step 1 again")
        for path in self.parts():
            yield from read_part(path)


def find_logs(llm: str, paths: Paths) -> dict[str, Path]:
    """The log of every dataset that an LLM has one of: of step 1, else of the project, else partitioned."""
    partitions = paths.partitioned_log(llm, "*").parent.glob("dataset=*")
    logs = [(p.name.removesuffix(MERGED), p) for p in sorted(paths.labels(llm).glob(f"*{MERGED}"))]
    logs += [(p.stem, p) for p in sorted(paths.committed_log(llm, "x").parent.glob("*.parquet"))]
    logs += [(p.name.removeprefix("dataset="), p) for p in sorted(partitions)]
    found: dict[str, Path] = {}
    for dataset, log in logs:
        found.setdefault(dataset, log)
    return found


def read_part(path: Path) -> Iterator[LogRow]:
    """Rows of a part file; a torn last line, left by a kill, is dropped with a note."""
    hint = "delete that line and run step 1 again"
    rows = parse_jsonl(_whole_lines(path, hint), path, hint)
    for number, row in enumerate(rows, 1):
        yield interactions.checked(row, f"{path}:{number}", hint)


def _whole_lines(path: Path, hint: str) -> Iterator[str]:
    for line in read_lines(path, hint=hint):
        if line.endswith("\n"):
            yield line
        else:
            note = "the last line is torn (a run was killed while writing it) and is dropped"
            print(f"{path}: {note}", file=sys.stderr)


def cut_torn_line(path: Path) -> None:
    """Shorten a part file to its last whole line, so that appending stays whole."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            file.truncate(end)


def merge(files: LogFiles, order: Sequence[Key]) -> list[LogRow]:
    """Write the merged log and labels.csv from all parts, each key once, in this order; drop the parts."""
    by_key: dict[Key, LogRow] = {}
    for row in files.rows():
        by_key.setdefault(row_key(row), row)
    place = {key: i for i, key in enumerate(order)}
    rows = [by_key[key] for key in sorted(by_key, key=lambda key: (place.get(key, len(place)), key))]
    if not rows:
        return rows
    interactions.write(files.merged, rows)
    write_labels(files.folder / f"{files.dataset}_labels.csv", rows)
    for path in files.parts():
        path.unlink()
    return rows


def write_labels(path: Path, rows: Sequence[LogRow]) -> None:
    """One line per question and sample, one column per prompt: 1 right, 0 wrong, empty never asked."""
    prompts = list(dict.fromkeys(row.prompt_id for row in rows))
    table: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in rows:
        key = (row.split, row.question_id, row.sample)
        table.setdefault(key, dict(zip(("split", "question_id", "sample"), key)))[row.prompt_id] = row.correct
    write_csv(path, table.values(), ["split", "question_id", "sample", *prompts])
