"""lm-eval 0.4: `samples_TASK_TIME.jsonl` of `--log_samples`, and the `results_TIME.json` beside them.

The prompt is in the results file; the samples hold it only with the question in it. A line is an answer under
one filter, so a verdict is a metric and a filter: "exact_match,strict-match", as the results file calls it.
Where the template is code, the questions are found in the texts that were sent.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from os.path import commonprefix
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.inputs import files_of
from prompt_oirl.importers.json_values import amount, at, filled, items, json_rows, parsed, shown, text
from prompt_oirl.importers.lm_eval_tasks import HINT, SAMPLES, Task, task_of
from prompt_oirl.importers.messages import question_and_prompt
from prompt_oirl.importers.template_fields import fields_in, question_of
from prompt_oirl.importers.verdicts import chosen_verdict, verdict_note
from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.json_files import read_json

_NO_METRICS = (
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
)


@dataclass(frozen=True)
class Line:
    """A line of a samples file: an answer under one filter, with its numbers by metric."""

    file: Path
    task: Task
    row: Mapping[str, Any]
    filter: str
    verdicts: dict[str, float]


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """The answers of lm-eval's samples files; as of `Importer.read`.

    `verdict` is "metric,filter", or one of the two where that leaves a single one.
    """
    patterns = ("samples_*.jsonl", "samples_*.json", "*__*_*.jsonl", "*.json")
    named = list(dict.fromkeys(files_of(files, patterns, "samples_*.jsonl and results_*.json")))
    samples = [path for path in named if SAMPLES.fullmatch(path.name) or path.suffix == ".jsonl"]
    if not samples:
        raise InputError(f"{on_one_line(str(named[0]), 200)}: no samples_*.jsonl among the files; {HINT}")
    lines = [line for path in samples for line in _lines(path, named)]
    # A metric with larger numbers is no verdict, though some of them may lie between 0 and 1.
    too_large = {f"{metric},{line.filter}" for line in lines for metric, x in line.verdicts.items() if x > 1}
    names = list(dict.fromkeys(f"{metric},{line.filter}" for line in lines for metric in line.verdicts))
    names = [name for name in names if name not in too_large]
    lower = {metric: None for line in lines for metric in line.row if metric in line.task.lower}
    full_name = _full_name(names, verdict)
    if full_name not in names and full_name and full_name.partition(",")[0] in lower:
        raise InputError(
            f"--verdict {on_one_line(full_name)}: less of this metric is better, so it is no verdict (there "
            f"are: {on_one_line(', '.join(names), 400) or 'none'}); correct --verdict, or grade the answers"
        )
    chosen = chosen_verdict(names, full_name, on_one_line(str(samples[0].parent), 200))
    notes = [verdict_note(chosen, len(lines))]
    if chosen is None:
        notes.append("No metric is a number from 0 to 1.")
        if lower:
            notes.append(f"Less is better of {on_one_line(', '.join(lower), 200)}: no verdict.")
    rows, left_out = _rows(lines, chosen)
    if left_out:
        are = "is" if left_out == 1 else "are"
        notes.append(f"{counted(left_out, 'answer')} without that verdict {are} left out.")
    repeats = max(
        (len(items(at(line.row, "resps", 0))) for line in lines if not _choices(line.row)), default=1
    )
    if repeats > 1:
        notes.append(
            f"Up to {repeats} replies a question have one verdict together: the first is the answer."
        )
    return Imported(rows, notes)


def _full_name(names: Sequence[str], verdict: str | None) -> str | None:
    """The metric and filter that the user means."""
    if verdict is None or verdict in names:
        return verdict
    fitting = [name for name in names if verdict in (name.partition(",")[0], name.rpartition(",")[2])]
    if len(fitting) > 1:
        there = on_one_line(", ".join(fitting), 400)
        raise InputError(f"--verdict {on_one_line(verdict)} is one of several: {there}; give one of these")
    return fitting[0] if fitting else verdict


def _lines(path: Path, named: Sequence[Path]) -> Iterator[Line]:
    """The lines of a samples file."""
    task = task_of(path, named)
    seen: Counter[str | None] = Counter()
    for where, row in _objects(path):
        if not isinstance(row.get("doc"), dict):
            raise InputError(f"{where}: no object doc, so these are no samples of lm-eval; {HINT}")
        metrics = items(row.get("metrics")) or [name for name in row if name not in _NO_METRICS]
        verdicts = {}
        for name in metrics:
            value = row.get(name) if isinstance(name, str) and name not in task.lower else None
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if (found := amount(int(value) if isinstance(value, bool) else value)) is not None:
                verdicts[name] = float(found)
        number = seen[shown(row.get("doc_id"))]
        seen[shown(row.get("doc_id"))] += 1
        in_order = task.filters[number] if number < len(task.filters) else None  # old files name none
        yield Line(path, task, row, text(row.get("filter")) or in_order or "none", verdicts)


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a samples file, one a line or all in an array, and where each stands."""
    with path.open("rb") as file:
        is_array = file.read(9).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"[")
    if not is_array:
        yield from json_rows(path, HINT)
        return
    for i, row in enumerate(items(read_json(path, hint=HINT))):
        yield f"{path}: sample {i}", row if isinstance(row, dict) else {}


