"""DSPy: what dspy.Evaluate saved (.json or .csv), together with the program that was evaluated (.json).

A result does not hold its prompt: name each program's file before its results. The prompt is the
instructions of the program's signatures and their demos, field by field. The question is the signature's
input fields that an example has; the outputs begin at the first field with a `pred_` column, or at one that
DSPy's modules add ("reasoning", "trajectory"). The verdict is the last column, named after the metric. An
example without a prediction failed: its score is DSPy's `failure_score`, no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.json_values import at, filled, items, no_rows, shown, text
from prompt_oirl.importers.messages import one_question
from prompt_oirl.importers.verdicts import as_correct, chosen_verdict, verdict_note
from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import InputError, content_key, csv_records, on_one_line
from prompt_oirl.io.json_files import read_json

HINT = "give DSPy's program.save(...) file, then what Evaluate saved with save_as_json or save_as_csv"
_DEFAULT = re.compile(r"Given the fields? (`[^`]+`(?:, `[^`]+`)*), produce the fields? ")
_ADDED = ("reasoning", "rationale", "trajectory")  # outputs of ChainOfThought and ReAct


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """Rows of results, one an example.

    Parameters
    ----------
    files : a program, its results, the next program, its results, ...
    verdict : name of the metric's column; None: the last column

    Raises: InputError on a file that is neither, results without a program, or columns that do not match it.
    """
    rows: list[ImportedRow] = []
    names: list[str] = []
    unasked = failed = 0
    predictors: list[tuple[str, dict[str, Any]]] | None = None
    for path in files:
        if path.is_dir():
            raise InputError(
                f"{on_one_line(str(path), 200)}: a folder; name files, each program before its results"
            )
        document = _document(path)
        if isinstance(document, dict):
            predictors = list(_predictors(document, path))
            continue
        if predictors is None:
            raise InputError(f"{path}: no program stands before these results; {HINT}")
        if document and document[0][1]:
            name, found, without = _rows(path, document, predictors, verdict)
            unasked += len(document) - len(found) - without
            failed += without
            rows += found
            names.append(name)
    source = on_one_line(", ".join(map(str, files)), 300)
    if not rows:
        raise no_rows(source, "no result", HINT)
    notes = [verdict_note(chosen_verdict(names, verdict, source), len(rows))]
    if failed:
        notes.append(f"Left out: {counted(failed, 'example')} that failed (no prediction).")
    if unasked:
        notes.append(f"Left out: {counted(unasked, 'result')} without a question.")
    return Imported(rows, notes)


def _document(path: Path) -> dict[str, Any] | list[tuple[str, dict[str, Any]]]:
    """A program, or results with their places."""
    if path.suffix.lower() == ".csv":
        # A row with cells beyond the header has them under None.
        return [
            (f"{path}:{n}", {k: v for k, v in row.items() if k is not None and v is not None})
            for n, row in csv_records(path, hint=HINT)
        ]
    document = read_json(path, hint=HINT)
    if isinstance(document, list) and all(isinstance(row, dict) for row in document):
        return [(f"{path}, result {i}", row) for i, row in enumerate(document, 1)]
    if not isinstance(document, dict):
        raise InputError(f"{path}: neither a program nor results of DSPy; {HINT}")
    return document


def _predictors(program: dict[str, Any], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The program's parts with a signature, by name; a lone predictor is its own program."""
    parts = {"": program} if "signature" in program else program
    found = [
        # Version 2.5 kept what ChainOfThought sends apart.
        (name, part | {"signature": at(part, "extended_signature", default=part["signature"])})
        for name, part in parts.items()
        if isinstance(at(part, "signature"), dict)
    ]
    if not found and any(at(part, "signature_instructions") for part in [program, *parts.values()]):
        raise InputError(
            f"{path}: saved by a DSPy before 2.5, without fields; load and save it with a later one"
        )
    if not found:
        raise InputError(f"{path}: no program of DSPy (nothing with a signature); {HINT}")
    yield from found


def _prompt(predictors: list[tuple[str, dict[str, Any]]]) -> str:
    """Instructions and demos; of several predictors each under its name."""
    blocks = []
    for name, part in predictors:
        if len(predictors) > 1:
            blocks.append(f"[{name}]")
        blocks.append(text(at(part, "signature", "instructions")) or "")
        for demo in items(at(part, "demos")):
            lines = [(prefix, at(demo, field)) for field, prefix in _fields(part).items()]
            blocks.append(
                "\n".join(f"{prefix} {shown(value)}" for prefix, value in lines if value is not None)
            )
    return "\n\n".join(blocks)


