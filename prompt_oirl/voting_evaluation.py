"""What voting brings, cross-fitted: success against calls, from answers that stand in the log.

Order of prompts, weights and stopping rules are chosen on the questions of the other folds; predicted rewards that
a stopping rule is fitted to are themselves predicted across inner folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from prompt_oirl import voting
from prompt_oirl.evaluation import column_means
from prompt_oirl.reward_models import TrainingSet, make, merge_repeats
from prompt_oirl.splits import INNER_FOLDS, assign_folds
from prompt_oirl.voting import Count, VoteTable

RANDOM_DRAWS = 8
REWARD_FOLDS = 3  # inner folds over which training questions get their predicted rewards
# Predicted success (len(wanted), P) of questions `wanted`, learned from questions `train`.
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass
class Curve:
    """One way of voting at budgets 1..M: `right` and `calls` float64 (n, M), means over fold assignments."""

    right: np.ndarray
    calls: np.ndarray


@dataclass
class VotingResult:
    curves: dict[str, Curve] = field(default_factory=dict)

    def add(self, name: str, rows: np.ndarray, shape: tuple[int, int], right: np.ndarray, calls: np.ndarray):
        curve = self.curves.setdefault(name, Curve(np.zeros(shape), np.zeros(shape)))
        curve.right[rows] += right
        curve.calls[rows] += calls


def evaluate_voting(
    table: VoteTable,
    clusters: np.ndarray,
    assignments: Sequence[np.ndarray],
    predict: Predict | None = None,
    seed: int = 0,
) -> dict[str, Curve]:
    """Judge every way of voting on every question by what was learned from the other folds.

    `assignments` gives the fold (n,) of each question, once per assignment; no cluster may stand in two folds.
    """
    result = VotingResult()
    for number, folds in enumerate(assignments):
        for fold in range(int(folds.max()) + 1):
            train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            if np.intersect1d(clusters[train], clusters[test]).size:
                raise AssertionError(f"fold {fold} shares a cluster with the others")
            rng = np.random.default_rng([seed, number, fold])
            judge_fold(result, table, clusters, train, test, predict, rng)
    for curve in result.curves.values():
        curve.right /= len(assignments)
        curve.calls /= len(assignments)
    return result.curves


def judge_fold(
    result: VotingResult,
    table: VoteTable,
    clusters: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    predict: Predict | None,
    rng: np.random.Generator,
) -> None:
    known, asked = table.rows(train), table.rows(test)
    shape = table.answers.shape
    success = column_means(known.right)
    success = np.nan_to_num(success, nan=-1)  # never logged in training: asked last
    equal = np.ones(asked.answers.shape)

    def add(name: str, order: np.ndarray, weights: np.ndarray) -> Count:
        count = voting.count_votes(asked, order, weights)
        result.add(name, test, shape, count.right, calls_made(asked, order))
        return count

    for _ in range(RANDOM_DRAWS):
        order = voting.order_by(asked, rng.random(asked.answers.shape))
        drawn = voting.count_votes(asked, order, equal)
        result.add(
            "random", test, shape, drawn.right / RANDOM_DRAWS, calls_made(asked, order) / RANDOM_DRAWS
        )
    constant = np.broadcast_to(success, asked.answers.shape)
    best = voting.order_by(asked, constant)
    add("best", best, equal)
    right = np.nan_to_num(np.take_along_axis(asked.right, best, 1))
    result.add("any_right", test, shape, np.maximum.accumulate(right, 1), calls_made(asked, best))

    agreement = voting.agreement_of_wrong_answers(known)
    scores = {"weighted": (np.broadcast_to(success, known.answers.shape), constant)}
    if predict is not None:
        inner = assign_folds(np.unique(clusters[train], return_inverse=True)[1], REWARD_FOLDS, 0)
        inner = inner[np.unique(clusters[train], return_inverse=True)[1]]
        rewards = np.zeros(known.answers.shape)
        for f in range(int(inner.max()) + 1):
            rewards[inner == f] = predict(train[inner != f], train[inner == f])
        scores["predicted"] = (rewards, predict(train, test))
    budgets = list(range(1, shape[1] + 1))
    for name, (train_scores, test_scores) in scores.items():
        train_weights = voting.log_odds_weights(train_scores, agreement)
        weights = voting.log_odds_weights(test_scores, agreement)
        train_order, order = voting.order_by(known, train_scores), voting.order_by(asked, test_scores)
        count = add(name, order, weights)
        finished = voting.count_votes(known, train_order, train_weights)
        rules = voting.fit_stopping(finished, train_order, train_weights, budgets)
        made = np.stack(
            [r.calls(count, voting.weight_left(order, weights, r.most_calls)) for r in rules], axis=1
        )
        result.add(
            f"adaptive_{name}",
            test,
            shape,
            np.take_along_axis(count.right, made - 1, 1),
            np.take_along_axis(calls_made(asked, order), made - 1, 1),
        )


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
    """`Predict` by one of the reward models: features (texts, d) and (P, e), the text (n,) and labels (n, P) of each row."""

    def training_set(rows: np.ndarray) -> TrainingSet:
        ids, labels, weights = merge_repeats(question_index[rows], right[rows])
        return TrainingSet(questions[ids], prompts, labels, weights, embedding_size)

    def predict(train: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        dense = np.unique(clusters[train], return_inverse=True)[1]
        validation = assign_folds(dense, INNER_FOLDS, seed)[dense] == 0
        fitted = make(model, "fast", seed)
        fitted.tune(training_set(train[~validation]), training_set(train[validation]))
        fitted.fit(training_set(train))
        ids, inverse = np.unique(question_index[wanted], return_inverse=True)
        return fitted.predict(questions[ids], prompts)[inverse].astype(np.float64)

    return predict
