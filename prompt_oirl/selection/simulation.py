"""Simulated logs whose truth is known: how well selection, diagnosis and off-policy estimates do can then be
counted.

    logit P(correct | q, p) = b_p + d_q + c m_p(x_q) + e_qp

x_q is an embedding with a spectrum that decays as those of sentence embedders do, d_q the difficulty of the
question (half of it seen in x_q, half its own), m_p a random linear function of x_q for each prompt and e_qp
a part of the interaction that nothing in the text tells. c is set so that the best policy which knows b, d, m
(but not e) beats the best single prompt by exactly `attainable` points on this log's questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.features.embedders import EmbedderInfo
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.stats.cells import mean_labels

# Success of the six training prompts on the released LLaMA-2 logs; sizes as there.
GSM8K = {"train": 7473, "test": 1000, "rates": (0.25, 0.255, 0.246, 0.064, 0.062, 0.204), "samples": 1}
MAWPS = {"train": 1400, "test": 344, "rates": (0.644, 0.617, 0.541, 0.197, 0.132, 0.459), "samples": 1}
AXES = 64
DIFFICULTY = 1.0  # standard deviation of d_q in logits
UNSEEN_INTERACTION = 0.4  # standard deviation of e_qp in logits
SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]


@dataclass(frozen=True)
class SimulatedLog:
    """n questions x K prompts x S samples.

    `correct` float32 (n, K, S) is 0, 1 or NaN (not logged); `truth` float64 (n, K) is P(correct) of each
    cell; `expected` (n, K) what the text alone tells of it; `vectors` float32 (n, d) and `prompt_vectors` (K,
    K) are the embeddings; `train` (n,) says which questions are logged for learning, the others evaluate.
    `propensities` (n, K) is the probability that a cell was logged, 1 everywhere until `hide` is used.
    `attainable` is in points.
    """

    vectors: np.ndarray
    prompt_vectors: np.ndarray
    truth: np.ndarray
    expected: np.ndarray
    correct: np.ndarray
    propensities: np.ndarray
    train: np.ndarray
    attainable: float

    def questions(self) -> list[str]:
        """A text per question; its words follow the axes of its vector, so text embedders learn too."""
        rng = np.random.default_rng(0)
        scaled = self.vectors[:, :12] / (self.vectors[:, :12].std(0) + 1e-9)
        words = rng.integers(0, 25, scaled.shape)
        signs = rng.random(scaled.shape) < 1 / (1 + np.exp(-3 * scaled))
        return [
            " ".join(_word(2 * (25 * k + w) + s) for k, (w, s) in enumerate(zip(*row)))
            + f" {_word(600 + i % 4900)} {_word(600 + i // 4900)}?"
            for i, row in enumerate(zip(words, signs))
        ]

    def rows(self, which: np.ndarray | None = None) -> list[dict[str, Any]]:
        """The log as records: question, prompt, correct, sample, group; NaN cells are left out."""
        texts = self.questions()
        chosen = np.arange(len(texts)) if which is None else np.flatnonzero(which)
        return [
            {
                "question": texts[q],
                "prompt": f"prompt {p}",
                "correct": float(self.correct[q, p, s]),
                "sample": s,
                "group": f"g{q}",
            }
            for q in chosen
            for p in range(self.correct.shape[1])
            for s in range(self.correct.shape[2])
            if not np.isnan(self.correct[q, p, s])
        ]

    def prompt_log(self, which: np.ndarray | None = None) -> PromptLog:
        """The answers to questions `which` (default: train) as a log; each question is its own group."""
        chosen = np.flatnonzero(self.train if which is None else which)
        correct = self.correct[chosen]
        question, prompt, sample = np.nonzero(~np.isnan(correct))
        names = [f"prompt {p}" for p in range(correct.shape[1])]
        texts = self.questions()
        return PromptLog(
            questions=[texts[i] for i in chosen],
            prompts=names,
            names=names,
            question=question,
            prompt=prompt,
            correct=correct[question, prompt, sample],
            cost=np.full(len(question), np.nan),
            answer=[None] * len(question),
            sample=sample,
            own_groups=chosen,
            known_groups=chosen,
        )

    def embedder(self) -> LookupEmbedder:
        """An embedder that knows the vectors of exactly these questions and prompts."""
        names = [f"prompt {p}" for p in range(len(self.prompt_vectors))]
        width = max(self.vectors.shape[1], self.prompt_vectors.shape[1])
        pad = [np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in (self.vectors, self.prompt_vectors)]
        return LookupEmbedder(dict(zip([*self.questions(), *names], np.concatenate(pad))))

    def training_set(self, which: np.ndarray | None = None) -> TrainingSet:
        """Rows `which` (default: train) as a TrainingSet; the vectors are all there is to a question."""
        rows = np.flatnonzero(self.train if which is None else which)
        question, prompt, sample = np.nonzero(~np.isnan(self.correct[rows]))
        shape = len(rows), self.correct.shape[1]
        labels, count = mean_labels(question, prompt, self.correct[rows][question, prompt, sample], shape)
        return TrainingSet(
            self.vectors[rows],
            self.prompt_vectors,
            labels.astype(np.float32),
            count.astype(np.float32),
            self.vectors.shape[1],
            rows,
        )

    def gain(self, picks: np.ndarray, baseline: int) -> float:
        """True gain in points of picks (n_test,) over prompt `baseline` on test questions, without luck."""
        truth = self.truth[~self.train]
        return 100 * float((truth[np.arange(len(truth)), picks] - truth[:, baseline]).mean())

    def components(self) -> dict[str, float]:
        """True variance of one answer's correctness over all cells, split as diagnosis.py splits it."""
        cell = self.truth - self.truth.mean()
        prompt, question = cell.mean(0), cell.mean(1)
        return {
            "prompt": float((prompt**2).mean()),
            "difficulty": float((question**2).mean()),
            "interaction": float(((cell - prompt - question[:, None]) ** 2).mean()),
            "noise": float((self.truth * (1 - self.truth)).mean()),
        }


