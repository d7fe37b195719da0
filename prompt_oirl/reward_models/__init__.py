"""Reward models r(question, prompt): the probability that the LLM answers right (Prompt-OIRL, Section 3).

Every model has the same five verbs: `tune` chooses its settings on validation rows, `fit` trains with them,
`predict` scores all questions x prompts, `arrays`/`restore` carry it to and from one safetensors file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from prompt_oirl.io.extras import EXTRAS, need
from prompt_oirl.io.files import InputError, atomic_write, on_one_line, require, sha256
from prompt_oirl.reward_models.training_set import TrainingSet, merge_repeats
from prompt_oirl.stats.splits import INNER_FOLDS, deal_folds

__all__ = [
    "MODELS",
    "ModelName",
    "RewardModel",
    "TrainingSet",
    "known_numbers",
    "load",
    "make",
    "merge_repeats",
    "save",
    "to_bytes",
    "train",
]

ModelName = Literal["xgboost", "lightgbm", "interaction", "boosted_interaction", "linear", "mlp", "knn"]
MODELS: tuple[str, ...] = get_args(ModelName)
FOLD_THEMSELVES = ("interaction", "boosted_interaction")  # choose their settings inside `fit`


class RewardModel(Protocol):
    """What every reward model can do; `settings` holds what `tune` chose."""

    settings: dict[str, Any]

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Choose settings on `validation` and leave the model fitted on `train`."""

    def fit(self, train: TrainingSet) -> None:
        """Train on all rows with the chosen settings."""

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Success probabilities float32 (n, m) for questions (n, d) and prompts (m, e)."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything `predict` needs, as plain arrays."""

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""


def make(name: str, preset: str = "fast", seed: int = 0, **overrides: Any) -> RewardModel:
    """An untrained reward model.

    Parameters
    ----------
    name : one of `MODELS`
    preset : fast, or paper: XGBoost as published
    seed : of what the model draws at random; linear and knn draw nothing
    overrides : parameters of XGBoost by name, and `spread` of XGBoost and the interaction model; the other
    models ignore them

    Raises: InputError on an unknown name, on preset paper for another model than XGBoost, and where a library
    is not installed or LightGBM cannot load the system's.
    """
    if preset == "paper" and name != "xgboost":
        raise InputError(f"--preset paper is XGBoost's; use --preset fast with --model {name}")
    library = "xgboost" if name == "boosted_interaction" else name
    if library in EXTRAS["boost"]:
        need(f"--model {name}", "boost", library)
    if name in EXTRAS["boost"]:
        from prompt_oirl.reward_models.boosted import LightGBM, XGBoost

        return XGBoost(preset, seed, **overrides) if name == "xgboost" else LightGBM(seed)
    if name == "interaction":
        from prompt_oirl.reward_models.interaction import InteractionModel

        return InteractionModel(seed, overrides.get("spread"))
    if name == "boosted_interaction":
        from prompt_oirl.reward_models.boosted_interaction import BoostedInteraction

        return BoostedInteraction(seed)
    if name == "linear":
        from prompt_oirl.reward_models.linear import LogisticPerPrompt

        return LogisticPerPrompt()
    if name == "mlp":
        from prompt_oirl.reward_models.mlp import MLP

        return MLP(seed)
    if name == "knn":
        from prompt_oirl.reward_models.neighbours import NearestQuestions

        return NearestQuestions()
    raise InputError(f"--model {name}: choose one of {', '.join(MODELS)}")


def train(name: str, data: TrainingSet, *, seed: int = 0, held_out: np.ndarray | None = None) -> RewardModel:
    """A model with the settings that one of five inner folds of clusters prefers, fitted on all of `data`.

    Parameters
    ----------
    name : one of `MODELS`
    data : what to learn from
    seed : seeds the model and the draw of the inner folds
    held_out : bool (u,), questions that choose the settings; default: the first of five folds of
    `data.clusters`
    """
    model = make(name, seed=seed)
    if name not in FOLD_THEMSELVES:
        if held_out is None:
            clusters = np.arange(len(data.labels)) if data.clusters is None else data.clusters
            held_out = deal_folds(clusters, INNER_FOLDS, seed) == 0
        model.tune(data.rows(~held_out), data.rows(held_out))
    model.fit(data)
    return model


def to_bytes(model: RewardModel) -> bytes:
    """The model as the bytes of one safetensors file."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(array) for name, array in model.arrays().items()})


def save(model: RewardModel, path: Path) -> str:
    """Write the model to one safetensors file and return the file's sha256."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(to_bytes(model))
    return sha256(path)


def load(model: RewardModel, path: Path, expected_sha256: str) -> RewardModel:
    """Read a model that we wrote: a file whose hash differs from its record is not parsed at all.

    Parameters
    ----------
    model : an untrained one of the kind that was saved; it is filled from the file
    path : safetensors file that `save` wrote
    expected_sha256 : hash of the file as its record has it, 64 hexadecimal digits

    Returns: `model` itself, ready to predict.
    Raises: InputError if the file is missing or damaged, or has another hash.
    """
    hint = "run llama_step4_offline_evaluation.py again"
    data = require(path, hint).read_bytes()
    if hashlib.sha256(data).hexdigest() != expected_sha256:
        raise InputError(f"{path} is not the file its record names (altered or copied); delete it and {hint}")
    try:
        model.restore(known_numbers(data))
    except Exception as error:  # each library has kinds of its own for a damaged model
        reason = on_one_line(str(error) or repr(error), 200)
        raise InputError(f"{path}: no model of this kind ({reason}); delete it and {hint}") from error
    return model


def known_numbers(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file's bytes; raises ValueError on one that holds NaN (infinite is
    the scale of a column that never varied)."""
    from safetensors.numpy import load as from_bytes

    arrays: dict[str, np.ndarray] = from_bytes(data)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"{name!a:.60} holds NaN")
    return arrays
