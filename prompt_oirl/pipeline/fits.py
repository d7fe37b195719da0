"""Reward-model fits: which ones a run needs, doing one, and finding it again (step 4).

A fit is one (dataset, split, prompt subset, model, variant). Its model file and its record lie side by side
in llama_exps/<llm>_models/; a record whose key matches inputs, settings and code is finished work, so a
killed run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.io.files import InputError, Paths, atomic_write, content_key, read_json, sha256, write_json
from prompt_oirl.io.manifest import code_version
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.fit_data import VARIANTS, FitData, masked_features
from prompt_oirl.reward_models import RewardModel, TrainingSet, merge_repeats
from prompt_oirl.stats import metrics
from prompt_oirl.stats.splits import HEADLINE_FOLDS, SUBSET_FOLDS, Split, prompt_subsets, subset_name

PROTOCOLS = ("paper", "crossfit")


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
    return content_key(
        {"fit": asdict(fit), "inputs": inputs, "code": code_version("prompt_oirl.pipeline.fits")}
    )


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
        or record.pop("digest", None) != content_key(record)
        or record["key"] != key
        or record["model_sha256"] != sha256(model_path)
    ):
        return None
    return record


def available_cores() -> int:
    """Cores that this process may use; OMP_NUM_THREADS says fewer, as it does to every library."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(asked)) if asked.isdigit() and int(asked) else cores


def train(fit: Fit, key: str, data: FitData) -> tuple[dict[str, Any], bytes]:
    """Train and measure on the validation rows; returns the record and the model as safetensors. Writes nothing."""
    started = time.perf_counter()
    train, validation, both = training_sets(fit, data)
    # Fits of mapped features run one after the other, so each may have all cores.
    overrides = {"nthread": available_cores()} if data.mapped() and fit.model == "xgboost" else {}
    model = reward_models.make(fit.model, fit.preset, fit.seed, **overrides)
    model.tune(train, validation)
    measured = validation_metrics(model, train, validation)
    if fit.preset != "paper":  # the published model never sees the validation rows
        model.fit(both)
    content = reward_models.to_bytes(model)
    record = {
        "key": key,
        "fit": asdict(fit),
        "settings": model.settings,
        "validation": measured,
        "embedder": asdict(data.embedder),
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "wall_seconds": round(time.perf_counter() - started, 3),
    }
    return record, content


def save(fit: Fit, record: dict[str, Any], content: bytes, paths: Paths) -> None:
    """Write model and record; the record last, for it vouches for the model, and with a digest of itself."""
    path = paths.models(fit.llm) / f"{fit.stem}.safetensors"
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    write_json(path.with_suffix(".json"), record | {"digest": content_key(record)})


def training_sets(fit: Fit, data: FitData) -> tuple[TrainingSet, TrainingSet, TrainingSet]:
    """Training, validation and joint rows of a fit, repeats of a question merged into one weighted row."""
    sets = _whole_sets(data, fit.variant, fit.seed)
    if any(not part.weights[:, list(fit.subset)].sum() for part in sets[:2]):
        raise InputError(
            f"{fit.dataset}, {fit.split}: too few training questions, counting near-duplicates as one, to hold some out for validation; log more, or use --split paper"
        )
    train, validation, both = (part.subset(fit.subset) for part in sets)
    return train, validation, both


@lru_cache(maxsize=3)
def _whole_sets(data: FitData, variant: str, seed: int) -> list[TrainingSet]:
    """Training, validation and joint rows with all prompts: made once, shared by the subsets."""
    questions, prompts = masked_features(variant, data.questions, data.prompts[: data.train_labels.shape[1]])
    split, sets = data.split, []
    for rows in (split.train, split.validation, np.concatenate([split.train, split.validation])):
        ids, labels, weights = merge_repeats(data.train_index[rows], data.train_labels[rows])
        if variant == "shuffled_labels":  # whole rows move, so each prompt keeps its mean success
            order = np.random.default_rng(seed).permutation(len(ids))
            labels, weights = labels[order], weights[order]
        chosen: Any = questions.select(ids) if isinstance(questions, MappedQuestions) else questions[ids]
        sets.append(TrainingSet(chosen, prompts, labels, weights, data.embedding_size, data.clusters[ids]))
    return sets


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