def _rows(lines: Sequence[Line], verdict: str | None) -> tuple[list[ImportedRow], int]:
    """A row for each answer that has the verdict, and how many have not."""
    metric, _, filter_name = (verdict or "").rpartition(",")
    answers: dict[tuple[Path, str | None], list[Line]] = defaultdict(list)  # a line a filter
    for line in lines:
        answers[line.file, shown(line.row.get("doc_id"))].append(line)
    rendered = _rendered(lines)
    shown_of_doc: dict[str | None, dict[str, None]] = defaultdict(dict)
    for line in lines:
        shown_of_doc[filled(line.row.get("doc_hash"))].update(dict.fromkeys(_shown_fields(line)))
    rows, left_out = [], 0
    for of_answer in answers.values():
        if verdict is not None:
            of_answer = [x for x in of_answer if x.filter == filter_name and metric in x.verdicts]
        if not of_answer:
            left_out += 1
            continue
        line = of_answer[0]
        task, group = line.task, filled(line.row.get("doc_hash"))
        names = _shown_fields(line)
        if names:  # a question reads the same in all tasks that are templates
            names = names if group is None else list(shown_of_doc[group])
            question, prompt = question_of(line.row["doc"], names) or "", task.prompt
        else:
            question, prompt = rendered[line.file, shown(line.row.get("doc_id"))], None
        rows.append(
            ImportedRow(
                question=question,
                prompt=prompt,
                correct=line.verdicts.get(metric),
                answer=_answer(line.row),
                llm=task.llm,
                group=group,
                prompt_id=task.name if prompt is not None else f"{task.before}{task.name}",
                gold=shown(line.row.get("target")),
                answer_id=_answer_id(line),
                verdict=verdict,
            )
        )
    return rows, left_out


def _answer_id(line: Line) -> str | None:
    """The same for an answer and its copies; None if the time of its run is not known."""
    if line.task.run is None:
        return None
    told = [
        line.task.run,
        line.task.name,
        *(shown(line.row.get(name)) for name in ("doc_id", "doc_hash", "resps")),
    ]
    return sha256(json.dumps(told).encode()).hexdigest()[:32]


def _shown_fields(line: Line) -> list[str]:
    """The fields of the document that the template shows; none if that cannot be told."""
    return [name for name in fields_in(line.task.template or "") if name in line.row["doc"]]


def _rendered(lines: Sequence[Line]) -> dict[tuple[Path, str | None], str]:
    """The text sent for each document of tasks whose template is code, examples left off.

    Raises: InputError where examples cannot be told from questions.
    """
    of_file: dict[Path, dict[str | None, str]] = defaultdict(dict)
    tasks = {}
    for line in lines:
        if not _shown_fields(line):
            of_file[line.file][shown(line.row.get("doc_id"))] = _sent(line.row)
            tasks[line.file] = line.task
    found = {}
    for file, sent in of_file.items():
        task, texts = tasks[file], list(sent.values())
        if task.shots and commonprefix(texts).count(task.delimiter) < task.shots:  # other examples for each
            if len({sent_text.count(task.delimiter) for sent_text in texts}) > 1:
                raise InputError(
                    f"{file}: the template is code, and the examples before each question cannot be told "
                    "from it; import a run with --num_fewshot 0"
                )
            sent = {doc: sent_text.rpartition(task.delimiter)[2] for doc, sent_text in sent.items()}
        found.update({(file, doc): task.before * bool(task.shots) + x for doc, x in sent.items()})
    return found


def _sent(row: Mapping[str, Any]) -> str:
    """The text of the first request; of chat messages the last one of the user."""
    first = at(list(_arguments(row, 0)), 0)
    first = first[0] if isinstance(first, list) and first else first
    messages = parsed(first)
    asked = question_and_prompt(messages) if isinstance(messages, list) else None
    return asked[0] if asked else text(first) or ""


def _choices(row: Mapping[str, Any]) -> list[Any]:
    """The replies to a choice among continuations: [log-likelihood, whether it is the likeliest] of each."""
    replies = [at(reply, 0) for reply in items(row.get("resps"))]
    return replies if replies and all(isinstance(reply, list) for reply in replies) else []


def _arguments(row: Mapping[str, Any], k: int) -> Sequence[Any]:
    """What was sent as request k: since 0.4.3 by name, before in lists."""
    named = at(row, "arguments", f"gen_args_{k}")
    return [at(named, "arg_0"), at(named, "arg_1")] if named else items(at(row, "arguments", k))


def _answer(row: Mapping[str, Any]) -> str | None:
    """The first reply, of a choice the likeliest continuation; a text that was only weighed is none."""
    choices = _choices(row)
    if at(list(_arguments(row, 0)), 1) is None or len(choices) == 1:
        return None
    if not choices:
        return shown(at(row, "resps", 0, 0))
    likely = [_number(at(choice, 0)) for choice in choices]
    return shown(at(list(_arguments(row, likely.index(max(likely)))), 1))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("-inf")
