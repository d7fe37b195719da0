"""Is choosing a prompt per question worth it on this log? Facts first, then variance, gain and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from prompt_oirl.data.user_log import PromptLog, read_log
from prompt_oirl.features.embedders import Embedder
from prompt_oirl.reward_models.interaction import (
    LEVEL,
    MIN_CLUSTERS,
    InteractionModel,
    WeighedInteraction,
    weigh_interaction,
)
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.selection.log_facts import DataFacts, data_facts
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.variance import VarianceSplit, oracle, variance_split
from prompt_oirl.stats.crossfit import crossfit
from prompt_oirl.stats.metrics import ClusterBootstrap, format_interval
from prompt_oirl.stats.off_policy import cell_values
from prompt_oirl.stats.splits import HEADLINE_FOLDS, Split, cluster_splits

MIN_USEFUL_GAIN = 0.003  # in success, .3 points: a gain below that is not worth a reward model, however sure
GAIN_TO_RULE_OUT = (
    0.01  # in success, one point: a gain that the log must be able to rule out before "not shown" is said
)
SUPPORT_THAT_SHOWS = 2.6  # standard errors at which the sign-flip test of the whole log mostly comes out
SMALL_LOG_GROUPS = 200  # groups below which no gain that was expected says little about what there is to gain
Z_95 = 1.96  # standard errors: 95 % intervals
CURVE_SHARES = (0.25, 0.5, 1.0)
MAX_MORE_QUESTIONS = 1_000_000
# Four fifths of them are what a fold can learn from.
MIN_GROUPS = MIN_CLUSTERS * HEADLINE_FOLDS // (HEADLINE_FOLDS - 1)


@dataclass(frozen=True)
class Gain:
    """What choosing per question brings over the prompt that is best on the training folds, in success rate
    (0.01 = one point). `expected` (value, low, high) rests on the held-out weight of the predicted
    interaction (`support`: in standard errors), `measured` on held-out picks alone; intervals are 95 %.
    """

    expected: tuple[float, float, float]
    measured: tuple[float, float, float]
    support: float
    moved: float
    best_prompt: tuple[float, float, float]


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found on one log.

    Attributes
    ----------
    variance, gain : None where they cannot be told; for a gain the log must be large enough to cross-fit
    oracle, oracle_without_luck : success if any right prompt were always found, see `variance.oracle`
    p_value : of the sign-flip test on the whole log
    curve : gain to expect from parts of the log, see `learning_curve`
    verdict : worth it, not shown or not enough data
    more_questions : how many would settle it; 0 if nothing is open, None if it cannot be told
    """

    facts: DataFacts
    variance: VarianceSplit | None
    oracle: float
    oracle_without_luck: float
    gain: Gain | None
    p_value: float = 1.0
    curve: list[dict[str, float]] = field(default_factory=list)
    verdict: str = ""
    reason: str = ""
    more_questions: int | None = None


def diagnose(
    log: PromptLog | pd.DataFrame | str | Path, embedder: str | Embedder = "minilm", seed: int = 0
) -> Diagnosis:
    """Say whether choosing a prompt per question is worth it on a log, and what the log holds.

    Parameters
    ----------
    log : see `read_log`
    embedder : as of `PromptSelector`
    seed : of folds, tests and intervals

    Raises: InputError on a log that cannot be used.
    """
    log = read_log(log)
    return diagnose_features(log, PromptSelector(embedder, seed=seed).training_set(log), seed)


