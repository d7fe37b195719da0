"""Pick a prompt for each question, learned from a log: `PromptSelector().fit("log.csv").select(questions)`.

scikit-learn's conventions: settings in the constructor, what is learned ends in an underscore, `clone` and
`get_params` work. No LLM is asked, and with the default embedder nothing leaves the machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from prompt_oirl import reward_models
from prompt_oirl.data.arms import (
    Arm,
    Choices,
    arms_of,
    check_costs,
    checked_choices,
    costs_of,
    llm_of,
    prompt_of,
)
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import read_log
from prompt_oirl.features.cache import encode_distinct
from prompt_oirl.features.embedders import Embedder, load_embedder
from prompt_oirl.features.prompt_axes import prompt_features, with_llm_axes
from prompt_oirl.features.segments import Segments
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import InputError
from prompt_oirl.reward_models import RewardModel, TrainingSet
from prompt_oirl.reward_models.study import Study
from prompt_oirl.selection.card import FittedOn
from prompt_oirl.selection.keeping import Keeping
from prompt_oirl.selection.log_facts import too_little
from prompt_oirl.stats.cells import PromptSuccess, independent_answers
from prompt_oirl.stats.off_policy import cell_values
from prompt_oirl.stats.splits import INNER_FOLDS, deal_folds

DEFAULT_MODEL = "interaction"  # ranks prompts by their means unless held-out folds support more
MAX_COST_WEIGHT = 1e12


class PromptSelector(Keeping, BaseEstimator):
    """Chooses, for each question, the prompt with the highest predicted success (Prompt-OIRL, Eq. 4).

    Parameters
    ----------
    embedder: "minilm" (works offline), "tfidf", "openai:MODEL", a sentence-transformers folder or hub id, or
        an object with `info`, `fit(texts)` and `encode(texts)`.
    model: name of a reward model.
    cost_weight: success that one unit of cost must bring; the score is success - cost_weight * cost.
    seed: of everything random.

    Learned: `prompts_` (texts), `names_`, `success_` (K,) and `cost_` (K,) of each logged prompt, `standing_`
    (K,), its success as far as its answers tell (`PromptSuccess`), `best_` (the index of the prompt of
    highest standing), `model_`, `embedder_`. From a log that was read with `arms=("prompt", "llm")` also
    `llms_`, the LLM of each; an `Arm`, which has both, then stands wherever a prompt is chosen. Otherwise
    `llms_` is None. `segments_` are the log's segments of questions, `positions_` where each prompt stood.
    """

    _features_kept: tuple[tuple[str | Arm, ...], np.ndarray] | None = None

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

    def fit(self, log: pd.DataFrame | str | Path | PromptLog, y: None = None) -> PromptSelector:
        """Learn from a log (see `read_log`; `y` is unused); raises InputError on one that teaches nothing."""
        log = read_log(log)
        if log.objection is not None:
            raise InputError(log.objection)
        self.model_name_, self.model_ = self._fit_model(self.training_set(log), log)
        self.fitted_on_ = FittedOn.of(log, self.study_)
        return self

    def training_set(self, log: PromptLog) -> TrainingSet:
        """What `fit` trains on: features of questions and prompts, labels and weights of the cells."""
        # A part of a log may lack a prompt, which is then one never seen.
        asked = np.flatnonzero(log.counts.any(0))
        self.prompts_, self.names_ = [log.prompts[j] for j in asked], [log.names[j] for j in asked]
        self.llms_ = None if log.llms is None else [log.llms[j] for j in asked]
        self.positions_ = [None if log.positions is None else log.positions[j] for j in asked]
        self.success_, self.cost_ = log.prompt_success[asked], log.prompt_cost[asked]
        self._check_settings()
        given = self.embedder
        self.embedder_ = load_embedder(given, self.seed) if isinstance(given, str) else given
        self.embedder_.fit(log.questions)
        self.segments_, self._features_kept = Segments.of(log.segments), None
        questions, size = self.question_features(log.questions, log.segments)
        prompts = self.prompt_features(self.arms_)
        labels, counts = (table[:, asked].astype(np.float32) for table in (log.labels, log.counts))
        known = PromptSuccess.of(labels, independent_answers(labels, log.balanced[:, asked]))
        self.standing_, self.best_ = known.success, known.best
        n_segments = len(self.segments_.names)
        return TrainingSet(questions, prompts, labels, counts, size, log.groups, segments=n_segments)

    @property
    def arms_(self) -> Choices:
        """What the log chose among: the texts of its prompts, or arms."""
        return arms_of(self.prompts_, self.llms_)

    def _check_settings(self) -> None:
        if not isinstance(self.cost_weight, Real) or not 0 <= self.cost_weight <= MAX_COST_WEIGHT:
            raise InputError(f"cost_weight {self.cost_weight}: give a number from 0 to {MAX_COST_WEIGHT:g}")
        if not isinstance(self.seed, Integral) or not 0 <= self.seed < 2**32:
            raise InputError(f"seed {self.seed}: give a whole number from 0 to {2**32 - 1}")
        if self.cost_weight:
            check_costs(self.arms_, self.cost_)

    def _fit_model(self, data: TrainingSet, log: PromptLog) -> tuple[str, RewardModel]:
        reason = too_little(log)
        if reason is None:
            held_out = deal_folds(log.groups, INNER_FOLDS, self.seed) == 0
            if data.weights[held_out].any() and data.weights[~held_out].any():
                return self.model, reward_models.train(self.model, data, seed=self.seed, held_out=held_out)
            reason = "answers stand on too few questions"
        warnings.warn(f"{reason}: every question gets the prompt that is best overall", stacklevel=3)
        # With one cluster nothing is learned but the prompts' means.
        one_cluster = replace(data, clusters=np.zeros(len(data.labels), dtype=int))
        return DEFAULT_MODEL, reward_models.train(DEFAULT_MODEL, one_cluster, seed=self.seed)

    @property
    def study_(self) -> Study | None:
        """The fitted log on choosing per question; None of other models, small logs, and after `load`."""
        found = getattr(self.model_, "study", None) if self.model_name_ == DEFAULT_MODEL else None
        return found if found is not None and found.choices else None

    def question_features(
        self, texts: Sequence[str], segments: Sequence[str | None] | None
    ) -> tuple[np.ndarray, int]:
        """Embedding, surface features and segments float32 (n, d), and how many columns are embedding."""
        vectors = encode_distinct(self.embedder_, texts)
        of_segments = self.segments_.columns(segments, len(texts))
        return np.concatenate([vectors, surface_features(texts), of_segments], 1), vectors.shape[1]

    def prompt_features(self, choices: Choices) -> np.ndarray:
        """Embedding, an axis per LLM where LLMs are chosen among, and axes of their own for logged prompts
        where needed; float32 (m, e), or wider. Those of the last choices are kept: servers ask often."""
        kept = self._features_kept
        if kept is not None and kept[0] == tuple(choices):
            return kept[1]
        vectors = encode_distinct(self.embedder_, [prompt_of(c) for c in choices])
        logged = encode_distinct(self.embedder_, self.prompts_)
        if self.llms_ is not None:
            known = list(dict.fromkeys(self.llms_))
            vectors = with_llm_axes(vectors, [llm_of(c) for c in choices], known)
            logged = with_llm_axes(logged, self.llms_, known)
        place = {arm: j for j, arm in enumerate(self.arms_)}
        found = prompt_features(vectors, np.array([place.get(c, -1) for c in choices]), logged)
        self._features_kept = tuple(choices), found
        return found

    # --- choosing ---------------------------------------------------------------------------------------

    def predict_proba(
        self,
        questions: Sequence[str],
        prompts: Choices | None = None,
        segments: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Probability that each prompt answers each question right, float32 (n, m).

        Parameters
        ----------
        questions : n texts
        prompts : texts, or arms where LLMs are chosen among; default: those of the log. A prompt that the log
        lacks is scored by its likeness to logged ones, which is a guess (README, "Your own logs")
        segments : of the n questions; None, or one that the log lacks, counts as average
        """
        check_is_fitted(self, "model_")
        questions = checked_choices(questions, "questions", str)
        kind = str if self.llms_ is None else Arm
        prompts = self.arms_ if prompts is None else checked_choices(prompts, "prompts", kind)
        if not questions or not prompts:
            return np.zeros((len(questions), len(prompts)), dtype=np.float32)
        features, _ = self.question_features(questions, segments)
        return self.model_.predict(features, self.prompt_features(prompts))

    def rank(
        self,
        questions: Sequence[str],
        prompts: Choices | None = None,
        segments: Sequence[str | None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prompt indices best first, int64 (n, m), and the probabilities (n, m) behind them.

        Sorted by success - cost_weight * cost; ties go to the prompt of higher standing in the log.

        Parameters
        ----------
        questions, prompts, segments : as in `predict_proba`
        """
        probabilities = self.predict_proba(questions, prompts, segments)
        return self.order(probabilities, self.arms_ if prompts is None else list(prompts)), probabilities

    def order(self, probabilities: np.ndarray, prompts: Choices) -> np.ndarray:
        """Indices int64 (n, m) of `prompts`, best first, for probabilities (n, m)."""
        self._check_settings()
        score = probabilities.astype(np.float64)
        if self.cost_weight:
            score = score - self.cost_weight * costs_of(prompts, self.arms_, self.cost_)
        standing = dict(zip(self.arms_, self.standing_)) | {self.arms_[self.best_]: 1.0}
        prior = np.array([standing.get(choice, -1.0) for choice in prompts])
        return np.lexsort((np.broadcast_to(-prior, score.shape), -score), axis=1)

    def select(
        self,
        questions: Sequence[str],
        prompts: Choices | None = None,
        k: int = 1,
        abstain_below: float | None = None,
        segments: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """The best prompt of each question, object (n,); with k > 1 the k best, object (n, k), best first.

        A text; where LLMs are chosen among, an `Arm` with `prompt` and `llm`.

        Parameters
        ----------
        prompts : texts to choose from, or arms (see `arms.on_llms`); default: those of the log
        k : how many
        abstain_below : probability of the first pick below which None stands for the picks
        segments : as in `predict_proba`
        """
        picks, _ = self.choose(questions, prompts, k, abstain_below, segments)
        return picks[:, 0] if k == 1 else picks

    def choose(
        self,
        questions: Sequence[str],
        prompts: Choices | None = None,
        k: int = 1,
        abstain_below: float | None = None,
        segments: Sequence[str | None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best prompts, object (n, k), best first, and their probabilities, float32 (n, k).

        Parameters
        ----------
        questions : n texts
        prompts, k, abstain_below, segments : as in `select`

        Raises: InputError at no prompt, k or abstain_below out of range, or something that is no text.
        """
        if abstain_below is not None and not 0 <= abstain_below <= 1:
            raise InputError(f"abstain_below {abstain_below}: give a probability, 0 to 1")
        order, probabilities = self.rank(questions, prompts, segments)
        n_prompts = probabilities.shape[1]
        if not n_prompts:
            raise InputError("there is no prompt to choose from: give at least one")
        if not 1 <= k <= n_prompts:
            raise InputError(f"k={k}: choose 1 to {n_prompts}, the number of prompts")
        listed = np.array([*(self.arms_ if prompts is None else prompts), None], dtype=object)[:-1]
        picks, chances = listed[order[:, :k]], np.take_along_axis(probabilities, order[:, :k], 1)
        if abstain_below is not None:
            picks[chances[:, 0] < abstain_below] = None
        return picks, chances

    def score(self, log: pd.DataFrame | str | Path | PromptLog, y: None = None) -> float:
        """Success of the picks on questions not learned from, estimated as in `evaluate`; costs don't count.

        Parameters
        ----------
        log : see `read_log`; only prompts that it has answers of are chosen among
        y : unused; scikit-learn passes it
        """
        log = read_log(log)
        arms, asked = log.arms, np.flatnonzero(log.counts.any(0)).tolist()
        order, predicted = self.rank(log.questions, [arms[j] for j in asked], log.segments)
        values = cell_values(log.labels[:, asked], log.counts[:, asked], predicted)
        return float(np.clip(np.take_along_axis(values, order[:, :1], 1).mean(), 0, 1))
