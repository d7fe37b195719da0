"""promptfoo: what `promptfoo eval -o` writes as .json, .jsonl or .csv.

The template is the prompt as configured (results.prompts[promptIdx].raw in .json); a result's own prompt has
the variables filled in. A result's success and score mix in latency and cost, so the verdict is a type of
assertion ("contains") or the name of a metric; of several such assertions of one result the worst counts.
JSON Lines lack the templates: they are found by taking the variables' values out. CSV holds only labels.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.inputs import files_of
from prompt_oirl.importers.json_values import amount, at, count, filled, items, shown, text
from prompt_oirl.importers.template_fields import fields_in, question_of
from prompt_oirl.importers.verdicts import as_correct, chosen_verdict, verdict_note
from prompt_oirl.io.files import InputError, on_one_line, read_json, read_jsonl
from prompt_oirl.io.tables import read_table

HINT = "give what promptfoo eval -o results.json wrote"
ENDINGS = (".json", ".jsonl", ".csv")  # the same run may be there in all: the first says most
_OUTPUT = re.compile(r"\[([^\]]{1,300})\] (.*)", re.DOTALL)  # header of a column of answers: [provider] label
_STATUS, _METRIC = "Status", "Metric: "


@dataclass(frozen=True)
class Result:
    """One answer, whatever the format; `verdicts` are its values by type of assertion and by metric."""

    where: str
    variables: Mapping[str, Any]
    prompt: str
    row: ImportedRow
    verdicts: dict[str, Any]


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """The answers of promptfoo's results; `verdict` is a type of assertion or a metric (`Importer.read`)."""
    paths, notes = _once_a_run(files_of(files, [f"*{ending}" for ending in ENDINGS], HINT))
    readers = {".json": _json_results, ".jsonl": _json_lines, ".csv": _csv_results}
    results: list[Result] = []
    for path in paths:
        if path.suffix not in readers:
            raise InputError(f"{path}: the name must end in {', '.join(ENDINGS)}; {HINT}")
        results += readers[path.suffix](path)
    if not results:
        raise InputError(f"{on_one_line(str(paths[0]), 200)}: no result in it; {HINT}")
    names = _names(results)
    chosen = chosen_verdict(names, verdict, on_one_line(str(paths[0]), 200))
    notes.append(verdict_note(chosen, len(results)))
    if chosen == _STATUS:
        notes.append("Status is PASS where all assertions hold, latency and cost among them.")
    shown_names = list(dict.fromkeys(name for r in results for name in fields_in(r.prompt)))
    repeats: Counter[tuple[str, str, str | None]] = Counter()
    rows = []
    for result in results:
        question = question_of(result.variables, shown_names) or ""
        cell = question, result.prompt, result.row.llm
        rows.append(
            replace(
                result.row,
                question=question,
                prompt=result.prompt,
                correct=_correct(result, chosen),
                sample=repeats[cell],
            )
        )
        repeats[cell] += 1
    return Imported(rows, notes)


