"""Reward-model fits: which ones a run needs, doing one, and finding it again (step 4).

A fit is one (dataset, split, prompt subset, model, variant). Its model file and its record lie side by side
in llama_exps/<llm>_models/; a record whose key matches inputs, settings and code is finished work, so a
killed run goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl import metrics, offline_dataset, reward_models
from prompt_oirl.artifacts import InputError, Paths, content_key, read_json, sha256, write_json
from prompt_oirl.offline_dataset import OfflineDataset
from prompt_oirl.reward_models import RewardModel, TrainingSet, merge_repeats
from prompt_oirl.splits import HEADLINE_FOLDS, SUBSET_FOLDS, Split, prompt_subsets, subset_name
from prompt_oirl.steps import code_version

PROTOCOLS = ("paper", "crossfit")
# Modules whose change makes a finished fit out of date.
DECIDING_CODE = ("reward_models", "fits.py", "metrics.py", "offline_dataset.py", "splits.py")
# Sanity checks beside the real fit ("both"): no signal at all, and each half of the features alone.
VARIANTS = ("both", "question_only", "prompt_only", "shuffled_labels")


@dataclass(frozen=True)
class Fit:
    """One reward model to train. `group` is paper, crossfit (all prompts) or crossfit2 (subsets)."""

    llm: str
    dataset: str
    group: str
    split: str
    subset: tuple[int, ...]
    model: str
    preset: str
    variant: str = "both"
    seed: int = 0

    @property
    def stem(self) -> str:
        parts = [self.dataset, self.model, subset_name(self.subset), self.split]
        parts += (
            [self.preset] * (self.preset != "fast")
            + [self.variant] * (self.variant != "both")
            + [f"seed{self.seed}"] * bool(self.seed)
        )
        return "_".join(parts)


@dataclass(frozen=True)
class Plan:
    """What the flags of steps 4 and 5 ask for; both steps make the same plan from the same flags."""

    llm: str
    model: str = "xgboost"
    preset: str = "fast"
    split: str = "both"
    subsets: str = "all"
    assignments: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.assignments <= offline_dataset.ASSIGNMENTS:
            raise InputError(f"--assignments {self.assignments}: choose 1 to {offline_dataset.ASSIGNMENTS}")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: give 0 or more")

    @property
    def suffix(self) -> str:
        """Ending of result folders: nothing for the defaults, so other models never overwrite them."""
        named = [self.model] * (self.model != "xgboost") + [self.preset] * (self.preset != "fast")
        named += [f"x{self.assignments}"] * (self.assignments != 1) + [f"seed{self.seed}"] * bool(self.seed)
        return "".join(f"_{part}" for part in named)

    def groups(self) -> list[str]:
        if self.split not in (*PROTOCOLS, "both"):
            raise InputError(f"--split {self.split}: choose paper, crossfit or both")
        return [p for p in PROTOCOLS if self.split in (p, "both")]

    def sizes(self, n_prompts: int) -> list[int]:
        """Subset sizes K named by `--subsets all|1,2,6`."""
        try:
            sizes = (
                list(range(1, n_prompts + 1))
                if self.subsets == "all"
                else sorted({int(k) for k in self.subsets.split(",")})
            )
        except ValueError:
            raise InputError(
                f"--subsets {self.subsets}: give all, or sizes such as 1,2,{n_prompts}"
            ) from None
        if not sizes or sizes[0] < 1 or sizes[-1] > n_prompts:
            raise InputError(
                f"--subsets {self.subsets}: sizes run from 1 to {n_prompts}, the number of training prompts"
            )
        return sizes

    def fits(self, names: offline_dataset.Names) -> Iterator[Fit]:
        """All fits of one dataset: every asked subset on the paper split and on two folds; all prompts on five
        folds (times assignments), with the sanity variants."""
        n_prompts = len(names.train_prompts)
        sizes = self.sizes(n_prompts)
        everything = tuple(range(n_prompts))
        subsets = [s for s in prompt_subsets(n_prompts) if len(s) in sizes]

        def fit(group: str, split: str, subset: tuple[int, ...], variant: str = "both") -> Fit:
            return Fit(
                self.llm, names.dataset, group, split, subset, self.model, self.preset, variant, self.seed
            )

        # The sanity checks are about the protocol, so one model and one assignment carry them.
        variants = VARIANTS if self.model == "xgboost" and self.assignments == 1 else VARIANTS[:1]
        for group in self.groups():
            if group == "paper":
                yield from (
                    fit("paper", "paper", s, v)
                    for s in subsets
                    for v in (variants if s == everything else VARIANTS[:1])
                )
                continue
            if everything in subsets:
                for assignment in range(self.assignments):
                    for split in names.crossfit_splits(HEADLINE_FOLDS, assignment):
                        yield from (fit("crossfit", split.name, everything, v) for v in variants)
            if any(len(s) < n_prompts for s in subsets):
                for split in names.crossfit_splits(SUBSET_FOLDS, 0):
                    yield from (fit("crossfit2", split.name, s) for s in subsets)


def splits_by_name(names: offline_dataset.Names, assignments: int) -> dict[str, Split]:
    return {split.name: split for split in offline_dataset.all_splits(names, assignments)}


def input_hashes(llm: str, dataset: str, paths: Paths) -> dict[str, str]:
    """Hashes that go into the key of every fit of a dataset."""
    return {path.name: sha256(path) for path in offline_dataset.input_files(llm, dataset, paths)}


def fit_key(fit: Fit, inputs: dict[str, str]) -> str:
    return content_key({"fit": asdict(fit), "inputs": inputs, "code": code_version(*DECIDING_CODE)})


def finished_record(fit: Fit, key: str, paths: Paths) -> dict[str, Any] | None:
    """The record of a finished fit, or None if it must be (re)done."""
    record_path = paths.models(fit.llm) / f"{fit.stem}.json"
    model_path = record_path.with_suffix(".safetensors")
    if not record_path.is_file() or not model_path.is_file():
        return None
    try:
        record = read_json(record_path, remedy="")
    except InputError:
        return None
    if (
        not isinstance(record, dict)
        or record.get("key") != key
        or record.get("model_sha256") != sha256(model_path)
    ):
        return None
    return record


def run_fit(fit: Fit, key: str, paths: Paths, assignments: int) -> dict[str, Any]:
    """Train, measure on the validation rows, save; returns the record (also when it was done before)."""
    done = finished_record(fit, key, paths)
    if done is not None:
        return done
    started = time.perf_counter()
    data, all_splits = _dataset(fit.llm, fit.dataset, paths, assignments)
    split = all_splits[fit.split]
    train, validation, both = training_sets(fit, data, split)
    model = reward_models.make(fit.model, fit.preset, fit.seed)
    model.tune(train, validation)
    measured = validation_metrics(model, train, validation)
    if fit.preset != "paper":  # the published model never sees the validation rows
        model.fit(both)
    path = paths.models(fit.llm) / f"{fit.stem}.safetensors"
    record = {
        "key": key,
        "fit": asdict(fit),
        "settings": model.settings,
        "validation": measured,
        "embedder": asdict(data.embedder),
        "model_sha256": reward_models.save(model, path),
        "wall_seconds": round(time.perf_counter() - started, 3),
    }
    write_json(path.with_suffix(".json"), record)
    return record


@lru_cache(maxsize=2)
def _dataset(
    llm: str, dataset: str, paths: Paths, assignments: int
) -> tuple[OfflineDataset, dict[str, Split]]:
    data = offline_dataset.load(llm, dataset, paths)
    return data, splits_by_name(data.names, assignments)


def masked_features(fit: Fit, data: OfflineDataset) -> tuple[np.ndarray, np.ndarray, int]:
    """Features of a fit's split; a sanity variant sees zeros in place of one half."""
    questions, prompts, size = data.features(fit.split)
    if fit.variant == "question_only":
        prompts = np.zeros_like(prompts)
    if fit.variant == "prompt_only":
        questions = np.zeros_like(questions)
    return questions, prompts, size


