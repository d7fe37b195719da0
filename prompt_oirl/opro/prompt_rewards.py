"""Predicted accuracy of instructions that nobody measured, and how well such predictions rank.

An ensemble of reward models r(question, prompt) (Prompt-OIRL, Section 3) learns from measured answers; each
member sees another resample of the instructions, so where members disagree, the instruction is unlike those
they learned from. A search exploits whatever a model is wrong about: hence the lower bound, mean minus beta
times spread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.features.embedders import load_embedder
from prompt_oirl.io.files import InputError
from prompt_oirl.reward_models import TrainingSet
from prompt_oirl.stats.cells import mean_labels
from prompt_oirl.stats.metrics import interval

ModelName = Literal["ridge", "xgboost", "lightgbm", "linear", "mlp"]
MIN_INSTRUCTIONS = 8  # with fewer, leaving some out says nothing
WORD_COLUMNS = 4096  # that word 1-2-grams are hashed to
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class RewardSettings:
    """How instructions are predicted, and when predictions are trusted."""

    model: ModelName = "ridge"
    """The reward model; ridge adds an instruction's effect to a question's difficulty, the others are those
    of step 4."""
    embedder: str = "minilm"
    """Of questions and instructions: minilm, or a sentence-transformers folder or hub id."""
    members: int = 12
    """Reward models in the ensemble."""
    beta: float = 1.0
    """A predicted score is the mean minus so many times the members' spread."""
    threshold: float = 0.3
    """Predictions count only where their rank correlation on left-out instructions reaches this."""
    top: int = 3
    """hybrid: so many of the best predicted are measured in each step."""
    explore: int = 1
    """hybrid: and so many at random."""
    refit_every: int = 1
    """hybrid: steps after which the ensemble learns what was measured since."""

    def __post_init__(self) -> None:
        for name in ("members", "top", "refit_every"):
            if getattr(self, name) < 1:
                raise InputError(f"--reward.{name} {getattr(self, name)}: give 1 or more")
        if self.explore < 0 or not self.beta >= 0 or not -1 <= self.threshold <= 1:
            raise InputError(
                "--reward.explore and --reward.beta: give 0 or more; --reward.threshold: -1 to 1"
            )


@dataclass(frozen=True)
class Measured:
    """Success rates float32 (questions, prompts) of texts by texts, NaN where nobody asked."""

    questions: list[str]
    prompts: list[str]
    labels: np.ndarray

    @classmethod
    def of(cls, cells: Iterable[tuple[str, str, float]]) -> Measured:
        """From (question, prompt, success) triples; repeats are averaged."""
        triples = list(cells)
        questions, row = first_seen(q for q, _, _ in triples)
        prompts, column = first_seen(p for _, p, _ in triples)
        values = np.array([value for _, _, value in triples], dtype=np.float64)
        labels, _ = mean_labels(row, column, values, (len(questions), len(prompts)))
        return cls(questions, prompts, labels.astype(np.float32))

    @classmethod
    def of_rows(cls, rows: Iterable[LogRow]) -> Measured:
        """From rows of an interaction log."""
        return cls.of((row.question, row.prompt, row.correct) for row in rows)


