"""Gather everything known about the user's own log for the report page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.base import clone

from prompt_oirl.artifacts import InputError
from prompt_oirl.diagnosis import VarianceSplit, diagnose
from prompt_oirl.log_voting import voting_rows
from prompt_oirl.prompt_log import PromptLog
from prompt_oirl.prompt_selector import PromptSelector, shared_embedder
from prompt_oirl.reports.html import Report
from prompt_oirl.selector_evaluation import evaluate

TONES = {"worth it": "good", "not shown": "bad", "not enough data": "open"}
VARIANCE_NOTE = "Shares of the variance of one answer's correctness."
ONE_SAMPLE = "With one answer per cell, interaction and luck cannot be told apart: ask some questions twice."
WAYS_SHOWN = 4  # without the bound, which no one can reach


def make_report(
    selector: PromptSelector,
    log: PromptLog,
    title: str,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
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
    say("splitting variance, and learning from parts of the log")
    found = diagnose(log, selector.training_set(log), seed)
    return Report(
        title,
        found.verdict.capitalize(),
        TONES.get(found.verdict, "open"),
        [found.reason],
        evaluation,
        [*found.facts.lines()[2:], *warnings],  # before them: sizes, which the page shows in any case
        variance=None
        if found.variance is None
        else variance_shares(found.variance, float(log.correct.var())),
        variance_note=VARIANCE_NOTE
        if found.variance is None or found.variance.repeated
        else f"{VARIANCE_NOTE} {ONE_SAMPLE}",
        learning=found.curve,
        votes=votes,
        votes_note="Each point is a budget of calls per question; bands are 95 % intervals."
        + " Only answers that are in the log could be asked for." * bool((log.counts == 0).any()),
    )


def variance_shares(split: VarianceSplit, total: float) -> list[tuple[str, float]]:
    """Parts of the variance `total`; with one answer per cell, interaction and luck are one part, difficulty a lower bound."""
    difficulty = split.difficulty[1] if split.repeated else split.difficulty[0]
    parts = [("which prompt", split.prompt), ("how hard the question is", difficulty)]
    if split.repeated:
        return [
            *parts,
            ("question x prompt: what choosing can use", split.interaction[1]),
            ("luck of sampling", split.noise[1]),
        ]
    return [
        *parts,
        ("question x prompt, or luck of sampling", max(total - split.prompt - difficulty, 0)),
    ]


def _vote_lines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ways = list(dict.fromkeys(row["way"] for row in rows))[:WAYS_SHOWN]
    return [
        {
            "policy": r["way"],
            "calls": r["calls"],
            "success": r["success"],
            "low": r["success_low"],
            "high": r["success_high"],
        }
        for r in rows
        if r["way"] in ways
    ]
