"""The user's own log: who asked what with which prompt, and was the answer right.

`read_log` takes a DataFrame or files (`io.tables.TABLES`) with one row per answer and the columns question,
prompt and correct (0 to 1), and optionally answer, cost, group, segment, llm, sample, split, prompt_id and
position, propensity; or the folder of a server's log (`data/served_log_rows.py`).
Other columns are left alone, so the logs of step 1 are read as well. What cannot be used is refused in one
sentence; what may mislead (`data/log_guards.py`) is noted. With `arms=("prompt", "llm")` each prompt on each
LLM is a prompt of its own, see `data/arms.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd

from prompt_oirl.data.arms import (
    PROMPT,
    PROMPT_AND_LLM,
    arms_of,
    choice_names,
    llm_column,
    llm_of,
    prompt_of,
    rows_of_one_llm,
)
from prompt_oirl.data.log_columns import (
    chances_of,
    groups_of,
    positions_of,
    samples_of,
    segments_of,
    unrated_of,
)
from prompt_oirl.data.log_guards import first_variants, objection, remarks, said_of_variants
from prompt_oirl.data.log_source import GRADE, HINT, Source, rows_of
from prompt_oirl.data.near_duplicates import (
    cluster_texts,
    in_order_of_appearance,
    joined_groups,
)
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.io.files import InputError
from prompt_oirl.io.tables import cell_text, is_empty, numbers, short, texts


def read_log(
    log: pd.DataFrame | str | Path | Sequence[str | Path] | PromptLog,
    llm: str | None = None,
    arms: Sequence[str] = PROMPT,
    *,
    columns: Mapping[str, str] | None = None,
    scale: float = 1.0,
    normalise: bool = False,
) -> PromptLog:
    """Read and check a log.

    Parameters
    ----------
    log : a table, the path of one or several paths, see the module; "-" reads CSV or JSON from stdin; a log
        that was read before stays as it is
    llm : keep one LLM's rows
    arms : ("prompt",), or ("prompt", "llm"): each prompt on each LLM that it was asked of counts as a prompt
    columns : the log's own names of columns, such as {"question": "input"}
    scale : the highest score in the column correct
    normalise : take texts that differ only in white space, line ends or Unicode form as the first of them

    Raises: InputError, one line that says which row is wrong and what to do.
    """
    if isinstance(log, PromptLog):
        if not len(log):
            raise InputError("the log has no question")
        return log
    if tuple(arms) not in (PROMPT, PROMPT_AND_LLM):
        raise InputError(f"--arms {','.join(arms)}: choose prompt or prompt,llm")
    by_llm = tuple(arms) == PROMPT_AND_LLM
    if by_llm and llm is not None:
        raise InputError(
            "--llm keeps one LLM, and --arms prompt,llm chooses among all of them: leave one out"
        )
    if not isinstance(scale, Real) or not 0 < scale < np.inf:
        raise InputError(f"--scale {short(scale)}: give the highest score, such as 100")
    checked = _checked(
        rows_of(log, columns, ("question", "prompt", "correct")), llm, by_llm, scale, normalise
    )
    misleads = objection(checked)
    return replace(
        checked, objection=misleads, notes=[*checked.notes, *([] if misleads else remarks(checked))]
    )


def _checked(rows: Source, llm: str | None, by_llm: bool, scale: float, normalise: bool) -> PromptLog:
    frame, where, source = rows.frame, rows.where, rows.name
    notes: list[str] = [*rows.notes]
    if not by_llm:
        whole = len(frame)
        frame, llm = rows_of_one_llm(frame, source, llm)
        if len(frame) < whole:
            notes.append(f"{whole - len(frame):,} rows of other LLMs, or of none, are left out.")
    correct = numbers(frame, "correct", where, low=0, high=scale) / scale
    unknown = np.isnan(correct)
    unrated = unrated_of(frame[unknown], by_llm, where, source)
    if unknown.any():
        notes.append(f"{int(unknown.sum()):,} rows without a verdict (correct is empty) are left out.")
        frame, correct = frame[~unknown], correct[~unknown]
    if not len(frame):
        raise InputError(f"{source}: no row with a verdict; {GRADE if 'answer' in rows.frame else HINT}")
    if scale > 1 and 0 < correct.max() * scale <= 1:
        raise InputError(f"{source}: no score is above 1; leave out --scale {scale:g}")
    questions, prompts = texts(frame, "question", where), texts(frame, "prompt", where)
    notes += said_of_variants(questions, prompts, normalise)
    if normalise:
        questions, prompts = first_variants(questions), first_variants(prompts)
    if not all(prompts):
        notes.append(
            f"{sum(not p for p in prompts):,} rows have an empty prompt: taken as asking without one."
        )
    choices = arms_of(prompts, llm_column(frame, where, source) if by_llm else None)
    question, prompt = in_order_of_appearance(questions), in_order_of_appearance(choices)
    distinct_questions, distinct = list(dict.fromkeys(questions)), list(dict.fromkeys(choices))
    distinct_prompts = [prompt_of(choice) for choice in distinct]
    llms = [str(llm_of(choice)) for choice in distinct] if by_llm else None
    if llms is not None:
        notes.append(
            f"{len(set(distinct_prompts))} prompts on {len(set(llms))} LLMs: the {len(llms)} pairs that were "
            "asked count as prompts."
        )
    cost = numbers(frame, "cost", where, low=0) if "cost" in frame else np.full(len(frame), np.nan)
    keep, sample = samples_of(frame, question, prompt, correct, where, notes)
    answers = frame.get("answer", [None] * len(frame))
    answer = [None if is_empty(cell) else cell_text(cell) for cell in answers]
    return PromptLog(
        questions=distinct_questions,
        prompts=distinct_prompts,
        names=choice_names(distinct, prompts, frame.get("prompt_id")),
        question=question[keep],
        prompt=prompt[keep],
        correct=correct[keep].astype(np.float32),
        cost=cost[keep],
        answer=[answer[i] for i in keep],
        sample=sample[keep],
        own_groups=groups_of(frame, question, len(distinct_questions)),
        segments=segments_of(frame, question, len(distinct_questions), where),
        positions=positions_of(frame, prompt, len(distinct), notes),
        split=frame["split"].astype(str).to_numpy()[keep] if "split" in frame else None,
        llm=llm,
        notes=notes,
        llms=llms,
        unrated=unrated,
        **chances_of(frame, where, keep),
    )


def join_groups(a: PromptLog, b: PromptLog) -> np.ndarray:
    """Groups of the questions of two logs together, int64 (len(a) + len(b),)."""
    own = np.r_[a.groups, b.groups + a.groups.max() + 1]
    return joined_groups(cluster_texts(a.questions + b.questions), own)
