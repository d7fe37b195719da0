"""What voting brings, cross-fitted: success against calls, from answers that stand in the log.

Order of prompts, vote weights and stopping rules are learned from the questions of the other folds; the
predicted rewards that a stopping rule is fitted to are themselves predicted across inner folds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.io.files import InputError
from prompt_oirl.reward_models import TrainingSet, merge_repeats
from prompt_oirl.stats.cells import row_means
from prompt_oirl.stats.crossfit import crossfit
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.splits import Split, cluster_splits
from prompt_oirl.voting import stopping, votes
from prompt_oirl.voting.votes import VoteTable

RANDOM_DRAWS = 8
REWARD_FOLDS = 3  # inner folds over which training questions get their predicted rewards
# Predicted success (len(wanted), P) of questions `wanted`, learned from questions `train`.
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
POLICIES = {
    "random": "random prompts, majority",
    "best": "best prompts, majority",
    "decided": "best prompts, until the majority is decided",
    "weighted": "best prompts, weighted by their success",
    "predicted": "prompts and weights by predicted reward",
    "adaptive_weighted": "adaptive stopping, weighted by success",
    "adaptive_predicted": "adaptive stopping, weighted by predicted reward",
    "any_right": "any of the best prompts right (bound)",
}


@dataclass(frozen=True)
class Learned:
    """What is known of the prompts before the questions of a fold are asked, all of it from the other folds.

    `success` float (P,): of each prompt, 0 if it was never asked. Predicted rewards, None without a reward
    model: `train` float (r, P) of the questions learned from, each predicted without its own inner fold, and
    `test` float (t, P) of the fold's own questions.
    """

    success: np.ndarray
    train: np.ndarray | None = None
    test: np.ndarray | None = None


@dataclass
class Curve:
    """One way of voting at budgets 1..M: `right` and `calls` float64 (n, M), means over assignments."""

    right: np.ndarray
    calls: np.ndarray


def evaluate_voting(
    tables: Sequence[VoteTable],
    single: np.ndarray,
    clusters: np.ndarray,
    splits: Sequence[Split],
    learned: Sequence[Learned],
    policies: Collection[str] = tuple(POLICIES),
    max_calls: int = votes.MAX_PROMPTS,
    seed: int = 0,
) -> dict[str, Curve]:
    """Success and calls of ways of voting on every question, learned from the other folds.

    Each repeat of the answers is a vote, and a question counts once: its mean over them. What is learned from
    votes is learned from the first repeat.

    Parameters
    ----------
    tables : of `vote_tables`, the logged answers of n questions to P prompts
    single : float (n, P), success of one call of each prompt as a table of success has it (the mean over all
    samples, or an estimate where a cell is not logged); every way with one call is this. (A, n, P) where it
    differs between fold assignments
    clusters : int (n,), near-duplicates
    splits : folds of the questions, of one or more assignments; no cluster stands in two folds of one
    learned : what each of the splits knows; without rewards the ways that need them are left out
    policies : keys of `POLICIES`
    max_calls : of a question
    seed : of the order of prompts asked at random
    """
    check_logged(tables[0].logged)
    if any(not len(split.learned) for split in splits):
        raise InputError(
            "voting is evaluated on other questions than it learns from; log two clusters or more"
        )
    known = {(split.assignment, split.fold): found for split, found in zip(splits, learned, strict=True)}
    most = min(max_calls, single.shape[-1])

    def fit(split: Split) -> dict[str, np.ndarray]:
        if np.intersect1d(clusters[split.learned], clusters[split.test]).size:
            raise AssertionError(f"{split.name} shares a cluster with the other folds")
        found = known[split.assignment, split.fold]
        one_call = single if single.ndim == 2 else single[split.assignment]
        curves = evaluate_fold(tables, one_call[split.test], split, found, policies, most, seed)
        return {
            f"{kind} {name}": values
            for name, curve in curves.items()
            for kind, values in (("right", curve.right), ("calls", curve.calls))
        }

    held_out = crossfit(splits, fit)
    return {
        name: Curve(held_out.mean(f"right {name}"), held_out.mean(f"calls {name}"))
        for name in POLICIES
        if name in held_out.starting("right ")
    }


def check_logged(logged: np.ndarray) -> None:
    """Refuse a log, by its logged cells bool (n, P), in which no question met two prompts."""
    if not (logged.sum(1) > 1).any():
        raise InputError(
            "no question has the answers of two prompts: ask some questions with several prompts and log "
            "what they answer"
        )


def evaluate_fold(
    tables: Sequence[VoteTable],
    single: np.ndarray,
    split: Split,
    learned: Learned,
    policies: Collection[str],
    most: int,
    seed: int,
) -> dict[str, Curve]:
    """Right and calls (test rows, `most`) of every way on one fold; parameters as of `evaluate_voting`."""
    parts = [table.rows(split.test) for table in tables]
    success = np.broadcast_to(learned.success, single.shape)
    equal = np.ones(single.shape)
    by_repeat: defaultdict[str, list[Curve]] = defaultdict(list)
    first = {"random": row_means(single)}  # outcome of one call

    rng = np.random.default_rng([seed, split.assignment, split.fold])
    for draw in range(RANDOM_DRAWS):
        asked = parts[draw % len(parts)]
        order = votes.order_by(asked, rng.random(single.shape))[:, :most]
        right = votes.count_votes(asked, order, equal).right
        by_repeat["random"].append(Curve(right, votes.calls_made(asked, order)))

    best_first = _one_call(single, success, success)
    first |= dict.fromkeys(("best", "decided", "any_right"), best_first)
    for asked in parts:
        order = votes.order_by(asked, success)[:, :most]
        count, paid = votes.count_votes(asked, order, equal), votes.calls_made(asked, order)
        by_repeat["best"].append(Curve(count.right, paid))
        by_repeat["decided"].append(Curve(count.right, stopping.calls_until_decided(count, paid)))
        each = np.nan_to_num(np.take_along_axis(asked.right, order, 1))
        by_repeat["any_right"].append(Curve(np.maximum.accumulate(each, 1), paid))

    known = tables[0].rows(split.learned)
    agreement = votes.agreement_of_wrong_answers(known)
    scores = {"weighted": (np.broadcast_to(learned.success, known.answers.shape), success)}
    if learned.train is not None and learned.test is not None:
        scores["predicted"] = (learned.train, learned.test)
    for name, (before, now) in scores.items():
        adaptive = f"adaptive_{name}"
        if not {name, adaptive} & set(policies):
            continue
        first |= dict.fromkeys((name, adaptive), _one_call(single, now, success))
        order_before = votes.order_by(known, before, learned.success)[:, :most]
        weights_before = votes.log_odds_weights(before, agreement)
        counted = votes.count_votes(known, order_before, weights_before)
        rules = stopping.fit_stopping(counted, order_before, weights_before, range(1, most + 1))
        weights = votes.log_odds_weights(now, agreement)
        for asked in parts:
            order = votes.order_by(asked, now, success)[:, :most]
            count, paid = votes.count_votes(asked, order, weights), votes.calls_made(asked, order)
            by_repeat[name].append(Curve(count.right, paid))
            made = np.array(
                [rule.calls(count, stopping.weight_left(order, weights, rule.max_calls)) for rule in rules]
            ).T
            stopped = (np.take_along_axis(values, made - 1, 1) for values in (count.right, paid))
            by_repeat[adaptive].append(Curve(*stopped))

    found = {}
    for name, curves in by_repeat.items():
        if name in policies:
            right = np.mean([curve.right for curve in curves], 0)
            right[:, 0] = first[name]
            found[name] = Curve(right, np.mean([curve.calls for curve in curves], 0))
    return found


def _one_call(single: np.ndarray, scores: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Success (t,) of the prompt of the highest score (t, P), ties by prior, then by column."""
    pick = np.lexsort((-prior, -scores), axis=1)[:, 0]
    return single[np.arange(len(single)), pick]


