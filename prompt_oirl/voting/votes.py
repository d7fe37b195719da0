"""Several answers instead of one: which prompts to ask, how their answers are counted, when to stop asking.

Everything is evaluated offline, from answers that stand in the log. A call asks one prompt; the votes are the
parsed answers, and equal answers are one candidate. Shapes: n questions, P prompts, M calls at most.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.grading import numbers
from prompt_oirl.io.files import InputError

NO_ANSWER = -1  # asked and paid for, but nothing in it can be counted
NOT_LOGGED = -2
MAX_PROMPTS = 64
PARSERS: dict[str, Callable[[str], Hashable]] = {
    "strict": numbers.strict_number,
    "original": numbers.original_number,
    "text": lambda answer: " ".join(answer.casefold().split()).strip(" .") or None,
}


@dataclass(frozen=True)
class VoteTable:
    """Stored answers as votes. `answers` int64 (n, P): equal numbers in a row are equal answers, numbered by
    prompt column; NO_ANSWER and NOT_LOGGED are no votes. `right` float64 (n, P): the verdict on each, NaN if
    not logged."""

    answers: np.ndarray
    right: np.ndarray

    def __post_init__(self) -> None:
        if self.answers.shape != self.right.shape or self.answers.ndim != 2:
            raise ValueError(f"answers {self.answers.shape} and right {self.right.shape} differ in shape")
        if self.answers.shape[1] > MAX_PROMPTS:
            raise InputError(
                f"voting takes at most {MAX_PROMPTS} prompts, the log has {self.answers.shape[1]}; name fewer"
            )

    @property
    def logged(self) -> np.ndarray:
        """Which cells hold an answer, bool (n, P)."""
        return np.not_equal(self.answers, NOT_LOGGED)

    def rows(self, rows: np.ndarray) -> VoteTable:
        """Some of the questions."""
        return VoteTable(self.answers[rows], self.right[rows])

    def columns(self, columns: np.ndarray | Sequence[int]) -> VoteTable:
        """Some of the prompts."""
        return VoteTable(self.answers[:, columns], self.right[:, columns])


def vote_table(
    cells: Iterable[tuple[int, int, int, str | None, float]], shape: tuple[int, int], parser: str = "strict"
) -> VoteTable:
    """Votes of n questions x P prompts; the lowest sample of a cell votes, an answer without text does not.

    Parameters
    ----------
    cells : row, column, sample number, answer text and verdict 0..1 of each logged answer
    shape : (n, P)
    parser : how answers are read: "strict" and "original" take the number as the grader of that name does,
    "text" the whole text but for case, spaces and the full stops around it

    Raises: InputError on an unknown parser, or on more than `MAX_PROMPTS` prompts.
    """
    if parser not in PARSERS:
        raise InputError(f"no parser {parser!r}; choose one of {', '.join(PARSERS)}")
    answers = np.full(shape, NOT_LOGGED, dtype=np.int64)
    right = np.full(shape, np.nan)
    lowest: dict[tuple[int, int], int] = {}
    ids: list[dict[Hashable, int]] = [{} for _ in range(shape[0])]
    for i, j, sample, answer, verdict in cells:
        if answer is None or sample >= lowest.get((i, j), sample + 1):
            continue
        found = PARSERS[parser](answer[-numbers.MAX_CHARACTERS :])
        answers[i, j] = NO_ANSWER if found is None else ids[i].setdefault(found, len(ids[i]))
        right[i, j] = verdict
        lowest[i, j] = sample
    return VoteTable(in_column_order(answers), right)


def vote_cells(
    rows: Iterable[LogRow],
    question_ids: Sequence[str],
    prompt_ids: Sequence[str],
    grader: str | None = None,
) -> Iterator[tuple[int, int, int, str | None, float]]:
    """Cells of `vote_table` from a log; rows of other questions and prompts are skipped.

    Parameters
    ----------
    rows : a log
    question_ids, prompt_ids : rows and columns of the table
    grader : gives the verdict, so that counted and graded numbers are the same; default: the log's own
    """
    row_of = {question: i for i, question in enumerate(question_ids)}
    column_of = {prompt: j for j, prompt in enumerate(prompt_ids)}
    for row in rows:
        if row.question_id in row_of and row.prompt_id in column_of:
            graded = grader is not None and row.answer is not None
            verdict = numbers.GRADERS[grader](row.answer, row.gold) if graded else row.correct  # type: ignore[index,arg-type]
            yield row_of[row.question_id], column_of[row.prompt_id], row.sample, row.answer, float(verdict)


def in_column_order(answers: np.ndarray) -> np.ndarray:
    """Renumber each row's answers by the first column that gave them: equal votes, equal arrays."""
    first = (answers[:, :, None] == answers[:, None, :]).argmax(2)
    return np.where(answers >= 0, first, answers)


