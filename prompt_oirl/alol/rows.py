"""Training rows: a prompt, one response to it and its reward. JSONL under the published field names.

    {"id", "prompt_or_input_text", "references", "reward_components": {..., "final_reward"}, "meta_data",
     "task", "group", "segment", "chosen", "ended"}

The first five are the published schema. Ours: `task`, the task it was made for; `group`, rows of one
question, kept on one side of every split; `segment`, the part of a table it belongs to; `chosen`, false for
the rejected response of a pair; `ended`, false for a response that was cut off, so that no end of text is
learned from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prompt_oirl.alol.models.log_probabilities import Tokens
from prompt_oirl.data.questions import is_unicode
from prompt_oirl.io.files import InputError, sha256_texts, write_jsonl
from prompt_oirl.io.json_files import read_jsonl

PUBLISHED = ("id", "prompt_or_input_text", "references", "reward_components", "meta_data")
FINAL = "final_reward"
# Of a row's meta_data, where there are such:
LOGIT = "logit"  # the raw score whose sigmoid is the reward
LINE = "line"  # the line of a file of pairs that it comes from
EXPECTED = "expected_reward"  # of a training row: V(x) by the reward model of Prompt-OIRL
PREPARE = "run alol_step1_prepare_data.py again, or fix the row"


@dataclass(frozen=True)
class Row:
    """One (prompt, response). `prompt` is the very text the model reads; `components` holds
    `final_reward`."""

    id: str
    prompt: str
    response: str
    components: dict[str, float]
    group: str = ""
    segment: str = ""
    chosen: bool = True
    ended: bool = True
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def reward(self) -> float:
        """The final reward."""
        return self.components[FINAL]

    @property
    def cluster(self) -> str:
        """What rows that must not be split share."""
        return self.group or self.prompt


def write_rows(path: Path, rows: Iterable[Row], task: str) -> None:
    """Write rows of one task as JSONL.

    Parameters
    ----------
    path : the file, which is written whole or not at all
    rows : in the order of the lines
    task : its name, which every line holds
    """
    write_jsonl(path, (_as_record(row, task) for row in rows))


def _as_record(row: Row, task: str) -> dict[str, Any]:
    published = zip(PUBLISHED, (row.id, row.prompt, row.response, row.components, row.meta))
    ours = {name: getattr(row, name) for name in ("group", "segment", "chosen", "ended")}
    return dict(published) | {"task": task} | ours


def read_rows(path: Path, task: str, max_reward: float, needs: Sequence[str] = ()) -> list[Row]:
    """Read and check rows of one task. Every complaint names file:line and what to do.

    Parameters
    ----------
    path : JSONL, see the module
    task : its name; a row of another task is refused
    max_reward : largest `final_reward` there may be; the smallest is 0
    needs : fields that every row's meta_data must have; default: none

    Raises: InputError if the file is missing or empty, a row is not as it should be, or an id stands twice.
    """
    rows, seen = [], set()
    for number, record in enumerate(read_jsonl(path, hint="run alol_step1_prepare_data.py first"), 1):
        where = f"{path}:{number}"
        row = _checked(record, where, task, max_reward)
        lacking = [name for name in needs if name not in row.meta]
        if lacking:
            raise InputError(f"{where}: meta_data without {', '.join(lacking)}; {PREPARE}")
        if row.id in seen:
            raise InputError(f"{where}: id {row.id} stands twice; make ids unique")
        seen.add(row.id)
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: no rows; {PREPARE}")
    return rows


def _checked(record: dict[str, Any], where: str, task: str, max_reward: float) -> Row:
    made_for = record.get("task", task)
    if made_for != task:
        raise InputError(f"{where}: a row of task {made_for!r} among rows of {task!r}; {PREPARE}")
    texts = [record.get(name) for name in ("prompt_or_input_text", "references")]
    if not all(isinstance(text, str) for text in texts) or record.get("id") in (None, ""):
        raise InputError(f"{where}: id, prompt_or_input_text or references is missing; {PREPARE}")
    prompt, response = str(texts[0]), str(texts[1])
    if not (is_unicode(prompt) and is_unicode(response)):
        raise InputError(
            f"{where}: prompt or response is no valid text (half of a surrogate pair); fix the row"
        )
    if not (str(record["id"]).isprintable() and str(record.get("segment")).isprintable()):
        raise InputError(f"{where}: id or segment holds a control character; fix the row")
    if record.get("segment") == "all" or not isinstance(record.get("meta_data") or {}, dict):
        raise InputError(f"{where}: meta_data must be an object, and segment not 'all'; {PREPARE}")
    # A response that ended may be the end of text alone, as in eight of the published hh pairs.
    if not prompt.strip() or not (response.strip() or record.get("ended")):
        raise InputError(
            f"{where}: the {'response' if prompt.strip() else 'prompt'} is empty; drop or fix the row"
        )
    components = record.get("reward_components")
    if not isinstance(components, dict) or FINAL not in components:
        raise InputError(f"{where}: no reward_components with a {FINAL}; {PREPARE}")
    for name, value in components.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{where}: reward component {name} is {value!r}, expected a number; {PREPARE}")
    if not 0 <= components[FINAL] <= max_reward:
        raise InputError(
            f"{where}: {FINAL} {components[FINAL]} is outside 0..{max_reward:g}, the range of {task}; "
            f"{PREPARE}"
        )
    flags = {name: record.get(name, True) for name in ("chosen", "ended")}
    if not all(isinstance(value, bool) for value in flags.values()):
        raise InputError(f"{where}: chosen and ended must be true or false; {PREPARE}")
    return Row(
        str(record["id"]),
        prompt,
        response,
        {name: float(value) for name, value in components.items()},
        str(record.get("group") or ""),
        str(record.get("segment") or ""),
        meta=record.get("meta_data") or {},
        **flags,
    )


def check_at_least(low: float, **flags: float | None) -> None:
    """Refuse the value of a flag that is less than `low` or no number; None is a flag left out."""
    for flag, value in flags.items():
        if value is not None and not low <= value < math.inf:
            raise InputError(f"--{flag} {value}: give {low} or more")


@dataclass(frozen=True)
class Limits:
    """How rows become token ids.

    max_prompt_length : tokens; of a longer prompt the beginning is cut off.
    max_response_length : tokens with the end of text.
    long_responses : refuse responses beyond that, or cut them, which then have no end of text.
    special_tokens : begin a prompt as the tokenizer begins any text, with BOS for LLaMA's; it counts as a
        token and stays where the prompt is cut.
    """

    max_prompt_length: int
    max_response_length: int
    long_responses: Literal["refuse", "cut"] = "refuse"
    special_tokens: bool = False

    def __post_init__(self) -> None:
        check_at_least(
            1, max_prompt_length=self.max_prompt_length, max_response_length=self.max_response_length
        )


def encode_rows(rows: Sequence[Row], tokenizer: Any, limits: Limits) -> list[Tokens]:
    """Token ids of every row. The end of text is added to responses that lack it and were not cut off.

    Parameters
    ----------
    rows : n rows
    tokenizer : of the model; its side of truncation becomes the left
    limits : see there

    Raises: InputError if a response is refused, or a prompt or response has no token.
    """
    found = []
    tokenizer.truncation_side = "left"
    cut = {"truncation": True, "max_length": limits.max_prompt_length}
    texts = [row.prompt for row in rows]
    prompts = tokenizer(texts, add_special_tokens=limits.special_tokens, **cut)["input_ids"]
    for row, prompt in zip(rows, prompts):
        response = tokenizer(row.response, add_special_tokens=False)["input_ids"]
        if row.ended and response[-1:] != [tokenizer.eos_token_id]:
            response = [*response, tokenizer.eos_token_id]
        if len(response) > limits.max_response_length and limits.long_responses == "refuse":
            raise InputError(
                f"row {row.id}: a response of {len(response)} tokens, the limit is "
                f"{limits.max_response_length}: pass --max_response_length {len(response)} or "
                "--long_responses cut"
            )
        if not prompt or not response:
            raise InputError(f"row {row.id}: prompt or response has no token; drop the row")
        found.append(Tokens(prompt, response[: limits.max_response_length]))
    return found


def rows_hash(rows: Sequence[Row]) -> str:
    """Hash of all that training reads of the rows."""
    return sha256_texts(
        text
        for row in rows
        for text in (row.id, row.prompt, row.response, repr(row.reward), repr((row.chosen, row.ended)))
    )
