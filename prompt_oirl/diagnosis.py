"""Is choosing a prompt per question worth it on this log? Facts first, then variance, gain, and a verdict in words.

`diagnose` puts it together; every part is a function of its own. All gains are in success rate (0.01 = one point) and over
the prompt that is best on the training folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from prompt_oirl.metrics import ClusterBootstrap
from prompt_oirl.prompt_log import PromptLog
from prompt_oirl.reward_models.interaction import LEVEL, Interaction, WeighedInteraction, weigh_interaction
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.splits import HEADLINE_FOLDS, assign_folds

WORTH = 0.003  # a gain below that is not worth a reward model, however sure
MATTERS = 0.01  # a gain that the log must be able to rule out before "not shown" is said
SHOWN = 2.6  # standard errors at which the sign-flip test of the whole log mostly comes out
SURE = 1.96  # standard errors: 95 % intervals
CURVE = (0.25, 0.5, 1.0)
MOST_QUESTIONS = 1_000_000


@dataclass(frozen=True)
class DataFacts:
    """What the log holds. `coverage` is the share of cells asked, `broken` and `truncated` name prompts."""

    rows: int
    questions: int
    prompts: int
    groups: int
    coverage: float
    answers_per_cell: float
    repeated_cells: int
    duplicate_rows: int
    near_duplicate_questions: int
    test_questions_in_train: int
    test_groups_in_train: int
    broken_prompts: list[str]
    truncated: dict[str, float]
    success: dict[str, float]

    def lines(self) -> list[str]:
        """One sentence per fact, what needs attention last."""
        said = [
            f"{self.rows:,} answers: {self.questions:,} questions x {self.prompts} prompts, {self.coverage:.0%} of the cells asked, "
            f"{self.answers_per_cell:.1f} answers per asked cell.",
            f"{self.groups:,} groups of near-duplicate questions; {self.near_duplicate_questions:,} questions are near-duplicates of an earlier one.",
        ]
        if self.duplicate_rows:
            said.append(
                f"{self.duplicate_rows:,} rows repeat question, prompt and answer exactly: fine if the LLM was asked again, but drop copies of one answer, which count as independent evidence."
            )
        if self.test_questions_in_train or self.test_groups_in_train:
            said.append(
                f"{self.test_questions_in_train:,} questions of split test stand in split train too, {self.test_groups_in_train:,} with near-duplicates: "
                "results on that split are a leak; folds by group are used here."
            )
        if self.broken_prompts:
            said.append(f"Never right, probably broken or graded wrongly: {', '.join(self.broken_prompts)}.")
        if self.truncated:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in self.truncated.items())
            said.append(f"Answers that end in mid-sentence (cut by a token limit?): {shares}.")
        return said


@dataclass(frozen=True)
class VarianceSplit:
    """Variance of one answer's correctness: between these prompts, between questions, their interaction, sampling noise.

    The last three are (low, value, high). With one answer per cell interaction and noise cannot be told apart (nor,
    with K prompts, 1/K of them from difficulty): their values are NaN and only the bounds are known.
    """

    prompt: float
    difficulty: tuple[float, float, float]
    interaction: tuple[float, float, float]
    noise: tuple[float, float, float]
    repeated: bool

    @property
    def total(self) -> float:
        """Variance of one answer; the same wherever between the bounds the truth lies."""
        return self.prompt + self.difficulty[0] + self.interaction[0] + self.noise[2]


@dataclass(frozen=True)
class Gain:
    """What choosing per question brings. `expected` (value, low, high) rests on the held-out weight of the predicted
    interaction (`support`: in standard errors), `measured` on held-out picks alone; intervals are 95 %."""

    expected: tuple[float, float, float]
    measured: tuple[float, float, float]
    support: float
    moved: float
    best_prompt: tuple[float, float, float]


@dataclass(frozen=True)
class Diagnosis:
    facts: DataFacts
    variance: VarianceSplit | None
    oracle: float
    oracle_without_luck: float
    gain: Gain | None
    p_value: float = 1.0
    curve: list[dict[str, float]] = field(default_factory=list)
    verdict: str = ""
    reason: str = ""
    more_questions: int | None = None


def diagnose(log: PromptLog, train: TrainingSet, seed: int = 0, curve: bool = True) -> Diagnosis:
    """Diagnose a log; `train` holds its questions, prompts and features in the same order (`clusters` filled in)."""
    facts = data_facts(log)
    variance = variance_split(log.question, log.prompt, log.correct.astype(np.float64), train.labels.shape)
    raw, without_luck = oracle(log)
    known = train.labels[train.weights > 0]
    if len(log.prompts) < 2 or facts.groups < 4 * HEADLINE_FOLDS or known.min() == known.max():
        verdict, reason = "not enough data", _too_little(log, facts, known)
        return Diagnosis(facts, variance, raw, without_luck, None, verdict=verdict, reason=reason)
    gain = expected_gain(train, seed)
    whole = Interaction(seed)
    whole.fit(train)
    p_value = whole.settings["p_value"]
    verdict, reason, more = judge(gain, p_value, facts.groups)
    points = learning_curve(train, seed, gain) if curve else []
    return Diagnosis(facts, variance, raw, without_luck, gain, p_value, points, verdict, reason, more)


def _too_little(log: PromptLog, facts: DataFacts, known: np.ndarray) -> str:
    if len(log.prompts) < 2:
        return "The log has one prompt: log the same questions with another one."
    if known.min() == known.max():
        return f"Every answer has correct = {known.min():g}: there is nothing to choose by."
    return f"The log has {facts.groups} different questions; {4 * HEADLINE_FOLDS} are the least, several hundred make sense."


def data_facts(log: PromptLog) -> DataFacts:
    """Rows, coverage, copies, overlap, cut answers and prompts that never work."""
    asked = log.counts > 0
    groups = log.groups
    answers = log.counts.sum(0)
    broken = [name for name, n, s in zip(log.names, answers, log.prompt_success) if n >= 20 and s == 0]
    cell = log.question * len(log.prompts) + log.prompt
    texts = [(c, a) for c, a in zip(cell.tolist(), log.answer) if a]
    overlap, close = 0, 0
    if log.split is not None and {"train", "test"} <= set(log.split.tolist()):
        of = {s: np.unique(log.question[log.split == s]) for s in ("train", "test")}
        overlap = len(np.intersect1d(of["train"], of["test"]))
        close = int(np.isin(groups[of["test"]], groups[of["train"]]).sum())
    return DataFacts(
        rows=len(log.correct),
        questions=len(log.questions),
        prompts=len(log.prompts),
        groups=len(np.unique(groups)),
        coverage=float(asked.mean()),
        answers_per_cell=float(len(log.correct) / max(asked.sum(), 1)),
        repeated_cells=int((log.counts > 1).sum()),
        duplicate_rows=len(texts) - len(set(texts)),
        near_duplicate_questions=len(groups) - len(np.unique(groups)),
        test_questions_in_train=overlap,
        test_groups_in_train=close,
        broken_prompts=broken,
        truncated=_truncated(log),
        success={name: float(s) for name, s in zip(log.names, log.prompt_success)},
    )


def _truncated(log: PromptLog) -> dict[str, float]:
    """Prompts of whose answers over a quarter ends without terminal punctuation, a sign or a digit."""
    cut = np.array(
        [np.nan if not a or len(a) < 20 else a.rstrip()[-1:].isalpha() for a in log.answer], dtype=float
    )
    shares = {}
    for j, name in enumerate(log.names):
        mine = cut[(log.prompt == j) & ~np.isnan(cut)]
        if len(mine) >= 20 and mine.mean() > 0.25:
            shares[name] = float(mine.mean())
    return shares


def variance_split(
    question: np.ndarray, prompt: np.ndarray, correct: np.ndarray, shape: tuple[int, ...]
) -> VarianceSplit | None:
    """Split Var(correct) by moments; answers are rows with `question`, `prompt` (rows,), `shape` is (n, K).

    Mean products of two answers that share cell, question, prompt or nothing estimate E[pi^2], E[pi_qp pi_qp'],
    E[pi_qp pi_q'p] and E[pi_qp pi_q'p'] without bias, where pi is a cell's success probability; the components of a
    two-way layout with these K prompts and random questions are combinations of them (Searle, Casella and McCulloch,
    Variance Components, 1992, chapter 5). None where a product has no pair.
    """
    n, k = shape
    cells = question * k + prompt
    s, count = (
        np.bincount(cells, correct, n * k).reshape(n, k),
        np.bincount(cells, minlength=n * k).reshape(n, k).astype(float),
    )
    squares = float((correct**2).sum())
    second = squares / len(correct)

    def mean(products: float, pairs: float) -> float:
        return products / pairs if pairs > 0 else float("nan")

    same_question = mean((s.sum(1) ** 2).sum() - (s**2).sum(), (count.sum(1) ** 2).sum() - (count**2).sum())
    per_prompt = s.sum(0) ** 2 - (s**2).sum(0), count.sum(0) ** 2 - (count**2).sum(0)
    same_prompt = float(np.mean([mean(a, b) for a, b in zip(*per_prompt)]))
    nothing = mean(
        s.sum() ** 2 - (s.sum(1) ** 2).sum() - (s.sum(0) ** 2).sum() + (s**2).sum(),
        count.sum() ** 2 - (count.sum(1) ** 2).sum() - (count.sum(0) ** 2).sum() + (count**2).sum(),
    )
    if k == 1 or np.isnan([same_question, same_prompt, nothing]).any():
        return None
    repeated = (count**2).sum() - count.sum()
    least = same_question + same_prompt - nothing  # E[pi^2] if there were no interaction
    values = [min(max(least, 0.0), second), second]
    if repeated >= 100:
        values.append(mean((s**2).sum() - squares, repeated))
    between = (k - 1) / k
    mean_square = same_prompt / k + between * nothing

    def parts(cell: float) -> tuple[float, float, float]:
        interaction = between * (cell - same_question - same_prompt + nothing)
        difficulty = cell / k + between * same_question - mean_square
        return max(interaction, 0.0), max(second - cell, 0.0), max(difficulty, 0.0)

    prompts = max(same_prompt - mean_square, 0.0)
    low, high = parts(values[0]), parts(values[1])
    if len(values) == 3:
        i, e, d = parts(values[2])
        return VarianceSplit(prompts, (d, d, d), (i, i, i), (e, e, e), True)
    nan = float("nan")
    return VarianceSplit(
        prompts, (low[2], nan, high[2]), (low[0], nan, high[0]), (high[1], nan, low[1]), False
    )


def oracle(log: PromptLog) -> tuple[float, float]:
    """Success if any right prompt were always found, with luck and without it.

    Without luck: one half of a cell's answers finds the prompt, the other half judges it (both ways), over questions whose
    every cell was answered twice or more; NaN where there are none. A lower bound: half the answers choose less well.
    """
    complete = (log.counts > 0).all(1)
    raw = float(log.labels[complete].max(1).mean()) if complete.any() else float("nan")
    twice = (log.counts > 1).all(1)
    if not twice.any():
        return raw, float("nan")
    order = np.lexsort((log.sample, log.prompt, log.question))
    cell = (log.question * len(log.prompts) + log.prompt)[order]
    place = (
        np.arange(len(cell))
        - np.r_[0, np.flatnonzero(np.diff(cell)) + 1][np.cumsum(np.r_[0, np.diff(cell) != 0])]
    )
    halves = []
    for parity in (0, 1):
        mine = place % 2 == parity
        size = log.labels.size
        total = np.bincount(cell[mine], log.correct[order][mine], size)
        halves.append(
            (total / np.maximum(np.bincount(cell[mine], minlength=size), 1)).reshape(log.labels.shape)[twice]
        )
    prior = 1e-6 * log.prompt_success  # ties go to the better prompt
    judged = [b[np.arange(len(a)), (a + prior).argmax(1)].mean() for a, b in (halves, halves[::-1])]
    return raw, float(np.mean(judged))


def expected_gain(train: TrainingSet, seed: int = 0) -> Gain:
    """Cross-fitted gain of choosing by the interaction model: five folds over clusters, fitted inside each.

    The direct measure is the held-out success of the picks (doubly robust where cells are missing). The expectation uses
    all cells: held-out predictions m of the interaction are weighed against held-out answers,
    logit P = b_p + a d + s m, and the gain of the best policy under s, s - 1.96 and s + 1.96 standard errors is
    averaged over questions; s <= 0 means no gain. The value itself takes s less error^2 / s (what is weak is mostly
    chance: James and Stein's shrinkage).
    """
    assert train.clusters is not None
    _, dense = np.unique(train.clusters, return_inverse=True)
    folds = assign_folds(dense, HEADLINE_FOLDS, seed)[dense]
    n, k = train.labels.shape
    difficulty, interaction, scores = np.zeros(n), np.zeros((n, k)), np.zeros((n, k))
    best = np.zeros(n, dtype=int)
    for fold in range(int(folds.max()) + 1):
        held, kept = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        model = Interaction(seed)
        model.fit(train.rows(kept))
        difficulty[held], interaction[held] = model.effects(train.questions[held])
        scores[held] = model.predict(train.questions[held], train.prompts)
        best[held] = int(model.prompt_effects.argmax())
    weighed = weigh_interaction(train, difficulty, interaction)
    shrunken = weighed.share - weighed.error**2 / max(weighed.share, 1e-12)
    bounds = [weighed.share + z * weighed.error for z in (-SURE, SURE)]
    expected = tuple(_policy_gain(weighed, share) for share in (shrunken, *bounds))
    picks = scores.argmax(1)
    answers = _doubly_robust(train, scores)
    rows = np.arange(n)
    measured = ClusterBootstrap(train.clusters, seed).mean(
        np.column_stack(
            [np.where(picks == best, 0.0, answers[rows, picks] - answers[rows, best]), answers[rows, best]]
        )
    )
    return Gain(
        (expected[0], expected[1], expected[2]),
        tuple(measured[0]),  # type: ignore[arg-type]
        float(weighed.share / max(weighed.error, 1e-12)),
        float((picks != best).mean()),
        tuple(measured[1]),  # type: ignore[arg-type]
    )


def _policy_gain(w: WeighedInteraction, share: float) -> float:
    """Gain of the best policy if the predicted interaction counts `share`."""
    p = w.probabilities(max(share, 0.0))
    return float(p.max(1).mean() - p.mean(0).max())


def _doubly_robust(train: TrainingSet, scores: np.ndarray) -> np.ndarray:
    """Success (n, K) of each cell: the label where all are logged, else corrected predictions."""
    asked = train.weights > 0
    share = np.maximum(asked.mean(0), 1e-9)
    return scores + np.where(asked, np.nan_to_num(train.labels) - scores, 0) / share


def learning_curve(train: TrainingSet, seed: int, full: Gain) -> list[dict[str, float]]:
    """Gain to expect from a quarter, a half and all of the logged questions, whole clusters drawn at random."""
    assert train.clusters is not None
    clusters = np.unique(train.clusters)
    order = np.random.default_rng([seed, 9]).permutation(clusters)
    points = []
    for share in CURVE:
        kept = np.flatnonzero(np.isin(train.clusters, order[: int(share * len(order))]))
        if share < 1 and share * len(order) < 10 * HEADLINE_FOLDS:
            continue
        gain = full if share == 1 else expected_gain(train.rows(kept), seed)
        value, low, high = gain.expected
        points.append(
            {
                "questions": len(kept),
                "gain": value,
                "low": low,
                "high": high,
                "measured": gain.measured[0],
                "support": gain.support,
            }
        )
    return points


def judge(gain: Gain, p_value: float, groups: int) -> tuple[str, str, int | None]:
    """Verdict, one sentence of reason, and how many more questions would settle it; `p_value` is the sign-flip test's."""
    value, low, high = gain.expected
    said = f"{100 * value:+.1f} points to expect [{100 * low:+.1f}, {100 * high:+.1f}], measured on held-out picks {100 * gain.measured[0]:+.1f} "
    said += f"[{100 * gain.measured[1]:+.1f}, {100 * gain.measured[2]:+.1f}]"
    if p_value <= LEVEL and value >= WORTH and gain.measured[2] > 0:
        return "worth it", f"Choosing per question beats the best single prompt: {said}.", 0
    if high < MATTERS:
        return (
            "not shown",
            f"A gain of {100 * MATTERS:.0f} point or more is ruled out: {said}. Use the best single prompt.",
            0,
        )
    more = _more_questions(gain, groups)
    needed = (
        f"About {more:,} more questions like these would settle it."
        if more
        else "More questions like these would settle it."
    )
    return "not enough data", f"No gain is shown and none ruled out: {said}. {needed}", more


def _more_questions(gain: Gain, groups: int) -> int | None:
    """Questions until the interval shows the gain or rules it out: standard errors shrink with the root of their number."""
    value, _, high = gain.expected
    to_show = (SHOWN / gain.support) ** 2 if gain.support > 0.25 else np.inf
    to_rule_out = ((high - value) / max(MATTERS - value, 1e-9)) ** 2 if value < MATTERS else np.inf
    factor = min(to_show if value >= WORTH else np.inf, to_rule_out)
    factor = factor if np.isfinite(factor) else to_show
    if not np.isfinite(factor):
        return None
    step = 10 ** max(int(np.log10(max(groups, 10))) - 1, 1)
    return int(min(np.ceil(max(factor - 1, 0.1) * groups / step) * step, MOST_QUESTIONS))


def report_lines(d: Diagnosis) -> Sequence[str]:
    """The diagnosis as plain sentences, verdict first."""
    lines = [f"{d.verdict.upper()}: {d.reason}", *d.facts.lines()]
    if d.variance is not None:
        v, total = d.variance, max(d.variance.total, 1e-12)
        lines.append(f"Variance of correctness: prompt {v.prompt / total:.0%}, " + _rest(v, total))
    if not np.isnan(d.oracle):
        lines.append(
            f"Any prompt right: {d.oracle:.3f}, luck included"
            + ("" if np.isnan(d.oracle_without_luck) else f"; {d.oracle_without_luck:.3f} without luck")
            + "."
        )
    lines += [
        f"From {int(p['questions']):,} questions: {100 * p['gain']:+.1f} points to expect [{100 * p['low']:+.1f}, {100 * p['high']:+.1f}]."
        for p in d.curve
    ]
    return lines


def _rest(v: VarianceSplit, total: float) -> str:
    if v.repeated:
        return f"difficulty {v.difficulty[1] / total:.0%}, question x prompt {v.interaction[1] / total:.0%}, sampling noise {v.noise[1] / total:.0%}."
    return (
        f"difficulty {v.difficulty[0] / total:.0%} to {v.difficulty[2] / total:.0%}, question x prompt {v.interaction[0] / total:.0%} to "
        f"{v.interaction[2] / total:.0%}, the rest sampling noise: with one answer per cell they cannot be told apart; ask some questions twice."
    )
