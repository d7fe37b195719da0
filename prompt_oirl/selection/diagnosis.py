"""Is choosing a prompt per question worth it on this log? Facts first, then variance, gain and a verdict."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import read_log
from prompt_oirl.features.cache import shared_embedder
from prompt_oirl.features.embedders import Embedder
from prompt_oirl.io.files import InputError
from prompt_oirl.reward_models.effects import MIN_CLUSTERS
from prompt_oirl.reward_models.study import Gain, Study, gain_from
from prompt_oirl.selection.log_facts import DataFacts, data_facts
from prompt_oirl.selection.notebook_cell import as_html
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.variance import VarianceSplit, oracle, variance_split
from prompt_oirl.selection.verdict import decide_verdict
from prompt_oirl.selection.vote_result import VoteResult
from prompt_oirl.selection.voting import evaluate_votes, learn_rewards
from prompt_oirl.stats.metrics import format_interval
from prompt_oirl.stats.splits import HEADLINE_FOLDS

FRAME_COLUMNS = ["measure", "value", "low", "high"]
CURVE_SHARES = (0.25, 0.5, 1.0)
# Four fifths of them are what a fold can learn from.
MIN_GROUPS = MIN_CLUSTERS * HEADLINE_FOLDS // (HEADLINE_FOLDS - 1)


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found on one log.

    Attributes
    ----------
    variance, gain : None where they cannot be told; for a gain the log must be large enough to cross-fit
    oracle, oracle_without_luck : success if any right prompt were always found, see `variance.oracle`
    p_value : of the sign-flip test on the whole log
    supported : whether a selector learned from the log chooses per question at all
    curve : gain from parts of the log, see `learning_curve`
    verdict : worth it, not shown or not enough data; `reason` in a sentence
    more_questions : how many would settle it; 0 if nothing is open, None if it cannot be told
    buy : what to ask, best prompt, choice and votes compared; empty where votes cannot be counted
    """

    facts: DataFacts
    variance: VarianceSplit | None
    oracle: float
    oracle_without_luck: float
    gain: Gain | None
    p_value: float = 1.0
    supported: bool = False
    curve: list[dict[str, float]] = field(default_factory=list)
    verdict: str = ""
    reason: str = ""
    more_questions: int | None = None
    buy: str = ""

    def to_frame(self) -> pd.DataFrame:
        """A row per number: measure, value, low and high; what cannot be told, or has no interval, is NaN."""
        facts, v = self.facts, self.variance
        rows: list[tuple] = [
            (name, getattr(facts, name)) for name in ("rows", "questions", "prompts", "groups", "coverage")
        ]
        if self.gain is not None:
            rows += [
                ("gain over the best prompt", *self.gain.estimate),
                ("gain, held-out answers alone", *self.gain.measured),
                ("p of the test for an interaction", self.p_value),
            ]
        rows += [
            (f"gain from {p['questions']:,} questions", p["gain"], p["low"], p["high"]) for p in self.curve
        ]
        if v is not None and v.total > 0:
            parts = (v.difficulty, v.interaction, v.noise)
            rows += [
                ("variance, share of prompt", v.prompt / v.total),
                *(
                    (f"variance, share of {name}", value / v.total, low / v.total, high / v.total)
                    for name, (low, value, high) in zip(("difficulty", "question x prompt", "noise"), parts)
                ),
            ]
        rows += [("success if any prompt is right", self.oracle)]
        rows += [("success if any prompt is right, luck taken out", self.oracle_without_luck)]
        rows += [(f"success of {name}", success) for name, success in facts.success.items()]
        return pd.DataFrame([(*row, np.nan, np.nan)[:4] for row in rows], columns=FRAME_COLUMNS)

    def __repr__(self) -> str:
        return "\n".join(report_lines(self)[: 2 if self.buy else 1])

    def _repr_html_(self) -> str:
        return as_html(report_lines(self)[: 2 if self.buy else 1], self.to_frame())


