"""Is choosing a prompt per question worth it on this log? Facts first, then variance, gain, and a verdict in words.

`diagnose` puts it together; every part is a function of its own. All gains are in success rate (0.01 = one point) and over
the prompt that is best on the training folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from prompt_oirl.data.user_log import PromptLog
from prompt_oirl.reward_models.interaction import (
    LEAST_CLUSTERS,
    LEVEL,
    Interaction,
    WeighedInteraction,
    weigh_interaction,
)
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.selection.log_facts import DataFacts, data_facts
from prompt_oirl.selection.variance import VarianceSplit, oracle, variance_split
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.splits import HEADLINE_FOLDS, assign_folds

WORTH = 0.003  # a gain below that is not worth a reward model, however sure
MATTERS = 0.01  # a gain that the log must be able to rule out before "not shown" is said
SHOWN = 2.6  # standard errors at which the sign-flip test of the whole log mostly comes out
SMALL = 200  # groups below which no gain that was expected says little about what there is to gain
SURE = 1.96  # standard errors: 95 % intervals
CURVE = (0.25, 0.5, 1.0)
MOST_QUESTIONS = 1_000_000
# Four fifths of them are what a fold can learn from.
LEAST_GROUPS = LEAST_CLUSTERS * HEADLINE_FOLDS // (HEADLINE_FOLDS - 1)


@dataclass(frozen=True)
class Gain:
    """What choosing per question brings. `expected` (value, low, high) rests on the held-out weight of the predicted
    interaction (`support`: in standard errors), `measured` on held-out picks alone; intervals are 95 %."""

    expected: tuple[float, float, float]
    measured: tuple[float, float, float]
    support: float
    moved: float
    best_prompt: tuple[float, float, float]


@dataclass(frozen=True)
class Diagnosis:
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


def diagnose(log: PromptLog, train: TrainingSet, seed: int = 0, curve: bool = True) -> Diagnosis:
    """Diagnose a log; `train` holds its questions, prompts and features in the same order (`clusters` filled in)."""
    facts = data_facts(log)
    variance = variance_split(log.question, log.prompt, log.correct.astype(np.float64), train.labels.shape)
    raw, without_luck = oracle(log)
    known = train.labels[train.weights > 0]
    if len(log.prompts) < 2 or facts.groups < LEAST_GROUPS or known.min() == known.max():
        verdict, reason = "not enough data", _too_little(log, facts, known)
        return Diagnosis(facts, variance, raw, without_luck, None, verdict=verdict, reason=reason)
    gain = expected_gain(train, seed)
    whole = Interaction(seed)
    whole.fit(train)
    p_value = whole.settings["p_value"]
    verdict, reason, more = judge(gain, p_value, facts.groups)
    points = learning_curve(train, seed, gain) if curve else []
    return Diagnosis(facts, variance, raw, without_luck, gain, p_value, points, verdict, reason, more)


def _too_little(log: PromptLog, facts: DataFacts, known: np.ndarray) -> str:
    if len(log.prompts) < 2:
        return "The log has one prompt: log the same questions with another one."
    if known.min() == known.max():
        return f"Every answer has correct = {known.min():g}: there is nothing to choose by."
    return f"The log has {facts.groups} different questions; {LEAST_GROUPS} are the least, several hundred make sense."


def expected_gain(train: TrainingSet, seed: int = 0) -> Gain:
    """Cross-fitted gain of choosing by the interaction model: five folds over clusters, fitted inside each.

    The direct measure is the held-out success of the picks (doubly robust where cells are missing). The expectation uses
    all cells: held-out predictions m of the interaction are weighed against held-out answers,
    logit P = b_p + a d + s m, and the gain of the best policy under s, s - 1.96 and s + 1.96 standard errors is
    averaged over questions; s <= 0 means no gain. The value itself takes s less error^2 / s (what is weak is mostly
    chance: James and Stein's shrinkage).
    """
    assert train.clusters is not None
    _, dense = np.unique(train.clusters, return_inverse=True)
    folds = assign_folds(dense, HEADLINE_FOLDS, seed)[dense]
    n, k = train.labels.shape
    difficulty, interaction, scores = np.zeros(n), np.zeros((n, k)), np.zeros((n, k))
    best = np.zeros(n, dtype=int)
    for fold in range(int(folds.max()) + 1):
        held, kept = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        model = Interaction(seed)
        model.fit(train.rows(kept))
        difficulty[held], interaction[held] = model.effects(train.questions[held])
        scores[held] = model.predict(train.questions[held], train.prompts)
        best[held] = int(model.prompt_effects.argmax())
    weighed = weigh_interaction(train, difficulty, interaction)
    shrunken = weighed.share - weighed.error**2 / max(weighed.share, 1e-12)
    # A weight estimated below 0 is chance, and must not make the upper bound look sure.
    bounds = [weighed.share - SURE * weighed.error, max(weighed.share, 0.0) + SURE * weighed.error]
    expected = tuple(_policy_gain(weighed, share) for share in (shrunken, *bounds))
    picks = scores.argmax(1)
    answers = _doubly_robust(train, scores)
    rows = np.arange(n)
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


def _doubly_robust(train: TrainingSet, scores: np.ndarray) -> np.ndarray:
    """Success (n, K) of each cell: the label where all are logged, else corrected predictions."""
    asked = train.weights > 0
    share = np.maximum(asked.mean(0), 1e-9)
    return scores + np.where(asked, np.nan_to_num(train.labels) - scores, 0) / share


def learning_curve(train: TrainingSet, seed: int, full: Gain) -> list[dict[str, float]]:
    """Gain to expect from a quarter, a half and all of the logged questions, whole clusters drawn at random."""
    assert train.clusters is not None
    clusters = np.unique(train.clusters)
    order = np.random.default_rng([seed, 9]).permutation(clusters)
    points = []
    for share in CURVE:
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


def judge(gain: Gain, p_value: float, groups: int) -> tuple[str, str, int | None]:
    """Verdict, one sentence of reason, and how many more questions would settle it; `p_value` is the sign-flip test's."""
    value, low, high = gain.expected
    said = f"{100 * value:+.1f} points to expect [{100 * low:+.1f}, {100 * high:+.1f}], measured on held-out picks {100 * gain.measured[0]:+.1f} "
    said += f"[{100 * gain.measured[1]:+.1f}, {100 * gain.measured[2]:+.1f}]"
    if p_value <= LEVEL and value >= WORTH and gain.measured[2] > 0:
        return "worth it", f"Choosing per question beats the best single prompt: {said}.", 0
    if high < MATTERS:
        return (
            "not shown",
            f"A selector learned from this log is expected to gain less than {100 * MATTERS:.0f} point: {said}. Use the best single prompt."
            + " The log is small: with more questions a gain may yet show." * (groups < SMALL),
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
    """Questions until the interval shows the gain or rules it out: standard errors shrink with the root of their number."""
    value, _, high = gain.expected
    to_show = (SHOWN / gain.support) ** 2 if gain.support > 0.25 else np.inf
    to_rule_out = ((high - value) / max(MATTERS - value, 1e-9)) ** 2 if value < MATTERS else np.inf
    factor = min(to_show if value >= WORTH else np.inf, to_rule_out)
    factor = factor if np.isfinite(factor) else to_show
    if not np.isfinite(factor):
        return None
    step = 10 ** max(int(np.log10(max(groups, 10))) - 1, 1)
    return int(min(np.ceil(max(factor - 1, 0.1) * groups / step) * step, MOST_QUESTIONS))


def report_lines(d: Diagnosis) -> Sequence[str]:
    """The diagnosis as plain sentences, verdict first."""
    lines = [f"{d.verdict.upper()}: {d.reason}", *d.facts.lines()]
    if d.variance is not None:
        v, total = d.variance, max(d.variance.total, 1e-12)
        lines.append(f"Variance of correctness: prompt {v.prompt / total:.0%}, " + _rest(v, total))
    if not np.isnan(d.oracle):
        lines.append(
            f"Any prompt right: {d.oracle:.3f}, luck included"
            + ("" if np.isnan(d.oracle_without_luck) else f"; {d.oracle_without_luck:.3f} without luck")
            + "."
        )
    lines += [
        f"From {int(p['questions']):,} questions: {100 * p['gain']:+.1f} points to expect [{100 * p['low']:+.1f}, {100 * p['high']:+.1f}]."
        for p in d.curve
    ]
    return lines


def _rest(v: VarianceSplit, total: float) -> str:
    if v.repeated:
        return f"difficulty {v.difficulty[1] / total:.0%}, question x prompt {v.interaction[1] / total:.0%}, sampling noise {v.noise[1] / total:.0%}."
    return (
        f"difficulty {v.difficulty[0] / total:.0%} to {v.difficulty[2] / total:.0%}, question x prompt {v.interaction[0] / total:.0%} to "
        f"{v.interaction[2] / total:.0%}, the rest sampling noise: with one answer per cell they cannot be told apart; ask some questions twice."
    )
