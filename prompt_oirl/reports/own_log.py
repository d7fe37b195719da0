"""Gather everything known about the user's own log for the report page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.base import clone

from prompt_oirl.artifacts import InputError
from prompt_oirl.log_voting import voting_rows
from prompt_oirl.prompt_log import PromptLog
from prompt_oirl.prompt_selector import PromptSelector, shared_embedder
from prompt_oirl.reports.html import Report
from prompt_oirl.selector_evaluation import evaluate

WAYS_SHOWN = 4  # without the bound, which no one can reach


def make_report(
    selector: PromptSelector, log: PromptLog, title: str, seed: int = 0, say: Callable[[str], None] = lambda text: None
) -> Report:
    """Evaluate, diagnose and, where answers are stored, vote; `say` is told what is being done."""
    selector = clone(selector).set_params(embedder=shared_embedder(selector))
    say("judging the selector on questions it has not seen")
    evaluation = evaluate(selector, log, seed=seed)
    warnings = list(log.notes)
    votes: list[dict[str, Any]] | None = None
    if log.has_answers:
        say("counting votes over the stored answers")
        try:
            votes = _vote_lines(voting_rows(selector, log, seed=seed))
        except InputError as error:
            warnings.append(f"No vote: {error}.")
    gain, low, high = (100 * value for value in evaluation.gain)
    verdict, tone = ("Worth it", "good") if low > 0 else ("Not shown", "open")
    sentence = f"Choosing a prompt per question gains {gain:+.1f} points [{low:+.1f}, {high:+.1f}] over the best single prompt on questions like these."
    return Report(
        title,
        verdict,
        tone,
        [sentence],
        evaluation,
        warnings,
        votes=votes,
        votes_note="Each point is a budget of calls per question; bands are 95 % intervals. "
        + ("Only answers that are in the log could be asked for." if (log.counts == 0).any() else ""),
    )


def _vote_lines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ways = list(dict.fromkeys(row["way"] for row in rows))[:WAYS_SHOWN]
    return [
        {"policy": r["way"], "calls": r["calls"], "success": r["success"], "low": r["success_low"], "high": r["success_high"]}
        for r in rows
        if r["way"] in ways
    ]
