"""What a selector is worth on questions it has not seen: cross-fitted on one log, or from one log to another.

Groups of near-duplicate questions are dealt into five folds; each question is evaluated by a selector that
saw nothing of its group. Where the log lacks the picked answer, the doubly robust estimate stands in for it:
the model's prediction, corrected by the logged answers in inverse proportion to how often that prompt was
logged. On a complete log this is the logged answer itself. Intervals are 95 %, by bootstrap over groups.

The default selector decides once, on the whole log, whether it chooses per question at all
(reward_models/study.py). Its picks are then evaluated over several fold assignments, those of `diagnose`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from prompt_oirl.data.arms import Choices
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import join_groups, read_log
from prompt_oirl.features.cache import shared_embedder
from prompt_oirl.io.files import InputError
from prompt_oirl.reward_models.study import widened
from prompt_oirl.selection.evaluation_tables import Evaluation, evaluation_of
from prompt_oirl.selection.selector import DEFAULT_MODEL, PromptSelector
from prompt_oirl.stats.crossfit import crossfit
from prompt_oirl.stats.splits import HEADLINE_FOLDS, Split, assign_folds, crossfit_splits


def _fit(selector: PromptSelector, log: PromptLog) -> PromptSelector:
    return selector.fit(log)


def evaluate(
    selector: PromptSelector,
    log: PromptLog | pd.DataFrame | str | Path,
    train: PromptLog | pd.DataFrame | str | Path | None = None,
    seed: int = 0,
    groups: np.ndarray | None = None,
    learn: Callable[[PromptSelector, PromptLog], PromptSelector] = _fit,
) -> Evaluation:
    """Cross-fit `selector` on `log`, or with `train` learn from that log and evaluate on `log`.

    Groups of near-duplicates are dealt into five folds, and each question is evaluated by a selector that
    learned from the other four: one set of questions asked of two LLMs can be used as it is.

    Parameters
    ----------
    selector : unfitted; its settings are used, it is not changed
    log, train : see `read_log`
    seed : of the folds and the bootstrap
    groups : int (questions of `train`, then of `log`), near-duplicates known beforehand; default: found in
    the texts
    learn : fits the selector to a part of a log: `PromptSelector.fit`, or `equal_cost.fit_at_equal_cost`

    Raises: InputError on a log that cannot be used.
    """
    log = read_log(log)
    source = log if train is None else read_log(train)
    log.refuse_large_tables()
    source_groups, log_groups = _groups(log, source, groups)
    folds = assign_folds(np.r_[source_groups, log_groups], HEADLINE_FOLDS, seed)
    if folds.max() < 1:
        raise InputError(
            f"the log has one different question only ({log.counted_once}): log more different questions"
        )
    embedder = shared_embedder(selector.embedder, selector.seed)
    if source is log and learn is _fit and selector.model == DEFAULT_MODEL:
        fitted = selector.unfitted(embedder=embedder).fit(replace(log, known_groups=log_groups))
        if fitted.study_ is not None:
            return evaluate_fitted(fitted, log, seed)
    splits = crossfit_splits(source_groups, log_groups, folds, "crossfit", seed)
    said: dict[str, None] = {}

    def fit(split: Split) -> dict[str, np.ndarray]:
        fresh = selector.unfitted(embedder=embedder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # Inner folds keep the same near-duplicates together.
            fitted = learn(fresh, replace(source, known_groups=source_groups).select(split.learned))
        said.update(dict.fromkeys(str(warning.message) for warning in caught))
        test = log.select(split.test)
        order, scores = fitted.rank(test.questions, log.arms, test.segments)
        best = np.full(len(split.test), _best_of(fitted, log.arms))
        return {"scores": scores, "pick": order[:, 0], "best": best}

    held_out = crossfit(splits, fit)
    for message in said:
        warnings.warn(message, stacklevel=2)
    scores, picks, best = (held_out[name][None] for name in ("scores", "pick", "best"))
    return evaluation_of(log, log_groups, scores, picks, best, seed)


def evaluate_fitted(selector: PromptSelector, log: PromptLog, seed: int = 0) -> Evaluation:
    """`evaluate`, of the default selector after `fit` on all of `log`: what it held out is not learned again.

    Parameters
    ----------
    selector : fitted; its `study_` is not None
    log : what it was fitted to
    seed : of the bootstrap
    """
    study = selector.study_
    assert study is not None and study.gain is not None
    choices = study.choices
    probabilities = np.stack([choice.probabilities for choice in choices])
    best = np.stack([choice.best for choice in choices])
    picks = np.stack([choice.picks for choice in choices])
    if selector.cost_weight:
        picks = np.stack([selector.order(p, log.arms)[:, 0] for p in probabilities])
    found = evaluation_of(log, log.groups, probabilities, picks, best, seed)
    row = next(r for r in found.policies if r["policy"] == "selector")
    if selector.cost_weight:
        row["gain"], row["gain_low"], row["gain_high"] = widened(*found.gain)
    elif study.supported:
        row["gain"], row["gain_low"], row["gain_high"] = study.gain.measured
    return found


def _groups(log: PromptLog, source: PromptLog, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Groups of the questions of the log that is learned from and of the one that is evaluated on."""
    if known is None:
        known = np.r_[log.groups, log.groups] if source is log else join_groups(source, log)
    known = np.unique(known, return_inverse=True)[1]
    return known[: len(source.questions)], known[len(source.questions) :]


def _best_of(selector: PromptSelector, prompts: Choices) -> int:
    """The train-best prompt, or if the evaluated log lacks it the one of highest standing that it has."""
    known = dict(zip(selector.arms_, selector.standing_)) | {selector.arms_[selector.best_]: 1.0}
    return int(np.argmax([known.get(choice, -1.0) for choice in prompts]))
