"""How good are predictions and choices, and how sure are we: success rates, AUCs, cluster bootstrap."""

from __future__ import annotations

import numpy as np

RESAMPLES = 2000
MOST_DRAWN = 10_000  # independent units of a bootstrap


def log_loss(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Weighted mean negative log likelihood over the known cells, in nats.

    Parameters
    ----------
    labels : float of any shape, success in 0..1; NaN is skipped
    scores : same shape, predicted probability of success, taken as at least 1e-7 away from 0 and 1
    weights : same shape; default: all 1
    """
    weights = np.ones_like(labels) if weights is None else weights
    known = ~np.isnan(labels) & (weights > 0)
    y, p, w = (
        labels[known].astype(np.float64),
        np.clip(scores[known].astype(np.float64), 1e-7, 1 - 1e-7),
        weights[known],
    )
    return float(-(w * (y * np.log(p) + (1 - y) * np.log1p(-p))).sum() / w.sum())


def auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve over all known cells, ties one half; NaN if only one class is there.

    `labels` may be success rates: a cell of label y and weight w counts as w*y rights and w*(1-y) wrongs.

    Parameters
    ----------
    labels : float of any shape, success in 0..1; NaN is skipped
    scores : same shape; only their order counts
    weights : of the cells, broadcast to this shape; default: all 1
    """
    known = ~np.isnan(labels)
    y, s = labels[known].astype(np.float64), scores[known]
    w = (
        np.ones(len(y))
        if weights is None
        else np.broadcast_to(weights, labels.shape)[known].astype(np.float64)
    )
    return RankedScores(y, s).auc(w)


class RankedScores:
    """Scores ranked once, so that AUCs under many weightings (bootstrap resamples) cost one pass each."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray):
        self._order = np.argsort(scores, kind="stable")
        ranked = scores[self._order]
        self._starts = (
            np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else np.zeros(0, dtype=int)
        )
        self._labels = labels[self._order]

    def auc(self, weights: np.ndarray) -> float:
        """Area under the ROC curve with a weight per score; NaN if only one class is there."""
        if not len(self._starts):
            return float("nan")
        w = weights[self._order]
        right = np.add.reduceat(w * self._labels, self._starts)
        wrong = np.add.reduceat(w * (1 - self._labels), self._starts)
        if right.sum() <= 0 or wrong.sum() <= 0:
            return float("nan")
        below = np.cumsum(wrong) - wrong
        return float((right * (below + 0.5 * wrong)).sum() / (right.sum() * wrong.sum()))


def auc_within_prompt(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean over prompts of the AUC across questions: is difficulty seen, apart from which prompt is good?

    Prompts that have only one class are left out; NaN if all are.

    Parameters
    ----------
    labels : float (n, P), success in 0..1, NaN where unknown
    scores : float (n, P)
    weights : float (n,), of the questions; default: all 1
    """
    columns = [auc(labels[:, j], scores[:, j], weights) for j in range(labels.shape[1])]
    known = [value for value in columns if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def question_pairs(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per question (n,): pairs of prompts ordered rightly (ties 1/2), and pairs with exactly one right."""
    won = np.zeros(len(labels))
    pairs = np.zeros(len(labels))
    for a in range(labels.shape[1]):
        for b in range(a):
            gap = labels[:, a] - labels[:, b]
            decided = np.where(np.isnan(gap), 0, np.abs(gap))
            agreement = np.sign(gap) * np.sign(scores[:, a] - scores[:, b])
            won += decided * (0.5 + 0.5 * np.where(np.isnan(agreement), 0, agreement))
            pairs += decided
    return won, pairs


def auc_within_question(labels: np.ndarray, scores: np.ndarray) -> float:
    """Share ordered rightly of the pairs of prompts with exactly one right: what choosing needs."""
    won, pairs = question_pairs(labels, scores)
    return float(won.sum() / pairs.sum()) if pairs.sum() else float("nan")


def precision_recall_f1(labels: np.ndarray, positive: np.ndarray) -> tuple[float, float, float, float]:
    """Precision, recall, F1 and accuracy of yes/no predictions, each the mean over prompts (columns).

    As published, a prompt whose value is undefined (nothing predicted or nothing right) drops out of that
    mean. NaN labels do not count.
    """
    known = ~np.isnan(labels)
    y, positive = (labels > 0.5) & known, positive & known
    hits = (y & positive).sum(0).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = hits / positive.sum(0), hits / y.sum(0)
        f1 = 2 * precision * recall / (precision + recall)
        accuracy = float(((y == positive) & known).sum() / known.sum())
    means = [
        float(np.mean(v[~np.isnan(v)])) if (~np.isnan(v)).any() else float("nan")
        for v in (precision, recall, f1)
    ]
    return means[0], means[1], means[2], accuracy


class ClusterBootstrap:
    """Percentile intervals from resampling whole clusters, all from the same resamples (paired).

    Clusters beyond `MOST_DRAWN` are put together at random, as evenly as can be: what is drawn is still
    independent of one another, intervals keep their width, and weights (resamples, drawn) stay small.
    """

    def __init__(self, clusters: np.ndarray, seed: int = 0, resamples: int = RESAMPLES):
        _, self.cluster = np.unique(clusters, return_inverse=True)
        self.n_clusters = int(self.cluster.max()) + 1 if len(clusters) else 0
        rng = np.random.default_rng(seed)
        if self.n_clusters > MOST_DRAWN:
            self.cluster = rng.permutation(np.arange(self.n_clusters) % MOST_DRAWN)[self.cluster]
        drawn = min(self.n_clusters, MOST_DRAWN)
        self.weights = rng.multinomial(drawn, np.full(drawn, 1 / max(drawn, 1)), size=resamples).astype(
            np.float32
        )

    def mean(self, values: np.ndarray, level: float = 0.95) -> np.ndarray:
        """Mean, low and high of each column of values (n, m), NaN skipped; float64 (m, 3)."""
        known = ~np.isnan(values)
        return self.ratio(np.where(known, values, 0), known.astype(np.float64), level)

    def simultaneous(self, values: np.ndarray, level: float = 0.95) -> np.ndarray:
        """As `mean`, but the intervals of all columns hold together (max-t): the best of them may be named.

        Each column is widened by the same number of its own standard errors, as many as the column that
        strays most in a resample needs. A column that never moves keeps an interval of no width.
        """
        known = ~np.isnan(values)
        point, draws = self._draws(np.where(known, values, 0), known.astype(np.float64))
        error = np.nanstd(draws, 0)
        moving = error > 1e-12
        if not moving.any():
            return np.column_stack([point, point, point]).round(12)
        strays = np.nanmax(np.abs(draws - point)[:, moving] / error[moving], 1)
        wide = np.quantile(strays, level) * np.where(moving, error, 0)
        return np.column_stack([point, point - wide, point + wide]).round(12)

    def ratio(self, top: np.ndarray, bottom: np.ndarray, level: float = 0.95) -> np.ndarray:
        """sum(top) / sum(bottom) of each column with its interval.

        Parameters
        ----------
        top, bottom : float (n, m), rows in the order of the clusters that the bootstrap was made with
        level : of the interval

        Returns: ratio, low and high, float64 (m, 3).
        """
        point, draws = self._draws(top, bottom)
        # Rounded, so that an exact zero is not a matter of the order of summation.
        return np.column_stack([point, *interval(draws, level)]).round(12)

    def auc(self, labels: np.ndarray, scores: np.ndarray, resamples: int = 500) -> np.ndarray:
        """Pooled AUC over all known cells with its 95 % interval: value, low and high, float64 (3,).

        Parameters
        ----------
        labels : float (n, m), success in 0..1, NaN where unknown
        scores : float (n, m)
        resamples : how many of the bootstrap's resamples are used, for each costs a pass over the cells
        """
        known = ~np.isnan(labels)
        ranked = RankedScores(labels[known].astype(np.float64), scores[known])
        cell_cluster = np.broadcast_to(self.cluster[:, None], labels.shape)[known]
        draws = np.array([ranked.auc(w[cell_cluster]) for w in self.weights[:resamples]])
        low, high = interval(draws[:, None])
        return np.array([ranked.auc(np.ones(len(cell_cluster))), low[0], high[0]])

    def auc_within_prompt(self, labels: np.ndarray, scores: np.ndarray, resamples: int = 500) -> np.ndarray:
        """Mean over prompts of the AUC across questions with its 95 % interval, float64 (3,).

        Parameters
        ----------
        labels, scores, resamples : as in `ClusterBootstrap.auc`
        """
        columns = []
        for j in range(labels.shape[1]):
            known = ~np.isnan(labels[:, j])
            ranked = RankedScores(labels[known, j].astype(np.float64), scores[known, j])
            weights = [np.ones(known.sum()), *(w[self.cluster[known]] for w in self.weights[:resamples])]
            columns.append([ranked.auc(w) for w in weights])
        means = _mean_known(np.array(columns))
        low, high = interval(means[1:, None])
        return np.array([means[0], low[0], high[0]])

    def _draws(self, top: np.ndarray, bottom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum(top) / sum(bottom) of each column, (m,), and of each resample, (B, m)."""
        tops, bottoms = self._by_cluster(top), self._by_cluster(bottom)
        with np.errstate(invalid="ignore", divide="ignore"):
            return tops.sum(0) / bottoms.sum(0), (self.weights @ tops) / (self.weights @ bottoms)

    def _by_cluster(self, values: np.ndarray) -> np.ndarray:
        sums = np.zeros((self.weights.shape[1], values.shape[1]))
        np.add.at(sums, self.cluster, values)
        return sums


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval down the columns of draws (B, m); NaN draws are skipped."""
    tail = (1 - level) / 2
    if not np.isnan(draws).any():
        low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
        return low, high
    bounds = [
        np.quantile(c[~np.isnan(c)], [tail, 1 - tail]) if (~np.isnan(c)).any() else (np.nan, np.nan)
        for c in draws.T
    ]
    return np.array([b[0] for b in bounds]), np.array([b[1] for b in bounds])


def _mean_known(values: np.ndarray) -> np.ndarray:
    """Mean down the rows of (m, B), NaN skipped; NaN where a whole column is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)


def format_interval(
    value: float | str,
    low: float | str,
    high: float | str,
    *,
    points: bool = False,
    signed: bool | None = None,
    digits: int | None = None,
    unit: str = "",
) -> str:
    """A value and its interval as text: "0.412 [0.380, 0.443]", or in points "+1.2 [-0.3, +2.7]".

    Parameters
    ----------
    value, low, high : numbers, or their text as a CSV row holds it; NaN ends read "[no interval]"
    points : show fractions as percentage points, that is times 100
    signed : write "+" before positive numbers; default: as `points`
    digits : decimals; default 1 for points, otherwise 3
    unit : written between the value and the bracket, such as " %"
    """
    scale = 100 if points else 1
    sign = "+" if (points if signed is None else signed) else ""
    form = f"{sign}z.{(1 if points else 3) if digits is None else digits}f"  # z: no "-0.0"
    shown, lower, upper = (format(scale * float(number), form) for number in (value, low, high))
    return f"{shown}{unit} [{'no interval' if 'nan' in lower + upper else f'{lower}, {upper}'}]"


def format_number(value: float, digits: int = 4) -> str:
    """A number to `digits` significant digits; what is below 1e-9 is a rounding error and reads 0.

    Rates are at most 1, and a whole number keeps all of its digits.
    """
    if abs(value) < 1e-9:
        return "0"
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e15 else f"{value:.{digits}g}"
