"""Choosing a prompt for each question with what was learned: the part of `PromptSelector` that needs no log.

Commands that only choose read a saved selector with it, and need not wait for scikit-learn to be imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np

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
from prompt_oirl.features.cache import encode_distinct
from prompt_oirl.features.embedders import Embedder
from prompt_oirl.features.prompt_axes import prompt_features, with_llm_axes
from prompt_oirl.features.segments import Segments
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import InputError
from prompt_oirl.reward_models import RewardModel
from prompt_oirl.selection.card import FittedOn
from prompt_oirl.selection.keeping import Keeping

DEFAULT_MODEL = "interaction"  # ranks prompts by their means unless held-out folds support more
MAX_COST_WEIGHT = 1e12


class Chooser(Keeping):
    """Chooses the prompt of highest predicted success; `PromptSelector` names parameters and attributes."""

    prompts_: list[str]
    names_: list[str]
    llms_: list[str] | None
    positions_: list[str | None]
    success_: np.ndarray
    standing_: np.ndarray
    cost_: np.ndarray
    best_: int
    segments_: Segments
    embedder_: Embedder
    model_: RewardModel
    model_name_: str
    fitted_on_: FittedOn
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
        self.check_fitted()
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
