"""The reward model of Prompt-OIRL for A-LoL: r(question, prompt), learned from an interaction log.

No row is ever scored by a model that saw its group: predictions for the log's own rows are cross-fitted over
folds of groups. They also calibrate the model (Platt: a line through the log odds), so that r is a
probability. It answers two needs of A-LoL without asking the LLM: what a written prompt deserves (the reward
of generations), and what a question deserved to expect (V).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.near_duplicates import cluster_texts, in_order_of_appearance
from prompt_oirl.features.cache import encode_distinct
from prompt_oirl.features.embedders import Embedder, load_embedder
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import InputError, sha256, write_json
from prompt_oirl.io.json_files import read_json
from prompt_oirl.reward_models import RewardModel, TrainingSet
from prompt_oirl.stats.cells import mean_labels
from prompt_oirl.stats.crossfit import crossfit
from prompt_oirl.stats.splits import HEADLINE_FOLDS, Split, cluster_splits, deal_folds

HINT = "run alol_step1_prepare_data.py again"


@dataclass
class LogRewardModel:
    """r(question, prompt) in 0..1: a reward model behind an embedder, its log odds x put on slope * x +
    intercept."""

    model: RewardModel
    embedder: Embedder
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        self._known: dict[str, dict[str, np.ndarray]] = {"questions": {}, "prompts": {}}

    def score(self, questions: Sequence[str], prompts: Sequence[str]) -> np.ndarray:
        """r of n pairs, float64 (n,)."""
        q, p = self._vectors("questions", questions), self._vectors("prompts", prompts)
        found = np.zeros(len(questions))
        places: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            places.setdefault(prompt, []).append(i)
        for rows in places.values():
            found[rows] = self.model.predict(q[rows], p[rows[:1]])[:, 0]
        return calibrated(found, self.slope, self.intercept)

    def _vectors(self, kind: str, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts, each text embedded once in the life of the model."""
        known = self._known[kind]
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            vectors = self.embedder.encode(new)
            if kind == "questions":
                vectors = np.concatenate([vectors, surface_features(new)], 1)
            known.update(zip(new, vectors))
        return np.array([known[text] for text in texts])


@dataclass(frozen=True)
class LogRewardFit:
    """A model of the log, and r of every log row by a model that did not see the row's group, float64
    (n,)."""

    model: LogRewardModel
    cross_fitted: np.ndarray
    # V(question): mean of that r over the prompts of the log, by how often each was asked.
    expected: np.ndarray
    report: dict[str, float]


def fit(rows: Sequence[LogRow], model: str, embedder: str, seed: int) -> LogRewardFit:
    """Learn r from all rows given, and predict each row by a model that did not see its group.

    Parameters
    ----------
    rows : n rows; clusters are their groups, or near-duplicates if a question has no group
    model : name of a reward model, one of `reward_models.MODELS`
    embedder : minilm, a sentence-transformers folder or hub id, or openai:MODEL
    seed : of embedder, folds and model

    Raises: InputError if the log has fewer than two prompts or ten questions, if all verdicts are the same,
        or if the embedder is one that is fitted to questions.
    """
    questions = list(dict.fromkeys(row.question for row in rows))
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    row_of, column_of = {q: i for i, q in enumerate(questions)}, {p: j for j, p in enumerate(prompts)}
    at = np.array([row_of[row.question] for row in rows])
    column = np.array([column_of[row.prompt] for row in rows])
    verdicts = np.array([row.correct for row in rows], dtype=np.float64)
    labels, asked = mean_labels(at, column, verdicts, (len(questions), len(prompts)))
    if len(prompts) < 2 or len(questions) < 2 * HEADLINE_FOLDS:
        raise InputError(
            f"the log holds {len(questions)} questions and {len(prompts)} prompts to learn from, too few "
            "for a reward model"
        )
    encoder = load_embedder(embedder, seed)
    if encoder.info.fitted:
        raise InputError(
            f"--embedder {embedder} knows words of questions only, not of prompts: pass minilm or a folder"
        )
    vectors = encode_distinct(encoder, questions)
    data = TrainingSet(
        np.concatenate([vectors, surface_features(questions)], 1),
        encode_distinct(encoder, prompts),
        labels.astype(np.float32),
        asked.astype(np.float32),
        vectors.shape[1],
    )
    groups = [row.group for row in {row.question: row for row in reversed(rows)}.values()][::-1]
    cluster = cluster_texts(questions) if None in groups else in_order_of_appearance(groups)
    found, fitted = _cross_fit(data, cluster, model, seed)
    slope, intercept = platt(found[asked > 0], data.labels[asked > 0], asked[asked > 0])
    found = calibrated(found, slope, intercept)
    share = asked.sum(0) / asked.sum()
    report = _report(found, data.labels, asked)
    report |= {"questions": len(questions), "prompts": len(prompts), "clusters": int(cluster.max()) + 1}
    return LogRewardFit(
        LogRewardModel(fitted, encoder, slope, intercept), found[at, column], (found @ share)[at], report
    )


