"""Questions with their gold answers: GSM8K, SVAMP and MAWPS in the row order of the released logs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from prompt_oirl.grading.golds import objection
from prompt_oirl.io.files import InputError, Paths, content_key, csv_records
from prompt_oirl.io.json_files import read_jsonl

DATASETS = ("gsm8k", "svamp", "mawps", "arith")
RELEASED = DATASETS[:3]  # those with published LLaMA-2 logs
SPLITS = ("train", "validation", "test")
KINDS = ("number", "choice", "bool", "text")
FETCH = "run scripts/fetch_data.py"

# The released logs cut SVAMP and MAWPS by row number: the five folds' train.csv one after the other, then
# the first rows for training and the rest for testing (Prompt-OIRL, llama_step2).
TRAIN_ROWS = {"svamp": 15000, "mawps": 6000}
TOTAL_ROWS = {"svamp": 19690, "mawps": 7685}
GSM8K_TEST_ROWS = 1000
# What the published step 1 put between question and prompt; other data get a line break.
SEPARATORS = {"gsm8k": "\n", "svamp": "", "mawps": ""}


@dataclass(frozen=True)
class Question:
    """One problem as the LLM saw it. `kind` is the answer's kind: number, choice, bool or text; `group` names
    problems that are variants of one another, where the data say so."""

    id: str
    text: str
    gold: str
    split: str
    kind: str = "number"
    group: str | None = None


def load_questions(dataset: str, paths: Paths) -> list[Question]:
    """Training questions, then (arith only) validation questions, then test questions, in log order."""
    if dataset == "arith":
        folder = paths.root / "data" / "arith"
        return [q for split in SPLITS for q in load_own_questions(folder / f"{split}.jsonl", "arith")]
    fetch = f"{FETCH} --datasets {dataset}"
    if dataset == "gsm8k":
        folder = paths.fetched / "grade-school-math" / "grade_school_math" / "data"
        train = list(_gsm8k(folder / "train.jsonl", "train", fetch))
        test = list(_gsm8k(folder / "test.jsonl", "test", fetch))[:GSM8K_TEST_ROWS]
        return train + test
    folder = paths.fetched / "SVAMP" / "data" / {"svamp": "cv_svamp_augmented", "mawps": "cv_mawps"}[dataset]
    rows = [row for fold in range(5) for row in _fold(folder / f"fold{fold}" / "train.csv", fetch)]
    if len(rows) != TOTAL_ROWS[dataset]:
        raise InputError(
            f"{dataset}: the five folds hold {len(rows)} rows, expected {TOTAL_ROWS[dataset]}; {fetch}"
        )
    return [
        Question(f"{dataset}-{i:05d}", text, gold, "train" if i < TRAIN_ROWS[dataset] else "test")
        for i, (text, gold) in enumerate(rows)
    ]


def _gsm8k(path: Path, split: str, fetch: str) -> Iterator[Question]:
    for i, row in enumerate(read_jsonl(path, hint=fetch)):
        try:
            text, gold = row["question"], row["answer"].rsplit("####", 1)[1].strip()
            if not isinstance(text, str) or not text:
                raise TypeError("the question is not text")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise InputError(f"{path}:{i + 1}: not a GSM8K line ({error!r}); {fetch}") from error
        yield Question(f"gsm8k-{split}-{i:04d}", text, gold, split)


def _fold(path: Path, fetch: str) -> Iterator[tuple[str, str]]:
    """Question text with its `numberN` places filled, and the gold as the CSV's exact string."""
    for line, row in csv_records(path, hint=fetch, columns=["Question", "Numbers", "Answer"]):
        values = (row["Numbers"] or "").split()
        try:
            if not row["Question"] or not row["Answer"]:
                raise ValueError("a field is empty")
            yield re.sub(r"number(\d+)", lambda m, v=values: v[int(m[1])], row["Question"]), row["Answer"]  # type: ignore[misc]
        except (IndexError, ValueError) as error:
            raise InputError(f"{path}:{line}: not a SVAMP/MAWPS row ({error}); {fetch}") from error


def load_own_questions(path: Path, dataset: str) -> list[Question]:
    """Questions of the user: JSONL or CSV with question and gold; id, split, kind and group where given.

    Without an id a question is named by its text, so that a file may grow or be sorted anew.
    """
    hint = "give JSONL or CSV with the fields question and gold (and optionally id, split, kind, group)"
    if path.suffix.lower() == ".csv":
        rows: Iterator[tuple[int, dict]] = csv_records(path, hint=hint, columns=["question", "gold"])
    else:
        rows = enumerate(read_jsonl(path, hint=hint), 1)
    asked = []
    for number, row in rows:
        where = f"{path}:{number}"
        text, gold, split = row.get("question"), row.get("gold"), row.get("split") or "test"
        if not isinstance(text, str) or not text.strip() or not is_unicode(text):
            raise InputError(f"{where}: the question is missing, empty, or no valid text; {hint}")
        if isinstance(gold, bool) or not isinstance(gold, str | int | float) or not str(gold).strip():
            raise InputError(f"{where}: the gold answer is missing or neither text nor number; {hint}")
        if split not in SPLITS:
            raise InputError(f"{where}: split is {split!r}, expected one of {', '.join(SPLITS)}; {hint}")
        kind = row.get("kind") or "number"
        if kind not in KINDS:
            raise InputError(f"{where}: kind is {kind!r}, expected one of {', '.join(KINDS)}; {hint}")
        name = str(row.get("id") or f"{dataset}-{content_key(text)}")
        if not name.isprintable():
            raise InputError(f"{where}: id {name!a} holds a control character; {hint}")
        told = f"{Decimal(str(gold)):f}" if isinstance(gold, float) and math.isfinite(gold) else str(gold)
        if wrong := objection(told, kind, text):
            raise InputError(f"{where}: no answer of kind {kind} can match the gold {told[:40]!a}; {wrong}")
        group = row.get("group")
        asked.append(Question(name, text, told, split, kind, None if group in (None, "") else str(group)))
    if not asked or len({q.id for q in asked}) != len(asked):
        reason = "ids (without ids: texts) are not unique" if asked else "no questions"
        raise InputError(f"{path}: {reason}; {hint}")
    return asked


def is_unicode(text: str) -> bool:
    """False for lone surrogates, which no tokenizer and no server takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
