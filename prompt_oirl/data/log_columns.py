"""Optional columns of a log: repeats of an answer, group and segment of a question, position of a prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from prompt_oirl.data.near_duplicates import connected_groups, in_order_of_appearance
from prompt_oirl.io.files import InputError
from prompt_oirl.io.tables import cell_text, check_text, is_empty, numbers, short

# Where a prompt can stand: a message of its own, the question's message, or the answer's beginning.
POSITIONS = ("system", "before", "after", "answer_start")


def samples_of(
    frame: pd.DataFrame,
    question: np.ndarray,
    prompt: np.ndarray,
    correct: np.ndarray,
    where: str,
    notes: list[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep and their sample number. Without the column, each repeat of a cell is one more sample.

    Parameters
    ----------
    frame : n rows of a log; its index numbers them
    question, prompt, correct : (n,), as of `PromptLog`
    where : stands before a row's number in a complaint, such as "log.csv:"
    notes : gets a sentence if rows are left out

    Raises: InputError at a number that is none, and where repeats disagree.
    """
    cell = question * (int(prompt.max()) + 1) + prompt
    if "sample" not in frame:
        sample = pd.Series(cell).groupby(cell).cumcount().to_numpy()
        return np.arange(len(cell)), sample
    given = numbers(frame, "sample", where, low=0, high=2**53)
    if np.isnan(given).any() or (given != np.floor(given)).any():
        row = frame.index[int(np.argmax(np.isnan(given) | (given != np.floor(given))))]
        raise InputError(
            f"{where}{row}: sample is not a whole number; number repeats 0, 1, 2, or drop the column"
        )
    first: dict[tuple[int, int], int] = {}
    keep = []
    for i, key in enumerate(zip(cell.tolist(), given.astype(np.int64).tolist())):
        j = first.setdefault(key, i)
        if j == i:
            keep.append(i)
        elif correct[i] != correct[j]:
            raise InputError(
                f"{where}{frame.index[i]}: the same question, prompt and sample as row {frame.index[j]} "
                "with another verdict; number repeats 0, 1, 2, or drop the column sample"
            )
    if len(keep) < len(cell):
        notes.append(
            f"{len(cell) - len(keep):,} rows repeat another row's question, prompt and sample: counted once."
        )
    return np.array(keep, dtype=np.int64), given.astype(np.int64)


def groups_of(frame: pd.DataFrame, question: np.ndarray, n: int) -> np.ndarray | None:
    """The log's own groups of n questions, int64 (n,); rows without one leave their question by itself.

    Parameters
    ----------
    frame : rows of a log
    question : int (rows,), the question of each row
    n : how many questions
    """
    if "group" not in frame:
        return None
    rows = [(i, cell_text(g)) for i, g in zip(question.tolist(), frame["group"].tolist()) if not is_empty(g)]
    if not rows:
        return None
    names = in_order_of_appearance([g for _, g in rows]) + n
    index = np.array([i for i, _ in rows])
    return connected_groups(index, names, int(names.max()) + 1)[:n]


def segments_of(frame: pd.DataFrame, question: np.ndarray, n: int, where: str) -> list[str | None] | None:
    """The segment of each of n questions, None where no row tells it; None if no row tells any.

    Parameters
    ----------
    frame, question, n : as in `groups_of`
    where : stands before a row's number in a complaint, such as "log.csv:"

    Raises: InputError at a question of two segments.
    """
    if "segment" not in frame:
        return None
    found: list[str | None] = [None] * n
    row_of: list[Any] = [None] * n
    for row, i, segment in zip(frame.index, question.tolist(), segment_column(frame, where)):
        if segment is None:
            continue
        if found[i] is None:
            found[i], row_of[i] = segment, row
        elif found[i] != segment:
            raise InputError(
                f"{where}{row}: segment is {short(segment)}, but {short(found[i])} in row {row_of[i]} of the "
                "same question; a question has one segment: correct it, or rename the column"
            )
    return found if any(name is not None for name in found) else None


def segment_column(frame: pd.DataFrame, where: str) -> list[str | None]:
    """The cells of the column segment as texts, None where blank.

    Parameters
    ----------
    frame, where : as in `samples_of`
    """
    found: list[str | None] = []
    for row, cell in zip(frame.index, frame["segment"].tolist()):
        text = cell_text(cell).strip()
        check_text(text, f"{where}{row}: the segment")
        found.append(text or None)
    return found


def positions_of(
    frame: pd.DataFrame, prompt: np.ndarray, n: int, notes: list[str]
) -> list[str | None] | None:
    """Where each of n prompts stood, None where the log does not say; None if it says so of no prompt.

    A column of this name that holds something else is left alone.

    Parameters
    ----------
    frame : rows of a log
    prompt : int (rows,), the prompt of each row
    n : how many prompts
    notes : gets a sentence about prompts that stood at several positions, which count as unknown
    """
    if "position" not in frame:
        return None
    found: list[set[str]] = [set() for _ in range(n)]
    for j, cell in zip(prompt.tolist(), frame["position"].tolist()):
        if isinstance(cell, str) and cell in POSITIONS:
            found[j].add(cell)
    several = sum(len(positions) > 1 for positions in found)
    if several:
        notes.append(f"{several:,} prompts stood at several positions: their position counts as unknown.")
    positions = [next(iter(known)) if len(known) == 1 else None for known in found]
    return positions if any(positions) else None
