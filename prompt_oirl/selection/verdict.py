"""The verdict on a log, in words that agree with its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prompt_oirl.reward_models.study import LEVEL, Gain, Study
from prompt_oirl.stats.metrics import format_interval

MIN_USEFUL_GAIN = 0.003  # in success, .3 points: a gain below that is not worth a reward model, however sure
GAIN_TO_RULE_OUT = (
    0.01  # in success, one point: a gain that the log must be able to rule out before "not shown" is said
)
SMALL_LOG_GROUPS = 200  # groups below which no gain that was measured says little about what there is to gain
MAX_MORE_QUESTIONS = 1_000_000


@dataclass(frozen=True)
class Verdict:
    """`word` (worth it, not shown or not enough data), `reason` in sentences, and how many more questions
    would settle it: 0 if nothing is open, None if it cannot be told."""

    word: str
    reason: str
    more_questions: int | None


def decide_verdict(found: Study, groups: int) -> Verdict:
    """What a log says about choosing per question.

    *worth it*: the test shows an interaction, the interval of the gain lies above zero, and it is not tiny.
    *not shown*: a gain of one point is ruled out. *not enough data*: neither.

    Parameters
    ----------
    found : of a log large enough for folds
    groups : how many different questions the log has, near-duplicates counted once
    """
    gain = found.gain
    assert gain is not None
    value, low, high = gain.estimate
    said = f"{format_interval(*gain.estimate, points=True, unit=' points')} over the best single prompt"
    test = f"the test for an interaction of question and prompt gives {_p(found.p_value)}"
    if gain.certain and found.p_value <= LEVEL and value >= MIN_USEFUL_GAIN:
        alone = ""
        if gain.measured[1] <= 0:
            held_out = format_interval(*gain.measured, points=True)
            alone = f" Held-out answers alone say {held_out}; the reward model, which agrees, makes it surer."
        return Verdict("worth it", f"Choosing per question gains {said}; {test}.{alone}", 0)
    shown = found.p_value <= LEVEL
    if found.supported:
        why = "since" if shown else "though"
        does = f"A selector chooses per question, {why} {test}; it brings {said}."
    else:
        why = "though" if shown else "since"
        does = f"A selector keeps to the best prompt, {why} {test}; choosing would bring {said}."
    if high < GAIN_TO_RULE_OUT:
        lost = "Choosing per question would lose: " * (high < 0)
        ruled_out = f"A gain of {100 * GAIN_TO_RULE_OUT:.0f} point is ruled out. Use the best single prompt."
        small = " The log is small: with more questions a gain may yet show." * (groups < SMALL_LOG_GROUPS)
        return Verdict("not shown", f"{lost}{does} {ruled_out}{small}", 0)
    more = _more_questions(gain, groups)
    needed = f"About {more:,} more" if more else "More"
    open_ = "Interval and test disagree" if low > 0 else "No gain is sure and none ruled out"
    return Verdict("not enough data", f"{open_}: {does} {needed} questions like these would settle it.", more)


def _p(value: float) -> str:
    return "p < .0001" if value < 1e-4 else "p = " + f"{value:.2g}".lstrip("0")


def _more_questions(gain: Gain, groups: int) -> int | None:
    """Questions that settle it: half an interval shrinks with the root of their number."""
    value, _, high = gain.estimate
    half = high - value
    to_show = (half / value) ** 2 if value >= MIN_USEFUL_GAIN else np.inf
    to_rule_out = (half / (GAIN_TO_RULE_OUT - value)) ** 2 if value < GAIN_TO_RULE_OUT else np.inf
    factor = min(to_show, to_rule_out)
    if not np.isfinite(factor):
        return None
    step = 10 ** max(int(np.log10(max(groups, 10))) - 1, 1)
    return int(min(np.ceil(max(factor - 1, 0.1) * groups / step) * step, MAX_MORE_QUESTIONS))
