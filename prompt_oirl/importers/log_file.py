"""Imported answers as a log: templates told apart, repeats numbered, nothing twice, written whole."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pandas as pd

from prompt_oirl.importers import IMPORTERS, Imported, ImportedRow, Importer
from prompt_oirl.importers.json_values import text
from prompt_oirl.importers.skeletons import without_numbers
from prompt_oirl.importers.template_text import template_text
from prompt_oirl.importers.templates import asked_bare, separate
from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.table_output import write_table
from prompt_oirl.io.tables import cell_text, checked_columns, is_empty, numbers, read_table

COLUMNS = tuple(field.name for field in fields(ImportedRow))
NEEDED = COLUMNS[:3]
CONFIRMED = 0.2  # share of the questions found with several templates, below which the templates are doubtful
SEVERAL_NUMBERED = 5  # templates that another one differs from in numbers only: told


@dataclass(frozen=True)
class Written:
    """What a log file holds now: all its rows, how many of the imported ones it held before, of how many of
    these it lacked the verdict, and the names of the verdicts in it."""

    log: pd.DataFrame
    held: int
    filled: int
    verdicts: list[str]


def read_answers(tool: str, files: Sequence[Path], verdict: str | None) -> Imported:
    """The answers in a tool's files, each with its question and prompt.

    Parameters
    ----------
    tool : a name in `IMPORTERS`
    files, verdict : as of `Importer.read`

    Raises: InputError, one line that says what to do.
    """
    if tool not in IMPORTERS:
        raise InputError(f"no tool {on_one_line(tool)} is known: choose {', '.join(IMPORTERS)}")
    importer = cast(Importer, import_module(f"{__package__}.{IMPORTERS[tool]}"))
    found = importer.read(files, verdict)
    rows, notes = _with_prompts(found.rows)
    if found.rows and not rows:
        raise InputError(
            f"{tool}: template and question cannot be told apart in these {len(found.rows):,} texts; import "
            "more questions at once, or write a CSV with the columns question, prompt and correct"
        )
    asked = [row for row in map(_cleaned, rows) if row.question.strip()]
    if len(asked) < len(rows):
        notes.append(f"Left out: {counted(len(rows) - len(asked), 'row')} without a question.")
    once = _each_once(asked)
    if len(once) < len(asked):
        notes.append(f"Counted once: {counted(len(asked) - len(once), 'answer')} found in several places.")
    asked = once
    if not asked:
        raise InputError(f"{tool}: no answer in these files; name the tool and the files that it wrote")
    return Imported(asked, [*found.notes, *notes])


def _with_prompts(rows: Sequence[ImportedRow]) -> tuple[list[ImportedRow], list[str]]:
    """Rows whose rendered text became template and question, and what there is to say about it."""
    rendered = [row for row in rows if row.prompt is None]
    if not rendered:
        return list(rows), []
    texts, groups = [row.question for row in rendered], [row.group for row in rendered]
    questions, templates = separate(texts, groups, [row.prompt_id for row in rendered])
    asked = {row.group: row.question for row in rows if row.prompt is not None and row.group is not None}
    # The same document, of which another task shows fields, is the same question.
    known = [asked.get(row.group or "") for row in rendered]
    questions = [k if q is not None and k and k.split("\n")[0] in q else q for q, k in zip(questions, known)]
    parts = iter(zip(questions, templates))
    found = []
    for row in rows:
        if row.prompt is not None:
            found.append(row)
        elif (part := next(parts)) != (None, None):
            found.append(replace(row, question=str(part[0]), prompt=part[1]))
    one = len({row.prompt_id for row in rendered}) == 1
    if one and not set(templates) - {None} and asked_bare(texts, groups):
        note = f"{len(rendered):,} texts share no template: taken as questions asked without a prompt."
        return [row if row.prompt is not None else replace(row, prompt="") for row in rows], [note]
    notes = [f"{len(set(templates) - {None})} templates were found by what {len(rendered):,} texts share."]
    met: dict[str, set[str]] = defaultdict(set)
    for question, template in zip(questions, templates):
        if question is not None and template is not None:
            met[question].add(template)
    confirmed = sum(len(of) > 1 for of in met.values())
    distinct = set(templates) - {None}
    if len(distinct) - len({without_numbers(str(t)) for t in distinct}) >= SEVERAL_NUMBERED:
        notes.append(
            "Some templates differ in numbers only, which may be the questions': check that the prompts "
            "below are yours."
        )
    if confirmed < CONFIRMED * len(met) and any(row.prompt_id is None for row in rendered):
        notes.append(
            f"Only {confirmed:,} of {len(met):,} questions were found with several templates, so templates "
            "may be mistaken: check that the prompts below are yours."
        )
    if len(found) < len(rows):
        notes.append(
            f"Left out: {counted(len(rows) - len(found), 'row')} whose template cannot be told from the "
            "question; import more questions that were asked with it."
        )
    return found, notes


def _cleaned(row: ImportedRow) -> ImportedRow:
    texts: dict[str, Any] = {name: text(v) for name, v in vars(row).items() if isinstance(v, str)}
    return replace(row, **(texts | {"prompt": template_text(texts["prompt"])}))


def _each_once(rows: Sequence[ImportedRow]) -> list[ImportedRow]:
    """Rows without those of an answer that is there already; one with a verdict goes before one without."""
    found: dict[Hashable, ImportedRow] = {}
    for i, row in enumerate(rows):
        key = i if row.answer_id is None else row.answer_id
        if key not in found or (found[key].correct is None and row.correct is not None):
            found[key] = row
    return list(found.values())


def write_log(out: Path, rows: Sequence[ImportedRow], append: bool) -> Written:
    """Write rows as a log, whole or not at all.

    Parameters
    ----------
    out : .parquet, .csv or .jsonl
    rows : answers with their prompts
    append : keep what `out` holds, if it is there, and add what it lacks. An answer is held if its
        `answer_id` is; without one, if as many of the same question, prompt, llm and answer are. Verdicts
        that held answers lack are filled in.

    Raises: InputError if `out` is no log to add to, or cannot be written.
    """
    table = pd.DataFrame([vars(row) for row in rows], columns=list(COLUMNS), dtype=object)
    held = filled = 0
    if append and out.exists():
        old = _held_log(out)
        places = _places_in(old, table)
        held = sum(place is not None for place in places)
        known = {name: old[name].tolist() for name in ("correct", "verdict")}
        for place, correct, verdict in zip(places, table["correct"], table["verdict"]):
            if place is not None and is_empty(known["correct"][place]) and not is_empty(correct):
                filled += 1
                known["correct"][place], known["verdict"][place] = correct, verdict
        old = old.assign(**{name: pd.Series(values, dtype=object) for name, values in known.items()})
        table = pd.concat([old, table[[place is None for place in places]]], ignore_index=True)
    table["sample"] = _samples(table)
    if not table["sample"].any():
        table = table.drop(columns="sample")
    unused = [c for c in table.columns if c not in NEEDED and all(map(is_empty, table[c]))]
    verdicts = [str(name) for name in dict.fromkeys(table["verdict"]) if not is_empty(name)]
    write_table(out, table.drop(columns=unused))
    return Written(table, held, filled, verdicts)


def _held_log(out: Path) -> pd.DataFrame:
    """The log that is added to."""
    hint = "append to a log with the columns question, prompt and correct, or choose another --out"
    old = checked_columns(read_table(out, hint), NEEDED, str(out), hint).astype(object)
    for column, high in (("correct", 1), ("cost", math.inf)):
        if column in old:
            try:
                old[column] = numbers(old, column, f"{out}:", low=0, high=high).astype(object)
            except InputError as error:
                raise InputError(f"{str(error).partition(';')[0]}; {hint}") from error
    for column in {"tokens_in", "tokens_out"} & set(old):  # of a CSV they come as texts
        read = [value if _whole(value) is None else _whole(value) for value in old[column]]
        old[column] = pd.Series(read, dtype=object, index=old.index)
    old = old.reset_index(drop=True)
    return old if "verdict" in old else old.assign(verdict=None)


def _places_in(old: pd.DataFrame, new: pd.DataFrame) -> list[int | None]:
    """Where in the old rows each of the new ones stands, None if it doesn't."""
    ids = old["answer_id"] if "answer_id" in old else [None] * len(old)
    place_of_id: dict[str, int] = {}
    unnamed: dict[Hashable, list[int]] = defaultdict(list)
    for place, (name, key) in enumerate(zip(ids, _same(old))):
        if is_empty(name):
            unnamed[key].append(place)
        else:
            place_of_id[str(name)] = place
    places: list[int | None] = []
    for name, key in zip(new["answer_id"], _same(new)):
        known = place_of_id.get(name) if name is not None else None
        if known is None and unnamed[key]:
            known = unnamed[key].pop(0)
        places.append(known)
    return places


