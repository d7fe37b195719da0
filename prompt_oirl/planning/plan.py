"""A plan as a table that step 1 asks (`--plan`): one row per answer to get."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.io.files import InputError
from prompt_oirl.planning.known import Known
from prompt_oirl.planning.policies import Policy

COLUMNS = ("question", "prompt", "prompt_id", "position", "llm", "sample", "reason")


def make_plan(
    log: PromptLog, policy: Policy, budget: int, embedder: str = "minilm", seed: int = 0
) -> pd.DataFrame:
    """Which cells to ask next, most useful first; columns `COLUMNS`, without llm or position if unknown.

    Parameters
    ----------
    log : what is known and what could be asked, see `log_to_grow`
    policy : see `policies`
    budget : how many answers, at least 1
    embedder : as of `PromptSelector`; only policies that look at texts load it
    seed : of the draws

    Returns: fewer rows than `budget` where no more cells are left.
    Raises: InputError where the policy finds nothing to ask.
    """
    if budget < 1:
        raise InputError(f"--budget {budget}: give the number of answers to ask for, 1 or more")
    asking = policy(Known.of(log, embedder, seed), budget, np.random.default_rng([seed, len(log.correct)]))
    if not asking:
        raise InputError(
            "every cell is known: give new --questions or --prompts, or ask again with --policy repeats"
            if log.counts.any()
            else "nothing was asked yet, so nothing can be repeated: choose another --policy"
        )
    width = len(log.prompts)
    following = Counter[int]()  # number of the next sample of each cell
    for cell, sample in zip((log.question * width + log.prompt).tolist(), log.sample.tolist()):
        following[cell] = max(following[cell], sample + 1)
    rows = []
    for ask in asking:
        cell = ask.question * width + ask.prompt
        row = {
            "question": log.questions[ask.question],
            "prompt": log.prompts[ask.prompt],
            "prompt_id": log.names[ask.prompt].removesuffix(
                f" on {log.llms[ask.prompt]}" if log.llms else ""
            ),
            "position": log.positions[ask.prompt] if log.positions else None,
            "llm": log.llms[ask.prompt] if log.llms else log.llm,
            "sample": following[cell],
            "reason": ask.reason,
        }
        following[cell] += 1
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    unknown = [c for c in ("llm", "position") if table[c].isna().all()]
    return table.drop(columns=unknown)
