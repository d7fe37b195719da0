"""Gather everything known about the user's own log for the report page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.features.cache import shared_embedder
from prompt_oirl.io.files import InputError
from prompt_oirl.reports.html import Report
from prompt_oirl.selection.diagnosis import diagnose_fitted
from prompt_oirl.selection.evaluate import evaluate, evaluate_fitted
from prompt_oirl.selection.evaluation_tables import Evaluation
from prompt_oirl.selection.selector import DEFAULT_MODEL, PromptSelector
from prompt_oirl.selection.variance import VarianceSplit
from prompt_oirl.selection.vote_result import VoteResult
from prompt_oirl.selection.voting import evaluate_votes, learn_rewards

TONES = {"worth it": "good", "not shown": "bad", "not enough data": "open"}
VARIANCE_NOTE = "Shares of the variance of one answer's correctness."


def make_report(
    selector: PromptSelector,
    log: PromptLog,
    title: str,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Evaluate, diagnose and, where answers are stored, vote.

    Parameters
    ----------
    selector : unfitted; its settings are used, it is not changed
    log : what was answered
    title : of the page
    seed : of folds, tests and intervals
    say : is called with a few words on what is being done; default: nothing is said

    Raises: InputError on a log that cannot be evaluated; if only a vote is impossible, the page says so.
    """
    selector = selector.unfitted(embedder=shared_embedder(selector.embedder, selector.seed))
    say("learning from the log, and evaluating on questions not learned from")
    default = selector.unfitted(model=DEFAULT_MODEL).fit(log)
    shared = selector.model == DEFAULT_MODEL and default.study_ is not None
    evaluation = evaluate_fitted(default, log, seed) if shared else evaluate(selector, log, seed=seed)
    warnings = list(log.notes)
    votes: VoteResult | None = None
    if log.has_answers:
        say("counting votes over the stored answers")
        try:
            votes = evaluate_votes(log, learn_rewards(default if shared else selector, log, seed), seed=seed)
        except InputError as error:
            warnings.append(f"No vote: {error}.")
    say("splitting variance, and learning from parts of the log")
    found = diagnose_fitted(default, log, votes)
    split = found.variance if found.variance and found.variance.total > 0 else None  # all right or all wrong
    return Report(
        title,
        found.verdict.capitalize(),
        TONES.get(found.verdict, "open"),
        [found.reason, _advice(found.verdict, evaluation), *([votes.buy.sentence()] if votes else [])],
        evaluation,
        [*found.facts.lines()[2:], *warnings],  # before them: sizes, which the page shows in any case
        variance=variance_shares(split) if split else None,
        variance_note=variance_note(split) if split else "",
        learning=found.curve,
        votes=_vote_lines(votes.rows) if votes else None,
        votes_note="Each point is a budget of calls per question; bands are 95 % intervals."
        + (f" {votes.blank:,} answers are blank: paid for, without a vote." if votes and votes.blank else "")
        + " Only answers that are in the log could be asked for." * bool((log.counts == 0).any()),
    )


def _advice(verdict: str, evaluation: Evaluation) -> str:
    """What to do now, naming the best single prompt."""
    log = evaluation.log
    best = int(np.bincount(evaluation.best.ravel()).argmax())
    name = log.names[best]
    text = " ".join(log.prompts[best].split()) or "no prompt"
    shown = text if len(text) <= 80 else f"{text[:80]}…"
    success = {row["policy"]: f"{100 * row['success']:.1f} %" for row in evaluation.policies}
    own, held_out = success[f"always {log.names[best]}"], success["best prompt"]
    known = f"{name} ({shown}), right {own} of the time"
    if own != held_out:  # among equal prompts the one chosen on other questions is often another
        known += f" (chosen without the questions that it is measured on: {held_out})"
    advice = {
        "worth it": f"Learn a selector with prompt-oirl fit. The best single prompt is {known}.",
        "not enough data": f"Meanwhile use the best single prompt: {known}.",
    }
    return advice.get(verdict, f"The best single prompt is {known}.")


def variance_shares(split: VarianceSplit) -> list[tuple[str, float]]:
    """Parts of the variance; with one answer per cell, what cannot be told apart is one part."""
    if split.repeated:
        rest = [
            ("how hard the question is", split.difficulty[1]),
            ("question x prompt: what choosing can use", split.interaction[1]),
            ("luck of sampling", split.noise[1]),
        ]
    else:
        rest = [
            ("how hard the question is, at least", split.difficulty[0]),
            ("question x prompt, or luck of sampling", split.interaction[0] + split.noise[2]),
        ]
    return [("which prompt", split.prompt), *rest]


def variance_note(split: VarianceSplit) -> str:
    """What a reader of the shares should know."""
    if split.repeated:
        return f"{VARIANCE_NOTE} {split.basis()}".rstrip()
    low, high = split.interaction[0] / split.total, split.interaction[2] / split.total
    usable = f"Question x prompt, which choosing can use, is {low:.0%} to {high:.0%} of it."
    obstacle = split.obstacle[0].upper() + split.obstacle[1:]
    return f"{VARIANCE_NOTE} {usable} {obstacle} it cannot be told from luck: ask some questions twice."


def _vote_lines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ways = list(dict.fromkeys(row["way"] for row in rows))[:-1]  # without the bound, which no one can reach
    names = {
        "way": "policy",
        "calls": "calls",
        "success": "success",
        "success_low": "low",
        "success_high": "high",
    }
    return [{name: row[key] for key, name in names.items()} for row in rows if row["way"] in ways]