def _cells(log: pd.DataFrame, *columns: str) -> list[tuple[Hashable, ...]]:
    """Some columns of each row as texts; a missing cell, or column, is an empty text."""
    return list(zip(*([cell_text(v) for v in log[c]] if c in log else [""] * len(log) for c in columns)))


def _same(log: pd.DataFrame) -> list[tuple[Hashable, ...]]:
    """What tells answers without an id apart; a table that was read and written anew has 2.0 for 2."""
    cells = _cells(log, "question", "prompt", "llm", "answer")
    return [(*asked, re.sub(r"^(-?\d+)\.0$", r"\1", str(answer))) for *asked, answer in cells]


def _samples(log: pd.DataFrame) -> list[int]:
    """Number of the repeat of each row: its own, or the lowest free one of its cell."""
    taken: dict[tuple[Hashable, ...], set[int]] = defaultdict(set)
    free: Counter[tuple[Hashable, ...]] = Counter()  # no number below is free
    found = []
    own = log["sample"] if "sample" in log else [None] * len(log)
    for cell, sample in zip(_cells(log, "question", "prompt", "llm"), own):
        number = _whole(sample)
        if number is None or number in taken[cell]:
            while free[cell] in taken[cell]:
                free[cell] += 1
            number = free[cell]
        taken[cell].add(number)
        found.append(number)
    return found


def _whole(value: Any) -> int | None:
    try:
        return None if is_empty(value) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
