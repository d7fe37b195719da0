"""promptfoo: what `promptfoo eval -o` writes as .json, .jsonl or .csv.

The template is the prompt as configured (results.prompts[promptIdx].raw in .json); a result's own prompt has
the variables filled in. A result's success and score mix in latency and cost, so the verdict is a type of
assertion ("contains") or the name of a metric; of several such assertions of one result the worst counts.
"all" is the worst of all but latency and cost, for tests that are asserted in different ways.
JSON Lines, and .json of versions before 0.90, lack the templates: they are found by taking the variables'
values out. CSV holds only labels.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.inputs import files_of
from prompt_oirl.importers.json_values import amount, at, count, filled, items, json_rows, shown, text
from prompt_oirl.importers.messages import one_question
from prompt_oirl.importers.promptfoo_prompts import configured, filled_in, template_of
from prompt_oirl.importers.promptfoo_verdicts import ALL, STATUS, chosen_of, correct_of, verdicts_of
from prompt_oirl.importers.template_fields import fields_in, question_of
from prompt_oirl.importers.verdicts import verdict_note
from prompt_oirl.importers.wording import counted, without_keys
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.tables import read_table

HINT = "give what promptfoo eval -o results.json wrote"
OTHER_FORMAT = "write the same run as .json: promptfoo export eval latest -o results.json"
ENDINGS = (".json", ".jsonl", ".csv")  # the same run may be there in all: the first says most
_OUTPUT = re.compile(r"\[([^\]]{1,300})\] (.*)", re.DOTALL)  # header of a column of answers: [provider] label
_METRIC = "Metric: "
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Result:
    """One answer, whatever the format; `verdicts` are its values by type of assertion and by metric.

    `column` is the file and number of its prompt and provider; `error` is set where the provider failed.
    """

    where: str
    column: tuple[Path, int]
    variables: Mapping[str, Any]
    prompt: str
    row: ImportedRow
    verdicts: dict[str, list[Any]]
    error: str | None = None


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """The answers of promptfoo's results; `verdict` is a type of assertion or a metric (`Importer.read`)."""
    paths, notes = _once_a_run(files_of(files, [f"*{ending}" for ending in ENDINGS], HINT))
    readers = {".json": _json_results, ".jsonl": _json_lines, ".csv": _csv_results}
    results: list[Result] = []
    for path in paths:
        if path.suffix not in readers:
            raise InputError(f"{path}: the name must end in {', '.join(ENDINGS)}; {OTHER_FORMAT}")
        results += readers[path.suffix](path)
    source = on_one_line(str(paths[0]), 200)
    if not results:
        raise InputError(f"{source}: no result in it; {HINT}")
    results = _told_apart(results, notes)
    results, failed = [r for r in results if r.error is None], [r for r in results if r.error is not None]
    if failed:
        cause = on_one_line(without_keys(str(failed[0].error)), 120)
        if not results:
            raise InputError(f"{source}: no result has an answer ({cause}); run promptfoo eval again")
        are = "is" if len(failed) == 1 else "are"
        notes.append(
            f"{counted(len(failed), 'result')} {are} left out: the provider gave no answer ({cause})."
        )
    chosen = chosen_of([result.verdicts for result in results], verdict, source)
    notes.append(verdict_note(chosen, len(results)))
    if chosen in (STATUS, "success"):
        notes.append(f"{chosen} says whether all assertions hold, latency and cost among them.")
    if chosen == ALL:
        notes.append(f"{ALL} is the worst verdict of an answer, latency and cost left out.")
    questions = _questions(results)
    if not any(questions):
        raise InputError(
            f"{source}: the tests have no variables, so no question can be told from the prompt; write it as "
            "a variable, such as vars: {question: ...}"
        )
    rows = [
        replace(
            result.row,
            question=question,
            prompt=result.prompt,
            correct=correct_of(result.verdicts, chosen, result.where),
            verdict=chosen,
        )
        for result, question in zip(results, questions)
    ]
    return Imported(rows, notes)


