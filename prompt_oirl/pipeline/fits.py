"""Reward-model fits: doing one and finding it again (step 4).

The model file and the record of a fit lie side by side in llama_exps/<llm>_models/; a record whose key
matches inputs, settings and code is finished work, so a killed run resumes where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.io.files import InputError, Paths, atomic_write, content_key, sha256, write_json
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.manifest import code_version
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.fit_data import FitData, masked_features
from prompt_oirl.pipeline.plan import FitSpec, Plan
from prompt_oirl.reward_models import RewardModel, TrainingSet, merge_repeats
from prompt_oirl.stats import metrics
from prompt_oirl.stats.splits import subset_name

STEP4 = "run llama_step4_offline_evaluation.py with the same flags first"


def input_hashes(llm: str, dataset: str, paths: Paths) -> dict[str, str]:
    """Hashes that go into the key of every fit of a dataset: sha256 by file name.

    Parameters
    ----------
    llm, dataset : names of the log
    paths : folders of the pipeline

    Raises: InputError if a file is missing or is not what steps 2 and 3 finished.
    """
    return {path.name: sha256(path) for path in offline_dataset.input_files(llm, dataset, paths)}


def fit_key(fit: FitSpec, inputs: dict[str, str]) -> str:
    """Hash of everything that decides a fit: what it is, its inputs (see `input_hashes`) and the code."""
    return content_key(
        {"fit": asdict(fit), "inputs": inputs, "code": code_version("prompt_oirl.pipeline.fits")}
    )


def finished_record(fit: FitSpec, key: str, paths: Paths) -> dict[str, Any] | None:
    """The record of a finished fit, or None if it must be (re)done.

    Parameters
    ----------
    fit : what was to be trained
    key : of `fit_key`, which the record must hold
    paths : folders of the pipeline
    """
    record_path = paths.models(fit.llm) / f"{fit.stem}.json"
    model_path = record_path.with_suffix(".safetensors")
    if not record_path.is_file() or not model_path.is_file():
        return None
    try:
        record = read_json(record_path, hint="")
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


def finished_fits(plan: Plan, dataset: str, paths: Paths) -> dict[FitSpec, dict[str, Any]]:
    """Step 4's records of all fits of the plan, by fit; the error for a missing one says how to make it.

    Parameters
    ----------
    plan : flags of steps 4 and 5
    dataset : one that went through step 3
    paths : folders of the pipeline

    Raises: InputError if a fit, or a file of an earlier step, is missing or out of date.
    """
    inputs = input_hashes(plan.llm, dataset, paths)
    planned = list(plan.fits(offline_dataset.load_names(plan.llm, dataset, paths)))
    records = {fit: finished_record(fit, fit_key(fit, inputs), paths) for fit in planned}
    found = {fit: record for fit, record in records.items() if record is not None}
    missing = [fit.stem for fit in planned if fit not in found]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(planned)} reward models of {dataset} are missing or out of date "
            f"(first: {missing[0]}): {STEP4}"
        )
    return found


def available_cores() -> int:
    """Cores that this process may use; OMP_NUM_THREADS says fewer, as it does to every library."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(asked)) if asked.isdigit() and int(asked) else cores


def train(
    fit: FitSpec, key: str, data: FitData, spread: Callable[..., Any] | None = None
) -> tuple[dict[str, Any], bytes]:
    """Train and measure on validation rows; the record and the model as safetensors, nothing is written.

    Parameters
    ----------
    fit : what to train
    key : of `fit_key`, for the record
    data : what the fits of this dataset and split learn from
    spread : has a cluster do the model's large sums if the features lie in files, see `workers.FROM_FILES`

    Raises: InputError if there are too few questions to hold some out for validation.
    """
    started = time.perf_counter()
    train, validation, both = training_sets(fit, data)
    # Fits of mapped features run one after the other, so each may have all cores.
    overrides: dict[str, Any] = {}
    if data.mapped():
        overrides = {"nthread": available_cores(), "spread": spread}
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


def save(fit: FitSpec, record: dict[str, Any], content: bytes, paths: Paths) -> None:
    """Write model and record; the record last, for it vouches for the model, and with a digest of itself.

    Parameters
    ----------
    fit : what was trained; names the files
    record, content : of `train`
    paths : folders of the pipeline

    Raises: InputError if a file cannot be written.
    """
    path = paths.models(fit.llm) / f"{fit.stem}.safetensors"
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    write_json(path.with_suffix(".json"), record | {"digest": content_key(record)})


def training_sets(fit: FitSpec, data: FitData) -> tuple[TrainingSet, TrainingSet, TrainingSet]:
    """Training, validation and joint rows of a fit, repeats of a question merged into one weighted row."""
    sets = _whole_sets(data, fit.variant, fit.seed)
    if any(not part.weights[:, list(fit.subset)].sum() for part in sets[:2]):
        raise InputError(
            f"{fit.dataset}, {fit.split}: too few training questions, counting near-duplicates as one, to "
            "hold some out for validation; log more, or use --split paper"
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
    """How the model, trained without them, predicts the validation rows.

    Every answer counts once, but in the AUCs within prompt and within question every cell does, however
    often it was asked.

    Parameters
    ----------
    model : trained on `train`
    train : gives the prompt means that the model is compared with
    validation : rows to predict

    Returns: measures by name: counts, rates and AUCs in 0..1, log losses in nats per answer.
    """
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


def load_fit(fit: FitSpec, record: dict[str, Any], paths: Paths) -> RewardModel:
    """The trained model of a finished fit; its file must be the one the record names.

    Parameters
    ----------
    fit : what was trained
    record : of `finished_record`
    paths : folders of the pipeline

    Raises: InputError if the file is missing or is another one.
    """
    model = reward_models.make(fit.model, fit.preset, fit.seed)
    return reward_models.load(
        model, paths.models(fit.llm) / f"{fit.stem}.safetensors", record["model_sha256"]
    )


def validation_rows(fits: Sequence[FitSpec], records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of <dataset>_<model>_validation.csv: how each fit predicts its validation rows."""
    for fit, record in zip(fits, records):
        yield {
            "llm": fit.llm,
            "dataset": fit.dataset,
            "split": fit.split,
            "k": len(fit.subset),
            "subset": subset_name(fit.subset),
            "model": fit.model,
            "preset": fit.preset,
            "features": fit.variant,
            "settings": " ".join(f"{name}={value}" for name, value in record["settings"].items()),
            "seed": fit.seed,
        } | record["validation"]


def validation_path(plan: Plan, dataset: str, paths: Paths) -> Path:
    """Where step 4 writes the validation metrics of a dataset.

    Parameters
    ----------
    plan : flags of steps 4 and 5; LLM, model and preset name the file
    dataset : its name
    paths : folders of the pipeline
    """
    preset = "" if plan.preset == "fast" else f"_{plan.preset}"
    return paths.models(plan.llm) / f"{dataset}_{plan.model}{preset}_validation.csv"
