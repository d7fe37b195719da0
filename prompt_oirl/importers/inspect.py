"""Logs of inspect_ai: .eval (a zip, packed with deflate or zstd) and .json.

The question is the sample's `input`, with its choices as they were shown. The prompt is what was sent around
it: system message and earlier turns, and where the user message says more than the input, that message with
"{question}" in the input's place. Where these texts differ from sample to sample (a template with values of
the sample), the template in `plan.steps[].params` is taken. A score is C (1), P (.5), I or N (0), or a
number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prompt_oirl.importers import Imported, ImportedRow
from prompt_oirl.importers.conversations import answer_in
from prompt_oirl.importers.eval_files import HINT, members
from prompt_oirl.importers.inputs import files_of
from prompt_oirl.importers.json_values import amount, at, count, filled, items, no_rows, shown, text
from prompt_oirl.importers.messages import (
    bare_where_known,
    content_text,
    message_text,
    question_and_prompt,
)
from prompt_oirl.importers.templates import PLACE
from prompt_oirl.importers.verdicts import as_correct, chosen_verdict, ungraded_note, verdict_note
from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.json_files import read_json

PATTERNS = ("*.eval", "*.json")  # what is read in a folder
_WRAPPERS = ("prompt_template", "chain_of_thought", "multiple_choice")
_FIELDS = (
    *("id", "epoch", "input", "choices", "target", "messages", "output"),
    *("scores", "score", "model_usage", "error", "uuid", "completed_at"),
)
_DEEPEST = 40  # levels of a sample's texts
_ATTACHMENT = "attachment://"


_Log = tuple[Path, dict[str, Any], list[tuple[str, dict[str, Any]]]]  # with the samples' places


@dataclass(frozen=True)
class _Sent:
    """A sample, and what was sent: `before` the user message, and `around` the question in it."""

    sample: dict[str, Any]
    question: str
    before: str | None
    around: str | None
    where: str


def read(files: Sequence[Path], verdict: str | None) -> Imported:
    """Rows of logs, one a sample and epoch.

    Parameters
    ----------
    files : logs, or folders of them; several make one table
    verdict : name of the scorer, with several values "scorer/value"; None: the only one

    Raises: InputError on a file that is no such log, or if the scorer must be chosen.
    """
    files = files_of(files, PATTERNS, HINT.removeprefix("give "))
    logs = [(path, *_log(path)) for path in files]
    source = on_one_line(", ".join(map(str, files)), 300)
    name = chosen_verdict(
        (n for *_, some in logs for _, sample in some for n in _scores(sample)), verdict, source
    )
    logs, doubled, differ = _each_once(logs, name)
    sent = [(header, _sent(header, samples)) for _, header, samples in logs]
    found = [(header, one) for header, some in sent for one in some]
    rows = bare_where_known([_row(header, one, name) for header, one in found])
    there = sum(len(samples) for *_, samples in logs)
    if not there:
        raise no_rows(source, "the log was written without samples", "run it again without --no-log-samples")
    if not rows:
        raise no_rows(source, f"no answer of text in {counted(there, 'sample')}", HINT)
    notes = [verdict_note(name, len(rows)), *ungraded_note(name, [row.correct for row in rows])]
    if doubled:
        notes.append(f"Counted once: {counted(doubled, 'sample')} found in several of these logs.")
    if differ:
        notes.append(f"Their verdicts differ in {counted(differ, 'sample')}: the last one counts.")
    if left_out := there - len(rows):
        notes.append(f"Left out: {counted(left_out, 'sample')} that failed, or whose input is no text.")
    unfinished = [path.name for path, header, _ in logs if at(header, "status") not in ("success", None)]
    if unfinished:
        notes.append(f"Not finished: {on_one_line(', '.join(unfinished), 200)}; what there is was read.")
    return Imported(rows, notes)


def _each_once(logs: list[_Log], name: str | None) -> tuple[list[_Log], int, int]:
    """Logs without samples that stand in a better one, too (of a run retried, converted or scored again).

    It counts that a sample was answered, has the verdict, was scored later, then the order of the files.

    Returns: the logs, how many samples that leaves out, and how many have several verdicts.
    """
    best: dict[str, tuple[tuple[bool, bool, float], int]] = {}
    verdicts: dict[str, set[str | None]] = defaultdict(set)
    for _, header, samples in logs:
        for _, sample in samples:
            key, value = _answer_id(header, sample), _scores(sample).get(name or "")
            rank = not at(sample, "error"), value is not None, _scored_at(header, sample)
            if key is not None and (key not in best or rank >= best[key][0]):
                best[key] = rank, id(sample)
            if key is not None and value is not None:
                verdicts[key].add(shown(value))
    kept: list[_Log] = []
    for path, header, samples in logs:
        keys = [_answer_id(header, sample) for _, sample in samples]
        once = [one for key, one in zip(keys, samples) if key is None or best[key][1] == id(one[1])]
        kept.append((path, header, once))
    doubled = sum(len(samples) for *_, samples in logs) - sum(len(samples) for *_, samples in kept)
    return kept, doubled, sum(len(found) > 1 for found in verdicts.values())


def _answer_id(header: dict[str, Any], sample: dict[str, Any]) -> str | None:
    """What a log calls an answer: early versions name the task's run, which a retry keeps, and the sample."""
    task, number = filled(at(header, "eval", "task_id")), shown(at(sample, "id"))
    named = f"{task}:{number}:{at(sample, 'epoch')}" if task and number else None
    return filled(at(sample, "uuid")) or named