def diagnose(
    log: PromptLog | pd.DataFrame | str | Path, embedder: str | Embedder = "minilm", seed: int = 0
) -> Diagnosis:
    """Say whether choosing a prompt per question is worth it on a log, and what the log holds.

    Parameters
    ----------
    log : see `read_log`
    embedder : as of `PromptSelector`
    seed : of folds and tests

    Raises: InputError on a log that cannot be used.
    """
    log = read_log(log)
    selector = PromptSelector(shared_embedder(embedder, seed), seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a log too small to learn from, which is what is said here
        return diagnose_fitted(selector.fit(log), log)


def diagnose_fitted(selector: PromptSelector, log: PromptLog, voting: VoteResult | None = None) -> Diagnosis:
    """`diagnose` by the default selector after `fit` on all of `log`; what it held out is not learned again.

    Parameters
    ----------
    selector : fitted
    log : what it was fitted to
    voting : of `evaluate_votes`, if known
    """
    facts = data_facts(log)
    variance = variance_split(log.question, log.prompt, log.correct.astype(np.float64), log.labels.shape)
    raw, without_luck = oracle(log)
    found = selector.study_
    known = log.labels[log.counts > 0]
    if len(log.prompts) < 2 or facts.groups < MIN_GROUPS or known.min() == known.max() or found is None:
        too_little = _too_little(log, facts, known)
        return Diagnosis(
            facts, variance, raw, without_luck, None, verdict="not enough data", reason=too_little
        )
    assert found.gain is not None
    verdict = decide_verdict(found, facts.groups)
    if voting is None and log.has_answers:
        with suppress(InputError):  # that votes cannot be counted is for `vote` to explain
            voting = evaluate_votes(log, learn_rewards(selector, log, selector.seed), seed=selector.seed)
    return Diagnosis(
        facts,
        variance,
        raw,
        without_luck,
        found.gain,
        found.p_value,
        found.supported,
        learning_curve(found, selector.seed),
        verdict.word,
        verdict.reason,
        verdict.more_questions,
        voting.buy.sentence() if voting else "",
    )


def _too_little(log: PromptLog, facts: DataFacts, known: np.ndarray) -> str:
    if len(log.prompts) < 2:
        return "The log has one prompt: log the same questions with another one."
    if known.min() == known.max():
        return f"Every answer has correct = {known.min():g}: there is nothing to choose by."
    return (
        f"The log has {facts.groups} different questions ({facts.counted_once}); {MIN_GROUPS} are the least, "
        "several hundred make sense."
    )


def learning_curve(full: Study, seed: int) -> list[dict[str, float]]:
    """Gain from a quarter, a half and all of the questions, whole clusters drawn at random.

    Parameters
    ----------
    full : of all questions, with clusters
    seed : of the draw of clusters and of the folds

    Returns: a row per size, gains in success rate; a quarter or half of fewer than 50 clusters is left out.
    """
    train = full.train
    assert train.clusters is not None
    clusters = np.unique(train.clusters)
    order = np.random.default_rng([seed, 9]).permutation(clusters)
    points = []
    for share in CURVE_SHARES:
        kept = np.flatnonzero(np.isin(train.clusters, order[: int(share * len(order))]))
        if share < 1 and share * len(order) < 10 * HEADLINE_FOLDS:
            continue
        gain = full.gain
        if share < 1:
            gain = gain_from(full.phi[kept], train.rows(kept), seed, len(full.choices))
        if gain is None:
            continue
        value, low, high = gain.estimate
        points.append({"questions": len(kept), "gain": value, "low": low, "high": high})
    return points


def report_lines(d: Diagnosis) -> Sequence[str]:
    """The diagnosis as plain sentences, verdict first."""
    lines = [f"{d.verdict.upper()}: {d.reason}", *([d.buy] if d.buy else []), *d.facts.lines()]
    if d.variance is not None and d.variance.total > 0:
        v, total = d.variance, d.variance.total
        lines.append(f"Variance of correctness: prompt {v.prompt / total:z.0%}, " + _rest(v, total))
    if not np.isnan(d.oracle):
        lines.append(f"Any prompt right: {d.oracle:.3f}, luck included.")
    if not np.isnan(d.oracle_without_luck):
        lines.append(
            f"On the {d.facts.repeated_questions:,} questions that every prompt was asked twice: "
            f"{d.facts.oracle_where_repeated:.3f}, luck included; {d.oracle_without_luck:.3f} without luck."
        )
    lines += [
        f"From {int(p['questions']):,} questions: "
        + format_interval(p["gain"], p["low"], p["high"], points=True, unit=" points")
        + "."
        for p in d.curve
    ]
    return lines


def _rest(v: VarianceSplit, total: float) -> str:
    if v.repeated:
        return (
            f"difficulty {v.difficulty[1] / total:.0%}, question x prompt {v.interaction[1] / total:.0%}, "
            f"sampling noise {v.noise[1] / total:.0%}. {v.basis()}".rstrip()
        )
    if v.interaction[2] <= 1e-9 * total:  # all prompts always agree
        return f"difficulty {v.difficulty[0] / total:.0%}."
    return (
        f"difficulty {v.difficulty[0] / total:.0%} to {v.difficulty[2] / total:.0%}, question x prompt "
        f"{v.interaction[0] / total:.0%} to {v.interaction[2] / total:.0%}, the rest sampling noise: "
        f"{v.obstacle} they cannot be told apart; ask some questions twice."
    )
