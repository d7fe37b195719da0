"""What voting brings, cross-fitted: success against calls, from answers that stand in the log.

Order of prompts, vote weights and stopping rules are learned from the questions of the other folds; the
predicted rewards that a stopping rule is fitted to are themselves predicted across inner folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.io.files import InputError
from prompt_oirl.reward_models import TrainingSet, merge_repeats
from prompt_oirl.stats.cells import PromptSuccess
from prompt_oirl.stats.crossfit import crossfit
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.splits import Split, cluster_splits
from prompt_oirl.voting import votes
from prompt_oirl.voting.votes import VoteTable

RANDOM_DRAWS = 8
REWARD_FOLDS = 3  # inner folds over which training questions get their predicted rewards
# Predicted success (len(wanted), P) of questions `wanted`, learned from questions `train`.
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
POLICIES = {
    "random": "random prompts, majority",
    "best": "best prompts, majority",
    "weighted": "best prompts, weighted by their success",
    "predicted": "prompts and weights by predicted reward",
    "adaptive_weighted": "adaptive stopping, weighted by success",
    "adaptive_predicted": "adaptive stopping, weighted by predicted reward",
    "any_right": "any of the best prompts right (bound)",
}


@dataclass
class Curve:
    """One way of voting at budgets 1..M: `right` and `calls` float64 (n, M), means over assignments."""

    right: np.ndarray
    calls: np.ndarray


def evaluate_voting(
    table: VoteTable,
    clusters: np.ndarray,
    splits: Sequence[Split],
    predict: Predict | None = None,
    seed: int = 0,
) -> dict[str, Curve]:
    """Success and calls of every way of voting (`POLICIES`) on every question, learned from the other folds.

    Parameters
    ----------
    table : the logged answers of n questions to M prompts
    clusters : int (n,), near-duplicates
    splits : folds of the questions, of one or more assignments; no cluster stands in two folds of one
    predict : predicted success of some questions, learned from others; without it the ways that need one are
    left out
    seed : of the order of prompts asked at random
    """
    if not (table.logged.sum(1) > 1).any():
        raise InputError(
            "no question has the answers of two prompts: ask some questions with several prompts and log "
            "what they answer"
        )
    if any(not len(split.learned) for split in splits):
        raise InputError(
            "voting is evaluated on other questions than it learns from; log two clusters or more"
        )

    def fit(split: Split) -> dict[str, np.ndarray]:
        if np.intersect1d(clusters[split.learned], clusters[split.test]).size:
            raise AssertionError(f"{split.name} shares a cluster with the other folds")
        rng = np.random.default_rng([seed, split.assignment, split.fold])
        return {
            f"{kind} {name}": value
            for name, right, calls in evaluate_fold(table, clusters, split.learned, split.test, predict, rng)
            for kind, value in (("right", right), ("calls", calls))
        }

    held_out = crossfit(splits, fit)
    return {
        name: Curve(held_out.mean(f"right {name}"), held_out.mean(f"calls {name}"))
        for name in held_out.starting("right ")
    }


def evaluate_fold(
    table: VoteTable,
    clusters: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    predict: Predict | None,
    rng: np.random.Generator,
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, right and calls (test rows, M) of every policy on one fold.

    Parameters
    ----------
    table : answers of all questions
    clusters : int (n,), near-duplicates
    train, test : rows that are learned from, rows that are evaluated
    predict : as of `evaluate_voting`
    rng : draws the order of prompts asked at random
    """
    known, asked = table.rows(train), table.rows(test)
    equal = np.ones(asked.answers.shape)
    drawn = [votes.order_by(asked, rng.random(equal.shape)) for _ in range(RANDOM_DRAWS)]
    by_draw = [votes.count_votes(asked, order, equal).right for order in drawn]
    yield "random", np.mean(by_draw, 0), calls_made(asked, drawn[0])

    trained = PromptSuccess.of(known.right, (~np.isnan(known.right)).astype(np.float64))
    success = np.where(trained.asked > 0, trained.success, 0.0)  # never logged in training: asked last
    constant = np.broadcast_to(success, equal.shape)
    order = votes.order_by(asked, constant)
    yield "best", votes.count_votes(asked, order, equal).right, calls_made(asked, order)
    single = np.nan_to_num(np.take_along_axis(asked.right, order, 1))
    yield "any_right", np.maximum.accumulate(single, 1), calls_made(asked, order)

    agreement = votes.agreement_of_wrong_answers(known)
    rewards = {"weighted": (np.broadcast_to(success, known.answers.shape), constant)}
    if predict is not None:
        rewards["predicted"] = (across_inner_folds(predict, train, clusters), predict(train, test))
    for name, (learned, wanted) in rewards.items():
        known_order = votes.order_by(known, learned)
        known_weights = votes.log_odds_weights(learned, agreement)
        order, weights = votes.order_by(asked, wanted), votes.log_odds_weights(wanted, agreement)
        count, paid = votes.count_votes(asked, order, weights), calls_made(asked, order)
        yield name, count.right, paid
        finished = votes.count_votes(known, known_order, known_weights)
        rules = votes.fit_stopping(finished, known_order, known_weights, range(1, table.answers.shape[1] + 1))
        stops = [r.calls(count, votes.weight_left(order, weights, r.max_calls)) for r in rules]
        made = np.array(stops).T
        right, paid = (np.take_along_axis(values, made - 1, 1) for values in (count.right, paid))
        yield f"adaptive_{name}", right, paid


def across_inner_folds(predict: Predict, rows: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Rewards float (r, P) of each row as predicted without the rows of its inner fold of clusters.

    Parameters
    ----------
    predict : as of `evaluate_voting`
    rows : int (r,), questions that are learned from and predicted
    clusters : int (n,), near-duplicates among all questions, of which `rows` are some
    """
    splits = cluster_splits(clusters[rows], REWARD_FOLDS, 0)
    held_out = crossfit(splits, lambda split: {"rewards": predict(rows[split.learned], rows[split.test])})
    return held_out["rewards"]


def calls_made(table: VoteTable, order: np.ndarray) -> np.ndarray:
    """Calls paid for after each place of the order, float64 (n, M): what is not logged is not paid for."""
    return np.cumsum(np.take_along_axis(table.logged, order, 1), 1).astype(np.float64)


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


def curve_rows(curves: dict[str, Curve], clusters: np.ndarray, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Success, mean calls, and the gain over the best single prompt (chosen on the other folds), paired.

    Parameters
    ----------
    curves : of `evaluate_voting`, with "best" among them
    clusters : int (n,), near-duplicates
    seed : of the bootstrap

    Returns: one row per policy and budget. Success and gain are shares of 1 (0.01 is one point), with 95 %
    intervals over clusters.
    """
    bootstrap = ClusterBootstrap(clusters, seed)
    single = curves["best"].right[:, :1]
    for name, curve in curves.items():
        success, gain = bootstrap.mean(curve.right).tolist(), bootstrap.mean(curve.right - single).tolist()
        for m, calls in enumerate(curve.calls.mean(0).tolist()):
            row = {"policy": name, "budget": m + 1, "calls": calls}
            row |= dict(zip(("success", "low", "high"), success[m]))
            yield row | dict(zip(("gain", "gain_low", "gain_high"), gain[m]))