def _scored_at(header: dict[str, Any], sample: dict[str, Any]) -> float:
    """When a sample was scored last, in seconds, or the nearest time known."""
    places = (sample, "scored_at"), (sample, "completed_at"), (header, "stats", "completed_at")
    return next((time for place in places if (time := _seconds(at(*place)))), 0.0)


def _seconds(time: Any) -> float:
    """An ISO time in seconds, one without a zone as of UTC; 0 if it is none."""
    try:
        found = datetime.fromisoformat(time)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _log(path: Path) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """Header and samples with their places; texts that lie in attachments put back."""
    header: Any = None
    place = on_one_line(str(path), 300)
    samples: list[tuple[str, dict[str, Any]]] = []
    if path.suffix.lower() == ".eval":
        for name, value in members(path):
            if name.startswith("samples/"):
                samples += _read_sample(f"{place}, {name}", value)
            elif header is None or name == "header.json":  # an unfinished log has only the journal's start
                header = value
    else:
        header = read_json(path, hint=HINT)
        for i, sample in enumerate(items(at(header, "samples")), 1):
            samples += _read_sample(f"{place}, sample {i}", sample)
    if not isinstance(header, dict) or not isinstance(header.get("eval"), dict):
        raise InputError(f"{place}: no log of inspect_ai (`eval` is missing); {HINT}")
    return header, samples