def training_sets(
    fit: Fit, data: OfflineDataset, split: Split
) -> tuple[TrainingSet, TrainingSet, TrainingSet]:
    """Training, validation and joint rows of a fit, repeats of a question merged into one weighted row."""
    questions, prompts, size = masked_features(fit, data)
    subset = list(fit.subset)
    sets = []
    for rows in (split.train, split.validation, np.concatenate([split.train, split.validation])):
        ids, labels, weights = merge_repeats(data.names.train_index[rows], data.train_labels[rows][:, subset])
        if fit.variant == "shuffled_labels":  # whole rows move, so each prompt keeps its mean success
            order = np.random.default_rng(fit.seed).permutation(len(ids))
            labels, weights = labels[order], weights[order]
        sets.append(
            TrainingSet(questions[ids], prompts[subset], labels, weights, size, data.names.clusters[ids])
        )
    if not sets[0].weights.sum() or not sets[1].weights.sum():
        raise InputError(
            f"{fit.dataset}, {fit.split}: too few training questions, counting near-duplicates as one, to hold some out for validation; log more, or use --split paper"
        )
    return sets[0], sets[1], sets[2]


def validation_metrics(model: RewardModel, train: TrainingSet, validation: TrainingSet) -> dict[str, float]:
    """How the model, trained without them, predicts the validation rows. Every answer counts once."""
    scores = model.predict(validation.questions, validation.prompts)
    labels, weights = validation.labels, validation.weights
    known = weights > 0
    rights = np.where(known, labels, 0) * weights
    positive = scores > 0.5
    agree = np.where(positive, rights, weights - rights)
    prior = np.broadcast_to(train.prompt_means, labels.shape)
    return {
        "questions": len(labels),
        "answers": float(weights.sum()),
        "success_rate": float(rights.sum() / weights.sum()),
        "accuracy": float(agree.sum() / weights.sum()),
        "predicted_positive": float((positive * weights).sum() / weights.sum()),
        "log_loss": metrics.log_loss(labels, scores, weights),
        "log_loss_of_prompt_means": metrics.log_loss(labels, prior, weights),
        "auc_pooled": metrics.auc(labels, scores, weights),
        "auc_within_prompt": metrics.auc_within_prompt(labels, scores),
        "auc_within_question": metrics.auc_within_question(labels, scores),
    }