def _questions(results: Sequence[Result]) -> list[str]:
    """The variables that prompts show; where one shows none (code, a label) all, if only they part tests."""
    names = list(dict.fromkeys(name for r in results for name in fields_in(r.prompt)))
    found = [question_of(r.variables, names) or "" for r in results]
    if all(any(name in r.variables for name in fields_in(r.prompt)) for r in results):
        return found
    tests = [one_question(r.variables) for r in results]
    return found if all(found) and len(set(found)) == len(set(tests)) else tests


def _told_apart(results: Sequence[Result], notes: list[str]) -> list[Result]:
    """Results with their providers numbered where several have one name and other settings.

    promptfoo's columns are all prompts of a provider, then all of the next one: the second column of a prompt
    is that of the second provider. Where some prompts have fewer columns, that cannot be told.
    """
    columns: dict[tuple[Path, str | None], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for r in results:
        columns[r.column[0], r.row.llm][r.prompt].add(r.column[1])
    unlike = [name for name, prompts in columns.items() if len(set(map(len, prompts.values()))) > 1]
    notes += [
        f"{on_one_line(path.name)}: providers called {on_one_line(llm or 'provider')} were asked different "
        "prompts and cannot be told apart: each column is an LLM of its own; give each provider a label."
        for path, llm in unlike
    ]
    found = []
    for r in results:
        name, prompts = (r.column[0], r.row.llm), columns[r.column[0], r.row.llm]
        same = set.union(*prompts.values()) if name in unlike else prompts[r.prompt]
        number = sorted(same).index(r.column[1]) + 1
        llm = r.row.llm if number == 1 else f"{r.row.llm or 'provider'} ({number})"
        found.append(replace(r, row=replace(r.row, llm=llm)))
    return found


def _once_a_run(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Files without those that hold a run in a poorer format, and a sentence on what was left out."""
    by_run: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        by_run[path.with_suffix("")].append(path)
    kept, notes = [], []
    for same in by_run.values():
        first, *others = sorted(same, key=lambda p: ENDINGS.index(p.suffix) if p.suffix in ENDINGS else 9)
        kept.append(first)
        notes += [
            on_one_line(f"{other.name} is left out: {first.name} holds the same run.", 200)
            for other in others
        ]
    return kept, notes


def _json_results(path: Path) -> list[Result]:
    data = read_json(path, hint=HINT)
    results = [(f"{path}: result {i}", row) for i, row in enumerate(items(at(data, "results", "results")))]
    prompts = configured(items(at(data, "results", "prompts")))
    if not prompts:
        if at(data, "results", "results") is None:
            raise InputError(f"{path}: no results.results, as promptfoo writes them; {HINT}")
        return _without_prompts(path, results)
    indices = [count(at(result, "promptIdx")) for _, result in results]
    rendered: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for (where, result), index in zip(results, indices):
        prompt = prompts[index] if index is not None and index < len(prompts) else None
        if prompt is None:
            raise InputError(f"{where} has no promptIdx that is in results.prompts; {HINT}")
        variables = filled_in(at(result, "vars", default={}))
        rendered[prompt].append((text(at(result, "prompt", "raw")) or "", variables))
    # Of a prompt that is code, what it makes of the tests may show a template.
    templates = {p: p if fields_in(p) else template_of(texts) or p for p, texts in rendered.items()}
    run = filled(at(data, "evalId"))
    return [
        _result(result, where, (path, index or 0), templates[prompts[index or 0] or ""], run)
        for (where, result), index in zip(results, indices)
    ]


def _json_lines(path: Path) -> list[Result]:
    return _without_prompts(path, list(json_rows(path, HINT)))


def _without_prompts(path: Path, rows: Sequence[tuple[str, Any]]) -> list[Result]:
    """Results that hold their prompts only rendered."""
    by_prompt: dict[tuple[Any, Any], list[int]] = defaultdict(list)
    for i, (where, row) in enumerate(rows):
        if not isinstance(at(row, "vars"), dict) or text(at(row, "prompt", "raw")) is None:
            raise InputError(f"{where}: no vars or no prompt.raw, so no result of promptfoo; {HINT}")
        label = at(row, "prompt", "label") or at(row, "prompt", "display")
        by_prompt[shown(row.get("promptIdx")), shown(label)].append(i)
    found: dict[int, Result] = {}
    in_order = sorted(by_prompt.items(), key=lambda item: count(at(rows[item[1][0]][1], "promptIdx")) or 0)
    for column, ((_, label), same) in enumerate(in_order):
        rendered = [(rows[i][1]["prompt"]["raw"], filled_in(rows[i][1]["vars"])) for i in same]
        template = template_of(rendered)
        is_template = label and "{{" in label  # of .jsonl it may be the file's name and the template
        if is_template and (
            at(rows[same[0]][1], "prompt", "display") or len({raw for raw, _ in rendered}) == 1
        ):
            template = label  # what all texts share may hold a variable
        if template is None and filled(label) is None:
            raise InputError(
                f"{rows[same[0]][0]}: the prompt's template cannot be told; give the .json of the same run"
            )
        for i in same:
            found[i] = _result(rows[i][1], rows[i][0], (path, column), template or str(label))
    return [found[i] for i in range(len(rows))]


def _result(result: Any, where: str, column: tuple[Path, int], prompt: str, run: str | None = None) -> Result:
    """A result of .json or .jsonl, of the run with some evalId."""
    if not isinstance(at(result, "vars"), dict):
        raise InputError(f"{where} has no vars, so no question; {HINT}")
    variables = filled_in(result["vars"])
    verdicts = verdicts_of(result)
    output = at(result, "response", "output")
    error = filled(at(result, "error")) or shown(at(result, "response", "error"))
    # An assertion that fails is an error, too.
    failed = output is None and not at(result, "gradingResult", "componentResults")
    tokens = at(result, "response", "tokenUsage")
    own_id = filled(at(result, "id")) or ""
    label = filled(
        at(result, "prompt", "label")
    )  # by default it is the prompt, behind a file's name if in one
    row = ImportedRow(
        question="",
        prompt=None,
        answer=shown(output),
        llm=filled(at(result, "provider", "label"))
        or filled(at(result, "provider", "id") or at(result, "provider")),
        cost=amount(at(result, "cost")),
        tokens_in=count(at(tokens, "prompt")),
        tokens_out=count(at(tokens, "completion")),
        prompt_id=None if label is None or prompt in label else label,
        answer_id=own_id if _UUID.fullmatch(own_id) else f"{run} {own_id}" if run and own_id else None,
    )
    return Result(where, column, variables, prompt, row, verdicts, error if failed else None)


def _csv_results(path: Path) -> list[Result]:
    """Each output column, headed "[provider] label", is followed by its status, scores and reasons."""
    frame = read_table(path, HINT)
    header = [str(name) for name in frame.columns]
    outputs = [i for i, name in enumerate(header[:-1]) if header[i + 1] == STATUS and _OUTPUT.fullmatch(name)]
    if not outputs:
        raise InputError(
            f"{path}:1: no column [provider] prompt with Status behind it, as promptfoo writes them now; "
            "give the .json of the same run"
        )
    found = []
    for line, cells in zip(frame.index, frame.to_numpy().tolist()):
        variables = filled_in(dict(zip(header[: outputs[0]], cells)))
        for first, behind in zip(outputs, [*outputs[1:], len(header)]):
            where, column = f"{path}:{line}", (path, first)
            found.append(_csv_result(where, column, variables, header[first:behind], cells[first:behind]))
    return found


def _csv_result(
    where: str, column: tuple[Path, int], variables: dict[str, Any], header: list[str], cells: list[Any]
) -> Result:
    provider, label = _OUTPUT.fullmatch(header[0]).groups()  # type: ignore[union-attr]
    verdicts = {STATUS: [cells[1]]}
    for name, cell in zip(header, cells):
        if name.startswith(_METRIC) and cell:
            verdicts[name.removeprefix(_METRIC)] = [cell]
    row = ImportedRow(question="", prompt=None, answer=cells[0], llm=provider)
    error = cells[0] or cells[1] if cells[1] == "ERROR" else None
    return Result(where, column, variables, label, row, verdicts, error)
