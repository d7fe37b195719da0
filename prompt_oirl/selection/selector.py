"""Pick a prompt for each question, learned from a log: `PromptSelector().fit("log.csv").select(questions)`.

scikit-learn's conventions: settings in the constructor, what is learned ends in an underscore, `clone` and
`get_params` work. No LLM is asked, and with the default embedder nothing leaves the machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from prompt_oirl import reward_models
from prompt_oirl.data.user_log import PromptLog, read_log
from prompt_oirl.features.cache import encode_distinct
from prompt_oirl.features.embedders import Embedder, load_embedder
from prompt_oirl.features.prompt_axes import prompt_features
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import InputError
from prompt_oirl.io.tables import check_text
from prompt_oirl.reward_models import RewardModel, TrainingSet
from prompt_oirl.selection import storage
from prompt_oirl.stats.cells import PromptSuccess, independent_answers
from prompt_oirl.stats.splits import INNER_FOLDS, deal_folds

DEFAULT_MODEL = "interaction"  # ranks prompts by their means unless held-out folds support more
MIN_GROUPS = 20
MAX_COST_WEIGHT = 1e12


class PromptSelector(BaseEstimator):
    """Chooses, for each question, the prompt with the highest predicted success (Prompt-OIRL, Eq. 4).

    Parameters
    ----------
    embedder: "minilm" (works offline), "tfidf", "openai:MODEL", a sentence-transformers folder or hub id, or
    an
        object with `info`, `fit(texts)` and `encode(texts)`.
    model: name of a reward model.
    cost_weight: success that one unit of cost must bring; the score is success - cost_weight * cost.
    seed: of everything random.

    Learned: `prompts_` (texts), `names_`, `success_` (K,) and `cost_` (K,) of each logged prompt, `standing_`
    (K,), its success as far as its answers tell (`PromptSuccess`), `best_` (the index of the prompt of
    highest standing), `model_`, `embedder_`.
    """

    def __init__(
        self,
        embedder: str | Embedder = "minilm",
        model: str = DEFAULT_MODEL,
        cost_weight: float = 0.0,
        seed: int = 0,
    ):
        self.embedder = embedder
        self.model = model
        self.cost_weight = cost_weight
        self.seed = seed

    # --- learning ---------------------------------------------------------------------------------------

    def fit(self, log: pd.DataFrame | str | Path | PromptLog) -> PromptSelector:
        """Learn from a log (see `prompt_log.read_log`); raises InputError on one that cannot be used."""
        log = read_log(log)
        self.model_name_, self.model_ = self._fit_model(self.training_set(log), log)
        return self

    def training_set(self, log: PromptLog) -> TrainingSet:
        """What `fit` trains on: features of questions and prompts, labels and weights of the cells."""
        self._check_settings(log.prompt_cost)
        self.embedder_ = (
            load_embedder(self.embedder, self.seed) if isinstance(self.embedder, str) else self.embedder
        )
        self.embedder_.fit(log.questions)
        # A part of a log may lack a prompt, which is then one never seen.
        asked = np.flatnonzero(log.counts.any(0))
        self.prompts_, self.names_ = [log.prompts[j] for j in asked], [log.names[j] for j in asked]
        self.success_, self.cost_ = log.prompt_success[asked], log.prompt_cost[asked]
        questions, size = self._question_features(log.questions)
        prompts = self._prompt_features(self.prompts_)
        labels, counts = (table[:, asked].astype(np.float32) for table in (log.labels, log.counts))
        known = PromptSuccess.of(labels, independent_answers(labels, counts))
        self.standing_, self.best_ = known.success, known.best
        return TrainingSet(questions, prompts, labels, counts, size, log.groups)

    def _check_settings(self, costs: np.ndarray) -> None:
        if not isinstance(self.cost_weight, Real) or not 0 <= self.cost_weight <= MAX_COST_WEIGHT:
            raise InputError(f"cost_weight {self.cost_weight}: give a number from 0 to {MAX_COST_WEIGHT:g}")
        if not isinstance(self.seed, Integral) or not 0 <= self.seed < 2**32:
            raise InputError(f"seed {self.seed}: give a whole number from 0 to {2**32 - 1}")
        if self.cost_weight and np.isnan(costs).all():
            raise InputError(
                "cost_weight needs costs: add a column cost to the log, or leave cost_weight at 0"
            )

    def _fit_model(self, data: TrainingSet, log: PromptLog) -> tuple[str, RewardModel]:
        reason = _too_little(log)
        if reason is None:
            held_out = deal_folds(log.groups, INNER_FOLDS, self.seed) == 0
            if data.weights[held_out].any() and data.weights[~held_out].any():
                return self.model, reward_models.train(self.model, data, seed=self.seed, held_out=held_out)
            reason = "answers stand on too few questions"
        warnings.warn(f"{reason}: every question gets the prompt that is best overall", stacklevel=3)
        # With one cluster nothing is learned but the prompts' means.
        one_cluster = replace(data, clusters=np.zeros(len(data.labels), dtype=int))
        return DEFAULT_MODEL, reward_models.train(DEFAULT_MODEL, one_cluster, seed=self.seed)

    def _question_features(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """Embedding and surface features float32 (n, d), and how many columns are embedding."""
        vectors = encode_distinct(self.embedder_, texts)
        return np.concatenate([vectors, surface_features(texts)], 1), vectors.shape[1]

    def _prompt_features(self, texts: Sequence[str]) -> np.ndarray:
        """Embedding, with axes of their own for logged prompts where needed; float32 (m, e) or (m, e + K)."""
        vectors, place = encode_distinct(self.embedder_, texts), {t: j for j, t in enumerate(self.prompts_)}
        logged = encode_distinct(self.embedder_, self.prompts_)
        return prompt_features(vectors, np.array([place.get(t, -1) for t in texts]), logged)

    # --- choosing ---------------------------------------------------------------------------------------

    def predict_proba(self, questions: Sequence[str], prompts: Sequence[str] | None = None) -> np.ndarray:
        """Probability that each prompt answers each question right, float32 (n, m).

        `prompts`: texts, by default those of the log. A prompt that the log lacks is scored by its likeness
        to logged ones, which is a guess (README, "Your own logs").
        """
        check_is_fitted(self, "model_")
        questions = _checked_texts(questions, "questions")
        prompts = self.prompts_ if prompts is None else _checked_texts(prompts, "prompts")
        if not questions or not prompts:
            return np.zeros((len(questions), len(prompts)), dtype=np.float32)
        features, _ = self._question_features(questions)
        return self.model_.predict(features, self._prompt_features(prompts))

    def rank(
        self, questions: Sequence[str], prompts: Sequence[str] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prompt indices best first, int64 (n, m), and the probabilities (n, m) behind them.

        Sorted by success - cost_weight * cost; ties go to the prompt of higher standing in the log.
        """
        probabilities = self.predict_proba(questions, prompts)
        chosen = self.prompts_ if prompts is None else list(prompts)
        return self.order(probabilities, chosen), probabilities

    def order(self, probabilities: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
        """Indices int64 (n, m) of `prompts`, best first, for probabilities (n, m)."""
        self._check_settings(self.cost_)
        score = probabilities.astype(np.float64)
        if self.cost_weight:
            score = score - self.cost_weight * self._of_prompts(prompts, self.cost_, np.nanmean(self.cost_))
        prior = self._of_prompts(prompts, self.standing_, -1.0)
        prior[[text == self.prompts_[self.best_] for text in prompts]] = 1.0
        return np.lexsort((np.broadcast_to(-prior, score.shape), -score), axis=1)

    def _of_prompts(self, prompts: Sequence[str], values: np.ndarray, unknown: float) -> np.ndarray:
        known = {text: value for text, value in zip(self.prompts_, values) if not np.isnan(value)}
        return np.array([known.get(text, unknown) for text in prompts])

    def select(
        self,
        questions: Sequence[str],
        prompts: Sequence[str] | None = None,
        k: int = 1,
        abstain_below: float | None = None,
    ) -> np.ndarray:
        """The best prompt of each question, object (n,); with k > 1 the k best, object (n, k), best first.

        Parameters
        ----------
        prompts : texts to choose from; default: those of the log
        k : how many
        abstain_below : probability of the first pick below which None stands for the picks
        """
        picks, _ = self.choose(questions, prompts, k, abstain_below)
        return picks[:, 0] if k == 1 else picks

    def choose(
        self,
        questions: Sequence[str],
        prompts: Sequence[str] | None = None,
        k: int = 1,
        abstain_below: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best prompts, object (n, k), best first, and their probabilities, float32 (n, k).

        Parameters
        ----------
        questions : n texts
        prompts, k, abstain_below : as in `select`

        Raises: InputError if there is no prompt, k is not 1 to their number, abstain_below is not 0 to 1, or
        something is not a text.
        """
        if abstain_below is not None and not 0 <= abstain_below <= 1:
            raise InputError(f"abstain_below {abstain_below}: give a probability, 0 to 1")
        order, probabilities = self.rank(questions, prompts)
        n_prompts = probabilities.shape[1]
        if not n_prompts:
            raise InputError("there is no prompt to choose from: give at least one")
        if not 1 <= k <= n_prompts:
            raise InputError(f"k={k}: choose 1 to {n_prompts}, the number of prompts")
        texts = np.array([*(self.prompts_ if prompts is None else prompts), None], dtype=object)[:-1]
        picks, chances = texts[order[:, :k]], np.take_along_axis(probabilities, order[:, :k], 1)
        if abstain_below is not None:
            picks[chances[:, 0] < abstain_below] = None
        return picks, chances

    # --- keeping ----------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write selector.json and the files it names (`selector_files`); the old selector stays whole until
        the new one is."""
        check_is_fitted(self, "model_")
        return storage.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, embedder: Embedder | None = None) -> PromptSelector:
        """Read what `save` wrote. `embedder` is needed only if an object of your own made the vectors."""
        return storage.load(cls, Path(folder), embedder)


def _too_little(log: PromptLog) -> str | None:
    """Why nothing about single questions can be learned from a log, or None if it can."""
    if len(log.prompts) == 1:
        return "the log has one prompt only"
    known = log.labels[log.counts > 0]
    if known.min() == known.max():
        return f"every answer of the log has correct = {known.min():g}"
    groups = len(np.unique(log.groups))
    if groups < MIN_GROUPS:
        return f"the log has {groups} different questions ({log.counted_once}), fewer than {MIN_GROUPS}"
    return None


def _checked_texts(texts: Sequence[str] | Mapping | Any, what: str) -> list[str]:
    if isinstance(texts, str | bytes | Mapping | pd.DataFrame):
        raise InputError(f"{what}: give a list of texts, not one {type(texts).__name__}")
    checked = list(texts)
    for i, text in enumerate(checked):
        if not isinstance(text, str):
            raise InputError(f"{what}[{i}] is {type(text).__name__}, expected text")
        check_text(text, f"{what}[{i}]")
    return checked
