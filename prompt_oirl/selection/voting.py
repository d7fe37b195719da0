"""Several answers and a vote on the user's own log: what it would have brought, told from stored answers.

Everything that is chosen (order of prompts, weights, when to stop) is chosen on the questions of other folds.
One call of the best prompt is the same figure as in the table of `evaluate`: a blank answer is a call too.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import read_log
from prompt_oirl.features.cache import shared_embedder
from prompt_oirl.grading.readers import guess_kind
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.reward_models.study import Interval, Study, widened
from prompt_oirl.selection.selector import DEFAULT_MODEL, PromptSelector
from prompt_oirl.selection.vote_result import BestBuy, VoteResult
from prompt_oirl.stats.cells import PromptSuccess, independent_answers
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.off_policy import cell_values
from prompt_oirl.stats.splits import HEADLINE_FOLDS, Split, cluster_splits
from prompt_oirl.voting import votes
from prompt_oirl.voting.evaluate import (
    Curve,
    Learned,
    check_logged,
    curve_rows,
    evaluate_voting,
    learn,
)

MAX_CALLS = 16
Rewards: TypeAlias = tuple[Sequence[Split], Sequence[Learned]]  # folds, and what each of them knows
WAYS = {
    "random": "random prompts, majority",
    "best": "best prompts, majority",
    "decided": "best prompts, until decided",
    "predicted": "best for the question, weighted",
    "adaptive_predicted": "best for the question, stopping early",
    "any_right": "any of them right (bound)",
}
LEARNED = ("predicted", "adaptive_predicted")  # ways that need a reward model
# What can be bought, simplest first. "decided" is right as often as "best" and never dearer.
BUYABLE = ("decided", *LEARNED)
GAIN = ("gain", "gain_low", "gain_high")
CALL_PRICE = 0.01  # in success, one point: what one more call per question must bring
MODEL_PRICE = 0.003  # in success, .3 points: what a reward model must bring


def vote(
    selector: PromptSelector,
    log: PromptLog | pd.DataFrame | str | Path,
    parser: str = "auto",
    seed: int = 0,
) -> VoteResult:
    """What asking several prompts and voting brings on a log, told from the stored answers.

    Parameters
    ----------
    selector : says which prompts are best for a question; its settings are used, it is not changed
    log : see `read_log`; with the column answer
    parser : what counts as the same answer, see `evaluate_votes`
    seed : of folds, random orders and the bootstrap

    Raises: InputError on a log that votes cannot be counted on, or on an unknown parser.
    """
    log = read_log(log)
    return evaluate_votes(log, learn_rewards(selector.unfitted(), log, seed), parser, seed)


def vote_splits(log: PromptLog, seed: int = 0) -> list[Split]:
    """The folds that votes are evaluated on: those of `evaluate`.

    Raises: InputError on a log without answers, with one prompt, with one prompt per question, or with too
    few questions.
    """
    if not log.has_answers:
        raise InputError("voting needs the answers themselves: fill in the column answer of the log")
    if len(log.prompts) < 2:
        raise InputError("voting needs at least two prompts, the log has one")
    check_logged(log.counts > 0)
    n_groups = len(np.unique(log.groups))
    if n_groups < 2 * HEADLINE_FOLDS:
        raise InputError(
            f"voting is evaluated across folds: the log needs {2 * HEADLINE_FOLDS} different questions, "
            f"it has {n_groups} ({log.counted_once})"
        )
    return cluster_splits(log.groups, HEADLINE_FOLDS, seed)


def learn_rewards(selector: PromptSelector, log: PromptLog, seed: int = 0) -> Rewards:
    """What each fold knows of prompts and questions by the model of `selector`.

    Parameters
    ----------
    selector : the default one is fitted to `log` unless it was before, and what it held out is used; of
    another model only the settings are used, and it is fitted anew for every fold
    log : what was answered
    seed : of the folds of another model

    Raises: InputError as `vote_splits`.
    """
    splits = vote_splits(log, seed)
    embedder = shared_embedder(selector.embedder, selector.seed)
    if selector.model == DEFAULT_MODEL:
        if not hasattr(selector, "model_"):
            selector = selector.unfitted(embedder=embedder).fit(log)
        if selector.study_ is not None:
            return _held_out_rewards(selector.study_, log)

    def predict(train: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # small folds fall back to prompt means, as they should
            fitted = selector.unfitted(embedder=embedder).fit(log.select(train))
        asked = log.select(wanted)
        return fitted.predict_proba(asked.questions, log.arms, asked.segments).astype(np.float64)

    success = [_success(log.select(split.learned)) for split in splits]
    return splits, learn(predict, splits, log.groups, success)


def _held_out_rewards(study: Study, log: PromptLog) -> Rewards:
    """The folds of the default selector's study, and what it predicted in them."""
    splits, learned = [], []
    for assignment, choice in enumerate(study.choices):
        for fold, inner in enumerate(choice.inner):
            train, test = np.flatnonzero(choice.folds != fold), np.flatnonzero(choice.folds == fold)
            splits.append(Split(f"fold{fold}", train, train[:0], test, assignment, fold))
            learned.append(Learned(_success(log, train), inner[train], choice.probabilities[test]))
    return splits, learned