def _fields(part: dict[str, Any]) -> dict[str, str]:
    """Prefix of each field of a signature. The name is "${name}" in its description, or the prefix's."""
    found = {}
    for one in items(at(part, "signature", "fields")):
        prefix, described = text(at(one, "prefix")) or "", text(at(one, "description")) or ""
        in_braces = re.fullmatch(r"\$\{(\w+)\}", described)
        name = in_braces[1] if in_braces else prefix.rstrip(": ").lower().replace(" ", "_")
        if name:
            found[name] = prefix or f"{name}:"
    return found


def _inputs(predictors: list[tuple[str, dict[str, Any]]], columns: list[str]) -> list[str]:
    """The input fields among the columns: as the default instructions name them, or those before outputs.

    What a program adds to its prediction (passages it found) stands behind the example's own columns.
    """
    first, last = predictors[0][1], predictors[-1][1]
    default = _DEFAULT.match(text(at(first, "signature", "instructions")) or "")
    if default:
        return [name for name in re.findall(r"`([^`]+)`", default[1]) if name in columns]
    outputs = {c.removeprefix("pred_") for c in columns if c.startswith("pred_")} | set(_ADDED)
    outputs |= set(list(_fields(last))[-1:])
    names = list(_fields(first))
    end = next((i for i, name in enumerate(names) if name in outputs), len(names))
    inputs = [name for name in names[:end] if name in columns]
    own = max((i for i, c in enumerate(columns) if c.startswith("example_")), default=len(columns))
    return [name for name in inputs if name in columns[:own]] or inputs


def _evaluation_id(prompt: str, llm: str | None, results: list[tuple[str, dict[str, Any]]]) -> str:
    """A key of all that an evaluation gave, the same for its .json and .csv; DSPy names none."""
    cells = [{k: str(v) for k, v in row.items() if v is not None and v != ""} for _, row in results]
    return content_key([prompt, llm, cells])


def _rows(
    path: Path,
    results: list[tuple[str, dict[str, Any]]],
    predictors: list[tuple[str, dict[str, Any]]],
    verdict: str | None,
) -> tuple[str, list[ImportedRow], int]:
    """Name of the metric, the rows of one file, and how many examples have no prediction."""
    columns = list(dict.fromkeys(name for _, row in results for name in row))
    inputs = _inputs(predictors, columns)
    shown_columns = on_one_line(", ".join(columns), 200)
    if not inputs:
        raise InputError(
            f"{path}: no column is an input field of the program before it (columns: {shown_columns}); {HINT}"
        )
    fields = {*_fields(predictors[-1][1]), *_fields(predictors[0][1])}
    metrics = [c for c in columns if c not in fields and not c.startswith(("example_", "pred_"))]
    last = list(results[0][1])[-1]  # columns of later rows may differ: a failed example has no pred_ columns
    if verdict is None and last not in metrics:
        raise InputError(f"{path}: the last column is no metric (columns: {shown_columns}); {HINT}")
    name = last if verdict is None else chosen_verdict(metrics, verdict, str(path)) or ""
    prompt, llm = _prompt(predictors), filled(at(predictors[-1][1], "lm", "model"))
    predicted = [c for c in columns if c.startswith("pred_")]
    predicted = predicted or [c for c in [*_fields(predictors[-1][1]), "prediction"] if c not in inputs]
    predicted = [c for c in predicted if c in columns]
    rows, failed, evaluation = [], 0, _evaluation_id(prompt, llm, results)
    for number, (where, row) in enumerate(results):
        if predicted and not any(shown(row.get(c)) for c in [*predicted, *_ADDED]):
            failed += 1
            continue
        question = one_question({field: row.get(field) for field in inputs})
        said = {c.removeprefix("pred_"): row[c] for c in predicted if c not in _ADDED and row.get(c)}
        golds = [row[c] for c in columns if c.startswith("example_") and row.get(c) is not None]
        if question.strip() and any(row.get(field) is not None for field in inputs):
            correct = as_correct(row.get(name), name, where)
            rows.append(
                ImportedRow(
                    question,
                    prompt,
                    correct=correct,
                    answer=one_question(said) if said else None,
                    llm=llm,
                    gold=shown(golds[0]) if len(golds) == 1 else None,
                    answer_id=f"{evaluation}:{number}",
                    verdict=None if correct is None else name,
                )
            )
    return name, rows, failed
