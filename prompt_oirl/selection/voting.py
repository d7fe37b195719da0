"""Several answers and a vote on the user's own log: what it would have brought, told from stored answers.

Everything that is chosen (order of prompts, weights, when to stop) is chosen on the questions of other folds.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import clone

from prompt_oirl.data.user_log import PromptLog
from prompt_oirl.features.cache import shared_embedder
from prompt_oirl.grading import numbers
from prompt_oirl.io.files import InputError
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.stats.splits import HEADLINE_FOLDS, cluster_splits
from prompt_oirl.voting import votes
from prompt_oirl.voting.evaluate import curve_rows, evaluate_voting
from prompt_oirl.voting.votes import PARSERS, VoteTable

MAX_CALLS = 16
WAYS = {
    "random": "random prompts, majority",
    "best": "best prompts, majority",
    "predicted": "best for the question, weighted",
    "adaptive_predicted": "the same, stopping early",
    "any_right": "any of them right (bound)",
}


def guess_parser(log: PromptLog) -> str:
    """`strict` (the last number) if nearly every answer holds a number, else `text` (the whole answer)."""
    found = [PARSERS["strict"](a[-numbers.MAX_CHARACTERS :]) is not None for a in log.answer if a is not None]
    return "strict" if found and np.mean(found) > 0.8 else "text"


def vote_table(log: PromptLog, parser: str) -> VoteTable:
    """The first stored answer of each cell as a vote."""
    cells = zip(
        log.question.tolist(), log.prompt.tolist(), log.sample.tolist(), log.answer, log.correct.tolist()
    )
    return votes.vote_table(cells, (len(log.questions), len(log.prompts)), parser)


def most_logged(log: PromptLog, most: int) -> PromptLog:
    """The part of a log about the `most` prompts with the most answers, whatever their verdicts."""
    if len(log.prompts) <= most:
        return log
    return log.select(prompts=np.sort(np.argsort(-log.counts.sum(0), kind="stable")[:most]))


def voting_rows(
    selector: PromptSelector,
    log: PromptLog,
    parser: str = "auto",
    seed: int = 0,
    max_prompts: int = votes.MAX_PROMPTS,
) -> list[dict[str, Any]]:
    """Success and mean calls of each way of voting at budgets 1..16, and the gain over one answer of the best
    prompt.

    Only prompts whose answer to a question is logged can be asked; questions without any answer are left out.

    Parameters
    ----------
    selector : unfitted; its model predicts the rewards
    log : with the answers themselves
    parser : strict, original or text, see `vote_table`; auto guesses from the answers
    seed : of folds, random orders and the bootstrap
    max_prompts : at most 64; of more prompts, those with the most answers take part
    """
    log = most_logged(log, max_prompts)
    if not log.has_answers:
        raise InputError("voting needs the answers themselves: add a column answer to the log")
    if len(log.prompts) < 2:
        raise InputError("voting needs at least two prompts, the log has one")
    table = vote_table(log, guess_parser(log) if parser == "auto" else parser)
    asked = np.flatnonzero(table.logged.any(1))
    part, table = log.select(asked), table.rows(asked)
    n_groups = len(np.unique(part.groups))
    if n_groups < 2 * HEADLINE_FOLDS:
        raise InputError(
            f"voting is evaluated across folds: the log needs {2 * HEADLINE_FOLDS} different questions with "
            f"answers, it has {n_groups} ({part.counted_once})"
        )
    embedder = shared_embedder(selector.embedder, selector.seed)

    def predict(train: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # small folds fall back to prompt means, as they should
            fitted = clone(selector).set_params(embedder=embedder).fit(part.select(train))
        return fitted.predict_proba([part.questions[i] for i in wanted], part.arms).astype(np.float64)

    splits = cluster_splits(part.groups, HEADLINE_FOLDS, seed)
    curves = evaluate_voting(table, part.groups, splits, predict, seed)
    return [
        {
            "way": WAYS[row["policy"]],
            "budget": row["budget"],
            "calls": row["calls"],
            "success": row["success"],
            "success_low": row["low"],
            "success_high": row["high"],
            "gain": row["gain"],
            "gain_low": row["gain_low"],
            "gain_high": row["gain_high"],
            "n": len(asked),
            "groups": n_groups,
        }
        for row in curve_rows({name: curves[name] for name in WAYS}, part.groups, seed)
        if row["budget"] <= MAX_CALLS
    ]