def _once_a_run(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Files without those that hold a run in a poorer format, and a sentence on what was left out."""
    by_run: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        by_run[path.with_suffix("")].append(path)
    kept, notes = [], []
    for same in by_run.values():
        first, *others = sorted(same, key=lambda p: ENDINGS.index(p.suffix) if p.suffix in ENDINGS else 9)
        kept.append(first)
        notes += [f"{other.name} is left out: {first.name} holds the same run." for other in others]
    return kept, notes


def _names(results: Sequence[Result]) -> list[str]:
    """Verdicts that can be told apart: a metric that is all there is of its type is no other verdict."""
    values: dict[str, list[Any]] = defaultdict(list)
    for i, result in enumerate(results):
        for name, found in result.verdicts.items():
            values[name].append((i, found))
    return [a for i, a in enumerate(values) if all(values[a] != values[b] for b in list(values)[:i])]


def _correct(result: Result, verdict: str | None) -> float | None:
    """The worst of the verdict's values; None without one."""
    values = result.verdicts.get(verdict, []) if verdict is not None else []
    found = [as_correct(value, str(verdict), result.where) for value in values]
    return min((value for value in found if value is not None), default=None)


def _json_results(path: Path) -> list[Result]:
    data = read_json(path, hint=HINT)
    prompts = [text(at(prompt, "raw")) for prompt in items(at(data, "results", "prompts"))]
    if not prompts:
        raise InputError(f"{path}: no results.prompts, as promptfoo writes them since 0.90; {HINT}")
    found = []
    for number, result in enumerate(items(at(data, "results", "results"))):
        where = f"{path}: result {number}"
        index = count(at(result, "promptIdx"))
        prompt = prompts[index] if index is not None and index < len(prompts) else None
        if prompt is None:
            raise InputError(f"{where} has no promptIdx that is in results.prompts; {HINT}")
        found.append(_result(result, where, prompt))
    return found


def _json_lines(path: Path) -> list[Result]:
    rows = list(enumerate(read_jsonl(path, hint=HINT), 1))
    for number, row in rows:
        if not isinstance(row.get("vars"), dict) or text(at(row, "prompt", "raw")) is None:
            raise InputError(f"{path}:{number}: no vars or no prompt.raw, so no result of promptfoo; {HINT}")
    by_prompt: dict[tuple[Any, Any], list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for number, row in rows:
        by_prompt[shown(row.get("promptIdx")), shown(row["prompt"].get("label"))].append((number, row))
    found = {}
    for (_, label), same in by_prompt.items():
        template = _template([(row["prompt"]["raw"], row["vars"]) for _, row in same])
        if template is None and filled(label) is None:
            raise InputError(
                f"{path}:{same[0][0]}: the prompt's template cannot be told; give the .json of the same run"
            )
        for number, row in same:
            found[number] = _result(row, f"{path}:{number}", template or str(label))
    return [found[number] for number, _ in rows]


def _template(rendered: Sequence[tuple[str, Mapping[str, Any]]]) -> str | None:
    """The one text that is left when the variables' values are taken out; None if there is no such."""
    texts = [raw for raw, _ in rendered]
    lengths = Counter({n: len(shown(v) or "") for _, variables in rendered for n, v in variables.items()})
    for name, _ in lengths.most_common():
        taken_out = []
        for now, (_, variables) in zip(texts, rendered):
            value = shown(variables.get(name)) or ""
            # In messages as JSON a value stands as JSON writes it.
            forms = [
                f for f in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]) if f
            ]
            form = next((form for form in forms if form in now), None)
            taken_out.append(now.replace(form, "{{" + name + "}}") if form else None)
        kept = [t for t in taken_out if t is not None]
        # What stands in all texts by chance, such as a short answer, makes them no more alike.
        if len(kept) == len(texts) and len(set(kept)) < len(set(texts)):
            texts = kept
    return texts[0] if len(set(texts)) == 1 and "{{" in texts[0] else None


def _result(result: Any, where: str, prompt: str) -> Result:
    """A result of .json or .jsonl."""
    variables = at(result, "vars")
    if not isinstance(variables, dict):
        raise InputError(f"{where} has no vars, so no question; {HINT}")
    verdicts: dict[str, list[Any]] = defaultdict(list)
    parts = list(items(at(result, "gradingResult", "componentResults")))
    for part in parts:  # an assert-set has parts of its own, which are added behind
        parts += items(at(part, "componentResults"))
        score = at(part, "score")
        value = score if isinstance(score, int | float) else at(part, "pass")
        for name in dict.fromkeys((at(part, "assertion", "type"), at(part, "assertion", "metric"))):
            if filled(name) is not None:
                verdicts[name].append(value)
    provider = at(result, "provider", "id") or at(result, "provider")
    tokens = at(result, "response", "tokenUsage")
    row = ImportedRow(
        question="",
        prompt=None,
        answer=shown(at(result, "response", "output")),
        llm=filled(provider),
        cost=amount(at(result, "cost")),
        tokens_in=count(at(tokens, "prompt")),
        tokens_out=count(at(tokens, "completion")),
        prompt_id=filled(at(result, "promptId")),
    )
    return Result(where, variables, prompt, row, dict(verdicts))


def _csv_results(path: Path) -> list[Result]:
    """Each output column, headed "[provider] label", is followed by its status, scores and reasons."""
    frame = read_table(path, HINT)
    header = [str(name) for name in frame.columns]
    outputs = [
        i for i, name in enumerate(header[:-1]) if header[i + 1] == _STATUS and _OUTPUT.fullmatch(name)
    ]
    if not outputs:
        raise InputError(
            f"{path}:1: no column [provider] prompt with Status behind it, as promptfoo writes them; {HINT}"
        )
    found = []
    for line, cells in zip(frame.index, frame.to_numpy().tolist()):
        variables = dict(zip(header[: outputs[0]], cells))
        for first, behind in zip(outputs, [*outputs[1:], len(header)]):
            found.append(_csv_result(f"{path}:{line}", variables, header[first:behind], cells[first:behind]))
    return found


def _csv_result(where: str, variables: dict[str, Any], header: list[str], cells: list[Any]) -> Result:
    provider, label = _OUTPUT.fullmatch(header[0]).groups()  # type: ignore[union-attr]
    verdicts = {_STATUS: [cells[1]]}
    for name, cell in zip(header, cells):
        if name.startswith(_METRIC) and cell:
            verdicts[name.removeprefix(_METRIC)] = [cell]
    row = ImportedRow(question="", prompt=None, answer=cells[0], llm=provider)
    return Result(where, variables, label, row, verdicts)
