"""Judge every selector on every test question (step 5).

One *judgement* is one prompt subset under one protocol: for each selector, the success of its pick on each
test row. Cross-fitted folds are put together so that every test row is judged once per fold assignment;
assignments are stacked, so a question's mean over them is what the bootstrap over clusters resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.pipeline.fit_data import masked_features
from prompt_oirl.pipeline.fits import Fit
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.reward_models import RewardModel, TrainingSet, merge_repeats
from prompt_oirl.reward_models.neighbours import NearestQuestions
from prompt_oirl.stats import policies
from prompt_oirl.stats.cells import column_means, row_maxima, row_means
from prompt_oirl.stats.splits import Split
from prompt_oirl.voting import votes

BASELINE = "train_best"
# Selectors whose picks stand in picks.csv, and whom step 5 --live asks for.
PICKS_SHOWN = (BASELINE, "irl_0", "irl_10", "all_mixed", "held_out_only", "knn", "lmsc")
NOT_IDENTIFIABLE = "not identifiable: one training prompt cannot tell held-out prompts apart"
ONE_PROMPT_LEAVES_OPEN = ("irl_10", "held_out_only", "all_mixed")
# How many answers each selector pays for on a new question, as a function of K and of all prompts P.
CALLS: dict[str, Callable[[int, int], int]] = {
    "lmsc": lambda k, p: 2 * k,  # an answer and a critique of it for each prompt
    "lmsc_16": lambda k, p: 2 * p,
    "oracle": lambda k, p: k,
    "oracle_16": lambda k, p: p,
}


@dataclass
class Judgement:
    """One subset under one protocol. `success[selector]` and `picks[selector]` have one entry per judged row.

    `rows` are test rows (repeated once per assignment); `seen_scores` (rows, K) and `held_out_scores`
    (rows, H) are the reward model's; picks are columns of the test label matrix, -1 where nobody picks one.
    `calls` is how many answers a selector pays for where that depends on the log; else see `CALLS`.
    """

    group: str
    subset: tuple[int, ...]
    variant: str = "both"
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    success: dict[str, np.ndarray] = field(default_factory=dict)
    picks: dict[str, np.ndarray] = field(default_factory=dict)
    seen_scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    held_out_scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    calls: dict[str, int] = field(default_factory=dict)

    def calls_of(self, selector: str, n_prompts: int) -> int:
        """Answers that a selector pays for per question, with `n_prompts` prompts in all."""
        base = selector.removesuffix("_as_published")
        return self.calls.get(base) or (CALLS[base](len(self.subset), n_prompts) if base in CALLS else 1)


def judge(data: OfflineDataset, fold_fits: Sequence[tuple[Fit, Split, RewardModel]]) -> Judgement:
    """Judge one subset: the fits are its folds (one on the paper split), over one or more assignments."""
    first = fold_fits[0][0]
    parts = [judge_fold(data, fit, split, model) for fit, split, model in fold_fits]
    # Rows in the order assignment by assignment, test row by test row: the same whatever the fold sizes.
    rows = np.concatenate([p.rows for p in parts])
    rank = np.concatenate(
        [np.full(len(p.rows), _assignment(fit.split)) for p, (fit, _, _) in zip(parts, fold_fits)]
    )
    order = np.lexsort((rows, rank))

    def joined(values: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(values)[order]

    whole = Judgement(first.group, first.subset, first.variant, rows[order])
    whole.success = {name: joined([p.success[name] for p in parts]) for name in parts[0].success}
    whole.picks = {name: joined([p.picks[name] for p in parts]) for name in parts[0].picks}
    whole.calls = parts[0].calls
    whole.seen_scores = joined([p.seen_scores for p in parts])
    whole.held_out_scores = joined([p.held_out_scores for p in parts])
    # The paper's "Training Best" looks at the test answers of all rows; kept, and named for what it is.
    labels = data.test_labels[:, list(first.subset)]
    best_on_test = int(np.argmax(np.nan_to_num(column_means(labels), nan=-1)))
    whole.success["test_best_as_published"] = labels[whole.rows, best_on_test].astype(np.float64)
    return whole


def _assignment(split_name: str) -> int:
    return int(split_name.split("seed")[1].split("_")[0]) if "seed" in split_name else 0


class FoldJudge:
    """Collects picks and successes on the test rows of one fold; only training rows may be learned from."""

    def __init__(self, data: OfflineDataset, fit: Fit, split: Split):
        names = data.names
        self.data, self.fit, self.split = data, fit, split
        self.seen = np.array(fit.subset)
        self.held_out = np.arange(len(names.train_prompts), len(names.prompts))
        self.is_full = len(self.seen) == len(names.train_prompts)
        self.labels = data.test_labels[split.test].astype(np.float64)
        self.test_index = names.test_index[split.test]
        rows = np.concatenate([split.train, split.validation])
        self.train_index, self.train_labels = names.train_index[rows], data.train_labels[rows][:, self.seen]
        self.train_success = column_means(self.train_labels)
        self.best = int(np.argmax(np.nan_to_num(self.train_success, nan=-1)))
        self.result = Judgement(fit.group, fit.subset, fit.variant, split.test)

    def add(self, name: str, pick: np.ndarray, columns: np.ndarray) -> np.ndarray:
        self.result.picks[name] = columns[pick]
        self.result.success[name] = policies.picked(self.labels[:, columns], pick)
        return pick

    def add_both(self, name: str, scores: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add the argmax of `scores` under both tie policies."""
        prior = np.full(len(self.data.names.prompts), np.nan)
        prior[self.seen] = self.train_success
        published = self.add(f"{name}_as_published", policies.argmax_published(scores), columns)
        return published, self.add(
            name, policies.argmax_sound(scores, prior[columns], self.fit.seed), columns
        )

    def reward_model(self, scores: np.ndarray) -> None:
        """Everyone who reads the reward model's scores (rows, K seen + H held-out prompts)."""
        seen, held_out = self.seen, self.held_out
        self.result.seen_scores, self.result.held_out_scores = scores[:, : len(seen)], scores[:, len(seen) :]
        picks = self.add_both("irl_0", self.result.seen_scores, seen)
        if not len(held_out) or self.fit.variant != "both":
            return
        alone = self.add_both("held_out_only", self.result.held_out_scores, held_out)
        mixed = np.concatenate([held_out, seen])  # held-out prompts stand first, as published
        self.add_both("all_mixed", np.concatenate([scores[:, len(seen) :], scores[:, : len(seen)]], 1), mixed)
        for suffix, seen_pick, held_out_pick in zip(("_as_published", ""), picks, alone):
            pick = policies.fallback_to_held_out(
                self.result.seen_scores, seen_pick + len(held_out), held_out_pick
            )
            self.add(f"irl_10{suffix}", pick, mixed)

    def model_free(self, questions: np.ndarray | MappedQuestions, prompts: np.ndarray) -> None:
        """Bounds and baselines that need no reward model."""
        labels, seen = self.labels, self.seen
        self.result.success["random"] = row_means(labels[:, seen])
        self.result.success["oracle"] = row_maxima(labels[:, seen])
        if self.is_full:
            self.result.success["oracle_16"] = row_maxima(labels)
            for column, prompt in enumerate(self.data.names.prompts):
                self.add(f"prompt_{prompt.id}", np.zeros(len(labels), dtype=int), np.array([column]))
        lookup = policies.lookup_scores(self.train_index, self.train_labels, self.test_index)
        lookup[np.isnan(lookup).all(1), self.best] = (
            0  # never in training: fall back to the train-best prompt
        )
        self.add_both("lookup", np.where(np.isnan(lookup), -np.inf, lookup), seen)
        ids, merged, weights = merge_repeats(self.train_index, self.train_labels)
        size = questions.shape[1] - self.data.surface.shape[1]
        neighbours = NearestQuestions()
        neighbours.fit(TrainingSet(questions[ids], prompts[seen], merged, weights, size))
        texts, inverse = np.unique(self.test_index, return_inverse=True)
        scores = neighbours.predict(questions[texts], prompts[seen])[inverse]
        self.add("knn", policies.argmax_sound(scores, self.train_success, self.fit.seed), seen)

    def votes(self, scores: np.ndarray) -> None:
        """Several answers and a vote, wherever texts are logged; scores (rows, K seen + H held-out prompts).

        `vote_3` asks the three prompts of the highest predicted reward; answers count by it, or equally (`majority`).
        """
        if self.data.votes is None:
            return
        logged: Any = self.data.votes.logged.any(0)
        everything = np.concatenate([self.seen, self.held_out])
        for suffix, columns in (("", self.seen), ("_16", everything if self.is_full else self.seen[:0])):
            place = np.flatnonzero(logged[columns])
            if len(place) < 2:
                continue
            table = self.data.votes.rows(self.split.test).columns(columns[place])
            weights = scores[:, place].astype(np.float64)
            order = votes.order_by(table, weights)
            counts = {
                "majority": votes.count_votes(table, order, np.ones_like(weights)).right,
                "weighted": votes.count_votes(table, order, weights).right,
            }
            calls = {"majority": len(place), "weighted": len(place)}
            if len(place) > 3:
                counts["3"], calls["3"] = counts["weighted"][:, :3], 3
            for name, right in counts.items():
                found = np.where(table.logged.any(1), right[:, -1], np.nan)
                self.result.success[f"vote{suffix}_{name}"] = found
                self.result.calls[f"vote{suffix}_{name}"] = calls[name]

    def self_critique(self, confidences: np.ndarray) -> None:
        """LMSC: the prompt whose answer the LLM itself trusts most, among K and among all prompts."""
        self.add_both("lmsc", confidences[:, self.seen], self.seen)
        if self.is_full:
            self.add_both("lmsc_16", confidences, np.arange(confidences.shape[1]))


def judge_fold(data: OfflineDataset, fit: Fit, split: Split, model: RewardModel) -> Judgement:
    """All selectors on the test rows of one fold; a sanity variant judges its own picks and the baseline only."""
    judge = FoldJudge(data, fit, split)
    questions, prompts, _ = data.features(fit.split)
    questions, prompts = masked_features(fit.variant, questions, prompts)
    texts, inverse = np.unique(judge.test_index, return_inverse=True)
    candidates = np.concatenate([judge.seen, judge.held_out])
    judge.add(BASELINE, np.full(len(judge.labels), judge.best), judge.seen)
    scores = model.predict(questions[texts], prompts[candidates])[inverse]
    judge.reward_model(scores)
    if fit.variant == "both":
        judge.model_free(questions, prompts)
        judge.votes(scores)
        if data.confidences is not None:
            judge.self_critique(data.confidences[split.test])
    return judge.result


def note(selector: str, k: int) -> str:
    """Why a row must not be read as a result."""
    base = selector.removesuffix("_as_published")
    return NOT_IDENTIFIABLE if k == 1 and base in ONE_PROMPT_LEAVES_OPEN else ""
