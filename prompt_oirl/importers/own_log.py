"""A log of one's own whose prompts are the texts that were sent: the questions are taken out of them.

With a column question the template is the prompt without it. Where that differs for each question (options or
a passage stand in it, too), where no question is given, or where the question is the text sent and the prompt
a name, `templates.separate` compares the texts.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os.path import realpath
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.json_values import no_rows
from prompt_oirl.importers.shared_edges import common_edges
from prompt_oirl.importers.skeletons import PLACE
from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.tables import checked_columns, is_empty, numbers, read_table, texts

HINT = "give one row per answer with the columns prompt (the text sent), correct and, if known, question"
TEXTS = ("answer", "llm", "group", "prompt_id", "gold")
NUMBERS = {"correct": float, "cost": float, "sample": int, "tokens_in": int, "tokens_out": int}
FEWEST_OF_NAME, WORDS_OF_NAME = 5, 2
MOST_COPIES = 4  # of a question in a text that are looked at

Asked = tuple[str, str]  # question and text sent


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """The answers in tables; `verdict` is the column that stands for correct. See `Importer.read`."""
    rows: list[ImportedRow] = []
    unused: dict[str, None] = {}
    for path in {realpath(path): path for path in files}.values():  # one file may be named in two ways
        rows += _rows(path, verdict, unused)
    if not rows:
        raise no_rows("log", "no row in these files", HINT)
    notes = []
    if unused:
        columns, are = ("column", "is") if len(unused) == 1 else ("columns", "are")
        notes.append(f"The {columns} {on_one_line(', '.join(unused), 200)} {are} left out.")
    # An id that each text has to itself is no template's.
    ids = {row.prompt_id for row in rows}
    if len(ids) == len({row.prompt for row in rows}):
        rows = [replace(row, prompt_id=None) for row in rows]
    asked = list(dict.fromkeys((row.question, str(row.prompt)) for row in rows))
    template_of = dict(zip(asked, templates_of(asked)))
    questions: dict[str, set[str]] = defaultdict(set)
    for (question, _), template in template_of.items():
        questions[template].add(question)
    alone = sum(len(of) == 1 for of in questions.values())
    changed = sum(template != text for (_, text), template in template_of.items())
    known = any(question != text for question, text in asked)
    if 2 * alone >= len(questions) or not known:
        # The question is not known, or not all that differs.
        if known and not changed:
            notes.append(
                "No prompt contains its question: the column question was not used, except as group."
            )
        return Imported([_text_only(row) for row in rows], notes)
    if named_templates(asked):
        texts_sent = [replace(row, prompt=None, prompt_id=row.prompt) for row in rows]
        return Imported(texts_sent, notes)
    if not changed:
        raise InputError(
            "log: no prompt contains its question: prompt-oirl diagnose reads these files as they are"
        )
    notes.append(
        f"Questions were taken out of {counted(changed, 'prompt')}: {len(questions):,} different "
        f"{'one is' if len(questions) == 1 else 'ones are'} left."
    )
    return Imported([replace(r, prompt=template_of[r.question, str(r.prompt)]) for r in rows], notes)


def named_templates(asked: Sequence[Asked]) -> bool:
    """Whether the questions are the texts sent, and prompts only the names of their templates.

    That takes several prompts that share no question, each with at least `FEWEST_OF_NAME` questions that
    begin or end alike and otherwise than those of any other prompt; one template may be the bare question.

    Parameters
    ----------
    asked : distinct pairs of question and prompt
    """
    questions: dict[str, list[str]] = defaultdict(list)
    for question, prompt in asked:
        questions[prompt].append(question)
    if len(questions) < 2 or len({question for question, _ in asked}) < len(asked):
        return False
    if min(map(len, questions.values())) < FEWEST_OF_NAME:
        return False
    edges = []
    for same in questions.values():
        start, end = common_edges(same)
        edges.append((same[0][:start], same[0][len(same[0]) - end :]))
    worded = sum(len(f"{before} {after}".split()) >= WORDS_OF_NAME for before, after in edges)
    return len(set(edges)) == len(edges) and worded >= len(edges) - 1


def templates_of(asked: Sequence[Asked]) -> list[str]:
    """Each text with `PLACE` for its question; a text that lacks it stays as it is.

    Parameters
    ----------
    asked : distinct questions with the texts that were sent. Of several copies of a question in a text, as in
        an example, those are taken out that leave the template of most questions.
    """
    found = [list(dict.fromkeys(_without(*pair))) for pair in asked]
    questions: dict[str, set[str]] = defaultdict(set)
    for (question, _), candidates in zip(asked, found):
        for template in candidates:
            questions[template].add(question)
    return [max(candidates, key=lambda t: len(questions[t])) for candidates in found]


def _without(question: str, text: str) -> Iterator[str]:
    """The templates that a text may be made of, all copies of the question taken out first."""
    bare = question.strip()
    unix = bare.replace("\r\n", "\n")
    spellings = (bare, unix, unix.replace("\n", "\r\n"), json.dumps(bare)[1:-1])
    written = next(
        (s for s in (*spellings, json.dumps(bare, ensure_ascii=False)[1:-1]) if s and s in text), None
    )
    if written is None:
        yield text
        return
    yield text.replace(written, PLACE)
    at = text.find(written)
    for _ in range(MOST_COPIES):
        if at >= 0:
            yield text[:at] + PLACE + text[at + len(written) :]
            at = text.find(written, at + 1)


def _rows(path: Path, verdict: str | None, unused: dict[str, None]) -> list[ImportedRow]:
    name, where = str(path), f"{path}:"
    frame = checked_columns(read_table(path, HINT), ["prompt", *([verdict] if verdict else [])], name, HINT)
    if verdict and verdict != "correct":
        frame = frame.drop(columns="correct", errors="ignore").rename(columns={verdict: "correct"})
    prompts = texts(frame, "prompt", where)
    questions = texts(frame, "question", where) if "question" in frame else prompts
    graded = (verdict or "correct") if "correct" in frame else None
    columns: dict[str, list[Any]] = {
        "question": questions,
        "prompt": prompts,
        "verdict": [graded] * len(prompts),
    }
    for name in frame.columns:
        if name in TEXTS:
            columns[name] = [None if is_empty(value) else str(value) for value in frame[name]]
        elif name in NUMBERS:
            highest = 1 if name == "correct" else math.inf
            values = numbers(frame, name, where, 0, highest).tolist()
            columns[name] = [None if math.isnan(value) else NUMBERS[name](value) for value in values]
        elif name not in columns:
            unused[name] = None
    return [ImportedRow(**dict(zip(columns, cells))) for cells in zip(*columns.values())]


def _text_only(row: ImportedRow) -> ImportedRow:
    """The row with its template unknown; texts of one question, if that is known, belong together."""
    own = None if row.question == row.prompt else row.question
    return replace(row, question=str(row.prompt), prompt=None, group=row.group or own)