def learn(
    predict: Predict, splits: Sequence[Split], clusters: np.ndarray, success: Sequence[np.ndarray]
) -> list[Learned]:
    """What each split learns from its questions by `predict`, fitted once on all and once per inner fold.

    Parameters
    ----------
    predict : predicted success of some questions, learned from others
    splits, clusters : as of `evaluate_voting`
    success : float (P,) of each split, success of each prompt on the questions it learns from
    """
    learned = []
    for split, known in zip(splits, success, strict=True):
        train = across_inner_folds(predict, split.learned, clusters)
        learned.append(Learned(known, train, predict(split.learned, split.test)))
    return learned


def across_inner_folds(predict: Predict, rows: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Rewards float (r, P) of each row as predicted without the rows of its inner fold of clusters.

    Parameters
    ----------
    predict : as of `learn`
    rows : int (r,), questions that are learned from and predicted
    clusters : int (n,), near-duplicates among all questions, of which `rows` are some
    """
    splits = cluster_splits(clusters[rows], REWARD_FOLDS, 0)
    held_out = crossfit(splits, lambda split: {"rewards": predict(rows[split.learned], rows[split.test])})
    return held_out["rewards"]


def reward_predictor(
    model: str,
    questions: np.ndarray,
    prompts: np.ndarray,
    embedding_size: int,
    question_index: np.ndarray,
    right: np.ndarray,
    clusters: np.ndarray,
    seed: int = 0,
) -> Predict:
    """`Predict` by a reward model.

    Parameters
    ----------
    model : its name
    questions : float32 (texts, d), features of which the first `embedding_size` columns are the embedding
    prompts : float32 (P, e)
    question_index, clusters : int (n,), text and near-duplicate cluster of each row
    right : float (n, P), verdicts, NaN where not logged
    """

    def predict(train: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        ids, labels, weights = merge_repeats(question_index[train], right[train])
        cluster_of = dict(zip(question_index[train].tolist(), clusters[train].tolist()))
        own = np.array([cluster_of[i] for i in ids.tolist()])
        data = TrainingSet(questions[ids], prompts, labels, weights, embedding_size, own)
        fitted = reward_models.train(model, data, seed=seed)
        ids, inverse = np.unique(question_index[wanted], return_inverse=True)
        return fitted.predict(questions[ids], prompts)[inverse].astype(np.float64)

    return predict


def curve_rows(curves: dict[str, Curve], bootstrap: ClusterBootstrap) -> Iterator[dict[str, Any]]:
    """Success, mean calls, and the gain over the best single prompt (chosen on the other folds), paired.

    Parameters
    ----------
    curves : of `evaluate_voting`, with "best" among them
    bootstrap : over the questions' clusters of near-duplicates

    Returns: one row per policy and budget. Success and gain are shares of 1 (0.01 is one point), with 95 %
    intervals over clusters.
    """
    right = np.concatenate([curve.right for curve in curves.values()], 1)
    # An estimate with missing cells may leave 0..1; a success rate cannot.
    success = np.clip(bootstrap.mean(right), 0, 1).tolist()
    gain = bootstrap.mean(right - curves["best"].right[:, :1]).tolist()
    calls = {name: curve.calls.mean(0).tolist() for name, curve in curves.items()}
    cells = [(name, budget, made) for name in curves for budget, made in enumerate(calls[name], 1)]
    for (name, budget, made), rate, gained in zip(cells, success, gain, strict=True):
        row = {"policy": name, "budget": budget, "calls": made}
        row |= dict(zip(("success", "low", "high"), rate))
        yield row | dict(zip(("gain", "gain_low", "gain_high"), gained))
