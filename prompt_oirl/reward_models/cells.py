"""Labels as question x prompt cells, and two fits on them: a small logistic regression and ridge paths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from prompt_oirl.features.mapped import BLOCK
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.stats.cells import PromptSuccess, independent_answers

RIDGES = 10.0 ** np.arange(-2.0, 4.1, 0.5)


class Cells:
    """Labels (u, K) with the weight `a` of each cell and the cluster of each question."""

    def __init__(self, y: np.ndarray, a: np.ndarray, clusters: np.ndarray):
        self.y, self.a, self.clusters = y, a, clusters

    @classmethod
    def of(cls, train: TrainingSet) -> Cells:
        """Cells of a training set; repeated answers to a cell weigh less the more they are the same."""
        a = independent_answers(train.labels, train.weights)
        y = np.where(a > 0, np.nan_to_num(train.labels), 0).astype(np.float64)
        clusters = (
            np.arange(len(y)) if train.clusters is None else np.unique(train.clusters, return_inverse=True)[1]
        )
        return cls(y, a, clusters)

    def prompt_logits(self) -> np.ndarray:
        """logit of each prompt's success as `PromptSuccess` tells it, float64 (K,)."""
        return logit(PromptSuccess.of(self.y, self.a).success)

    def by_question(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score and information of a shift of each question's logit, (u,) each."""
        p = sigmoid(logits)
        return (self.a * (self.y - p)).sum(1), (self.a * p * (1 - p)).sum(1)

    def regress(
        self, columns: list[np.ndarray], fixed: dict[int, float] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logistic regression on prompt indicators and `columns` (u, K) each, by Newton's method.

        `fixed` holds the coefficients of some columns. Returns the intercepts (K,), coefficients and their
        standard errors, robust to clusters (sandwich).
        """
        fixed = fixed or {}
        offset = sum((value * columns[i] for i, value in fixed.items()), np.zeros_like(self.y))
        free = [i for i in range(len(columns)) if i not in fixed]
        k, c = self.y.shape[1], len(free)
        x = np.stack([columns[i] for i in free])
        scale = np.sqrt((self.a * x**2).sum((1, 2)) / max(self.a.sum(), 1e-9)) + 1e-12
        x = x / scale[:, None, None]
        start = PromptSuccess.of(self.y, self.a)
        theta = np.concatenate([logit(start.success), np.zeros(c)])
        for _ in range(50):
            p = sigmoid(theta[:k] + np.tensordot(theta[k:], x, 1) + offset)
            residual, v = self.a * (self.y - p), self.a * p * (1 - p)
            prior = sigmoid(theta[:k])
            gradient = np.concatenate(
                [
                    residual.sum(0) + start.weight * (start.prior - prior),
                    np.einsum("cuk,uk->c", x, residual) - theta[k:],
                ]
            )
            hessian = np.zeros((k + c, k + c))
            hessian[:k, :k] = np.diag(v.sum(0) + start.weight * prior * (1 - prior) + 1e-9)
            hessian[:k, k:] = np.einsum("cuk,uk->kc", x, v)
            hessian[k:, :k] = hessian[:k, k:].T
            hessian[k:, k:] = np.einsum("cuk,duk,uk->cd", x, x, v) + np.eye(c)
            step = np.linalg.solve(hessian, gradient)
            theta = theta + step * min(1.0, 4 / max(np.abs(step).max(), 1e-12))
            if np.abs(step).max() < 1e-10:
                break
        scores = np.concatenate([residual, np.einsum("cuk,uk->uc", x, residual)], 1)
        by_cluster = np.zeros((int(self.clusters.max(initial=0)) + 1, k + c))
        np.add.at(by_cluster, self.clusters, scores)
        inverse = np.linalg.inv(hessian)
        errors = np.sqrt(np.maximum(np.diag(inverse @ (by_cluster.T @ by_cluster) @ inverse), 0))
        coefficients, standard_errors = np.zeros(len(columns)), np.zeros(len(columns))
        coefficients[free], standard_errors[free] = theta[k:] / scale, errors[k:] / scale
        for i, value in fixed.items():
            coefficients[i] = value
        return theta[:k], coefficients, standard_errors


class RidgePath:
    """Ridge regressions on phi (u, D) for all penalties: one eigendecomposition per fold and weighting."""

    def __init__(self, phi: np.ndarray, folds: np.ndarray):
        self.phi = phi
        self.rows = [np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1)]

    def held_out(self, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Held-out predictions float32 (penalties, u, m) of targets (u, m) under weights (u, m)."""
        out = np.zeros((len(RIDGES), *targets.shape), dtype=np.float32)
        for columns, shape, scales in same_weights(weights):
            blocks = [self._products(rows, shape, targets[:, columns]) for rows in self.rows]
            gram, moment = sum(b[0] for b in blocks), sum(b[1] for b in blocks)
            for rows, (own_gram, own_moment) in zip(self.rows, blocks):
                spectrum, axes = np.linalg.eigh(gram - own_gram)
                spectrum = np.maximum(spectrum, 0)
                right = axes.T @ (moment - own_moment) * scales
                for block in blocks_of(rows):
                    view = self.phi[block] @ axes
                    for i, ridge in enumerate(RIDGES):
                        out[i][np.ix_(block, np.asarray(columns))] = view @ (
                            right / (np.outer(spectrum, scales) + ridge)
                        )
        return out

    def fit(self, targets: np.ndarray, weights: np.ndarray, ridge: int) -> np.ndarray:
        """Coefficients float64 (D, m) of ridge regressions on all rows, one for each column of `targets`.

        Parameters
        ----------
        targets : float (u, m), what to predict
        weights : float (u, m), of the squared errors
        ridge : number of the penalty in `RIDGES`
        """
        coefficients = np.zeros((self.phi.shape[1], targets.shape[1]))
        for columns, shape, scales in same_weights(weights):
            gram, moment = self._products(np.arange(len(self.phi)), shape, targets[:, columns])
            for j, scale in enumerate(scales):
                penalised = scale * gram + RIDGES[ridge] * np.eye(len(gram))
                coefficients[:, columns[j]] = np.linalg.solve(penalised, scale * moment[:, j])
        return coefficients

    def _products(
        self, rows: np.ndarray, weight: np.ndarray, targets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        size = self.phi.shape[1]
        gram, moment = np.zeros((size, size)), np.zeros((size, targets.shape[1]))
        for block in blocks_of(rows):  # phi may lie in a file
            phi = self.phi[block].astype(np.float64)
            weighted = phi * weight[block, None]
            gram += weighted.T @ phi
            moment += weighted.T @ targets[block]
        return gram, moment


def blocks_of(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers, a block at a time."""
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]


def same_weights(weights: np.ndarray) -> list[tuple[list[int], np.ndarray, np.ndarray]]:
    """Columns whose weights are multiples share a decomposition: (columns, shape (u,), multiples)."""
    groups: list[tuple[list[int], np.ndarray, list[float]]] = []
    for column, weight in enumerate(weights.T):
        total = max(weight.mean(), 1e-12)
        for columns, shape, scales in groups:
            if np.allclose(weight / total, shape, rtol=1e-6, atol=1e-9):
                columns.append(column)
                scales.append(total)
                break
        else:
            groups.append(([column], weight / total, [total]))
    return [(columns, shape, np.array(scales)) for columns, shape, scales in groups]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function, with logits clipped to -30..30."""
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def logit(p: np.ndarray) -> np.ndarray:
    """Inverse of the logistic function."""
    return np.log(p) - np.log1p(-p)
