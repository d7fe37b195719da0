"""The log of served answers: a folder of append-only files, one JSON object a line, one file per process.

A line is written at once, so that a kill tears at most the last line of a file, which readers drop; a power
cut may lose the last second. Feedback that comes later is a line of its own and names the answer's id.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prompt_oirl.data.arms import llm_of, prompt_of
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.serving.choice import Choice

SCHEMA = 1
NAME = "served-{time}-{number}.jsonl"
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
FLAGS |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)  # the one POSIX's, the other Windows'
RECENT = 100_000  # ids that are known without a look into the files


@dataclass(frozen=True)
class Answered:
    """What an LLM answered: `answer` None where there is no text, `tokens_in` and `tokens_out` None where the
    server did not count, `finish_reason` "disconnected" where the client left before the end."""

    status: int
    latency_ms: float
    answer: str | None = None
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    model: str | None = None


@dataclass(frozen=True)
class Prices:
    """Dollars per million tokens read and written; both 0: unknown."""

    read: float = 0.0
    written: float = 0.0

    def cost(self, answered: Answered) -> float | None:
        """Dollars of one answer; None where prices or tokens are unknown."""
        if not (self.read or self.written) or answered.tokens_in is None or answered.tokens_out is None:
            return None
        return (self.read * answered.tokens_in + self.written * answered.tokens_out) / 1e6


def new_id() -> str:
    """An id for an answer, 32 hexadecimal digits."""
    return uuid.uuid4().hex


def answer_row(
    id: str,
    question: str,
    choice: Choice,
    answered: Answered,
    *,
    position: str,
    policy: str,
    llm: str | None = None,
    segment: str | None = None,
    prices: Prices | None = None,
    texts: bool = True,
    vector: np.ndarray | None = None,
    votes: int | None = None,
) -> dict[str, Any]:
    """The line of an answer.

    Parameters
    ----------
    id : of `new_id`
    question, choice, answered : what was asked, with which prompt, and what came back
    position : where the prompt was put: system, before, after or template
    policy : id of the selector that chose
    llm : that was asked for; an arm's own comes first
    segment : of the question
    prices : of tokens
    texts : False keeps the question's hash and `vector`, its embedding (d,), instead of question and answer
    votes : how many prompts were asked at once for a vote, if so; feedback then comes on the winner only
    """
    if texts:
        about: dict[str, Any] = {"question": valid_text(question)}
    else:
        about = {
            "question_sha256": hashlib.sha256(valid_text(question).encode()).hexdigest(),
            "question_vector": None if vector is None else [round(float(x), 7) for x in vector],
        }
    return {
        "schema": SCHEMA,
        "id": id,
        "time": _now(),
        **about,
        "prompt": prompt_of(choice.arm),
        "prompt_id": choice.name,
        "position": position,
        "llm": llm_of(choice.arm) or valid_text(llm or answered.model or "") or None,
        "segment": segment,
        "answer": valid_text(answered.answer) if texts and answered.answer is not None else None,
        "correct": None,
        "finish_reason": answered.finish_reason,
        "status": answered.status,
        "tokens_in": answered.tokens_in,
        "tokens_out": answered.tokens_out,
        "cost": (prices or Prices()).cost(answered),
        "latency_ms": round(answered.latency_ms, 3),
        "probability": choice.probability,
        "propensity": choice.propensity,
        "explored": choice.explored,
        "fallback": choice.fallback,
        "policy": policy,
        "propensities": list(choice.propensities),
        **({} if votes is None else {"votes": votes}),
    }


def feedback_row(id: str, correct: float | None) -> dict[str, Any]:
    """The line that says whether an answer was right, 0 to 1; the last one of an id counts, None takes back.

    Raises: InputError at another number.
    """
    if correct is not None and not 0 <= correct <= 1:
        raise InputError(f"correct is {correct}: give a number from 0 to 1")
    return {"feedback": id, "correct": correct, "time": _now()}


def valid_text(text: str) -> str:
    """The text as UTF-8 can hold it: lone surrogates, which a client's JSON may bring, become "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class ServedLog:
    """Appends lines to files of its own; begins the next one when one is full. Safe from several threads.

    Parameters
    ----------
    folder : is made if need be
    megabytes : size of a file before the next begins
    texts : "off" keeps questions' hashes and embeddings only, see `answer_row`
    on_error : is called with the error at each line that could not be written; the first is said on stderr

    Raises: InputError if no file can be made there.
    """

    def __init__(
        self,
        folder: str | Path,
        megabytes: float = 100.0,
        texts: Literal["on", "off"] = "on",
        on_error: Callable[[OSError], None] | None = None,
    ):
        self.folder, self.texts = Path(folder), texts == "on"
        self._limit, self._on_error = int(megabytes * 1e6), on_error
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._dirty = self._complained = False
        self._recent: dict[str, None] = {}
        self._file: int | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._begin()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot write the log {folder}: {reason}; choose another --log") from error
        self._thread = threading.Thread(target=self._sync_each_second, daemon=True, name="served log")
        self._thread.start()

    def _begin(self) -> None:
        time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        for number in range(10_000):
            path = self.folder / NAME.format(time=time, number=number)
            with suppress(FileExistsError):
                file = os.open(path, FLAGS, 0o600)
                break
        else:
            raise FileExistsError(17, "too many files of this second", str(self.folder))
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
        self._file, self._size, self.path = file, 0, path

    def write(self, row: dict[str, Any]) -> bool:
        """Append a row as a line; False if it could not be written, which serving survives."""
        line = (json.dumps(row) + "\n").encode()
        with self._lock:
            try:
                if self._size and self._size + len(line) > self._limit:
                    self._begin()
                self._append(line)
            except OSError as error:
                self._complain(error)
                return False
            if "id" in row:
                self._remember(row["id"])
        return True

    def _append(self, line: bytes) -> None:
        if self._file is None:
            raise OSError(9, "the log is closed", str(self.folder))
        done = os.write(self._file, line)
        if done < len(line):  # the disk is full: leave no part of a line for the next one to follow
            os.ftruncate(self._file, self._size)
            raise OSError(28, os.strerror(28), str(self.path))
        self._size, self._dirty = self._size + done, True

    def _complain(self, error: OSError) -> None:
        if self._on_error is not None:
            self._on_error(error)
        if not self._complained:
            self._complained = True
            text = f"answers are not logged: {self.path}: {error.strerror or error}; serving continues"
            print(f"warning: {on_one_line(text, 500)}", file=sys.stderr)

    def expect(self, id: str) -> None:
        """Take feedback on an answer that is still under way."""
        with self._lock:
            self._remember(id)

    def _remember(self, id: str) -> None:
        self._recent[id] = None
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    def knows(self, id: str) -> bool:
        """Whether an answer has this id; reads the files where it is not a recent one."""
        if id in self._recent:
            return True
        if len(id) != 32 or not set(id) <= set("0123456789abcdef"):
            return False
        wanted = f'"id": "{id}"'.encode()  # a text of a client has its quotes escaped
        return any(_holds(path, wanted) for path in sorted(self.folder.glob("served-*.jsonl"), reverse=True))

    def _sync_each_second(self) -> None:
        while not self._closed.wait(1.0):
            self._sync()

    def _sync(self) -> None:
        with self._lock:
            copy = os.dup(self._file) if self._dirty and self._file is not None else None
            self._dirty = False
        if copy is not None:
            with suppress(OSError):
                os.fsync(copy)
            os.close(copy)

    def close(self) -> None:
        """Let everything reach the disk."""
        self._closed.set()
        self._sync()
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None


def _holds(path: Path, wanted: bytes) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(wanted) >= 0
    except (OSError, ValueError):  # gone, or empty
        return False
