"""Labels as question x prompt cells: intercepts, question effects and cluster weights of logistic models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prompt_oirl.features.mapped import BLOCK
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.stats.cells import PromptSuccess, independent_answers

STEPS = 30
NEVER_ASKED = 5.0  # logits behind all others
SLOPE_DOUBT = 0.5
# Results of function(phi[block], *(column[block] for column in columns)) for the blocks, in their order.
OverBlocks = Callable[..., Iterable[Any]]
SHIFT = 0.346  # (16 sqrt(3) / 15 pi)^2: the mean of sigmoid under a normal shift (Zeger et al. 1988)


@dataclass(frozen=True, eq=False)
class Cells:
    """Answers to u questions x K prompts.

    Attributes
    ----------
    y : float64 (u, K), success of each cell, 0 where not asked
    a : float64 (u, K), independent answers behind it
    clusters : int64 (u,), near-duplicates, 0..C-1
    weights : float64 (u,), less than 1 where near-duplicates say the same thing again
    """

    y: np.ndarray
    a: np.ndarray
    clusters: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, train: TrainingSet) -> Cells:
        """Cells of a training set; repeated answers to a cell weigh less the more they are the same."""
        a = independent_answers(train.labels, train.weights)
        y = np.where(a > 0, np.nan_to_num(train.labels), 0).astype(np.float64)
        clusters = np.arange(len(y)) if train.clusters is None else train.clusters
        clusters = np.unique(clusters, return_inverse=True)[1]
        return cls(y, a, clusters, cluster_weights(y, a, clusters))

    def rows(self, keep: np.ndarray) -> Cells:
        """Some of the questions."""
        here = np.zeros(self.n_clusters, dtype=bool)
        here[self.clusters[keep]] = True
        clusters = (np.cumsum(here) - 1)[self.clusters[keep]]
        return replace(self, y=self.y[keep], a=self.a[keep], clusters=clusters, weights=self.weights[keep])

    @property
    def n_clusters(self) -> int:
        """How many clusters there are."""
        return int(self.clusters.max(initial=-1)) + 1

    @property
    def asked(self) -> np.ndarray:
        """Answers of each prompt, float64 (K,)."""
        return self.a.sum(0)

    def intercepts(self, offset: np.ndarray) -> np.ndarray:
        """Prompt effects b (K,) of logit P = b_p + offset (u, K or 1), by Newton's method.

        The empirical-Bayes prior of `PromptSuccess` holds prompts that were asked rarely; one that was never
        asked is behind all others.
        """
        known = PromptSuccess.of(self.y, self.a)
        b, ones = logit(known.success), np.ones(len(self.y))
        for _ in range(STEPS):
            p, q = sigmoid(b + offset), sigmoid(b)
            expected = self.a * p
            right = ones @ expected  # as `_row_sums`
            gradient = known.right - right + known.weight * (known.prior - q)
            expected *= p
            curvature = right - ones @ expected + known.weight * q * (1 - q)
            step = np.clip(gradient / np.maximum(curvature, 1e-9), -2, 2)
            b = b + step
            if np.abs(step).max() < 1e-10:
                break
        asked = self.asked > 0
        return np.where(asked, b, b.min(initial=0.0, where=asked) - NEVER_ASKED)

    def slopes(self, columns: np.ndarray, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """Slopes (c,) of a logistic regression on prompt indicators and columns, by Newton's method.

        Columns are predictions in logits, so a slope is 1 but for what the answers say against it: its prior
        is normal with mean 1 and standard deviation `SLOPE_DOUBT`.

        Parameters
        ----------
        columns : float (c, u, K)
        offset : float (u, K), logits that are known
        """
        k, c = self.y.shape[1], len(columns)
        theta = np.concatenate([self.intercepts(np.zeros((len(self.y), 1))), np.ones(c)])
        for _ in range(STEPS):
            gradient, hessian, _ = self.logistic(theta[:k], columns, theta[k:], offset)
            gradient[k:] += (1 - theta[k:]) / SLOPE_DOUBT**2
            hessian[k:, k:] += np.eye(c) / SLOPE_DOUBT**2
            step = np.clip(np.linalg.solve(hessian, gradient), -2, 2)
            theta = theta + step
            if np.abs(step).max() < 1e-8:
                break
        return theta[k:]

    def logistic(
        self, b: np.ndarray, columns: np.ndarray, slopes: np.ndarray, offset: np.ndarray | float = 0.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradient (K + c,), Hessian and scores (u, K + c) of logit P = b_p + slopes columns + offset.

        Parameters
        ----------
        b : float (K,)
        columns : float (c, u, K)
        slopes : float (c,)
        offset : float (u, K)
        """
        k = len(b)
        p = sigmoid(b + np.tensordot(slopes, columns, 1) + offset)
        residual, v = self.a * (self.y - p), self.a * p * (1 - p)
        scores = np.concatenate([residual, np.einsum("cuk,uk->uc", columns, residual)], 1)
        hessian = np.zeros((scores.shape[1], scores.shape[1]))
        hessian[:k, :k] = np.diag(v.sum(0) + 1e-6)
        hessian[:k, k:] = np.einsum("cuk,uk->kc", columns, v)
        hessian[k:, :k] = hessian[:k, k:].T
        hessian[k:, k:] = np.einsum("cuk,duk,uk->cd", columns, columns, v) + 1e-6 * np.eye(len(slopes))
        return scores.sum(0), hessian, scores

    def prompts(self, among: np.ndarray) -> Cells:
        """Some of the prompts."""
        return replace(self, y=self.y[:, among], a=self.a[:, among])

    def question_scores(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score and information (u,) of a shift of each question's logits (u, K)."""
        p = sigmoid(logits)
        information = self.a * p
        information *= 1 - p
        return _row_sums(self.a * (self.y - p)), _row_sums(information)

    def residuals(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """What is left of the answers without prompt, difficulty and luck of a question.

        Each question's luck is a normal shift of its logits: variance by moments, mode and spread by Newton.

        Parameters
        ----------
        logits : float (u, K), what prompts and the known difficulty say

        Returns: working residuals in logits (u, K), 0 where not asked; the information (K,) of one answer to
        each prompt; and the variance of luck.
        """
        score, information = self.question_scores(logits)
        spread = max(((score**2).sum() - information.sum()) / max((information**2).sum(), 1e-9), 1e-4)
        luck, doubt = np.zeros(len(logits)), np.zeros(len(logits))
        for _ in range(3):
            p, slope = _under_normal_shift(logits + luck[:, None], doubt)
            certainty = _row_sums(self.a * slope) + 1 / spread
            luck = luck + (_row_sums(self.a * (self.y - p)) - luck / spread) / certainty
            doubt = 1 / certainty
        p, slope = _under_normal_shift(logits + luck[:, None], doubt)
        each = np.maximum((self.a * slope).sum(0) / np.maximum(self.asked, 1e-9), 1e-3)
        return np.where(self.a > 0, self.y - p, 0) / each, each, spread


def cluster_weights(y: np.ndarray, a: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Weight float64 (u,) of each question: near-duplicates count as one the more prompts do alike on them.

    1 / (1 + rho (n - 1)) in a cluster of n questions (Kish's design effect). rho is the correlation within
    clusters, by moments, of what an answer has beyond the means of its prompt and its question.

    Parameters
    ----------
    y, a, clusters : as of `Cells`
    """
    size = np.bincount(clusters)
    pairs = float((size**2 - size).sum())
    if not pairs:
        return np.ones(len(y))
    x = a * (y - (a * y).sum(0) / np.maximum(a.sum(0), 1e-9))
    x = x - a * (x.sum(1) / np.maximum(a.sum(1), 1e-9))[:, None]
    totals = np.zeros((len(size), y.shape[1]))
    np.add.at(totals, clusters, x)
    shared = ((totals**2).sum() - (x**2).sum()) / pairs
    rho = np.clip(shared / max((x**2).sum() / len(x), 1e-12), 0, 1)
    return (1 / (1 + rho * (size - 1)))[clusters]


def _under_normal_shift(logits: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of sigmoid(logits + shift) (u, K) and its slope, the shift normal with variance (u,)."""
    scale = np.sqrt(1 + SHIFT * variance)[:, None]
    p = sigmoid(logits / scale)
    return p, p * (1 - p) / scale


def _row_sums(x: np.ndarray) -> np.ndarray:
    """x.sum(1), several times as fast where rows are short."""
    return x @ np.ones(x.shape[1])


def blocks_of(n: int) -> Iterator[slice]:
    """Row ranges, a block at a time."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def over_blocks(phi: np.ndarray, function: Callable[..., Any], *columns: np.ndarray) -> Iterator[Any]:
    """`OverBlocks` of phi (u, D) that lies here, in memory or in a file.

    Parameters
    ----------
    phi : float (u, D), question features
    function : of a block of phi and of each column
    columns : arrays (u, ...)
    """
    for block in blocks_of(len(phi)):
        yield function(phi[block], *(column[block] for column in columns))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function of an array, with logits clipped to -30..30."""
    p = np.clip(x, -30, 30)  # in place from here: of a large log, making room takes longer than the sums
    np.exp(np.negative(p, out=p), out=p)
    p += 1
    return np.reciprocal(p, out=p)


def logit(p: np.ndarray) -> np.ndarray:
    """Inverse of the logistic function."""
    return np.log(p) - np.log1p(-p)
