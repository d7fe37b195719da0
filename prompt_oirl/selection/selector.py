"""Pick a prompt for each question, learned from a log: `PromptSelector().fit("log.csv").select(questions)`.

scikit-learn's conventions: settings in the constructor, what is learned ends in an underscore, `clone` and
`get_params` work. No LLM is asked, and with the default embedder nothing leaves the machine.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from prompt_oirl import reward_models
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import read_log
from prompt_oirl.features.embedders import load_embedder
from prompt_oirl.features.segments import Segments
from prompt_oirl.io.files import InputError
from prompt_oirl.reward_models import RewardModel, TrainingSet
from prompt_oirl.reward_models.study import Study
from prompt_oirl.selection.card import FittedOn
from prompt_oirl.selection.chooser import DEFAULT_MODEL, Chooser
from prompt_oirl.selection.log_facts import too_little
from prompt_oirl.selection.sklearn_conventions import ScikitLearn, with_labels
from prompt_oirl.stats.cells import PromptSuccess, independent_answers
from prompt_oirl.stats.off_policy import cell_values
from prompt_oirl.stats.splits import INNER_FOLDS, deal_folds


class PromptSelector(ScikitLearn, Chooser):
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

    def fit(self, log: pd.DataFrame | str | Path | PromptLog, y: ArrayLike | None = None) -> PromptSelector:
        """Learn from a log; raises InputError on one that teaches nothing.

        Parameters
        ----------
        log : see `read_log`
        y : the column correct, if it is kept apart from a DataFrame's rows
        """
        log = read_log(with_labels(log, y))
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

    def score(self, log: pd.DataFrame | str | Path | PromptLog, y: ArrayLike | None = None) -> float:
        """Success of the picks on questions not learned from, estimated as in `evaluate`; costs don't count.

        Parameters
        ----------
        log : see `read_log`; only prompts that it has answers of are chosen among
        y : as of `fit`
        """
        log = read_log(with_labels(log, y))
        arms, asked = log.arms, np.flatnonzero(log.counts.any(0)).tolist()
        order, predicted = self.rank(log.questions, [arms[j] for j in asked], log.segments)
        values = cell_values(log.labels[:, asked], log.counts[:, asked], predicted)
        return float(np.clip(np.take_along_axis(values, order[:, :1], 1).mean(), 0, 1))
