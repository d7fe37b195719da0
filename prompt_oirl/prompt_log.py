"""The user's own log: who asked what with which prompt, and was the answer right.

`read_log` takes a DataFrame or a CSV, JSONL or Parquet file with one row per answer and the columns question,
prompt and correct (0 to 1), and optionally answer, cost, group, llm, sample, split and prompt_id. Other columns
are left alone, so the logs of step 1 are read as well. What cannot be used is refused in one sentence.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prompt_oirl.artifacts import InputError, read_jsonl, require
from prompt_oirl.near_duplicates import cluster_texts, in_order_of_appearance

COLUMNS = "question, prompt and correct (optional: answer, cost, group, llm, sample, split, prompt_id)"
REMEDY = f"give one row per answer with the columns {COLUMNS}"
_TRUE, _FALSE = {"true", "yes", "right", "correct"}, {"false", "no", "wrong", "incorrect"}


@dataclass(frozen=True)
class PromptLog:
    """A checked log. Rows are answers; `question` and `prompt` (rows,) point into the distinct texts.

    `correct` float32 (rows,) in 0..1, `cost` float64 (rows,) NaN if unknown, `answer` text or None, `sample`
    the number of the repeat. `own_groups` (questions,) is the log's group of each question, or None; `notes`
    are sentences about what was read that a user should know. `split` is the log's own column, or None.
    """

    questions: list[str]
    prompts: list[str]
    names: list[str]
    question: np.ndarray
    prompt: np.ndarray
    correct: np.ndarray
    cost: np.ndarray
    answer: list[str | None]
    sample: np.ndarray
    own_groups: np.ndarray | None = None
    split: np.ndarray | None = None
    llm: str | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def counts(self) -> np.ndarray:
        """Answers behind each cell, float32 (questions, prompts)."""
        return self._sum(np.ones(len(self.correct))).astype(np.float32)

    @cached_property
    def labels(self) -> np.ndarray:
        """Mean success of each cell, float32 (questions, prompts); NaN where a prompt was never asked."""
        with np.errstate(invalid="ignore"):
            return (self._sum(self.correct) / self.counts).astype(np.float32)

    @cached_property
    def groups(self) -> np.ndarray:
        """Group of each question, int64 (questions,): near-duplicates, and what the log itself puts together."""
        similar = cluster_texts(self.questions)
        return similar if self.own_groups is None else _joined(similar, self.own_groups)

    @property
    def prompt_success(self) -> np.ndarray:
        """Mean success of each prompt over its answers, float64 (prompts,)."""
        asked = self.counts.sum(0, dtype=np.float64)
        return np.nansum(self.labels.astype(np.float64) * self.counts, 0) / np.maximum(asked, 1)

    @property
    def prompt_cost(self) -> np.ndarray:
        """Mean cost of an answer of each prompt, float64 (prompts,); NaN where no cost was logged."""
        known = ~np.isnan(self.cost)
        total = np.bincount(self.prompt[known], self.cost[known], len(self.prompts))
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / np.bincount(self.prompt[known], minlength=len(self.prompts))

    @property
    def has_answers(self) -> bool:
        return any(text is not None for text in self.answer)

    def take(self, questions: np.ndarray) -> PromptLog:
        """The part of the log about some questions (indices), all prompts kept."""
        new = np.full(len(self.questions), -1)
        new[questions] = np.arange(len(questions))
        rows = np.flatnonzero(new[self.question] >= 0)
        own = None if self.own_groups is None else self.own_groups[questions]
        part = PromptLog(
            questions=[self.questions[i] for i in questions],
            prompts=self.prompts,
            names=self.names,
            question=new[self.question[rows]],
            prompt=self.prompt[rows],
            correct=self.correct[rows],
            cost=self.cost[rows],
            answer=[self.answer[i] for i in rows],
            sample=self.sample[rows],
            own_groups=own,
            split=None if self.split is None else self.split[rows],
            llm=self.llm,
        )
        # A cluster of near-duplicates is a matter of the whole log, so a part keeps its numbers.
        part.__dict__["groups"] = self.groups[questions]
        return part

    def _sum(self, values: np.ndarray) -> np.ndarray:
        shape = len(self.questions), len(self.prompts)
        flat = np.bincount(self.question * shape[1] + self.prompt, values, shape[0] * shape[1])
        return flat.reshape(shape)


def read_log(log: pd.DataFrame | str | Path | PromptLog, llm: str | None = None) -> PromptLog:
    """Read and check a log; `llm` keeps one LLM's rows. `-` reads CSV or JSONL from stdin.

    Raises InputError, one line that says which row is wrong and what to do.
    """
    if isinstance(log, PromptLog):
        return log
    if isinstance(log, pd.DataFrame):
        return _checked(log.reset_index(drop=True), "the log, row ", 0, llm)
    if not isinstance(log, str | Path):
        raise InputError(f"a log is a DataFrame or a path, not {type(log).__name__}; {REMEDY}")
    frame, first_row = read_table(log)
    return _checked(frame, "stdin:" if str(log) == "-" else f"{log}:", first_row, llm)


def read_table(path: str | Path) -> tuple[pd.DataFrame, int]:
    """A CSV, JSONL or Parquet file (`-`: CSV or JSONL on stdin) as text columns, and the number of its first row."""
    if str(path) == "-":
        return _from_bytes(sys.stdin.buffer.read())
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl", ".parquet"):
        raise InputError(f"{path}: the name must end in .csv, .jsonl or .parquet; {REMEDY}")
    require(path, f"correct the path; {REMEDY}")
    if kind == ".csv":
        return _read_csv(path, str(path)), 2
    if kind == ".jsonl":
        return pd.DataFrame(list(read_jsonl(path, remedy=REMEDY)), dtype=object), 1
    try:
        return pd.read_parquet(path), 1
    except Exception as error:  # Arrow raises many kinds for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a readable Parquet file ({reason}); {REMEDY}") from error


def _from_bytes(data: bytes) -> tuple[pd.DataFrame, int]:
    if data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
        return pd.DataFrame(read_jsonl_bytes(data), dtype=object), 1
    return _read_csv(io.BytesIO(data), "stdin"), 2


def read_texts(path: str, column: str, lines: bool) -> list[str]:
    """Texts of one column of a CSV, JSONL or Parquet file (`-`: stdin), or with `lines` plain text, one a line."""
    remedy = f"give a CSV or JSONL with a column {column}" + ", or plain text with one a line" * lines
    if path == "-":
        data = sys.stdin.buffer.read()
        first = data.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
        header = [c.strip(b' "\r') for c in first.split(b",")]
        if lines and not first.startswith(b"{") and column.encode() not in header:
            return _lines(data, "stdin", remedy)
        frame, first_row = _from_bytes(data)
    elif lines and Path(path).suffix.lower() not in (".csv", ".jsonl", ".parquet"):
        return _lines(require(Path(path), "correct the path").read_bytes(), path, remedy)
    else:
        frame, first_row = read_table(path)
    if column not in frame:
        raise InputError(f"{path}: the column {column} is missing; {remedy}")
    return _texts(frame.set_axis(range(first_row, first_row + len(frame))), column, f"{path}:")


def _lines(data: bytes, name: str, remedy: str) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 ({error.reason}); {remedy}") from error
    return [line.strip() for line in text.split("\n") if line.strip()]


def read_jsonl_bytes(data: bytes) -> list[dict[str, Any]]:
    import json

    rows = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"stdin:{number}: not valid JSON ({error}); {REMEDY}") from error
        if not isinstance(row, dict):
            raise InputError(f"stdin:{number}: expected one JSON object per line; {REMEDY}")
        rows.append(row)
    return rows


def _read_csv(source: Path | io.BytesIO, name: str) -> pd.DataFrame:
    try:
        return pd.read_csv(source, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: not a readable UTF-8 CSV ({reason}); {REMEDY}") from error


def _checked(frame: pd.DataFrame, where: str, first_row: int, llm: str | None) -> PromptLog:
    frame = frame.rename(columns={c: str(c).strip() for c in frame.columns})
    source = where.removesuffix(":").removesuffix(", row ")
    missing = [c for c in ("question", "prompt", "correct") if c not in frame.columns]
    if missing:
        have = ", ".join(map(str, frame.columns[:12])) or "none"
        raise InputError(f"{source}: the column {missing[0]} is missing (there are: {have}); {REMEDY}")
    doubled = frame.columns[frame.columns.duplicated()]
    if len(doubled):
        raise InputError(f"{source}: two columns are called {doubled[0]}; {REMEDY}")
    frame = frame.set_axis(range(first_row, first_row + len(frame)))
    notes: list[str] = []
    frame, llm = _one_llm(frame, source, llm)
    correct = _numbers(frame, "correct", where, low=0, high=1)
    unknown = np.isnan(correct)
    if unknown.any():
        notes.append(f"{int(unknown.sum()):,} rows without a verdict (correct is empty) are left out.")
        frame, correct = frame[~unknown], correct[~unknown]
    if not len(frame):
        raise InputError(f"{source}: no row with a verdict; {REMEDY}")
    questions, prompts = _texts(frame, "question", where), _texts(frame, "prompt", where)
    if not all(prompts):
        notes.append(f"{sum(not p for p in prompts):,} rows have an empty prompt: taken as asking without one.")
    question, prompt = in_order_of_appearance(questions), in_order_of_appearance(prompts)
    distinct_questions, distinct_prompts = list(dict.fromkeys(questions)), list(dict.fromkeys(prompts))
    cost = _numbers(frame, "cost", where, low=0) if "cost" in frame else np.full(len(frame), np.nan)
    keep, sample = _samples(frame, question, prompt, correct, where, notes)
    answer = [None if _empty(a) else str(a) for a in frame["answer"]] if "answer" in frame else [None] * len(frame)
    return PromptLog(
        questions=distinct_questions,
        prompts=distinct_prompts,
        names=_names(frame, prompt, distinct_prompts),
        question=question[keep],
        prompt=prompt[keep],
        correct=correct[keep].astype(np.float32),
        cost=cost[keep],
        answer=[answer[i] for i in keep],
        sample=sample[keep],
        own_groups=_groups(frame, question, len(distinct_questions)),
        split=frame["split"].astype(str).to_numpy()[keep] if "split" in frame else None,
        llm=llm,
        notes=notes,
    )


def _one_llm(frame: pd.DataFrame, source: str, llm: str | None) -> tuple[pd.DataFrame, str | None]:
    if "llm" not in frame:
        if llm is not None:
            raise InputError(f"{source}: there is no column llm, so rows of {llm!r} cannot be chosen; leave out --llm")
        return frame, None
    found = frame["llm"].astype(str)
    names = sorted(set(found))
    if llm is None and len(names) > 1:
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise InputError(
            f"{source}: answers of {len(names)} LLMs ({shown}) are never pooled: choose one with --llm, or filter the log"
        )
    if llm is not None and llm not in names:
        raise InputError(f"{source}: no row of llm {llm!r}; there are {', '.join(names[:6])}")
    llm = llm if llm is not None else (names[0] if names else None)
    return frame[found == llm] if llm is not None else frame, llm


def _numbers(frame: pd.DataFrame, column: str, where: str, low: float, high: float = math.inf) -> np.ndarray:
    """A column as float64, empty as NaN; words for yes and no count as 1 and 0 in `correct`."""
    values = np.empty(len(frame))
    expected = "a number from 0 to 1, true or false" if column == "correct" else "a number of 0 or more, or empty"
    for i, (number, value) in enumerate(zip(frame.index, frame[column].tolist())):
        if _empty(value):
            values[i] = np.nan
            continue
        word = value.strip().lower() if isinstance(value, str) else None
        try:
            if column == "correct" and word in _TRUE | _FALSE:
                values[i] = word in _TRUE
            else:
                values[i] = float(value)
        except (TypeError, ValueError):
            values[i] = math.inf
        if not low <= values[i] <= high or math.isinf(values[i]):
            raise InputError(f"{where}{number}: {column} is {_short(value)}, expected {expected}")
    return values


def _texts(frame: pd.DataFrame, column: str, where: str) -> list[str]:
    """A column as texts; an empty prompt is a prompt, an empty question is none."""
    texts = []
    for number, value in zip(frame.index, frame[column].tolist()):
        if _empty(value):
            value = ""
        if not isinstance(value, str):
            raise InputError(f"{where}{number}: {column} is {_short(value)}, expected text")
        if column == "question" and not value.strip():
            raise InputError(f"{where}{number}: the question is empty; {REMEDY}")
        check_text(value, f"{where}{number}: the {column}")
        texts.append(value)
    return texts


def check_text(text: str, what: str) -> None:
    """Refuse lone surrogates, which no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{what} holds half of a surrogate pair, which is no text: repair the encoding") from None