def _cross_fit(
    data: TrainingSet, cluster: np.ndarray, name: str, seed: int
) -> tuple[np.ndarray, RewardModel]:
    """Uncalibrated r of every cell by the folds' models, and the model of all rows; settings from the first
    fold."""
    splits = cluster_splits(cluster, HEADLINE_FOLDS, seed)
    fold = deal_folds(cluster, HEADLINE_FOLDS, seed)
    tuning = fold == fold.max()
    model = reward_models.make(name, seed=seed)
    model.tune(data.rows((fold != 0) & ~tuning), data.rows((fold != 0) & tuning))

    def fit_fold(split: Split) -> dict[str, np.ndarray]:
        model.fit(data.rows(np.sort(split.learned)))
        return {"r": model.predict(data.questions[split.test], data.prompts)}

    found = crossfit(splits, fit_fold)["r"].astype(np.float64)
    model.fit(data)
    return found, model


def log_odds(scores: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) with p held within 1e-6 and 1 - 1e-6."""
    p = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(p) - np.log1p(-p)


def calibrated(scores: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Scores in 0..1 with their log odds x put on slope * x + intercept.

    Parameters
    ----------
    scores : float, of any shape
    slope, intercept : of the line, see `platt`

    Returns: float64 in the shape of `scores`.
    """
    return 1 / (1 + np.exp(-(slope * log_odds(scores) + intercept)))


def platt(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Slope and intercept on the log odds that give the labels (n,) in 0..1 the highest likelihood.

    Parameters
    ----------
    scores : float (n,), predicted success in 0..1
    labels : float (n,), success, a mean of verdicts
    weights : float (n,), answers behind each label

    Raises: InputError if all answers have the same verdict.
    """
    from sklearn.linear_model import LogisticRegression

    x = np.concatenate([log_odds(scores)] * 2)[:, None]
    y = np.repeat([1, 0], len(scores))
    weight = np.concatenate([weights * labels, weights * (1 - labels)])
    if not (weight[: len(scores)].sum() and weight[len(scores) :].sum()):
        raise InputError("every answer of the log has the same verdict: nothing to learn a reward from")
    found = LogisticRegression(C=1e6).fit(x[weight > 0], y[weight > 0], sample_weight=weight[weight > 0])
    return float(found.coef_[0, 0]), float(found.intercept_[0])


def _report(found: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> dict[str, float]:
    from prompt_oirl.stats.metrics import auc, auc_within_question, log_loss

    known, bins = asked > 0, np.minimum((found * 10).astype(int), 9)
    errors = [(asked[known & (bins == b)] * (labels - found)[known & (bins == b)]).sum() for b in range(10)]
    return {
        "auc": auc(labels, found, asked),
        "auc_within_question": auc_within_question(labels, found),
        "log_loss": log_loss(labels, found, asked),
        "calibration_error": float(np.abs(errors).sum() / asked.sum()),
        "success": float((labels * asked)[known].sum() / asked.sum()),
    }


def describe(fit: LogRewardFit) -> str:
    """One line about a fit, for the user."""
    said = fit.report
    return (
        f"reward model r(question, prompt), cross-fitted on {said['questions']:,} questions x "
        f"{said['prompts']} prompts in {said['clusters']:,} groups: AUC {said['auc']:.3f}, within a question "
        f"{said['auc_within_question']:.3f}, calibration error {said['calibration_error']:.3f}"
    )


def save(folder: Path, found: LogRewardFit, name: str, embedder: str, seed: int) -> list[Path]:
    """Write model.safetensors and judge.json, which `load` reads; returns the two files.

    Parameters
    ----------
    folder : where they go
    found : what `fit` returned
    name, embedder, seed : what `fit` was told; `name` is its `model`
    """
    files = [folder / "model.safetensors", folder / "judge.json"]
    digest = reward_models.save(found.model.model, files[0])
    about = {"model": name, "seed": seed, "embedder": embedder}
    about |= {"embedder_sha256": found.model.embedder.info.sha256, "sha256": digest}
    about |= {"slope": found.model.slope, "intercept": found.model.intercept, "cross_fitted": found.report}
    write_json(files[1], about)
    return files


def load(folder: Path) -> LogRewardModel:
    """The reward model of a folder; weights or an embedder other than recorded are refused."""
    about: Any = read_json(folder / "judge.json", hint=HINT)
    try:
        model = reward_models.make(about["model"], seed=about["seed"])
        model = reward_models.load(model, folder / "model.safetensors", about["sha256"])
        encoder = load_embedder(about["embedder"], about["seed"])
        if encoder.info.sha256 != about["embedder_sha256"]:
            raise InputError(f"{folder / 'judge.json'}: made with another embedder; {HINT}")
        return LogRewardModel(model, encoder, float(about["slope"]), float(about["intercept"]))
    except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
        raise InputError(f"{folder / 'judge.json'}: not a reward model's record; {HINT}") from error


def fingerprint(folder: Path) -> str:
    """What a result depends on besides the rows: the model's record, which names its weights by hash."""
    return sha256(folder / "judge.json")