def first_seen(texts: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """Distinct texts in the order they come, and the number of each text's among them, int64 (n,)."""
    number: dict[str, int] = {}
    numbers = [number.setdefault(text, len(number)) for text in texts]
    return list(number), np.array(numbers, dtype=np.int64)


class TextVectors:
    """Embeds each text once. Rounded: the last bits depend on which texts share a batch."""

    def __init__(self, encode: Callable[[Sequence[str]], np.ndarray]):
        self._encode = encode
        self._known: dict[str, np.ndarray] = {}

    @classmethod
    def load(cls, embedder: str) -> TextVectors:
        """From an embedder's name; tfidf is refused."""
        if embedder == "tfidf":
            raise InputError("--reward.embedder tfidf: it cannot place new words; give minilm or a folder")
        return cls(load_embedder(embedder).encode)

    def questions(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 (n, d)."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            self._known |= dict(zip(new, np.asarray(self._encode(new), dtype=np.float32).round(5)))
        return np.array([self._known[text] for text in texts], dtype=np.float32)

    def prompts(self, texts: Sequence[str]) -> np.ndarray:
        """Embedding beside hashed word 1-2-grams, unit vectors float32 (m, d + WORD_COLUMNS): a style hangs
        on single words."""
        from sklearn.feature_extraction.text import HashingVectorizer

        words = HashingVectorizer(
            n_features=WORD_COLUMNS, ngram_range=(1, 2), token_pattern=r"\w+", dtype=np.float32
        )
        counted = words.transform(texts).toarray()
        return np.concatenate([self.questions(texts), counted], 1) / np.float32(np.sqrt(2))


class AdditiveRidge:
    """r(question, prompt) = base rate + difficulty of the question + effect of the prompt.

    Difficulty and effect are ridge regressions on the vectors; the penalty is the one with the least
    leave-one-out error.
    """

    def fit(self, train: TrainingSet) -> None:
        """Learn from the known labels, weighted."""
        labels = np.where(train.weights > 0, train.labels, 0).astype(np.float64)
        weights = train.weights.astype(np.float64)
        self.base = (weights * labels).sum() / weights.sum()
        asked, answered = weights.sum(1), weights.sum(0)
        difficulty, effect = np.zeros(len(labels)), np.zeros(labels.shape[1])
        for _ in range(20):  # two-way means; one pass is exact where every question met every prompt
            rest = weights * (labels - self.base - effect)
            difficulty = rest.sum(1) / np.maximum(asked, 1)
            rest = weights * (labels - self.base - difficulty[:, None])
            effect = rest.sum(0) / np.maximum(answered, 1)
        self.of_question = _ridge(train.questions, difficulty, asked)
        self.of_prompt = _ridge(train.prompts, effect, answered)

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Success probabilities float64 (n, m) for vectors of questions (n, d) and prompts (m, e)."""
        scores = self.base + (questions @ self.of_question)[:, None] + prompts @ self.of_prompt
        return np.clip(scores, 0, 1)


def _ridge(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficients float64 (d,) of y (n,) on x (n, d), rows weighted."""
    used = weights > 0
    root = np.sqrt(weights[used] / weights[used].mean())
    left, values, right = np.linalg.svd(x[used].astype(np.float64) * root[:, None], full_matrices=False)
    target = y[used] * root
    rotated = left.T @ target
    errors, solutions = [], []
    for penalty in PENALTIES:
        kept = values**2 / (values**2 + penalty)
        residual = (target - left @ (kept * rotated)) / (1 - left**2 @ kept)  # leave-one-out
        errors.append((residual**2).sum())
        solutions.append(right.T @ (values / (values**2 + penalty) * rotated))
    return solutions[int(np.argmin(errors))]


class PromptRewards:
    """The ensemble: `fit` before `predict`."""

    def __init__(self, settings: RewardSettings, vectors: TextVectors, seed: int = 0):
        self.settings, self._vectors, self._seed = settings, vectors, seed
        self._members: list[Any] = []

    @property
    def fitted(self) -> bool:
        """Whether `predict` may be called."""
        return bool(self._members)

    def fit(self, measured: Measured) -> np.ndarray:
        """Train every member.

        Returns: what the members that did not draw an instruction predict of it, float64 (questions,
        prompts), NaN for one that all of them drew.
        """
        questions, prompts = (
            self._vectors.questions(measured.questions),
            self._vectors.prompts(measured.prompts),
        )
        rng = np.random.default_rng([self._seed, len(measured.prompts)])
        self._members = []
        total, count = np.zeros(measured.labels.shape), np.zeros(len(measured.prompts))
        for member in range(self.settings.members):
            drawn, times = np.unique(rng.choice(len(prompts), len(prompts)), return_counts=True)
            out = np.setdiff1d(np.arange(len(prompts)), drawn)
            labels = measured.labels[:, drawn]
            weights = np.where(np.isnan(labels), 0, times).astype(np.float32)
            model = self._make(member)
            model.fit(TrainingSet(questions, prompts[drawn], labels, weights, questions.shape[1]))
            self._members.append(model)
            if len(out):
                total[:, out] += model.predict(questions, prompts[out])
                count[out] += 1
        with np.errstate(invalid="ignore"):
            return total / np.where(count > 0, count, np.nan)

    def _make(self, member: int) -> Any:
        if self.settings.model == "ridge":
            return AdditiveRidge()
        return reward_models.make(self.settings.model, seed=self._seed + member)

    def forget(self) -> None:
        """Drop all members."""
        self._members = []

    def predict(self, questions: Sequence[str], prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Success probabilities float64 (n, m), and the members' spread of each instruction's mean, float64
        (m,)."""
        q, p = self._vectors.questions(questions), self._vectors.prompts(prompts)
        scores = np.array([member.predict(q, p) for member in self._members], dtype=np.float64)
        return scores.mean(0), scores.mean(1).std(0)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rank correlation float64 (r,) of the rows of a and b (r, m), ties averaged; NaN where a row is
    constant."""
    from scipy.stats import rankdata

    x, y = (rankdata(v, axis=1) for v in (np.atleast_2d(a), np.atleast_2d(b)))
    x, y = (v - v.mean(1, keepdims=True) for v in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))


def rank_correlation(
    measured: np.ndarray, predicted: np.ndarray, clusters: np.ndarray, seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """Spearman's rho between measured and predicted accuracies of instructions, with its 95 % interval.

    An instruction's accuracy is its mean over the questions it was asked. The interval resamples groups of
    questions and instructions, both with replacement.

    Parameters
    ----------
    measured : float (n, P), success, NaN where an instruction was not asked
    predicted : float (n, P); instructions with a NaN drop out
    clusters : int (n,), group of every question

    Returns: rho, low, high.
    """
    usable = ~np.isnan(predicted).any(0)
    measured, predicted = measured[:, usable], predicted[:, usable]
    known = ~np.isnan(measured)
    _, group = np.unique(clusters, return_inverse=True)
    sums = [
        _by_group(np.where(known, values, 0), group)
        for values in (measured, predicted, np.ones(measured.shape))
    ]
    rng = np.random.default_rng(seed)
    n_groups, n_prompts = sums[0].shape
    weights = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=resamples)
    columns = rng.integers(0, n_prompts, size=(resamples, n_prompts))

    def means(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weight @ values / (weight @ sums[2])).round(12)

    once = np.ones((1, n_groups))
    point = float(spearman(means(sums[0], once), means(sums[1], once))[0])
    draws = spearman(*(np.take_along_axis(means(v, weights), columns, 1) for v in sums[:2]))
    low, high = interval(draws[:, None])
    return point, float(low[0]), float(high[0])


def _by_group(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    total = np.zeros((int(group.max()) + 1, values.shape[1]))
    np.add.at(total, group, values)
    return total
