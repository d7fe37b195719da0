"""The tasks of lm-eval, from the results file of a run.

The prompt is all that stays the same: the task's description and `doc_to_text`, a Jinja template that is
taken as text. A name in --output_path stands in place of "results"; versions before 0.4.3 call the files
results.json and ARGUMENTS_TASK.jsonl, an array in spite of the name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_oirl.importers.json_values import at, count, filled, items, shown, text
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.json_files import read_json

HINT = "give the folder that lm_eval --output_path names, written with --log_samples"
SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl?")
_OLD_SAMPLES = re.compile(r".*__.*_.*\.jsonl")
_CODE = re.compile(r"\s*(def |@|lambda\b|functools\.partial|<(bound |built-in )?(function|method))")
_OF_THE_MODEL = ("revision", "peft", "delta", "gguf_file")  # arguments that make it another one


@dataclass(frozen=True)
class Task:
    """A task as the results file of a run has it; `template` None: it is written as code.

    `before` is what stands before the template, `filters` are the names of the filters in their order.
    """

    name: str
    llm: str | None
    before: str
    template: str | None
    after: str
    shots: int
    delimiter: str
    filters: list[str]

    @property
    def prompt(self) -> str | None:
        """What all questions share; None if that cannot be told."""
        return None if self.template is None else self.before + self.template + self.after


def task_of(path: Path, named: Sequence[Path]) -> Task:
    """The task of a samples file, from the results file of its run.

    Parameters
    ----------
    path : the samples file; the results file lies beside it, or among the files `named`

    Raises: InputError on files of other names, and without the task's results.
    """
    match = SAMPLES.fullmatch(path.name)
    if not match and not _OLD_SAMPLES.fullmatch(path.name):
        raise InputError(f"{path}: the name is not samples_TASK_TIME.jsonl, as lm-eval writes it; {HINT}")
    ending = f"_{match['time']}.json" if match else "results.json"  # before it the name in --output_path
    beside = sorted(other for other in path.parent.glob("*.json") if other.name.endswith(ending))
    beside += [other for other in named if other.name.endswith(ending)]
    beside = [other for other in beside if not other.name.startswith("samples_")]
    result = beside[0] if beside else path.with_name(f"results{ending}" if match else ending)
    results = read_json(result, hint=f"put the results file of the run beside its samples, or {HINT}")
    configs = at(results, "configs", default={})
    names = [match["task"]] if match else [n for n in configs if path.stem.endswith(f"_{n}")]
    name = max(names, key=len, default=path.stem)
    config = at(configs, name)
    if not isinstance(config, dict):
        raise InputError(f"{result}: no task {on_one_line(name)} among its configs; {HINT}")
    template = text(config.get("doc_to_text"))
    if template is not None and _CODE.match(template):
        template = None
    elif template is not None and template.isidentifier():  # the name of a field
        template = "{{" + template + "}}"
    shots = count(at(results, "n-shot", name)) or count(config.get("num_fewshot")) or 0
    chat = filled(results.get("chat_template")) is not None
    turns = " as turns" if chat and results.get("fewshot_as_multiturn") is True else ""
    system = text(results.get("system_instruction"))
    before = [
        "[chat template]\n\n" if chat else "",
        f"{system}\n\n" if system else "",
        text(config.get("description")) or "",
        f"[{shots} examples{turns}]\n\n" if shots else "",
    ]
    filters = [text(at(entry, "name")) or "none" for entry in items(config.get("filter_list"))]
    delimiter = text(config.get("fewshot_delimiter")) or "\n\n"
    after = text(config.get("gen_prefix")) or ""
    return Task(name, _llm(results), "".join(before), template, after, shots, delimiter, filters)


def _llm(results: Any) -> str | None:
    """The model's name, with the arguments that make it another one."""
    given = at(results, "config", "model_args")
    if isinstance(given, str):
        given = dict(pair.partition("=")[::2] for pair in given.split(","))
    given = given if isinstance(given, dict) else {}
    named = (filled(given.get(key)) for key in ("pretrained", "model", "path"))
    name = filled(results.get("model_name")) or next(filter(None, named), None)
    more = [f"{key}={given[key]}" for key in _OF_THE_MODEL if filled(shown(given.get(key)))]
    name = name or filled(at(results, "config", "model"))
    return ",".join([name, *more]) if name else None
