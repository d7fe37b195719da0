"""Event logs of openai/evals (.jsonl): `spec`, then events that belong together by `sample_id`.

The first `sampling` event of a sample is the answer (later ones are of a model that grades). A verdict is
`correct` of the `match` event, or a number in a `metrics` event by its name. A prompt written as text,
"User: ..." and "Assistant: ", is taken apart like messages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.inputs import files_of
from prompt_oirl.importers.json_values import at, count, filled, items, json_rows, no_rows, shown, text
from prompt_oirl.importers.messages import bare_where_known, question_and_prompt
from prompt_oirl.importers.verdicts import as_correct, chosen_verdict, ungraded_note, verdict_note
from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import InputError, on_one_line

HINT = "give event logs of openai/evals (.jsonl)"
PATTERNS = ("*.jsonl",)  # what is read in a folder
_SPEAKER = re.compile(r"^(User|Assistant): ?", re.MULTILINE)


@dataclass
class _Sample:
    """Events of one sample: the first sampling, verdicts by name, the place, who answered, run and number."""

    where: str
    llm: str | None
    number: str | None
    sampling: Any = None
    verdicts: dict[str, Any] = field(default_factory=dict)
    gold: Any = None


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """Rows of event logs, one a sample.

    Parameters
    ----------
    files : logs, one a run; several make one table
    verdict : "match", or the name of a number in `metrics` events; None: the only one there is

    Raises: InputError on what is no event log, or if the verdict must be chosen.
    """
    files = files_of(files, PATTERNS, HINT.removeprefix("give "))
    samples = [sample for path in files for sample in _samples(path)]
    source = on_one_line(", ".join(map(str, files)), 300)
    name = chosen_verdict((n for sample in samples for n in sample.verdicts), verdict, source)
    rows = [row for sample in samples if (row := _row(sample, name)) is not None]
    if not rows:
        raise no_rows(source, "no sample with a sampling event that can be read", HINT)
    notes = [verdict_note(name, len(rows))]
    notes += ungraded_note(name, [row.correct for row in rows])
    if len(rows) < len(samples):
        left_out = counted(len(samples) - len(rows), "sample")
        notes.append(f"Left out: {left_out} without a question and an answer.")
    return Imported(bare_where_known(rows), notes)


def _samples(path: Path) -> list[_Sample]:
    found: dict[tuple[str, str], _Sample] = {}
    llm = None
    for where, event in json_rows(path, HINT):
        if "spec" in event:
            who = at(event, "spec", "completion_fns")
            llm = filled(", ".join(map(str, who)) if isinstance(who, list) else who)
        elif isinstance(event.get("sample_id"), str | int):
            key = str(event.get("run_id")), str(event["sample_id"])  # a file may hold several runs
            number = ":".join(key) if event.get("run_id") else None
            sample = found.setdefault(key, _Sample(where, llm, number))
            kind, data = event.get("type"), event.get("data")
            if kind == "sampling" and sample.sampling is None:
                sample.sampling = data
            elif kind == "match":
                sample.verdicts["match"], sample.gold = at(data, "correct"), at(data, "expected")
            elif kind == "metrics" and isinstance(data, dict):
                sample.verdicts |= {k: v for k, v in data.items() if isinstance(v, bool | int | float)}
        elif "final_report" not in event and "run_id" not in event:
            raise InputError(f"{where}: no event (spec, final_report or sample_id); {HINT}")
    return list(found.values())


def _row(sample: _Sample, name: str | None) -> ImportedRow | None:
    asked = question_and_prompt(_messages(at(sample.sampling, "prompt")))
    said = at(sample.sampling, "sampled")
    answer = text(said[0] if isinstance(said, list) and said else said)
    if asked is None or answer is None:
        return None
    gold = sample.gold[0] if isinstance(sample.gold, list) and len(sample.gold) == 1 else sample.gold
    usage = items(at(sample.sampling, "usage")) or [at(sample.sampling, "usage")]
    correct = None if name is None else as_correct(sample.verdicts.get(name), name, sample.where)
    return ImportedRow(
        *asked,
        correct=correct,
        answer=answer,
        llm=text(sample.llm),
        tokens_in=count(at(usage[0], "prompt_tokens")),
        tokens_out=count(at(usage[0], "completion_tokens")),
        gold=None if isinstance(gold, list | dict) else shown(gold),
        answer_id=sample.number,
        verdict=None if correct is None else name,
    )


def _messages(prompt: Any) -> Any:
    """The messages that evals wrote as one text; another prompt as it is."""
    if not isinstance(prompt, str) or not _SPEAKER.search(prompt):
        return prompt
    system, *turns = _SPEAKER.split(prompt.rstrip().removesuffix("\nAssistant:"))
    messages = [{"role": "system", "content": system.removesuffix("\n")}] if system.strip() else []
    for speaker, said in zip(turns[::2], turns[1::2]):
        messages.append({"role": speaker.lower(), "content": said.removesuffix("\n")})
    return messages