def diagnose_features(log: PromptLog, train: TrainingSet, seed: int = 0, curve: bool = True) -> Diagnosis:
    """`diagnose` with features made elsewhere.

    Parameters
    ----------
    log : what was answered
    train : its questions, prompts and features in the same order, with clusters
    curve : also learn from parts of the log
    """
    facts = data_facts(log)
    variance = variance_split(log.question, log.prompt, log.correct.astype(np.float64), train.labels.shape)
    raw, without_luck = oracle(log)
    known = train.labels[train.weights > 0]
    if len(log.prompts) < 2 or facts.groups < MIN_GROUPS or known.min() == known.max():
        verdict, reason = "not enough data", _too_little(log, facts, known)
        return Diagnosis(facts, variance, raw, without_luck, None, verdict=verdict, reason=reason)
    gain = expected_gain(train, seed)
    whole = InteractionModel(seed)
    whole.fit(train)
    p_value = whole.settings["p_value"]
    verdict, reason, more = decide_verdict(gain, p_value, facts.groups)
    points = learning_curve(train, seed, gain) if curve else []
    return Diagnosis(facts, variance, raw, without_luck, gain, p_value, points, verdict, reason, more)


def _too_little(log: PromptLog, facts: DataFacts, known: np.ndarray) -> str:
    if len(log.prompts) < 2:
        return "The log has one prompt: log the same questions with another one."
    if known.min() == known.max():
        return f"Every answer has correct = {known.min():g}: there is nothing to choose by."
    return (
        f"The log has {facts.groups} different questions; {MIN_GROUPS} are the least, several hundred make "
        "sense."
    )


def expected_gain(train: TrainingSet, seed: int = 0) -> Gain:
    """Cross-fitted gain of choosing by the interaction model: five folds over clusters, fitted inside each.

    The direct measure is the held-out success of the picks (doubly robust where cells are missing). The
    expectation uses all cells: held-out interactions m are weighed against held-out answers, logit P = b_p +
    a d + s m, and the gain of the best policy under s and s -+ 1.96 standard errors is averaged over
    questions; s <= 0 gains 0. The value takes s - error^2 / s, for a weak s is mostly chance (James, Stein).
    """
    assert train.clusters is not None

    def fit(split: Split) -> dict[str, np.ndarray]:
        model = InteractionModel(seed)
        model.fit(train.rows(split.learned))
        questions = train.questions[split.test]
        difficulty, interaction = model.effects(questions)
        best = np.full(len(split.test), int(model.prompt_effects.argmax()))
        scores = model.predict(questions, train.prompts).astype(np.float64)
        return {"difficulty": difficulty, "interaction": interaction, "scores": scores, "best": best}

    held_out = crossfit(cluster_splits(train.clusters, HEADLINE_FOLDS, seed), fit)
    scores, best = held_out["scores"], held_out["best"]
    weighed = weigh_interaction(train, held_out["difficulty"], held_out["interaction"])
    shrunken = weighed.share - weighed.error**2 / max(weighed.share, 1e-12)
    # A weight estimated below 0 is chance, and must not make the upper bound look sure.
    bounds = [weighed.share - Z_95 * weighed.error, max(weighed.share, 0.0) + Z_95 * weighed.error]
    expected = tuple(_policy_gain(weighed, share) for share in (shrunken, *bounds))
    picks = scores.argmax(1)
    answers = cell_values(train.labels, train.weights, scores)
    rows = np.arange(len(picks))
    measured = ClusterBootstrap(train.clusters, seed).mean(
        np.column_stack(
            [np.where(picks == best, 0.0, answers[rows, picks] - answers[rows, best]), answers[rows, best]]
        )
    )
    return Gain(
        (expected[0], expected[1], expected[2]),
        tuple(measured[0]),  # type: ignore[arg-type]
        float(weighed.share / max(weighed.error, 1e-12)),
        float((picks != best).mean()),
        tuple(measured[1]),  # type: ignore[arg-type]
    )


def _policy_gain(w: WeighedInteraction, share: float) -> float:
    """Gain of the best policy if the predicted interaction counts `share`."""
    p = w.probabilities(max(share, 0.0))
    return float(p.max(1).mean() - p.mean(0).max())


