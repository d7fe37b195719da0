"""The tasks of lm-eval, from the results file of a run.

The prompt is all that stays the same: the task's description and `doc_to_text`, a Jinja template that is
taken as text. A name in --output_path stands in place of "results"; versions before 0.4.3 call the files
results.json and ARGUMENTS_TASK.jsonl, an array in spite of the name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from prompt_oirl.importers.json_values import amount, at, count, filled, items, shown, text
from prompt_oirl.importers.wording import counted, without_keys
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.json_files import read_json

HINT = "give the folder that lm_eval --output_path names, written with --log_samples"
SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl?")
_OLD_SAMPLES = re.compile(r".*__.*_.*\.jsonl")
_CODE = re.compile(r"\s*(def |@|lambda\b|functools\.partial|<(bound |built-in )?(function|method))")
# Arguments that say where and how fast a model runs, or who pays; all others may change its answers.
_HOW_IT_RUNS = re.compile(
    r"pretrained|model|path|seed|device.*|low_cpu.*|.*(parallel|batch|memory|cache|offload|concurrent|retries|"
    r"timeout|url|certificate|trust_remote).*|swap_space|tokenized_requests|tokenizer_backend|use_accelerate|"
    r"token|.*(key|auth|secret|header|password|hf_token).*"
)
_EXAMPLES = ("samples", "sampler", "fewshot_indices", "process_docs", "doc_to_text", "gen_prefix")
_WRITTEN = ("doc_to_target", "doc_to_choice", "target_delimiter", "fewshot_delimiter")
_USUAL = {"sampler": "default", "target_delimiter": " ", "fewshot_delimiter": "\n\n", "seed": "1234"}


@dataclass(frozen=True)
class Task:
    """A task as the results file of a run has it; `template` None: it is written as code.

    `before` is what stands before the template, `filters` are the names of the filters in their order,
    `lower` are metrics of which less is better; `run` is the time that tells the run from others.
    """

    name: str
    llm: str | None
    before: str
    template: str | None
    after: str
    shots: int
    delimiter: str
    filters: list[str]
    lower: frozenset[str]
    run: str | None

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
        f"[{counted(shots, 'example')}{turns}{_which(config, results)}]\n\n" if shots else "",
    ]
    filters = [text(at(entry, "name")) or "none" for entry in items(config.get("filter_list"))]
    better = [(filled(at(m, "metric")), at(m, "higher_is_better")) for m in items(config.get("metric_list"))]
    told = at(results, "higher_is_better", name)
    better += told.items() if isinstance(told, dict) else ()
    date = amount(results.get("date"))
    return Task(
        name,
        llm=_llm(results),
        before="".join(before),
        template=template,
        after=text(config.get("gen_prefix")) or "",
        shots=shots,
        delimiter=text(config.get("fewshot_delimiter")) or "\n\n",
        filters=filters,
        lower=frozenset(metric for metric, higher in better if metric and higher is False),
        run=str(date) if date is not None else match and match["time"],
    )


def _which(config: Mapping[str, Any], results: Any) -> str:
    """A short hash of which examples a task shows and how it writes them; empty where nothing tells."""

    def told(source: Any, name: str) -> str | None:
        # Code is shown with its address, which differs in each run.
        value = at(source, name)
        return re.sub(r" at 0x[0-9a-f]+", "", shown(value) or "") if value is not None else None

    own = config.get("fewshot_config")
    found = {name: told(own, name) for name in _EXAMPLES if told(own, name) != told(config, name)}
    found |= {name: told(own, name) or told(config, name) for name in _WRITTEN}
    if found.get("samples") is None:
        splits = (
            told(own, "split"),
            *(told(config, f"{s}_split") for s in ("fewshot", "training", "validation")),
        )
        found["split"] = next(filter(None, splits), None)
    if found.get("sampler") != "first_n":
        found["seed"] = told(at(results, "config"), "fewshot_seed")
    told_apart = {name: value for name, value in found.items() if value not in (None, _USUAL.get(name))}
    digest = sha256(json.dumps(told_apart, sort_keys=True).encode()).hexdigest()
    return f" #{digest[:8]}" if told_apart else ""


def _llm(results: Any) -> str | None:
    """The model's name, with the arguments and settings of its generation that make it another one."""
    given = _arguments(at(results, "config", "model_args"))
    named = (filled(given.get(key)) for key in ("pretrained", "model", "path"))
    name = filled(results.get("model_name")) or next(filter(None, named), None)
    name = name or filled(at(results, "config", "model"))
    given |= _arguments(at(results, "config", "gen_kwargs"))
    more = [f"{key}={value}" for key, value in sorted(given.items()) if not _HOW_IT_RUNS.fullmatch(key)]
    return without_keys(",".join([name, *more])) if name else None


def _arguments(given: Any) -> dict[str, str]:
    """Arguments that are given as "a=1,b=2" or by name; those that are empty or automatic are none."""
    if isinstance(given, str):
        given = dict(pair.partition("=")[::2] for pair in given.split(","))
    pairs = given.items() if isinstance(given, dict) else ()
    found = {str(name).strip(): text(str(value)) or "" for name, value in pairs}
    return {name: value for name, value in found.items() if value not in ("", "None", "auto")}