def _read_sample(where: str, sample: Any) -> list[tuple[str, dict[str, Any]]]:
    """The fields of a sample that are used (events are most of it), attachments put back."""
    if not isinstance(sample, dict):
        return []
    attachments = at(sample, "attachments")

    def restored(value: Any, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            return None
        if isinstance(value, str) and value.startswith(_ATTACHMENT):
            return at(attachments, value.removeprefix(_ATTACHMENT)) or value
        if isinstance(value, list):
            return [restored(v, depth + 1) for v in value]
        return {k: restored(v, depth + 1) for k, v in value.items()} if isinstance(value, dict) else value

    scored = [
        at(e, "timestamp") for e in items(sample.get("events")) if at(e, "event") in ("score", "score_edit")
    ]
    kept = {key: restored(sample.get(key)) for key in _FIELDS}
    return [(where, kept | {"scored_at": max(scored, key=_seconds, default=None)})]


def _sent(header: dict[str, Any], samples: list[tuple[str, dict[str, Any]]]) -> list[_Sent]:
    """The samples that were answered, with one prompt where the plan has one template."""
    found = [_one_sent(where, s) for where, s in samples if not at(s, "error") or _answer(s) is not None]
    kept = [one for one in found if one is not None]
    system = "\n\n".join(_templates(header, ("system_message",)))
    around = "".join(_templates(header, _WRAPPERS)[-1:])
    if system and len({one.before for one in kept}) > 1 and all(_plain(one.sample) for one in kept):
        kept = [replace(one, before=system) for one in kept]
    if around and len({one.around for one in kept}) > 1:
        kept = [replace(one, around=around.replace("{prompt}", PLACE)) for one in kept]
    return kept


def _plain(sample: dict[str, Any]) -> bool:
    return isinstance(sample.get("input"), str)


def _templates(header: dict[str, Any], solvers: tuple[str, ...]) -> list[str]:
    """Templates that the plan's steps of these kinds hold."""
    steps = items(at(header, "plan", "steps"))
    found = [
        filled(at(step, "params", "template"))
        for step in steps
        if str(at(step, "solver")).rpartition("/")[2] in solvers
    ]
    return [template for template in found if template is not None]


def _one_sent(where: str, sample: dict[str, Any]) -> _Sent | None:
    """What was sent of a sample; None if its input has no question."""
    given = question_and_prompt(sample.get("input"))
    if given is None:
        return None
    question, before = given
    choices = [c for c in map(text, items(sample.get("choices"))) if c is not None]
    messages, own = items(sample.get("messages")), sample.get("input")
    users = [i for i, message in enumerate(messages) if at(message, "role") == "user"]
    first = sum(at(message, "role") == "user" for message in own) - 1 if isinstance(own, list) else 0
    for i in users[max(first, 0) :]:
        said = message_text(messages[i])
        if said is None or question.strip() not in said:
            continue
        shown = question if question in said else question.strip()  # templates may strip it
        start = said.index(shown)
        end = _end_of_choices(said, start + len(shown), choices)
        _, before = question_and_prompt(messages[: i + 1]) or given
        around = said[:start] + PLACE + said[end:]
        letters = ",".join(chr(ord("A") + k) for k in range(len(choices)))
        if len(choices) > 1:  # inspect's own templates name the letters that may be answered
            around = around.replace(f" {letters}.", " {letters}.")
        return _Sent(sample, said[start:end], before, None if around == PLACE else around, where)
    for i in users[max(first, 0) :][:1]:  # a solver wrote the message anew: what stood before it is known
        _, before = question_and_prompt(messages[: i + 1]) or given
    options = [f"{chr(ord('A') + k)}) {choice}" for k, choice in enumerate(choices)]
    return _Sent(sample, "\n\n".join([question, *["\n".join(options)] * bool(options)]), before, None, where)


def _end_of_choices(said: str, start: int, choices: list[str]) -> int:
    """Where the last choice ends that stands behind the question; they may have been shuffled."""
    places = [(said.find(f") {choice}", start), len(choice) + 2) for choice in choices]
    if any(place < 0 for place, _ in places):
        places = [(said.find(choice, start), len(choice)) for choice in choices]
    return max([place + length for place, length in places if place >= 0], default=start)


def _answer(sample: dict[str, Any]) -> str | None:
    said = content_text(at(sample, "output", "choices", 0, "message", "content"))
    if said is not None or (said := filled(at(sample, "output", "completion"))) is not None:
        return said
    return answer_in({"choices": items(at(sample, "output", "choices"))})  # "" where all went into reasoning


def _scores(sample: dict[str, Any]) -> dict[str, Any]:
    """Verdicts by name; a scorer with several values makes one each."""
    scores = at(sample, "scores")
    if scores is None and isinstance(at(sample, "score"), dict):  # logs of version 1
        scores = {"score": sample["score"]}
    found: dict[str, Any] = {}
    for name, score in scores.items() if isinstance(scores, dict) else ():
        value = at(score, "value")
        if isinstance(value, dict):
            found |= {f"{name}/{key}": part for key, part in value.items()}
        else:
            found[name] = value
    return found


def _row(header: dict[str, Any], sent: _Sent, name: str | None) -> ImportedRow:
    sample, llm = sent.sample, filled(at(header, "eval", "model"))
    # The usage of the model counts a scorer that asks it, too.
    usage = at(sample, "output", "usage") or at(sample, "model_usage", llm or "")
    value = None if name is None else _scores(sample).get(name)
    target = at(sample, "target")
    blocks = [block for block in (sent.before, sent.around) if block is not None]
    epoch = count(at(sample, "epoch"))
    data = filled(at(header, "eval", "dataset", "name")) or filled(at(header, "eval", "task")) or ""
    number = at(sample, "id")
    correct = None if name is None else as_correct(value, name, sent.where)
    return ImportedRow(
        question=sent.question,
        prompt="\n\n".join(blocks) if blocks else None,
        correct=correct,
        answer=_answer(sample),
        llm=llm,
        sample=epoch - 1 if epoch else None,
        group=f"{data}:{text(str(number))}" if isinstance(number, str | int) else None,
        cost=amount(at(usage, "total_cost")),
        tokens_in=count(at(usage, "input_tokens")),
        tokens_out=count(at(usage, "output_tokens")),
        gold=text(target[0] if isinstance(target, list) and len(target) == 1 else target),
        answer_id=_answer_id(header, sample),
        verdict=None if correct is None else name,
    )
