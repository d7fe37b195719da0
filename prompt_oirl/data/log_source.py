"""The rows of a log before they are checked: one table or several, columns renamed, chat messages split."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prompt_oirl.data.served_log_rows import check_propensity, is_served, served_rows
from prompt_oirl.importers.messages import question_and_prompt
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.tables import checked_columns, is_empty, read_table, short

COLUMNS = (
    "question, prompt and correct (optional: answer, cost, group, segment, llm, sample, split, prompt_id, "
    "propensity)"
)
HINT = f"give one row per answer with the columns {COLUMNS}, or say with --columns which of yours these are"
GRADE = "prompt-oirl grade LOG --gold GOLDS --kind KIND --out NEW_LOG makes verdicts of answers"
NAMES = (
    *("question", "prompt", "correct", "answer", "cost", "group", "segment", "llm", "sample", "split"),
    *("prompt_id", "position", "gold", "propensity", "policy"),
)
_PLACE = re.compile(r"\{\{?\s*\w+\s*\}?\}")  # where a template has a variable
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


@dataclass(frozen=True)
class Source:
    """Rows of a log; their index, behind `where`, tells where each stands, and `name` begins a complaint.
    `notes` say what was left out."""

    frame: pd.DataFrame
    where: str
    name: str
    notes: tuple[str, ...] = ()


def rows_of(
    log: pd.DataFrame | str | Path | Sequence[str | Path],
    columns: Mapping[str, str] | None,
    needed: Sequence[str],
    hint: str = HINT,
) -> Source:
    """Rows with at least the columns needed.

    Parameters
    ----------
    log : a table, the path of one ("-" is stdin; a folder is a server's log), or several paths, whose rows
    are put together
    columns : the names that the log has for some of `NAMES`
    needed : columns that must be there; a prompt or question may also lie in chat messages
    hint : the end of a complaint

    Raises: InputError naming the file, and the row or column.
    """
    columns = columns or {}
    for name in columns:
        if name not in NAMES:
            raise InputError(f"--columns {short(name)}=...: the columns are {', '.join(NAMES)}")
    if isinstance(log, pd.DataFrame):
        frame = _named(log.reset_index(drop=True), columns, needed, "the log", "the log, row ", hint)
        return Source(frame, "the log, row ", "the log")
    paths = [log] if isinstance(log, str | Path) else log
    if not isinstance(paths, Sequence) or not all(isinstance(path, str | Path) for path in paths):
        raise InputError(f"a log is a DataFrame, a path or several, not {type(log).__name__}; {hint}")
    if not paths:
        raise InputError("name a log, or give - for stdin")
    seen: set[Path] = set()
    parts = []
    for path in paths:
        same_file = Path(path).resolve()
        if same_file in seen:
            raise InputError(f"{path}: named twice, so its answers would count twice; name it once")
        seen.add(same_file)
        if is_served(path):
            continue
        name = "stdin" if str(path) == "-" else str(path)
        frame = _named(read_table(path, hint), columns, needed, name, f"{name}:", hint)
        parts.append(Source(frame, f"{name}:", name))
    served = [path for path in paths if is_served(path)]
    if served:
        frame, notes = served_rows(served)
        name = on_one_line(", ".join(map(str, served)), 100)
        parts.append(Source(_named(frame, columns, needed, name, "", hint), "", name, tuple(notes)))
    return parts[0] if len(parts) == 1 else _joined(parts, bool(served))


def _joined(parts: Sequence[Source], served: bool) -> Source:
    notes = [note for p in parts for note in p.notes]
    frames = [p.frame.set_axis([f"{p.where}{number}" for number in p.frame.index]) for p in parts]
    numbered = [pd.to_numeric(f["sample"], errors="coerce").max() for f in frames if "sample" in f]
    if numbered and len(numbered) < len(frames):
        # Answers of a log that numbers no repeats are none of those that another log numbers.
        first = int(np.nan_to_num(np.nanmax(numbered), nan=-1)) + 1
        for i, frame in enumerate(frames):
            if "sample" not in frame:
                frames[i] = frame.assign(sample=np.arange(first, first + len(frame)))
                first += len(frame)
    llms = Counter(cell for f in frames if "llm" in f for cell in f["llm"] if not is_empty(cell))
    if served and llms and any("llm" not in f for f in frames):
        # A server always names the LLM, a log from before it seldom does.
        [(llm, _)] = llms.most_common(1)
        frames = [f if "llm" in f else f.assign(llm=llm) for f in frames]
        notes.append(f"answers of logs without a column llm count as those of {on_one_line(str(llm), 60)}.")
    name = on_one_line(", ".join(p.name for p in parts), 100)
    return Source(pd.concat(frames), "", name, tuple(notes))


def columns_of(text: str) -> dict[str, str]:
    """The names of `--columns question=input,prompt=template`; one with a comma stands in quotes.

    Parameters
    ----------
    text : as the flag has it

    Raises: InputError at what is no such pair.
    """
    found: dict[str, str] = {}
    for pair in next(csv.reader([text], skipinitialspace=True), []):
        name, equals, own = (part.strip() for part in pair.partition("="))
        if not (name and equals and own):
            raise InputError(f"--columns: {short(pair)} is not of the form question=YOUR_COLUMN")
        if name in found:
            raise InputError(f"--columns: {short(name)} is given twice")
        found[name] = own
    return found


def _named(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    needed: Sequence[str],
    source: str,
    where: str,
    hint: str,
) -> pd.DataFrame:
    """The frame under our names, its chat messages taken apart."""
    # Of several files some may have our names already.
    columns = {name: own for name, own in columns.items() if own in frame or name not in frame}
    frame = checked_columns(
        frame, list(columns.values()), source, "correct --columns" if columns else "rename one"
    )
    # A column that is called as one of ours, but isn't meant, gives way.
    given = {name: frame[own] for name, own in columns.items()}
    moved = [own for own in columns.values() if own not in columns]
    frame = frame.drop(columns=[*moved, *(name for name in columns if name in frame)]).assign(**given)
    frame = _without_messages(frame, where)
    if "prompt" in frame:
        _refuse_merged_cells(frame["prompt"].tolist(), source)
    if "propensity" in frame:
        check_propensity(frame, where)
    return checked_columns(frame, needed, source, _advice(frame, needed) or hint)


def _advice(frame: pd.DataFrame, needed: Sequence[str]) -> str | None:
    """What to do about columns that are missing, where the others tell."""
    missing = [name for name in needed if name not in frame]
    chats = [c for c in frame.columns if len(frame) and messages_in(frame[c].iat[0]) is not None]
    if "question" in missing and chats:
        return f"--columns question={chats[0]},prompt={chats[0]} takes chat messages apart"
    if missing == ["question"] and "prompt" in frame:
        return "prompt-oirl import log takes the questions out of prompts that are the texts sent"
    if missing == ["correct"] and "answer" in frame:
        return GRADE
    return None


def _refuse_merged_cells(prompts: list[Any], source: str) -> None:
    """Refuse prompts that stand in the first of their rows only: the others would count as asked without."""
    there = [str(prompt) for prompt in prompts if not is_empty(prompt)]
    below = len(prompts) - len(there)
    if below >= max(10, len(there)) and len(set(there)) == len(there) > 1 and not is_empty(prompts[0]):
        raise InputError(
            f"{source}: each prompt stands in one row, and the rows below have none, as merged cells are "
            "saved; fill each prompt down into all of its rows"
        )


def _without_messages(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Questions and prompts that are chat messages as texts; either column may hold both."""
    have = [name for name in ("question", "prompt") if name in frame]
    chats = {name: [messages_in(cell) for cell in frame[name].tolist()] for name in have}
    if not any(chat is not None for found in chats.values() for chat in found):
        return frame
    cells: dict[str, list[Any]] = {
        name: frame[name].tolist() if name in frame else [None] * len(frame)
        for name in ("question", "prompt")
    }
    for i, row in enumerate(frame.index):
        asked, told = (chats[name][i] if name in chats else None for name in ("question", "prompt"))
        if asked is None and told is None:
            continue
        both = question_and_prompt(told if asked is None else asked)
        if asked is None and both is not None and _PLACE.search(both[0]):
            continue  # a template
        if both is None or (told is not None and question_and_prompt(told) is None):
            raise InputError(
                f"{where}{row}: the chat messages hold no question that can be read: the last one of role "
                "user must have a text, and so must those before it"
            )
        question, prompt = both[0], both[1] or ""
        if asked is None:
            other = cells["question"][i]
            clash = not is_empty(other) and str(other).strip() != question.strip()
        elif told is None:
            other = cells["prompt"][i]
            clash = bool(prompt) and not is_empty(other) and str(other) != prompt
            prompt = prompt if prompt or is_empty(other) else other
        else:
            clash = question_and_prompt(told) != both
        if clash:
            raise InputError(
                f"{where}{row}: chat messages hold question and prompt, and the other column says otherwise; "
                "give both columns the messages, as in --columns question=messages,prompt=messages"
            )
        cells["question"][i], cells["prompt"][i] = question, prompt
    return frame.assign(
        **{name: pd.Series(found, frame.index, dtype=object) for name, found in cells.items()}
    )


def messages_in(cell: Any) -> list[dict[str, Any]] | None:
    """The chat messages that a cell holds, as a list, its JSON or its Python text; None for anything else."""
    if isinstance(cell, str):
        start = cell.lstrip()
        if not start.startswith("[") or ('"role"' not in cell and "'role'" not in cell):
            return None
        try:
            # pandas writes lists into CSV as Python does: literals, of which nothing is run.
            cell = json.loads(cell) if '"role"' in cell else ast.literal_eval(start)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    if isinstance(cell, np.ndarray):  # as Parquet holds lists
        cell = cell.tolist()
    if not isinstance(cell, list | tuple) or not cell:
        return None
    is_chat = all(
        isinstance(turn, dict) and turn.get("role") in _ROLES and "content" in turn for turn in cell
    )
    return [dict(turn) for turn in cell] if is_chat else None
