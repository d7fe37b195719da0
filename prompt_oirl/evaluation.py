"""Judge every selector on every test question (step 5).

One *judgement* is one prompt subset under one protocol: for each selector, the success of its pick on each
test row. Cross-fitted folds are put together so that every test row is judged once per fold assignment;
assignments are stacked, so a question's mean over them is what the bootstrap over clusters resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from prompt_oirl import selectors
from prompt_oirl.fits import Fit, masked_features
from prompt_oirl.offline_dataset import OfflineDataset
from prompt_oirl.reward_models import RewardModel, TrainingSet, merge_repeats
from prompt_oirl.reward_models.neighbours import NearestQuestions
from prompt_oirl.splits import Split

BASELINE = "train_best"
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
    """

    group: str
    subset: tuple[int, ...]
    variant: str = "both"
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    success: dict[str, np.ndarray] = field(default_factory=dict)
    picks: dict[str, np.ndarray] = field(default_factory=dict)
    seen_scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    held_out_scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))


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
    whole.seen_scores = joined([p.seen_scores for p in parts])
    whole.held_out_scores = joined([p.held_out_scores for p in parts])
    # The paper's "Training Best" looks at the test answers of all rows; kept, and named for what it is.
    labels = data.test_labels[:, list(first.subset)]
    best_on_test = int(np.argmax(np.nanmean(labels, 0)))
    whole.success["test_best_as_published"] = labels[whole.rows, best_on_test].astype(np.float64)
    return whole


def _assignment(split_name: str) -> int:
    return int(split_name.split("seed")[1].split("_")[0]) if "seed" in split_name else 0


def judge_fold(data: OfflineDataset, fit: Fit, split: Split, model: RewardModel) -> Judgement:
    """All selectors on the test rows of one fold; training rows are the only thing they may learn from."""
    names = data.names
    n_train_prompts = len(names.train_prompts)
    seen = np.array(fit.subset)
    held_out = np.arange(n_train_prompts, len(names.prompts))
    questions, prompts, size = masked_features(fit, data)
    test_index = names.test_index[split.test]
    texts, inverse = np.unique(test_index, return_inverse=True)
    scores = model.predict(questions[texts], prompts[np.concatenate([seen, held_out])])[inverse]
    seen_scores, held_out_scores = scores[:, : len(seen)], scores[:, len(seen) :]
    labels = data.test_labels[split.test].astype(np.float64)

    rows = np.concatenate([split.train, split.validation])
    train_index, train_labels = names.train_index[rows], data.train_labels[np.ix_(rows, seen)]
    train_success = np.nanmean(train_labels, 0)
    result = Judgement(fit.group, fit.subset, fit.variant, split.test, {}, {}, seen_scores, held_out_scores)
    best = int(np.argmax(train_success))

    def add(name: str, pick: np.ndarray, columns: np.ndarray) -> np.ndarray:
        result.picks[name] = columns[pick]
        result.success[name] = selectors.picked(labels[:, columns], pick)
        return pick

    def add_both(
        name: str, score: np.ndarray, columns: np.ndarray, prior: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        published = add(f"{name}_as_published", selectors.argmax_published(score), columns)
        return published, add(name, selectors.argmax_sound(score, prior, fit.seed), columns)

    add(BASELINE, np.full(len(labels), best), seen)
    seen_published, seen_sound = add_both("irl_0", seen_scores, seen, train_success)
    if fit.variant != "both":
        return result
    result.success["random"] = np.nanmean(labels[:, seen], 1)
    if len(seen) == n_train_prompts:
        for j, column in enumerate(seen):
            add(f"prompt_{names.prompts[column].id}", np.full(len(labels), j), seen)

    lookup = selectors.lookup_scores(train_index, train_labels, test_index)
    unseen = np.isnan(lookup).all(1)
    lookup[unseen] = -np.inf
    lookup[unseen, best] = 0  # a question that never stood in training falls back to the train-best prompt
    add_both("lookup", np.where(np.isnan(lookup), -np.inf, lookup), seen, train_success)
    ids, merged, weights = merge_repeats(train_index, train_labels)
    neighbours = NearestQuestions()
    neighbours.fit(TrainingSet(questions[ids], prompts[seen], merged, weights, size))
    add(
        "knn",
        selectors.argmax_sound(
            neighbours.predict(questions[texts], prompts[seen])[inverse], train_success, fit.seed
        ),
        seen,
    )

    result.success["oracle"] = np.nanmax(labels[:, seen], 1)
    if len(held_out):
        unknown = np.full(len(held_out), np.nan)
        alone_published, alone_sound = add_both("held_out_only", held_out_scores, held_out, unknown)
        mixed = np.concatenate([held_out, seen])  # held-out prompts stand first, as published
        add_both(
            "all_mixed",
            np.concatenate([held_out_scores, seen_scores], 1),
            mixed,
            np.concatenate([unknown, train_success]),
        )
        for suffix, seen_pick, alone in (
            ("_as_published", seen_published, alone_published),
            ("", seen_sound, alone_sound),
        ):
            add(
                f"irl_10{suffix}",
                selectors.fallback_to_held_out(seen_scores, seen_pick + len(held_out), alone),
                mixed,
            )
        if len(seen) == n_train_prompts:
            result.success["oracle_16"] = np.nanmax(labels, 1)
    if data.confidences is not None:
        confidences = data.confidences[split.test]
        add_both("lmsc", confidences[:, seen], seen, train_success)
        if len(seen) == n_train_prompts and len(held_out):
            everyone = np.concatenate([seen, held_out])
            add_both(
                "lmsc_16",
                confidences,
                everyone,
                np.concatenate([train_success, np.full(len(held_out), np.nan)]),
            )
    return result


def note(selector: str, k: int) -> str:
    """Why a row must not be read as a result."""
    base = selector.removesuffix("_as_published")
    return NOT_IDENTIFIABLE if k == 1 and base in ONE_PROMPT_LEAVES_OPEN else ""
