"""Question difficulty apart from the question x prompt interaction; the second only as far as inner folds support it.

    logit P(correct | q, p) = b_p + a d(q) + s m_p(q)

b_p is how good prompt p is, d how easy question q is, m_p what p gains or loses on q beyond both. A shared d never
changes which prompt is best, so whatever is chosen is chosen by m. d and m are ridge regressions in closed form on
one compressed description of the question; their penalties, a and s come from inner folds over clusters of
near-duplicates. s is 0 unless the held-out evidence for m is clear (`GATE`): the model then ranks prompts by b_p alone, so
the highest prediction is the prompt that is best on train, and choosing by it can lose nothing.
Since a, s and b are fitted to held-out predictions by maximum likelihood, they calibrate the probabilities too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from prompt_oirl.mapped_questions import BLOCK
from prompt_oirl.reward_models.question_features import QuestionFeatures
from prompt_oirl.reward_models.training_set import TrainingSet, prompt_coordinates
from prompt_oirl.splits import INNER_FOLDS, assign_folds

RIDGES = 10.0 ** np.arange(0.0, 4.6, 0.5)
GATE = 2.0  # standard errors by which s must exceed 0
LEAST_CLUSTERS = 20  # with fewer there is nothing to cross-fit; prompts are ranked by their means
PRIOR_ANSWERS = 2.0  # answers at the pooled rate that every prompt starts with


class Interaction:
    """r(question, prompt) = difficulty + shrunken interaction; `settings` says what the inner folds chose."""

    def __init__(self, seed: int = 0):
        self.seed = seed
        self.settings: dict[str, Any] = {}

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Fit; settings come from inner folds of `train`, so `validation` stays unseen."""
        self.fit(train)

    def fit(self, train: TrainingSet) -> None:
        """Closed-form fit on all rows; (u, D) features, (u, K) labels with NaN where never asked."""
        self._prompts = train.prompts.astype(np.float32)
        self._coordinates = prompt_coordinates(train.prompts)
        cells = _Cells.of(train)
        self._features = QuestionFeatures(self.seed).fit(train.questions, train.embedding_size)
        phi = self._features.of_all(train)
        self._b = cells.prompt_logits()
        self._difficulty = np.zeros(phi.shape[1])
        self._interaction = np.zeros((phi.shape[1], len(self._b)))
        self.settings = {
            "difficulty_ridge": 0.0,
            "interaction_ridge": 0.0,
            "interaction": 0.0,
            "support": 0.0,
        }
        n_clusters = len(np.unique(train.clusters)) if train.clusters is not None else len(phi)
        if n_clusters >= LEAST_CLUSTERS:
            self._fit_effects(phi, cells, _inner_folds(train, self.seed))

    def _fit_effects(self, phi: np.ndarray, cells: _Cells, folds: np.ndarray) -> None:
        path = _RidgePath(phi, folds)
        # Difficulty: one working residual per question, pooled over its prompts.
        score, information = cells.by_question(np.broadcast_to(self._b, cells.y.shape))
        target, weight = score / np.maximum(information, 1e-9), information
        held_out = path.held_out(target[:, None], weight[:, None])[:, :, 0]
        ridge = int(np.argmin([(weight * (target - d) ** 2).sum() for d in held_out]))
        d = held_out[ridge]
        self.settings["difficulty_ridge"] = float(RIDGES[ridge])
        if self._b.shape[0] == 1:
            self._finish(path, cells, d, None, target, weight, ridge)
            return
        self._finish(path, cells, d, self._interaction_targets(cells, d), target, weight, ridge)

    def _interaction_targets(self, cells: _Cells, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Working residuals (u, K) and weights once prompt, predicted difficulty and each question's own luck are out."""
        b, coefficients, _ = cells.regress([np.repeat(d[:, None], cells.y.shape[1], 1)])
        logits = b + coefficients[0] * d[:, None]
        own = np.zeros(len(d))
        for _ in range(2):
            score, information = cells.by_question(logits + own[:, None])
            spread = max(((score**2).sum() - information.sum()) / max((information**2).sum(), 1e-9), 0.0)
            own = own + (score - own / spread) / (information + 1 / spread) if spread > 1e-4 else own
        p = _sigmoid(logits + own[:, None])
        variance = (cells.a * p * (1 - p)).sum(0) / np.maximum(cells.a.sum(0), 1e-9)  # per prompt
        return np.where(cells.a > 0, cells.y - p, 0) / np.maximum(variance, 1e-3), cells.a * variance

    def _finish(
        self,
        path: _RidgePath,
        cells: _Cells,
        d: np.ndarray,
        interaction: tuple[np.ndarray, np.ndarray] | None,
        target: np.ndarray,
        weight: np.ndarray,
        ridge: int,
    ) -> None:
        """Weigh the two held-out predictors, then refit both on all rows."""
        wide = np.repeat(d[:, None], cells.y.shape[1], 1)
        self._b, (slope,), _ = cells.regress([wide])
        self._difficulty = max(slope, 0.0) * path.fit(target[:, None], weight[:, None], ridge)[:, 0]
        if interaction is None:
            return
        residual, information = interaction
        paths = path.held_out(residual, information)
        paths -= paths.mean(2, keepdims=True)
        explained = []
        for m in paths:
            along = (information * residual * m).sum()
            explained.append(along * abs(along) / max((information * m**2).sum(), 1e-12))
        chosen = int(np.argmax(explained))
        b, (slope, share), errors = cells.regress([wide, paths[chosen]])
        support = share / max(errors[1], 1e-12)
        self.settings |= {"interaction_ridge": float(RIDGES[chosen]), "support": round(float(support), 3)}
        if share <= 0 or support < GATE:
            return
        self.settings["interaction"] = round(float(share), 4)
        self._b = b
        self._difficulty = max(slope, 0.0) * path.fit(target[:, None], weight[:, None], ridge)[:, 0]
        m = path.fit(residual, information, chosen)
        self._interaction = share * (m - m.mean(1, keepdims=True))

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Calibrated success probabilities float32 (n, m); a prompt never seen mixes its relatives' advantages."""
        known, mixture = self._b.mean(), self._mixture(prompts).T
        scores = np.empty((len(questions), len(prompts)), dtype=np.float32)
        for start in range(0, len(questions), BLOCK):
            phi = self._features(questions[start : start + BLOCK])
            relative = (self._b - known) + phi @ self._interaction  # (n, K)
            scores[start : start + BLOCK] = _sigmoid(
                known + (phi @ self._difficulty)[:, None] + relative @ mixture
            )
        return scores

    def _mixture(self, prompts: np.ndarray) -> np.ndarray:
        """How much of each training prompt (K) is in each asked prompt (m): exactly one-hot for a known one."""
        if prompts.shape == self._prompts.shape and np.allclose(prompts, self._prompts, atol=1e-6):
            return np.eye(len(prompts))
        mixture = (prompts @ self._coordinates).astype(np.float64)
        for row, prompt in enumerate(prompts):
            same = np.abs(self._prompts - prompt).max(1) < 1e-6
            if same.any():
                mixture[row] = np.arange(len(same)) == same.argmax()
        return mixture

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            **self._features.arrays(),
            "prompts": self._prompts,
            "coordinates": self._coordinates,
            "b": self._b,
            "difficulty": self._difficulty,
            "interaction": self._interaction,
            "settings": np.array([self.settings[k] for k in _SETTINGS], dtype=np.float64),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._features = QuestionFeatures(self.seed)
        self._features.restore(arrays)
        self._prompts, self._coordinates = arrays["prompts"], arrays["coordinates"]
        self._b, self._difficulty = arrays["b"], arrays["difficulty"]
        self._interaction = arrays["interaction"]
        self.settings = dict(zip(_SETTINGS, arrays["settings"].tolist()))


_SETTINGS = ("difficulty_ridge", "interaction_ridge", "interaction", "support")


class _Cells:
    """Labels (u, K) with the weight `a` of each cell and the cluster of each question."""

    def __init__(self, y: np.ndarray, a: np.ndarray, clusters: np.ndarray):
        self.y, self.a, self.clusters = y, a, clusters

    @classmethod
    def of(cls, train: TrainingSet) -> _Cells:
        n = np.where(np.isnan(train.labels), 0, train.weights).astype(np.float64)
        y = np.where(n > 0, np.nan_to_num(train.labels), 0).astype(np.float64)
        clusters = (
            np.arange(len(y)) if train.clusters is None else np.unique(train.clusters, return_inverse=True)[1]
        )
        return cls(y, n / (1 + _sameness(y, n) * np.maximum(n - 1, 0)), clusters)

    def prompt_logits(self) -> np.ndarray:
        """logit of each prompt's mean success, float64 (K,), a few answers at the pooled rate added."""
        asked = self.a.sum(0)
        right = (self.a * self.y).sum(0)
        pooled = (right.sum() + 0.5) / (asked.sum() + 1)
        return _logit((right + PRIOR_ANSWERS * pooled) / (asked + PRIOR_ANSWERS))

    def by_question(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score and information of a shift of each question's logit, (u,) each."""
        p = _sigmoid(logits)
        return (self.a * (self.y - p)).sum(1), (self.a * p * (1 - p)).sum(1)

    def regress(self, columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logistic regression on prompt indicators and `columns` (u, K) each, by Newton's method.

        Returns the intercepts (K,), coefficients and their standard errors, robust to clusters (sandwich).
        """
        k, c = self.y.shape[1], len(columns)
        x = np.stack(columns)
        scale = np.sqrt((self.a * x**2).sum((1, 2)) / max(self.a.sum(), 1e-9)) + 1e-12
        x = x / scale[:, None, None]
        asked = self.a.sum(0)
        pooled = ((self.a * self.y).sum() + 0.5) / (asked.sum() + 1)
        theta = np.concatenate([self.prompt_logits(), np.zeros(c)])
        for _ in range(50):
            p = _sigmoid(theta[:k] + np.tensordot(theta[k:], x, 1))
            residual, v = self.a * (self.y - p), self.a * p * (1 - p)
            prior = _sigmoid(theta[:k])
            gradient = np.concatenate(
                [
                    residual.sum(0) + PRIOR_ANSWERS * (pooled - prior),
                    np.einsum("cuk,uk->c", x, residual) - theta[k:],
                ]
            )
            hessian = np.zeros((k + c, k + c))
            hessian[:k, :k] = np.diag(v.sum(0) + PRIOR_ANSWERS * prior * (1 - prior) + 1e-9)
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
        return theta[:k], theta[k:] / scale, errors[k:] / scale


class _RidgePath:
    """Ridge regressions on phi (u, D) for all penalties at once: one eigendecomposition per fold and weighting."""

    def __init__(self, phi: np.ndarray, folds: np.ndarray):
        self.phi, self.folds = phi, folds

    def held_out(self, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Held-out predictions (penalties, u, m) of targets (u, m) under weights (u, m)."""
        out = np.zeros((len(RIDGES), *targets.shape))
        for fold in range(int(self.folds.max()) + 1):
            inside, held = self.folds != fold, self.folds == fold
            for columns, shape, scales in _same_weights(weights):
                axes, spectrum, right = self._decompose(inside, shape, targets[:, columns], scales)
                for rows in _blocks(held):
                    view = self.phi[rows] @ axes
                    for i, ridge in enumerate(RIDGES):
                        out[i][np.ix_(rows, columns)] = view @ (right / (np.outer(spectrum, scales) + ridge))
        return out

    def fit(self, targets: np.ndarray, weights: np.ndarray, ridge: int) -> np.ndarray:
        """Coefficients (D, m) on all rows at penalty number `ridge`."""
        coefficients = np.zeros((self.phi.shape[1], targets.shape[1]))
        everywhere = np.ones(len(self.phi), bool)
        for columns, shape, scales in _same_weights(weights):
            axes, spectrum, right = self._decompose(everywhere, shape, targets[:, columns], scales)
            coefficients[:, columns] = axes @ (right / (np.outer(spectrum, scales) + RIDGES[ridge]))
        return coefficients

    def _decompose(
        self, rows: np.ndarray, weight: np.ndarray, targets: np.ndarray, scales: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        gram = np.zeros((self.phi.shape[1], self.phi.shape[1]))
        right = np.zeros((self.phi.shape[1], targets.shape[1]))
        for block in _blocks(rows):
            phi = self.phi[block].astype(np.float64)
            weighted = phi * weight[block, None]
            gram += weighted.T @ phi
            right += weighted.T @ targets[block]
        spectrum, axes = np.linalg.eigh(gram)
        return axes, np.maximum(spectrum, 0), axes.T @ right * scales


def _blocks(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers of a mask, a block at a time."""
    rows = np.flatnonzero(mask)
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]


def _same_weights(weights: np.ndarray) -> list[tuple[list[int], np.ndarray, np.ndarray]]:
    """Columns whose weights are multiples of one another share a decomposition: (columns, shape (u,), multiples)."""
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


def _sameness(y: np.ndarray, n: np.ndarray) -> float:
    """Correlation of two answers to one cell beyond what its prompt's mean says, in 0..1; 0.3 if nothing was repeated."""
    repeated = n > 1.5
    if repeated.sum() < 50:
        return 0.3
    mean = (n * y).sum(0) / np.maximum(n.sum(0), 1e-9)
    total = (mean * (1 - mean))[None, :].repeat(len(y), 0)[repeated]
    within = (y * (1 - y) * n / np.maximum(n - 1, 1))[repeated]
    return float(np.clip(1 - within.mean() / max(total.mean(), 1e-9), 0, 1))


def _inner_folds(train: TrainingSet, seed: int) -> np.ndarray:
    clusters = (
        np.arange(len(train.questions))
        if train.clusters is None
        else np.unique(train.clusters, return_inverse=True)[1]
    )
    return assign_folds(clusters, INNER_FOLDS, seed)[clusters]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)