def evaluate_votes(
    log: PromptLog, rewards: Rewards | None = None, parser: str = "auto", seed: int = 0
) -> VoteResult:
    """Success and mean calls of each way of voting at budgets 1..16, the gain over one answer of the best
    prompt, and which of them to buy.

    A blank answer is a call that casts no vote. A cell that is not logged cannot be asked: the next prompt is
    asked instead, and what one call brings is estimated as in `evaluate`. Without `rewards` only the ways
    that ask the best prompts are evaluated, which takes a second.

    Parameters
    ----------
    log : with the answers themselves
    rewards : folds, and for each what its training questions tell, see `learn_rewards`
    parser : number, choice, bool, text or original, see `vote_tables`; auto takes what most answers are
    seed : of folds, random orders and the bootstrap

    Raises: InputError as `vote_splits`, or on an unknown parser.
    """
    splits, learned = rewards or (vote_splits(log, seed), None)
    if learned is None:
        learned = [Learned(_success(log.select(split.learned))) for split in splits]
    texts = [text or "" for text in log.answer]
    cells = zip(log.question.tolist(), log.prompt.tolist(), log.sample.tolist(), texts, log.correct.tolist())
    asked = log.questions
    if parser == "auto":
        parser = guess_kind(texts, [asked[i] for i in log.question])
    tables = votes.vote_tables(cells, log.labels.shape, parser, asked)
    single = _one_call(log, splits, learned)
    curves = evaluate_voting(tables, single, log.groups, splits, learned, WAYS, MAX_CALLS, seed)
    bootstrap = ClusterBootstrap(log.groups, seed)
    rows = [
        {
            "way": WAYS[row["policy"]],
            "budget": row["budget"],
            "calls": row["calls"],
            "success": row["success"],
            "success_low": row["low"],
            "success_high": row["high"],
            **dict(zip(GAIN, _of_way(row["policy"], *(row[column] for column in GAIN)))),
            "n": len(log.questions),
            "groups": bootstrap.n_clusters,
        }
        for row in curve_rows({way: curves[way] for way in WAYS if way in curves}, bootstrap)
    ]
    names = [_label(log, j) for j in np.argsort(-_success(log), kind="stable")]
    return VoteResult(rows, best_buy(curves, bootstrap, names), texts.count(""), parser)


def _of_way(way: str, value: float, low: float, high: float) -> Interval:
    """The gain of a way, `widened` where a reward model learned on the other folds."""
    return widened(value, low, high) if way in LEARNED else (value, low, high)


def best_buy(curves: dict[str, Curve], bootstrap: ClusterBootstrap, names: Sequence[str]) -> BestBuy:
    """The way and budget to buy: of those shown to beat one call of the best prompt the one whose gain is
    highest after paying a point for each further call.

    So the cheapest that is shown to gain, unless a dearer one brings a point more for each call more. A way
    that needs a reward model must bring .3 points more than one that does not. All are compared on the same
    held-out questions, so what is "shown" is read off intervals that hold for all of them at once.

    Parameters
    ----------
    curves : of `evaluate_voting`
    bootstrap : over the questions' clusters
    names : of the prompts, best first
    """
    single = curves["best"].right[:, 0]
    compared = [
        (way, m)
        for way in BUYABLE
        if way in curves
        for m in range(curves[way].right.shape[1])
        if (way, m) not in (("decided", 0), ("adaptive_predicted", 0))  # one call again
    ]
    gains = bootstrap.simultaneous(np.stack([curves[way].right[:, m] - single for way, m in compared], 1))
    gains = np.array([_of_way(way, *gain) for (way, _), gain in zip(compared, gains.tolist())])
    calls = [float(curves[way].calls[:, m].mean()) for way, m in compared]
    price = [CALL_PRICE * made + MODEL_PRICE * (way in LEARNED) for made, (way, _) in zip(calls, compared)]
    interval = [tuple(gain) for gain in gains.tolist()]
    shown = gains[:, 1] > 0
    if not shown.any():
        return BestBuy("best", 1, 1.0, (0.0, 0.0, 0.0), tuple(names[:1]), len(compared))
    best = int(np.where(shown, (gains[:, 0] - price).round(9), -np.inf).argmax())
    way, m = compared[best]
    asked = tuple(names[: m + 1]) if way == "decided" else tuple(names)
    return BestBuy(way, m + 1, calls[best], interval[best], asked, len(compared))


def _label(log: PromptLog, prompt: int) -> str:
    """Name and text of a prompt, as far as they differ, on one line."""
    name, text = log.names[prompt], log.prompts[prompt] or "(no prompt)"
    return on_one_line(name if name == text else f"{name}: {text}")


def _success(log: PromptLog, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Success (P,) by which `fit` calls a prompt best, on some questions; 0 where it was never asked."""
    labels, counts = log.labels.astype(np.float32), log.counts.astype(np.float32)  # the bits that `fit` sees
    known = PromptSuccess.of(labels[rows], independent_answers(labels, counts)[rows])
    # More answers first among equals, as everywhere.
    return np.where(known.asked > 0, known.success + 1e-12 * (np.arange(len(known.asked)) == known.best), 0.0)


def _one_call(log: PromptLog, splits: Sequence[Split], learned: Sequence[Learned]) -> np.ndarray:
    """Success (n, P), or (A, n, P), of one call of each prompt, as in the table of `evaluate`; without
    predicted rewards NaN where it is not logged."""
    if log.counts.all() or any(known.test is None for known in learned):
        return log.labels
    rewards = np.zeros((splits[-1].assignment + 1, *log.labels.shape))
    for split, known in zip(splits, learned, strict=True):
        rewards[split.assignment, split.test] = known.test
    return np.stack([cell_values(log.labels, log.counts, each) for each in rewards])