def learning_curve(train: TrainingSet, seed: int, full: Gain) -> list[dict[str, float]]:
    """Gain to expect from a quarter, a half and all of the questions, whole clusters drawn at random.

    Parameters
    ----------
    train : all of the questions, with clusters
    seed : of the draw of clusters and of the folds
    full : `expected_gain` from all of `train`

    Returns: a row per size, gains in success rate; a quarter or half of fewer than 50 clusters is left out.
    """
    assert train.clusters is not None
    clusters = np.unique(train.clusters)
    order = np.random.default_rng([seed, 9]).permutation(clusters)
    points = []
    for share in CURVE_SHARES:
        kept = np.flatnonzero(np.isin(train.clusters, order[: int(share * len(order))]))
        if share < 1 and share * len(order) < 10 * HEADLINE_FOLDS:
            continue
        gain = full if share == 1 else expected_gain(train.rows(kept), seed)
        value, low, high = gain.expected
        points.append(
            {
                "questions": len(kept),
                "gain": value,
                "low": low,
                "high": high,
                "measured": gain.measured[0],
                "support": gain.support,
            }
        )
    return points


def decide_verdict(gain: Gain, p_value: float, groups: int) -> tuple[str, str, int | None]:
    """Verdict, its reason in a sentence, and how many more questions would settle it (None: cannot be told).

    Parameters
    ----------
    gain : of `expected_gain`
    p_value : of the sign-flip test on the whole log
    groups : how many different questions the log has, near-duplicates counted once
    """
    value, low, high = gain.expected
    said = (
        f"{format_interval(*gain.expected, points=True, unit=' points to expect')}, "
        f"measured on held-out picks {format_interval(*gain.measured, points=True)}"
    )
    if p_value <= LEVEL and value >= MIN_USEFUL_GAIN and gain.measured[2] > 0:
        return "worth it", f"Choosing per question beats the best single prompt: {said}.", 0
    if high < GAIN_TO_RULE_OUT:
        return (
            "not shown",
            f"A selector learned from this log is expected to gain less than {100 * GAIN_TO_RULE_OUT:.0f} "
            f"point: {said}. Use the best single prompt."
            + " The log is small: with more questions a gain may yet show."
            * (groups < SMALL_LOG_GROUPS),
            0,
        )
    more = _more_questions(gain, groups)
    needed = (
        f"About {more:,} more questions like these would settle it."
        if more
        else "More questions like these would settle it."
    )
    return "not enough data", f"No gain is shown and none ruled out: {said}. {needed}", more


def _more_questions(gain: Gain, groups: int) -> int | None:
    """Questions that settle it: standard errors shrink with the root of their number."""
    value, _, high = gain.expected
    to_show = (SUPPORT_THAT_SHOWS / gain.support) ** 2 if gain.support > 0.25 else np.inf
    to_rule_out = (
        ((high - value) / max(GAIN_TO_RULE_OUT - value, 1e-9)) ** 2 if value < GAIN_TO_RULE_OUT else np.inf
    )
    factor = min(to_show if value >= MIN_USEFUL_GAIN else np.inf, to_rule_out)
    factor = factor if np.isfinite(factor) else to_show
    if not np.isfinite(factor):
        return None
    step = 10 ** max(int(np.log10(max(groups, 10))) - 1, 1)
    return int(min(np.ceil(max(factor - 1, 0.1) * groups / step) * step, MAX_MORE_QUESTIONS))


def report_lines(d: Diagnosis) -> Sequence[str]:
    """The diagnosis as plain sentences, verdict first."""
    lines = [f"{d.verdict.upper()}: {d.reason}", *d.facts.lines()]
    if d.variance is not None:
        v, total = d.variance, max(d.variance.total, 1e-12)
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
        + format_interval(p["gain"], p["low"], p["high"], points=True, unit=" points to expect")
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
    return (
        f"difficulty {v.difficulty[0] / total:.0%} to {v.difficulty[2] / total:.0%}, question x prompt "
        f"{v.interaction[0] / total:.0%} to {v.interaction[2] / total:.0%}, the rest sampling noise: "
        f"{v.obstacle} they cannot be told apart; ask some questions twice."
    )