def simulate(
    attainable: float = 0.0,
    *,
    train: int = 1500,
    test: int = 500,
    rates: Sequence[float] = GSM8K["rates"],  # type: ignore[assignment]
    samples: int = 1,
    seed: int = 0,
) -> SimulatedLog:
    """A complete log of `train` + `test` questions with `attainable` points to gain by choosing per question.

    `**GSM8K` and `**MAWPS` give the sizes of the released logs.

    Parameters
    ----------
    attainable : in points; at 0 the text tells of no interaction
    train, test : questions to learn from and to evaluate on
    rates : mean success of each prompt, about
    samples : answers per cell
    """
    rng = np.random.default_rng([seed, 7])
    n, k = train + test, len(rates)
    spread = np.arange(1, AXES + 1) ** -0.5
    x = rng.standard_normal((n, AXES)) * spread
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    seen = _standard(x @ rng.standard_normal(AXES))
    d = DIFFICULTY * (seen + rng.standard_normal(n)) / np.sqrt(2)
    m = np.column_stack([_standard(x @ rng.standard_normal(AXES)) for _ in range(k)])
    m -= m.mean(1, keepdims=True)
    e = UNSEEN_INTERACTION * rng.standard_normal((n, k))
    low, high = 0.0, 12.0
    b, c = _intercepts(rates, d, 0 * m), 0.0
    for _ in range(16 if attainable > 0 else 0):
        c = (low + high) / 2
        b = _intercepts(rates, d, c * m)
        expected = _averaged(b + d[:, None] + c * m)
        low, high = (c, high) if 100 * _gap(expected) < attainable else (low, c)
    truth = _sigmoid(b + d[:, None] + c * m + e)
    correct = (rng.random((n, k, samples)) < truth[:, :, None]).astype(np.float32)
    learns = np.zeros(n, bool)
    learns[rng.permutation(n)[:train]] = True
    expected = _averaged(b + d[:, None] + c * m)
    return SimulatedLog(
        x.astype(np.float32),
        np.eye(k, dtype=np.float32),
        truth,
        expected,
        correct,
        np.ones((n, k)),
        learns,
        100 * _gap(expected),
    )


def logging_propensities(log: SimulatedLog, policy: str, rate: float = 0.5) -> np.ndarray:
    """Probability float64 (n, K) that a cell is logged.

    Parameters
    ----------
    log : whose success rates the uneven policies lean on
    policy : `uniform`: all alike; `prefers_good`: prompts with higher mean success more often; `by_question`:
    each question's likelier prompts more often, which is what makes plain averages wrong
    rate : mean over the prompts, before the uneven policies are clipped to 0.05..0.95

    Raises: ValueError on another policy.
    """
    if policy == "uniform":
        return np.full(log.truth.shape, rate)
    lean = np.broadcast_to(log.truth.mean(0), log.truth.shape) if policy == "prefers_good" else log.expected
    if policy not in ("prefers_good", "by_question"):
        raise ValueError(f"policy {policy!r}: choose uniform, prefers_good or by_question")
    lean = (lean - lean.mean(1, keepdims=True)) / (lean.std(1, keepdims=True) + 1e-9)
    odds = np.exp(lean)
    return np.clip(rate * odds / odds.mean(1, keepdims=True), 0.05, 0.95)


def hide(log: SimulatedLog, propensities: np.ndarray, seed: int = 0) -> SimulatedLog:
    """The log with each training cell kept with its probability, independently; test cells stay.

    Parameters
    ----------
    log : complete; it is not changed
    propensities : float (n, K), probability that a cell is kept
    seed : of the draw
    """
    kept = np.random.default_rng([seed, 8]).random(log.truth.shape) < propensities
    kept |= ~log.train[:, None]
    correct = np.where(kept[:, :, None], log.correct, np.nan).astype(np.float32)
    return replace(log, correct=correct, propensities=np.where(log.train[:, None], propensities, 1.0))


class LookupEmbedder:
    """Texts to the vectors (d,) they were made from; asks for nothing and refuses texts it does not know."""

    def __init__(self, vectors: dict[str, np.ndarray]):
        self.vectors = vectors
        self.info = EmbedderInfo("simulated", "1", "", False)

    def fit(self, texts: Sequence[str]) -> None:
        """Nothing to fit."""
        pass

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 (n, d) of known texts."""
        return np.array([self.vectors[text] for text in texts], dtype=np.float32)


def _intercepts(rates: Sequence[float], d: np.ndarray, interaction: np.ndarray) -> np.ndarray:
    """b_p such that the mean success of prompt p is rates[p]; (K,)."""
    low, high = np.full(len(rates), -12.0), np.full(len(rates), 12.0)
    for _ in range(16):
        middle = (low + high) / 2
        under = _averaged(middle + d[:, None] + interaction).mean(0) < np.asarray(rates)
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return (low + high) / 2


def _averaged(logits: np.ndarray) -> np.ndarray:
    """E over e_qp of sigmoid(logits + e): three-point Gauss-Hermite."""
    step = np.sqrt(3) * UNSEEN_INTERACTION
    return (_sigmoid(logits - step) + 4 * _sigmoid(logits) + _sigmoid(logits + step)) / 6


def _gap(expected: np.ndarray) -> float:
    return float(expected.max(1).mean() - expected.mean(0).max())


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _word(i: int) -> str:
    return SYLLABLES[i % 70] + SYLLABLES[(i // 70) % 70]