def load_fit(fit: Fit, record: dict[str, Any], paths: Paths) -> RewardModel:
    """The trained model of a finished fit; its file must be the one the record names."""
    model = reward_models.make(fit.model, fit.preset, fit.seed)
    return reward_models.load(
        model, paths.models(fit.llm) / f"{fit.stem}.safetensors", record["model_sha256"]
    )


def validation_rows(fits: Sequence[Fit], records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for fit, record in zip(fits, records):
        settings = " ".join(f"{name}={value}" for name, value in record["settings"].items())
        yield {
            "llm": fit.llm,
            "dataset": fit.dataset,
            "split": fit.split,
            "k": len(fit.subset),
            "subset": subset_name(fit.subset),
            "model": fit.model,
            "preset": fit.preset,
            "features": fit.variant,
            "settings": settings,
            "seed": fit.seed,
        } | record["validation"]


VALIDATION_COLUMNS = [
    "llm",
    "dataset",
    "split",
    "k",
    "subset",
    "model",
    "preset",
    "features",
    "settings",
    "seed",
    "questions",
    "answers",
    "success_rate",
    "accuracy",
    "predicted_positive",
    "log_loss",
    "log_loss_of_prompt_means",
    "auc_pooled",
    "auc_within_prompt",
    "auc_within_question",
]


def validation_path(plan: Plan, dataset: str, paths: Paths) -> Path:
    preset = "" if plan.preset == "fast" else f"_{plan.preset}"
    return paths.models(plan.llm) / f"{dataset}_{plan.model}{preset}_validation.csv"