@dataclass(frozen=True)
class Count:
    """The state of a vote after each of M calls, arrays (n, M).

    `leader` is the answer in front (NO_ANSWER if none yet), `right` its verdict (0 if none), `lead` and
    `second` the weights behind it and behind the runner-up.
    """

    leader: np.ndarray
    right: np.ndarray
    lead: np.ndarray
    second: np.ndarray


def count_votes(table: VoteTable, order: np.ndarray, weights: np.ndarray) -> Count:
    """Ask prompts in `order` and count each vote with its weight.

    The answer with the greatest weight leads; ties go to the one that was given first. A prompt whose answer
    is not logged adds nothing.

    Parameters
    ----------
    table : logged answers of n questions to P prompts
    order : int (n, M), columns of the table in the order in which they are asked
    weights : float (n, P), of the votes
    """
    votes = np.take_along_axis(table.answers, order, 1)
    right = np.nan_to_num(np.take_along_axis(table.right, order, 1))
    weight = np.where(votes >= 0, np.take_along_axis(weights, order, 1), 0.0)
    same = (votes[:, :, None] == votes[:, None, :]) & (votes >= 0)[:, :, None]
    n, calls = votes.shape
    # After each call: the weight behind the answer of every call so far. Rounded, so that a tie is a tie.
    behind = np.zeros((n, calls))
    at = np.arange(n)
    out = Count(*(np.zeros((n, calls), dtype=t) for t in (np.int64, float, float, float)))
    for k in range(calls):
        behind += same[:, :, k] * weight[:, k, None]
        seen = np.where(votes[:, : k + 1] >= 0, behind[:, : k + 1].round(9), -np.inf)
        ahead = seen.argmax(1)
        some = seen[at, ahead] > -np.inf
        others = np.where(same[at, ahead][:, : k + 1], -np.inf, seen).max(1)
        out.leader[:, k] = np.where(some, votes[at, ahead], NO_ANSWER)
        out.right[:, k] = np.where(some, right[at, ahead], 0)
        out.lead[:, k] = np.where(some, seen[at, ahead], 0)
        out.second[:, k] = np.where(others > -np.inf, others, 0)
    return out


def order_by(table: VoteTable, scores: np.ndarray) -> np.ndarray:
    """Columns by falling score (n, P), ties by column; prompts whose answer is not logged come last."""
    return np.argsort(np.where(table.logged, -scores, np.inf), axis=1, kind="stable")


def agreement_of_wrong_answers(table: VoteTable) -> float:
    """How often two wrong answers to one question are the same answer, over all pairs of prompts, add-one
    smoothed.

    Its inverse is the number of wrong answers that there are to choose from, as far as voting is concerned.
    """
    wrong = (table.answers >= 0) & (table.right < 0.5)
    same = alike = 0
    for j in range(1, wrong.shape[1]):
        both = wrong[:, :j] & wrong[:, j, None]
        alike += int((both & (table.answers[:, :j] == table.answers[:, j, None])).sum())
        same += int(both.sum())
    return (alike + 1) / (same + 2)


def log_odds_weights(success: np.ndarray, agreement: float) -> np.ndarray:
    """Vote weights log(r / ((1 - r) c)), at least 0, for chances of being right r (n, P) and agreement c.

    The most probable answer is the one of greatest weight if prompts err independently and each wrong answer
    is drawn from 1/c equally likely ones (Nitzan and Paroush 1982, for two; Dawid and Skene 1979). As c
    falls, weights become equal and the vote a majority.
    """
    r = np.clip(success, 1e-3, 1 - 1e-3)
    return np.maximum(np.log(r / (1 - r)) - np.log(agreement), 0)


