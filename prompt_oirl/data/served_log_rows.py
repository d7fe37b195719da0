"""The log of a server (`prompt-oirl serve`) as a table: one row per answer, with the verdict that came later.

A served log is a folder of files `served-*.jsonl`, or some of these files. A line is an answer, or a verdict
for an answer given earlier: {"feedback": id, "correct": 0 to 1}.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.json_files import parse_json
from prompt_oirl.io.tables import numbers, short

FILES = "served-*.jsonl"
SCHEMA = 1
BROKEN_OFF = ("disconnected", "cut")  # reasons of an end that the server notes
_COLUMNS = ("question", "prompt", "prompt_id", "position", "llm", "segment", "answer", "correct")
COLUMNS = (*_COLUMNS, "cost", "propensity", "policy")
OPTIONAL = ("prompt_id", "position", "segment", "cost")  # a column without any value is none


def is_served(path: str | Path) -> bool:
    """Whether a path is a folder, or a file that a server wrote, by its name."""
    return str(path) != "-" and (Path(path).is_dir() or Path(path).match(FILES))


def served_rows(paths: Sequence[str | Path]) -> tuple[pd.DataFrame, list[str]]:
    """The answers of a server's log, and sentences about lines that were left out.

    Verdicts are joined by id, the last one of an id counts; a line whose id came before counts once. Left out
    are answers without texts, and of votes: their verdicts come on the winner only. Requests that failed or
    broke off have no verdict, whatever came.

    Parameters
    ----------
    paths : folders or files of one or several served logs; verdicts may stand in another file than answers

    Returns: rows indexed "file:line"; `correct` is None where no verdict came.
    Raises: InputError at a line that no server wrote, and at a folder without such files.
    """
    answers: dict[str, tuple[str, dict[str, Any]]] = {}
    verdicts: dict[str, tuple[str, Any]] = {}
    times: dict[str, str] = defaultdict(str)
    torn = twice = ahead = 0
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for file in dict.fromkeys(file for path in paths for file in _files(Path(path))):
        lines = file.read_bytes().split(b"\n")
        # What stands behind the last line break was being written when the server was killed.
        torn += bool(lines.pop().strip())
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{file}:{number}"
            row = _row(line, where)
            ahead += str(row.get("time", "")) > tomorrow
            if "feedback" in row:
                key, time = str(row["feedback"]), str(row.get("time", ""))
                if time >= times[key]:  # several servers may write at a time
                    times[key], verdicts[key] = time, (where, row.get("correct"))
            elif row["id"] in answers:
                twice += 1
            else:
                answers[row["id"]] = (where, row)
    single = {k: item for k, item in answers.items() if "votes" not in item[1]}
    read = {k: item for k, item in single.items() if str(item[1].get("question") or "").strip()}
    failed = {k for k, (_, row) in read.items() if row.get("status") != 200}
    broken = {k for k, (_, row) in read.items() if row.get("finish_reason") in BROKEN_OFF} - failed
    for key, (where, verdict) in verdicts.items():
        if key in read and key not in failed and key not in broken:
            _check_verdict(where, verdict)
            read[key][1]["correct"] = verdict
    segments = _without_conflicts(row for _, row in read.values())
    said = {
        "torn when the server was stopped": torn,
        "with an id that came before": twice,
        "of requests that failed (status other than 200)": len(failed),
        "of answers that broke off": len(broken),
        "of votes": len(answers) - len(single),
        "without texts": len(single) - len(read),
        "with verdicts of unknown requests": sum(key not in answers for key in verdicts),
    }
    parts = [f"{number:,} {what}" for what, number in said.items() if number]
    notes = [f"lines left out of the server's log: {', '.join(parts)}."] if parts else []
    if ahead:
        notes.append(
            f"{ahead:,} lines have a time in the future: was a server's clock wrong? The last verdict counts."
        )
    if segments:
        notes.append(f"{segments:,} questions came with several segments: their segment counts as unknown.")
    return _frame(read), notes


def check_propensity(frame: pd.DataFrame, where: str) -> None:
    """Refuse a propensity that is empty, 0, above 1 or no number, with its row.

    Parameters
    ----------
    frame : rows of a log with a column propensity; its index numbers them
    where : stands before a row's number in a complaint, such as "log.csv:"
    """
    values = numbers(frame, "propensity", where, low=0, high=1)
    wrong = np.flatnonzero(~(values > 0))
    if len(wrong):
        found = "empty" if np.isnan(values[wrong[0]]) else "0"
        raise InputError(
            f"{where}{frame.index[wrong[0]]}: propensity is {found}; give the chance, above 0 and up to 1, "
            "with which this prompt was drawn for the question, or rename the column"
        )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{on_one_line(str(path), 200)} is missing: correct the path")
        return [path]
    found = sorted(path.glob(FILES))
    if not found:
        raise InputError(
            f"{on_one_line(str(path), 200)} is a folder: name its files, or let the shell do so, as in "
            f"{on_one_line(str(path), 200)}/*.csv; a server's log would have files {FILES}"
        )
    return found


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except (ValueError, RecursionError) as error:
        reason = on_one_line(str(error), 100)
        raise InputError(f"{where}: not a line of JSON ({reason}); restore it or take it out") from None
    if not isinstance(row, dict) or not ("feedback" in row or isinstance(row.get("id"), str)):
        raise InputError(f"{where}: neither an answer with an id nor feedback; is this a server's log?")
    if row.get("schema", SCHEMA) != SCHEMA:
        raise InputError(
            f"{where}: schema {short(row['schema'])}, expected {SCHEMA}: update prompt-oirl to read it"
        )
    return row


def _check_verdict(where: str, verdict: Any) -> None:
    if verdict is None:
        return  # taken back
    if isinstance(verdict, bool) or not isinstance(verdict, int | float) or not 0 <= verdict <= 1:
        raise InputError(f"{where}: correct is {short(verdict)}, expected a number from 0 to 1")


def _without_conflicts(rows: Iterable[dict[str, Any]]) -> int:
    """Take away the segments of questions that came with several; how many these are."""
    of: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row.get("segment") is not None:
            of[row["question"]].append(row)
    several = [found for found in of.values() if len({str(row["segment"]) for row in found}) > 1]
    for row in (row for found in several for row in found):
        row["segment"] = None
    return len(several)


def _frame(read: dict[str, tuple[str, dict[str, Any]]]) -> pd.DataFrame:
    index = [where for where, _ in read.values()]
    cells = {name: [row.get(name) for _, row in read.values()] for name in COLUMNS}
    frame = pd.DataFrame({name: pd.Series(found, index, dtype=object) for name, found in cells.items()})
    return frame.drop(columns=[name for name in OPTIONAL if frame[name].isna().all()])
