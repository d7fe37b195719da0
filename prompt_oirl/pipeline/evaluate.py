"""Evaluate every selector on every test question (step 5).

Fold assignments are stacked, so the bootstrap over clusters resamples a question's mean over them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from tqdm import tqdm

from prompt_oirl.io.files import Paths
from prompt_oirl.pipeline import fits
from prompt_oirl.pipeline.fit_data import masked_features
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.pipeline.plan import FitSpec, splits_by_name
from prompt_oirl.reward_models import RewardModel, TrainingSet, merge_repeats
from prompt_oirl.reward_models.neighbours import NearestQuestions
from prompt_oirl.stats import policies
from prompt_oirl.stats.cells import PromptSuccess, column_means, row_maxima, row_means
from prompt_oirl.stats.crossfit import crossfit
from prompt_oirl.stats.splits import Split
from prompt_oirl.voting import votes

BASELINE = "train_best"
# Selectors whose picks stand in picks.csv, and whom step 5 --live asks for.
PICKS_SHOWN = (BASELINE, "irl_0", "irl_10", "all_mixed", "held_out_only", "knn", "lmsc")
# How many answers each selector pays for on a new question, as a function of K and of all prompts P.
CALLS: dict[str, Callable[[int, int], int]] = {
    "lmsc": lambda k, p: 2 * k,  # an answer and a critique of it for each prompt
    "lmsc_16": lambda k, p: 2 * p,
    "oracle": lambda k, p: k,
    "oracle_16": lambda k, p: p,
}
# One entry per test row; names begin with the kind of value: "success irl_0", "pick irl_0", "calls vote_3".
Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class SelectorResults:
    """Success of every selector of one prompt subset, one entry per test row and fold assignment.

    Attributes
    ----------
    group : paper, crossfit (all prompts, five folds) or crossfit2 (subsets, two folds)
    subset : columns of the training prompts that could be chosen
    variant : features that the reward model saw, see `fit_data.VARIANTS`
    rows, assignment : int (r,), test row and number of the fold assignment
    success : float (r,) by selector, NaN where unknown
    picks : int (r,) by selector, columns of the test label matrix
    seen_scores, held_out_scores : float32 (r, K) and (r, H), the reward model's
    calls : answers that a selector pays for, where that depends on the log; else see `CALLS`
    """

    group: str
    subset: tuple[int, ...]
    variant: str
    rows: np.ndarray
    assignment: np.ndarray
    success: dict[str, np.ndarray]
    picks: dict[str, np.ndarray]
    seen_scores: np.ndarray
    held_out_scores: np.ndarray
    calls: dict[str, int] = field(default_factory=dict)

    def calls_of(self, selector: str, n_prompts: int) -> int:
        """Answers that a selector pays for per question, with `n_prompts` prompts in all."""
        base = selector.removesuffix("_as_published")
        return self.calls.get(base) or (CALLS[base](len(self.subset), n_prompts) if base in CALLS else 1)


def evaluate_selectors(
    data: OfflineDataset, fold_fits: Sequence[tuple[FitSpec, Split, RewardModel]]
) -> SelectorResults:
    """Evaluate all selectors on one prompt subset; `fold_fits` has one entry per fold of every assignment."""
    first = fold_fits[0][0]
    by_split = {split.name: (fit, model) for fit, split, model in fold_fits}

    def outcome(split: Split) -> Values:
        fit, model = by_split[split.name]
        return Fold(data, fit, split).outcome(model)

    held_out = crossfit([split for _, split, _ in fold_fits], outcome)
    success = held_out.starting("success ")
    # The paper's "Training Best" looks at the test answers of all rows; kept, and named for what it is.
    labels = data.test_labels[:, list(first.subset)]
    best_on_test = int(np.argmax(np.nan_to_num(column_means(labels), nan=-1)))
    success["test_best_as_published"] = labels[held_out.rows, best_on_test].astype(np.float64)
    return SelectorResults(
        group=first.group,
        subset=first.subset,
        variant=first.variant,
        rows=held_out.rows,
        assignment=held_out.assignment,
        success=success,
        picks=held_out.starting("pick "),
        seen_scores=held_out["seen_scores"],
        held_out_scores=held_out["held_out_scores"],
        calls={name: int(calls[0]) for name, calls in held_out.starting("calls ").items()},
    )


def evaluate_fits(
    data: OfflineDataset, records: Mapping[FitSpec, dict[str, Any]], paths: Paths, assignments: int
) -> list[SelectorResults]:
    """Load the models of finished fits and evaluate all selectors: one result per (group, subset, variant).

    Parameters
    ----------
    records : of step 4, by fit
    assignments : random fold assignments that step 4 was given
    """
    splits = splits_by_name(data.names, assignments)
    members: dict[tuple, list[FitSpec]] = {}
    for fit in records:
        members.setdefault((fit.group, fit.subset, fit.variant), []).append(fit)
    return [
        evaluate_selectors(
            data, [(fit, splits[fit.split], fits.load_fit(fit, records[fit], paths)) for fit in folds]
        )
        for folds in tqdm(members.values(), desc=f"{data.names.dataset} selectors", disable=None)
    ]


@dataclass(frozen=True)
class Fold:
    """One fold of one subset: what may be learned from (training rows) and what is evaluated (test rows)."""

    data: OfflineDataset
    fit: FitSpec
    split: Split

    @cached_property
    def seen(self) -> np.ndarray:
        """Columns of the training prompts of the subset."""
        return np.array(self.fit.subset)

    @cached_property
    def held_out(self) -> np.ndarray:
        """Columns of the held-out prompts."""
        return np.arange(len(self.data.names.train_prompts), len(self.data.names.prompts))

    @property
    def is_full(self) -> bool:
        """Whether the subset holds all training prompts."""
        return len(self.seen) == len(self.data.names.train_prompts)

    @cached_property
    def labels(self) -> np.ndarray:
        """Success of all prompts on the test rows, float64 (t, P)."""
        return self.data.test_labels[self.split.test].astype(np.float64)

    @cached_property
    def test_index(self) -> np.ndarray:
        """Distinct question of each test row."""
        return self.data.names.test_index[self.split.test]

    @cached_property
    def train_index(self) -> np.ndarray:
        """Distinct question of each training row."""
        return self.data.names.train_index[self.split.learned]

    @cached_property
    def train_labels(self) -> np.ndarray:
        """Success of the subset's prompts on the training rows, float32 (n, K)."""
        return self.data.train_labels[self.split.learned][:, self.seen]

    @cached_property
    def train_success(self) -> np.ndarray:
        """Mean training success of each column of the label matrix, float64 (M,); NaN outside the subset."""
        success = np.full(len(self.data.names.prompts), np.nan)
        success[self.seen] = column_means(self.train_labels)
        return success

    @cached_property
    def best(self) -> int:
        """Place in the subset of the prompt that is best on the training rows, see `PromptSuccess`."""
        return PromptSuccess.of(self.train_labels, (~np.isnan(self.train_labels)).astype(float)).best

    def outcome(self, model: RewardModel) -> Values:
        """All about the test rows; a sanity variant has the reward model's picks and the baseline only."""
        questions, prompts, _ = self.data.features(self.fit.split)
        questions, prompts = masked_features(self.fit.variant, questions, prompts)
        texts, inverse = np.unique(self.test_index, return_inverse=True)
        candidates = np.concatenate([self.seen, self.held_out])
        scores = model.predict(questions[texts], prompts[candidates])[inverse]
        k = len(self.seen)
        values = {"seen_scores": scores[:, :k], "held_out_scores": scores[:, k:]}
        values |= self.picked(BASELINE, np.full(len(self.labels), self.best), self.seen)
        values |= self.by_reward_model(scores[:, :k], scores[:, k:])
        if self.fit.variant == "both":
            values |= self.bounds() | self.by_lookup() | self.by_neighbours(questions, prompts)
            values |= self.by_votes(scores) | self.by_self_critique()
        return values

    def picked(self, name: str, pick: np.ndarray, columns: np.ndarray) -> Values:
        """A selector's pick, int (t,) column of the label matrix, and its success, float64 (t,).

        Parameters
        ----------
        name : of the selector
        pick : int (t,), places in `columns`
        columns : int (m,), columns of the label matrix that could be picked
        """
        success = policies.picked(self.labels[:, columns], pick)
        return {f"pick {name}": columns[pick], f"success {name}": success}

    def both_ties(self, scores: np.ndarray, columns: np.ndarray) -> dict[str, np.ndarray]:
        """The argmax of `scores` (t, m), ties broken as published and soundly, by the ending of the name."""
        sound = policies.argmax_sound(scores, self.train_success[columns], self.fit.seed)
        return {"_as_published": policies.argmax_published(scores), "": sound}

    def picked_twice(self, name: str, scores: np.ndarray, columns: np.ndarray) -> Values:
        """`picked` for the highest score, under both ways to break ties.

        Parameters
        ----------
        name, scores, columns : as in `picked` and `both_ties`
        """
        values: Values = {}
        for ending, pick in self.both_ties(scores, columns).items():
            values |= self.picked(name + ending, pick, columns)
        return values

    def by_reward_model(self, seen_scores: np.ndarray, held_out_scores: np.ndarray) -> Values:
        """Everyone who reads the reward model's scores (t, K) and (t, H)."""
        seen, held_out = self.seen, self.held_out
        values = self.picked_twice("irl_0", seen_scores, seen)
        if not len(held_out) or self.fit.variant != "both":
            return values
        mixed = np.concatenate([held_out, seen])  # held-out prompts stand first, as published
        values |= self.picked_twice("held_out_only", held_out_scores, held_out)
        values |= self.picked_twice("all_mixed", np.concatenate([held_out_scores, seen_scores], 1), mixed)
        alone = self.both_ties(held_out_scores, held_out)
        for ending, pick in self.both_ties(seen_scores, seen).items():
            pick = policies.fallback_to_held_out(seen_scores, pick + len(held_out), alone[ending])
            values |= self.picked(f"irl_10{ending}", pick, mixed)
        return values

    def bounds(self) -> Values:
        """A random prompt, the best one in hindsight, and each prompt for all questions."""
        labels, seen = self.labels, self.seen
        values = {"success random": row_means(labels[:, seen]), "success oracle": row_maxima(labels[:, seen])}
        if self.is_full:
            values["success oracle_16"] = row_maxima(labels)
            for column, prompt in enumerate(self.data.names.prompts):
                values |= self.picked(f"prompt_{prompt.id}", np.zeros(len(labels), int), np.array([column]))
        return values

    def by_lookup(self) -> Values:
        """The best prompt of the same training question; one never asked gets the train-best prompt."""
        found = policies.lookup_scores(self.train_index, self.train_labels, self.test_index)
        found[np.isnan(found).all(1), self.best] = 0
        return self.picked_twice("lookup", np.where(np.isnan(found), -np.inf, found), self.seen)

    def by_neighbours(self, questions: Any, prompts: np.ndarray) -> Values:
        """The best prompt of the nearest training questions."""
        ids, merged, weights = merge_repeats(self.train_index, self.train_labels)
        size = questions.shape[1] - self.data.surface.shape[1]
        neighbours = NearestQuestions()
        neighbours.fit(TrainingSet(questions[ids], prompts[self.seen], merged, weights, size))
        texts, inverse = np.unique(self.test_index, return_inverse=True)
        scores = neighbours.predict(questions[texts], prompts[self.seen])[inverse]
        return self.picked("knn", self.both_ties(scores, self.seen)[""], self.seen)

    def by_self_critique(self) -> Values:
        """LMSC: the prompt whose answer the LLM itself trusts most, among K and among all prompts."""
        if self.data.confidences is None:
            return {}
        confidences = self.data.confidences[self.split.test]
        values = self.picked_twice("lmsc", confidences[:, self.seen], self.seen)
        if self.is_full:
            values |= self.picked_twice("lmsc_16", confidences, np.arange(confidences.shape[1]))
        return values

    def by_votes(self, scores: np.ndarray) -> Values:
        """Votes of logged answers, by scores (t, K + H) or counted equally; `vote_3` asks the best three."""
        values: Values = {}
        if self.data.votes is None:
            return values
        logged: Any = self.data.votes.logged.any(0)
        everything = np.concatenate([self.seen, self.held_out])
        for suffix, columns in (("", self.seen), ("_16", everything if self.is_full else self.seen[:0])):
            place = np.flatnonzero(logged[columns])
            if len(place) < 2:
                continue
            table = self.data.votes.rows(self.split.test).columns(columns[place])
            weights = scores[:, place].astype(np.float64)
            success = np.nan_to_num(self.train_success[columns[place]], nan=-1.0)
            order = votes.order_by(table, weights, success)
            weighted = votes.count_votes(table, order, weights).right
            counts = [("weighted", weighted)] + [("3", weighted[:, :3])] * (len(place) > 3)
            counts.append(("majority", votes.count_votes(table, order, np.ones_like(weights)).right))
            for name, right in counts:
                values[f"success vote{suffix}_{name}"] = np.where(table.logged.any(1), right[:, -1], np.nan)
                values[f"calls vote{suffix}_{name}"] = np.full(len(right), right.shape[1])
        return values