@dataclass(frozen=True)
class Stopping:
    """When to stop asking: at `max_calls`, or as soon as the leader stays in front with probability
    `threshold`.

    That probability is a logistic regression on the state of the vote, fitted to votes that were counted to
    the end (`coefficients` float64 (6,), the last one the intercept).
    """

    max_calls: int
    threshold: float
    coefficients: np.ndarray

    def stays(self, count: Count, left: np.ndarray) -> np.ndarray:
        """Probability (n, max_calls) that the leader after each call leads after `max_calls`; `left` (n, M)
        is the weight of the calls that remain of these."""
        z = _state(count, left, self.max_calls) @ self.coefficients[:-1] + self.coefficients[-1]
        safe = (count.lead - count.second)[:, : self.max_calls] > left[:, : self.max_calls]
        return np.where(safe, 1.0, 1 / (1 + np.exp(-z)))

    def calls(self, count: Count, left: np.ndarray) -> np.ndarray:
        """Calls (n,) made before stopping."""
        return calls_until(self.stays(count, left), self.threshold)


def calls_until(stays: np.ndarray, threshold: float) -> np.ndarray:
    """First call (n,), counted from one, at which `stays` (n, M) reaches the threshold; else M."""
    stop = stays >= threshold
    stop[:, -1] = True
    return stop.argmax(1) + 1


def weight_left(order: np.ndarray, weights: np.ndarray, calls: int) -> np.ndarray:
    """Weight float (n, calls) of the prompts still to come after each of `calls` calls.

    Parameters
    ----------
    order : int (n, M), in which prompts are asked
    weights : float (n, P), of the votes
    calls : at which asking ends, at most M
    """
    asked = np.take_along_axis(weights, order[:, :calls], 1)
    return asked.sum(1, keepdims=True) - np.cumsum(asked, 1)


def _state(count: Count, left: np.ndarray, calls: int) -> np.ndarray:
    """Features (n, calls, 5) of a running vote."""
    lead, second, left = count.lead[:, :calls], count.second[:, :calls], left[:, :calls]
    ahead = lead - second
    share = lead / np.arange(1, calls + 1)
    return np.stack([ahead, second, left, ahead / np.sqrt(left + 0.5), share], axis=2)


def fit_stopping(
    count: Count, order: np.ndarray, weights: np.ndarray, budgets: Sequence[float]
) -> list[Stopping]:
    """For each budget of mean calls the rule that did best on these (training) questions within it.

    For every limit on calls the probability that the leader stays is fitted, and the highest threshold is
    taken that keeps the budget; the limit with the best success wins, the lower one among equals.

    Parameters
    ----------
    count : votes counted to the end
    order : int (n, M), in which prompts are asked
    weights : float (n, P), of the votes
    budgets : mean calls per question
    """
    n, most = count.leader.shape
    found: list[list[tuple[float, Stopping]]] = [[] for _ in budgets]
    for limit in range(1, most + 1):
        left = weight_left(order, weights, limit)
        coefficients = _fit_logistic(
            _state(count, left, limit).reshape(n * limit, -1),
            (count.leader[:, :limit] == count.leader[:, limit - 1, None]).ravel(),
        )
        stays = Stopping(limit, 1.0, coefficients).stays(count, left)
        thresholds = np.unique(np.quantile(stays, np.linspace(0, 1, 201)))
        calls = np.stack([calls_until(stays, t) for t in thresholds])
        mean_calls = calls.mean(1)
        for budget, rules in zip(budgets, found):
            affordable = np.flatnonzero(mean_calls <= budget)
            if len(affordable):
                best = affordable[-1]
                success = float(count.right[np.arange(n), calls[best] - 1].mean())
                rules.append((success, Stopping(limit, float(thresholds[best]), coefficients)))
    return [max(rules, key=lambda rule: (round(rule[0], 9), -rule[1].max_calls))[1] for rules in found]


def _fit_logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients with the intercept last; a constant where all leaders stay, or none does."""
    from sklearn.linear_model import LogisticRegression

    if y.all() or not y.any():
        rate = (y.sum() + 0.5) / (len(y) + 1)
        return np.append(np.zeros(x.shape[1]), np.log(rate / (1 - rate)))
    mean, scale = x.mean(0), x.std(0) + 1e-9
    model = LogisticRegression(C=10.0, max_iter=500).fit((x - mean) / scale, y)
    slope = model.coef_[0] / scale
    return np.append(slope, model.intercept_ - slope @ mean)
