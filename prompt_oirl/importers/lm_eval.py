"""lm-eval 0.4: `samples_TASK_TIME.jsonl` of `--log_samples`, and the `results_TIME.json` beside them.

The prompt is the task's description and `doc_to_text`, a Jinja template that is taken as text, from the
results file; the samples hold it only with the question in it. A line is an answer under one filter, so a
verdict is a metric and a filter: "exact_match,strict-match", as the results file calls it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.inputs import files_of
from prompt_oirl.importers.json_values import amount, at, filled, items, shown, text
from prompt_oirl.importers.template_fields import fields_in, question_of
from prompt_oirl.importers.verdicts import chosen_verdict, verdict_note
from prompt_oirl.io.files import InputError, on_one_line, read_json, read_jsonl

HINT = "give the folder that lm_eval --output_path names, written with --log_samples"
_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")
_NO_METRICS = (
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
)


@dataclass(frozen=True)
class Task:
    """A task as the results file of a run has it; `template` None: it is written as code."""

    name: str
    llm: str | None
    prompt: str | None
    template: str | None


@dataclass(frozen=True)
class Line:
    """A line of a samples file: an answer under one filter, with its numbers from 0 to 1 by metric."""

    file: Path
    task: Task
    row: Mapping[str, Any]
    filter: str
    verdicts: dict[str, float]


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """The answers of lm-eval's samples files; as of `Importer.read`.

    `verdict` is "metric,filter", or one of the two where that leaves a single one.
    """
    named = files_of(files, ("samples_*.jsonl", "results_*.json"), "samples_*.jsonl and results_*.json")
    samples = [path for path in named if path.suffix == ".jsonl"]
    if not samples:
        raise InputError(f"{on_one_line(str(named[0]), 200)}: no samples_*.jsonl among the files; {HINT}")
    lines = [line for path in samples for line in _lines(path, named)]
    names = list(dict.fromkeys(f"{metric},{line.filter}" for line in lines for metric in line.verdicts))
    chosen = chosen_verdict(names, _full_name(names, verdict), str(samples[0].parent))
    notes = [verdict_note(chosen, len(lines))]
    if chosen is None:
        notes.append("No metric is a number from 0 to 1.")
    rows, left_out = _rows(lines, chosen)
    if left_out:
        notes.append(f"{left_out:,} answers without that verdict are left out.")
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
    task = _task(path, named)
    for number, row in enumerate(read_jsonl(path, hint=HINT), 1):
        if not isinstance(row.get("doc"), dict):
            raise InputError(f"{path}:{number}: no object doc, so these are no samples of lm-eval; {HINT}")
        metrics = items(row.get("metrics")) or [name for name in row if name not in _NO_METRICS]
        verdicts = {}
        for name in metrics:
            value = row.get(name) if isinstance(name, str) else None
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if (found := amount(int(value) if isinstance(value, bool) else value)) is not None and found <= 1:
                verdicts[name] = float(found)
        yield Line(path, task, row, text(row.get("filter")) or "none", verdicts)


def _task(path: Path, named: Sequence[Path]) -> Task:
    """The task of a samples file, from the results file of its run."""
    match = _SAMPLES.fullmatch(path.name)
    if not match:
        raise InputError(f"{path}: the name is not samples_TASK_TIME.jsonl, as lm-eval writes it; {HINT}")
    name, result = match["task"], path.with_name(f"results_{match['time']}.json")
    beside = [other for other in named if other.name == result.name]
    results = read_json(result if result.is_file() or not beside else beside[0], hint=HINT)
    config = at(results, "configs", name)
    if not isinstance(config, dict):
        raise InputError(f"{result}: no task {on_one_line(name)} among its configs; {HINT}")
    template = text(config.get("doc_to_text"))
    if template is not None and template.startswith("<function"):  # code that the tool could not write down
        template = None
    shots = at(results, "n-shot", name)
    shots = config.get("num_fewshot") if shots is None else shots
    if template is None:
        prompt = None
    else:
        system = text(results.get("system_instruction"))
        parts = [f"{system}\n\n" if system else "", text(config.get("description")) or ""]
        examples = f"[{shots} examples]\n\n" if amount(shots) else ""
        prompt = "".join([*parts, examples, template, text(config.get("gen_prefix")) or ""])
    llm = filled(results.get("model_name")) or filled(at(results, "config", "model"))
    return Task(name, llm, prompt, template)


def _rows(lines: Sequence[Line], verdict: str | None) -> tuple[list[ImportedRow], int]:
    """A row for each answer that has the verdict, and how many have not."""
    metric, _, filter_name = (verdict or "").rpartition(",")
    answers: dict[tuple[Path, str | None], list[Line]] = defaultdict(list)  # a line a filter
    for line in lines:
        answers[line.file, shown(line.row.get("doc_id"))].append(line)
    question_of_doc: dict[str, str] = {}  # a question reads the same in all tasks
    repeats: Counter[tuple[str, str, str | None]] = Counter()
    rows, left_out = [], 0
    for of_answer in answers.values():
        if verdict is not None:
            of_answer = [x for x in of_answer if x.filter == filter_name and metric in x.verdicts]
        if not of_answer:
            left_out += 1
            continue
        line = of_answer[0]
        task, group = line.task, filled(line.row.get("doc_hash"))
        question, prompt = _question(line), task.prompt
        if question is None:
            question, prompt = _rendered(line.row), None
        elif group is not None:
            question = question_of_doc.setdefault(group, question)
        rows.append(
            ImportedRow(
                question=question,
                prompt=prompt,
                correct=line.verdicts.get(metric),
                answer=_answer(line.row),
                llm=task.llm,
                sample=repeats[question, task.name, task.llm],
                group=group,
                prompt_id=task.name,
                gold=shown(line.row.get("target")),
            )
        )
        repeats[question, task.name, task.llm] += 1
    return rows, left_out


def _question(line: Line) -> str | None:
    """The fields of the document that the template shows; None if that cannot be told."""
    doc, template = line.row["doc"], line.task.template
    if template is None:
        return None
    return question_of(doc, [template] if template in doc else fields_in(template))


def _choices(row: Mapping[str, Any]) -> list[Any]:
    """The replies to a choice among continuations: [log-likelihood, whether it is the likeliest] of each."""
    replies = [at(reply, 0) for reply in items(row.get("resps"))]
    return replies if replies and all(isinstance(reply, list) for reply in replies) else []


def _arguments(row: Mapping[str, Any], k: int) -> Sequence[Any]:
    """What was sent as request k: since 0.4.3 by name, before in lists."""
    named = at(row, "arguments", f"gen_args_{k}")
    return [at(named, "arg_0"), at(named, "arg_1")] if named else items(at(row, "arguments", k))


def _rendered(row: Mapping[str, Any]) -> str:
    return text(at(list(_arguments(row, 0)), 0)) or ""


def _answer(row: Mapping[str, Any]) -> str | None:
    """The first reply, of a choice the likeliest continuation."""
    choices = _choices(row)
    if not choices:
        return shown(at(row, "resps", 0, 0))
    likely = [_number(at(choice, 0)) for choice in choices]
    return shown(at(list(_arguments(row, likely.index(max(likely)))), 1))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("-inf")
