"""Question difficulty apart from question x prompt interaction, the latter as far as inner folds support it.

    logit P(correct | q, p) = b_p + a d(q) + s m_p(q)

b_p is how good prompt p is, d how easy question q is, m_p what p gains or loses on q beyond both. A shared d
never changes which prompt is best, so whatever is chosen is chosen by m. d and m are ridge regressions in
closed form on one compressed description of the question; their penalties, a and s come from inner folds over
clusters of near-duplicates. s is 0 unless a sign-flip test (evidence.py) shows m at `LEVEL`: the model then
ranks prompts by b_p alone, so the highest prediction is the prompt that is best on train, and choosing by it
can lose nothing. Since a, s and b are fitted to held-out predictions by maximum likelihood, they calibrate
the probabilities too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from prompt_oirl.features.mapped import BLOCK
from prompt_oirl.reward_models.cells import RIDGES, Cells, RidgePath, sigmoid
from prompt_oirl.reward_models.evidence import sign_flip_p_value
from prompt_oirl.reward_models.question_features import QuestionFeatures
from prompt_oirl.reward_models.training_set import TrainingSet, prompt_coordinates
from prompt_oirl.stats.splits import INNER_FOLDS, deal_folds

MIN_CONTENDER_SHARE = 0.02  # of questions on which a prompt must look best to be one that might be chosen
LEVEL = 0.05  # of the test that s must pass to exceed 0
CAUTION = 1.0  # standard errors by which a supported s is lowered
MIN_SHARE = 0.5  # least weight that a penalty's interaction may have
MIN_CLUSTERS = 20  # with fewer there is nothing to cross-fit; prompts are ranked by their means


class InteractionModel:
    """r(question, prompt) = difficulty + shrunken interaction; `settings` says what the inner folds chose."""

    SETTINGS: tuple[str, ...] = ("difficulty_ridge", "slope", "interaction_ridge", "interaction", "p_value")

    def __init__(self, seed: int = 0):
        self.seed = seed
        self.settings: dict[str, Any] = {}

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Fit; settings come from inner folds of `train`, so `validation` stays unseen."""
        self.fit(train)

    def fit(self, train: TrainingSet) -> None:
        """Closed-form fit on all rows, in one thread of linear algebra: equal bits whatever else runs."""
        with threadpool_limits(1, user_api="blas"):
            self._fit(train)

    def _fit(self, train: TrainingSet) -> None:
        self._prompts = train.prompts.astype(np.float32)
        self._coordinates = prompt_coordinates(train.prompts)
        cells = Cells.of(train)
        self.features = QuestionFeatures(self.seed).fit(train.questions, train.embedding_size)
        phi = self.features.of_all(train)
        self._b = cells.prompt_logits()
        self._difficulty = np.zeros(phi.shape[1])
        self._interaction = np.zeros((phi.shape[1], len(self._b)))
        self._supported = False
        self.settings = {name: 1.0 if name == "p_value" else 0.0 for name in self.SETTINGS}
        n_clusters = len(np.unique(train.clusters)) if train.clusters is not None else len(phi)
        if n_clusters >= MIN_CLUSTERS:
            path = RidgePath(phi, inner_folds(train, self.seed))
            d, slope = self._fit_difficulty(path, cells)
            if len(self._b) > 1:
                slope = self._fit_interaction(train, path, cells, d, slope)
            self.settings["slope"] = round(max(float(slope), 0.0), 4)
            self._difficulty *= self.settings["slope"]

    def _fit_difficulty(self, path: RidgePath, cells: Cells) -> tuple[np.ndarray, float]:
        """Held-out d (u,), one working residual per question pooled over its prompts, and its slope a."""
        score, weight = cells.by_question(np.broadcast_to(self._b, cells.y.shape))
        target = score / np.maximum(weight, 1e-9)
        held_out = path.held_out(target[:, None], weight[:, None])[:, :, 0]
        ridge = int(np.argmin([(weight * (target - d) ** 2).sum() for d in held_out]))
        d = held_out[ridge]
        self._b, (slope,), _ = cells.regress([np.repeat(d[:, None], cells.y.shape[1], 1)])
        self._difficulty = path.fit(target[:, None], weight[:, None], ridge)[:, 0]
        self.settings["difficulty_ridge"] = float(RIDGES[ridge])
        return d, float(slope)

    def _fit_interaction(
        self, train: TrainingSet, path: RidgePath, cells: Cells, d: np.ndarray, slope: float
    ) -> float:
        """Learn m and its weight s; returns the slope of d beside them.

        Without support m is kept as well, at the weight of one standard error or more, but `predict` leaves
        it out: only the diagnosis, which weighs `effects` on questions held out from this fit, looks at it.
        """
        residual, information = self.interaction_targets(cells, d, slope)
        candidates = path.held_out(residual, information)
        chosen, weighed = choose_interaction(cells, d, candidates, residual, information)
        weight = max(weighed.cautious, weighed.error)
        self._interaction = weight * _centred(path.fit(residual, information, chosen))
        odds = np.exp(self._b - self._b.max())  # of success, relative to the best prompt
        p_value = sign_flip_p_value(path.phi, cells.clusters, residual, information, odds, self.seed)
        self._supported = bool(weighed.cautious > 0 and p_value <= LEVEL)
        self.settings |= {
            "interaction_ridge": float(RIDGES[chosen]),
            "interaction": round(weight, 4) if self._supported else 0.0,
            "p_value": round(p_value, 4),
        }
        if not self._supported:
            return slope
        self._b = weighed.b
        return weighed.slope

    def interaction_targets(self, cells: Cells, d: np.ndarray, slope: float) -> tuple[np.ndarray, np.ndarray]:
        """Working residuals and weights, (u, K) each, without prompt, difficulty and luck of a question.

        Parameters
        ----------
        cells : the answers to u questions
        d : float (u,), how easy each question is; `slope` times it is in logits
        slope : factor a of `d`
        """
        logits = self._b + slope * d[:, None]
        own = np.zeros(len(d))
        for _ in range(2):
            score, information = cells.by_question(logits + own[:, None])
            spread = max(((score**2).sum() - information.sum()) / max((information**2).sum(), 1e-9), 0.0)
            own = own + (score - own / spread) / (information + 1 / spread) if spread > 1e-4 else own
        p = sigmoid(logits + own[:, None])
        variance = (cells.a * p * (1 - p)).sum(0) / np.maximum(cells.a.sum(0), 1e-9)  # per prompt
        return np.where(cells.a > 0, cells.y - p, 0) / np.maximum(variance, 1e-3), cells.a * variance

    @property
    def prompt_effects(self) -> np.ndarray:
        """How good each training prompt is, logits (K,); the largest is the prompt that is best on train."""
        return self._b

    def effects(self, questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Difficulty (n,) and interaction (n, K) in logits, the latter whether or not it is supported."""
        phi = self.features(questions)
        return phi @ self._difficulty, phi @ self._interaction

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Calibrated success probabilities float32 (n, m); a prompt never seen mixes its relatives."""
        scores = np.empty((len(questions), len(prompts)), dtype=np.float32)
        mixture = self._mixture(prompts).T
        for start in range(0, len(questions), BLOCK):
            block = questions[start : start + BLOCK]
            scores[start : start + BLOCK] = sigmoid(self._logits(block, prompts, mixture))
        return scores

    def _logits(self, questions: np.ndarray, prompts: np.ndarray, mixture: np.ndarray) -> np.ndarray:
        """Logits (n, m) of a block of questions; `mixture` (K, m) of the training prompts."""
        known, phi = self._b.mean(), self.features(questions)
        relative = (self._b - known) + (phi @ self._interaction) * self._supported  # (n, K)
        return known + (phi @ self._difficulty)[:, None] + relative @ mixture

    def _mixture(self, prompts: np.ndarray) -> np.ndarray:
        """How much of each training prompt is in each asked one, (m, K): one-hot for a known one."""
        if prompts.shape == self._prompts.shape and np.allclose(prompts, self._prompts, atol=1e-6):
            return np.eye(len(prompts))
        mixture = (prompts @ self._coordinates).astype(np.float64)
        for row, prompt in enumerate(prompts):
            same = np.abs(self._prompts - prompt).max(1) < 1e-6
            if same.any():
                mixture[row] = np.arange(len(same)) == same.argmax()
        return mixture

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything `predict` needs, as plain arrays."""
        return {
            **self.features.arrays(),
            "prompts": self._prompts,
            "coordinates": self._coordinates,
            "b": self._b,
            "difficulty": self._difficulty,
            "interaction": self._interaction,
            "supported": np.array([self._supported]),
            "settings": np.array([self.settings[k] for k in self.SETTINGS], dtype=np.float64),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        self.features = QuestionFeatures(self.seed)
        self.features.restore(arrays)
        self._prompts, self._coordinates = arrays["prompts"], arrays["coordinates"]
        self._b, self._difficulty = arrays["b"], arrays["difficulty"]
        self._interaction, self._supported = arrays["interaction"], bool(arrays["supported"][0])
        self.settings = dict(zip(self.SETTINGS, arrays["settings"].tolist()))


@dataclass(frozen=True)
class WeighedInteraction:
    """logit P = b (K,) + a d (u,) + s m (u, K) fitted to held-out d and m.

    a is `slope`, s is `share` and `error` its standard error, robust to clusters.
    """

    b: np.ndarray
    d: np.ndarray
    m: np.ndarray
    slope: float
    share: float
    error: float

    @property
    def cautious(self) -> float:
        """One standard error less than the estimate, which passed a gate and therefore flatters; >= 0."""
        return max(self.share - CAUTION * self.error, 0.0)

    def probabilities(self, share: float) -> np.ndarray:
        """Success probabilities (u, K) if the interaction counts `share`."""
        return sigmoid(self.b + self.slope * self.d[:, None] + share * self.m)

    def contenders(self, among: np.ndarray) -> np.ndarray:
        """Those of the prompts `among`, bool (K,), that look best somewhere; `among` itself if all do."""
        picks = np.bincount(self.probabilities(max(self.share, self.error)).argmax(1), minlength=len(self.b))
        looks_best = (picks >= MIN_CONTENDER_SHARE * picks.sum()) | (
            np.arange(len(self.b)) == self.b.argmax()
        )
        contenders = among & looks_best
        return contenders if 1 < contenders.sum() < among.sum() else among


def weigh_interaction(
    train: TrainingSet, difficulty: np.ndarray, interaction: np.ndarray
) -> WeighedInteraction:
    """Weigh difficulty and interaction, predicted for held-out questions, against the answers of `train`.

    The weight counts only prompts that might be chosen, see `choose_interaction`.

    Parameters
    ----------
    train : questions and answers
    difficulty : float (u,), in logits, by models that did not learn from the question
    interaction : float (u, K), in logits, by the same models
    """
    cells = Cells.of(train)
    among = np.ones(len(train.prompts), bool)
    weighed = _weigh(cells, difficulty, interaction, among)
    contenders = weighed.contenders(among)
    return weighed if contenders is among else _weigh(cells, difficulty, interaction, contenders)


def choose_interaction(
    cells: Cells, d: np.ndarray, candidates: np.ndarray, residual: np.ndarray, information: np.ndarray
) -> tuple[int, WeighedInteraction]:
    """Number and weight of the held-out interaction that explains most.

    Evidence counts only among prompts that might be chosen: that bad prompts are bad in different ways is
    easy to show and worth nothing. So everything is done twice, first among all prompts, then among those
    that look best somewhere.

    Parameters
    ----------
    d : float (u,), held-out difficulty
    candidates : float (c, u, K), held-out interactions, the least cautious penalty first
    residual, information : float (u, K), see `InteractionModel.interaction_targets`
    """
    among = np.ones(cells.y.shape[1], bool)
    for _ in range(2):
        chosen = _most_explained(candidates, residual, information, among)
        weighed = _weigh(cells, d, candidates[chosen], among)
        contenders = weighed.contenders(among)
        if contenders is among:
            break
        among = contenders
    return chosen, weighed


def _most_explained(
    candidates: np.ndarray, residual: np.ndarray, information: np.ndarray, among: np.ndarray
) -> int:
    explained = []
    for m in candidates:
        m = _centred(m[:, among])
        along = (information[:, among] * residual[:, among] * m).sum()
        size = max((information[:, among] * m**2).sum(), 1e-12)
        # What must be halved to fit new questions is overfitted: a larger penalty says it better.
        explained.append(along**2 / size if along > MIN_SHARE * size else 0.0)
    explained[-1] = max(explained[-1], 1e-12)
    return int(np.argmax(explained))


def _weigh(cells: Cells, d: np.ndarray, interaction: np.ndarray, among: np.ndarray) -> WeighedInteraction:
    """Share and error from the prompts of `among` (K,), intercepts and slope from all."""
    m = _centred(interaction)
    wide = np.repeat(d[:, None], len(among), 1)
    some = Cells(cells.y[:, among], cells.a[:, among], cells.clusters)
    _, (_, share), (_, error) = some.regress([wide[:, among], _centred(m[:, among])])
    b, (slope, _), _ = cells.regress([wide, m], fixed={1: max(share - CAUTION * error, 0.0)})
    return WeighedInteraction(b, d, m, float(slope), float(share), float(error))


def _centred(m: np.ndarray) -> np.ndarray:
    return m - m.mean(1, keepdims=True)


def inner_folds(train: TrainingSet, seed: int) -> np.ndarray:
    """Inner fold of each training question, int64 (u,)."""
    clusters = np.arange(len(train.questions)) if train.clusters is None else train.clusters
    return deal_folds(clusters, INNER_FOLDS, seed)