def _samples(
    frame: pd.DataFrame, question: np.ndarray, prompt: np.ndarray, correct: np.ndarray, where: str, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep and their sample number. Without the column, each repeat of a cell is one more sample."""
    cell = question * (int(prompt.max()) + 1) + prompt
    if "sample" not in frame:
        order = np.argsort(cell, kind="stable")
        starts = np.r_[0, np.flatnonzero(np.diff(cell[order])) + 1]
        sample = np.empty(len(cell), dtype=np.int64)
        sample[order] = np.arange(len(cell)) - np.repeat(starts, np.diff(np.r_[starts, len(cell)]))
        return np.arange(len(cell)), sample
    given = _numbers(frame, "sample", where, low=0)
    if np.isnan(given).any() or (given != np.floor(given)).any():
        row = frame.index[int(np.argmax(np.isnan(given) | (given != np.floor(given))))]
        raise InputError(f"{where}{row}: sample is not a whole number; number repeats 0, 1, 2, or drop the column")
    first: dict[tuple[int, int], int] = {}
    keep = []
    for i, key in enumerate(zip(cell.tolist(), given.astype(np.int64).tolist())):
        j = first.setdefault(key, i)
        if j == i:
            keep.append(i)
        elif correct[i] != correct[j]:
            raise InputError(
                f"{where}{frame.index[i]}: the same question, prompt and sample as row {frame.index[j]} with another verdict; "
                "number repeats 0, 1, 2, or drop the column sample"
            )
    if len(keep) < len(cell):
        notes.append(f"{len(cell) - len(keep):,} rows repeat another row's question, prompt and sample: counted once.")
    return np.array(keep, dtype=np.int64), given.astype(np.int64)


def _names(frame: pd.DataFrame, prompt: np.ndarray, prompts: Sequence[str]) -> list[str]:
    """Short names: the log's prompt_id where it names each prompt by another one, else "prompt 1", ..."""
    if "prompt_id" in frame:
        found: dict[int, set[str]] = {}
        for j, name in zip(prompt.tolist(), frame["prompt_id"].tolist()):
            found.setdefault(j, set()).add("" if _empty(name) else str(name))
        names = [found[j].pop() if len(found[j]) == 1 else "" for j in range(len(prompts))]
        if all(names) and len(set(names)) == len(names):
            return names
    return [f"prompt {j + 1}" for j in range(len(prompts))]


def _groups(frame: pd.DataFrame, question: np.ndarray, n: int) -> np.ndarray | None:
    """The log's own groups of the questions, int64 (n,); rows without one leave their question by itself."""
    if "group" not in frame:
        return None
    own = np.arange(n)
    rows = [(i, str(g)) for i, g in zip(question.tolist(), frame["group"].tolist()) if not _empty(g)]
    if not rows:
        return None
    names = in_order_of_appearance([g for _, g in rows]) + n
    index = np.array([i for i, _ in rows])
    return _components(n, int(names.max()) + 1, index, names, own)


def join_groups(a: PromptLog, b: PromptLog) -> np.ndarray:
    """Groups of the questions of two logs together, int64 (len(a) + len(b),)."""
    own = np.r_[a.groups, b.groups + a.groups.max() + 1]
    return _joined(cluster_texts(a.questions + b.questions), own)


def _joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The finest grouping in which everything that either puts together stays together."""
    n = len(a)
    width = n + int(a.max()) + 1
    return _components(
        n, width + int(b.max()) + 1, np.r_[np.arange(n), np.arange(n)], np.r_[a + n, b + width], np.arange(n)
    )


def _components(n: int, size: int, left: np.ndarray, right: np.ndarray, own: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(size, size))
    return in_order_of_appearance(connected_components(graph, directed=False)[1][own])


def _empty(value: Any) -> bool:
    return value is None or value is pd.NA or value == "" or (isinstance(value, float) and math.isnan(value))


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
