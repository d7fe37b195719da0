"""What a plan chooses among: a log, or none yet, with questions and prompts that nobody asked so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prompt_oirl.data.arms import choice_names, on_llms, prompt_of
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.io.files import InputError

EMPTY = PromptLog(
    questions=[],
    prompts=[],
    names=[],
    question=np.zeros(0, np.int64),
    prompt=np.zeros(0, np.int64),
    correct=np.zeros(0, np.float32),
    cost=np.zeros(0),
    answer=[],
    sample=np.zeros(0, np.int64),
)


def log_to_grow(log: PromptLog | None, questions: Sequence[str], prompts: Sequence[Prompt]) -> PromptLog:
    """A log with further questions and prompts, which have no answers yet.

    Parameters
    ----------
    log : what is known; None: nothing
    questions : texts; those that the log has already are not added again
    prompts : likewise; where LLMs are chosen among, each is added on each LLM of the log

    Raises: InputError where there is no question or no prompt, and at two prompts of one text.
    """
    log = EMPTY if log is None else log
    by_text = {p.text: p for p in prompts}
    if len(by_text) < len(prompts):
        raise InputError("--prompts: two prompts have the same text; leave one out")
    known, had = set(log.questions), set(log.prompts)
    with_questions = _more_questions(log, [q for q in dict.fromkeys(questions) if q not in known])
    grown = _more_prompts(with_questions, [p for p in prompts if p.text not in had])
    if not grown.questions or not grown.prompts:
        missing = "questions" if not grown.questions else "prompts"
        raise InputError(f"there are no {missing} to ask: give a log, or --{missing}")
    return grown


def _more_questions(log: PromptLog, new: Sequence[str]) -> PromptLog:
    """New questions have no segment, and no group but that of near-duplicates."""
    known, n = log.own_groups, len(log.questions) + len(new)
    own = None if known is None else np.r_[known, known.max(initial=-1) + 1 + np.arange(len(new))]
    return replace(
        log,
        questions=[*log.questions, *new],
        own_groups=own,
        known_groups=log.known_groups if not new else None,
        segments=None if log.segments is None else [*log.segments, *[None] * (n - len(log.segments))],
    )


def _more_prompts(log: PromptLog, new: Sequence[Prompt]) -> PromptLog:
    choices = on_llms([p.text for p in new], log.arms if log.llms else [])
    by_text = {p.text: p for p in new}
    mine = [by_text[prompt_of(c)] for c in choices]
    positions = None
    if log.positions is not None or not log.prompts:
        positions = [*(log.positions or []), *[p.position for p in mine]]
    names = choice_names(choices, [p.text for p in mine], [p.id for p in mine]) if new else []
    return replace(
        log,
        prompts=[*log.prompts, *[p.text for p in mine]],
        names=[*log.names, *names],
        llms=None if log.llms is None else [*log.llms, *[c.llm for c in choices if not isinstance(c, str)]],
        positions=positions,
    )
