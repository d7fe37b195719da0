"""Several answers instead of one: which prompts to ask and how their answers are counted.

Everything is evaluated offline, from answers that stand in the log. A call asks one prompt; the votes are the
parsed answers, and equal answers are one candidate. A blank or unreadable answer was asked and paid for like
any other and casts no vote; only a cell that is not logged could not be asked. Shapes: n questions, P
prompts, M calls at most.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from prompt_oirl import grading
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.grading.numerals import decimal_comma
from prompt_oirl.grading.readers import READERS
from prompt_oirl.io.files import InputError

NO_ANSWER = -1  # asked and paid for, but nothing in it can be counted
NOT_LOGGED = -2
MAX_PROMPTS = 64  # whose votes steps 2 to 5 keep and count
MAX_REPEATS = 20  # of a cell: each is a vote of its own, and all are counted


@dataclass(frozen=True)
class VoteTable:
    """Stored answers as votes. `answers` int64 (n, P): equal numbers in a row are equal answers, numbered by
    prompt column; NO_ANSWER and NOT_LOGGED are no votes. `right` float64 (n, P): the verdict on each, NaN if
    not logged. With several answers per cell, a table holds one of each."""

    answers: np.ndarray
    right: np.ndarray

    def __post_init__(self) -> None:
        if self.answers.shape != self.right.shape or self.answers.ndim != 2:
            raise ValueError(f"answers {self.answers.shape} and right {self.right.shape} differ in shape")

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


Cell = tuple[int, int, int, str, float]  # row, column, sample number, answer and verdict 0..1


def vote_tables(
    cells: Iterable[Cell], shape: tuple[int, int], parser: str = "number", questions: Sequence[str] = ()
) -> list[VoteTable]:
    """Votes of n questions x P prompts, a table for each repeat.

    Of a cell with c samples, table r holds number r mod c by rising sample: where all cells have as many, the
    tables together hold every answer once, and the mean over them is the mean over answers.

    Parameters
    ----------
    cells : the logged answers
    shape : (n, P)
    parser : how answers are read: as number, choice, bool or text by the strict grader of that kind, or as
    the number that the grader `original` takes
    questions : texts of the n rows, which give a choice's options and the decimal sign; default: not known

    Raises: InputError on an unknown parser.
    """
    if parser not in READERS:
        raise InputError(f"no parser {parser!r}; choose one of {', '.join(READERS)}")
    read = lru_cache(100_000)(READERS[parser])  # short answers repeat
    asked = [q if parser != "number" or decimal_comma(q) else "" for q in questions] or [""] * shape[0]
    number_of: dict[Hashable, int] = {}  # of each distinct answer of the log
    listed: list[tuple[int, int, int, int, float]] = []
    for i, j, sample, answer, verdict in cells:
        found = read(answer, asked[i])
        vote = NO_ANSWER if found is None else number_of.setdefault(found, len(number_of))
        listed.append((i, j, sample, vote, verdict))
    row, column, samples, cast, verdicts = np.array(listed, dtype=np.float64).reshape(-1, 5).T
    cell = (row * shape[1] + column).astype(np.int64)
    order = np.lexsort((samples, cell))
    logged, start, count = np.unique(cell[order], return_index=True, return_counts=True)
    tables = []
    for repeat in range(min(count.max(initial=1), MAX_REPEATS)):
        chosen = order[start + repeat % count]
        answers, right = np.full(shape, NOT_LOGGED, dtype=np.int64), np.full(shape, np.nan)
        answers.flat[logged], right.flat[logged] = cast[chosen], verdicts[chosen]
        tables.append(VoteTable(in_column_order(answers), right))
    return tables


def vote_cells(
    rows: Iterable[LogRow],
    question_ids: Sequence[str],
    prompt_ids: Sequence[str],
    grader: str | None = None,
) -> Iterator[Cell]:
    """Cells of `vote_tables` from a log; rows of other questions and prompts are skipped.

    So are rows whose text was not kept (null): nothing can be told of their votes. A text that is there and
    empty is an answer.

    Parameters
    ----------
    rows : a log
    question_ids, prompt_ids : rows and columns of the table
    grader : gives the verdict, so that counted and graded numbers are the same; default: the log's own
    """
    row_of = {question: i for i, question in enumerate(question_ids)}
    column_of = {prompt: j for j, prompt in enumerate(prompt_ids)}
    for row in rows:
        if row.question_id in row_of and row.prompt_id in column_of and row.answer is not None:
            verdict = row.correct if grader is None else grading.verdict(grader, row.answer, row.gold)
            yield row_of[row.question_id], column_of[row.prompt_id], row.sample, row.answer, float(verdict)


def in_column_order(answers: np.ndarray) -> np.ndarray:
    """Renumber each row's answers by the first column that gave them: equal votes, equal arrays."""
    renumbered = answers.copy()
    for column in reversed(range(answers.shape[1])):
        own = answers[:, column, None]
        renumbered[(answers == own) & (own >= 0)] = column
    return renumbered


@dataclass(frozen=True)
class Count:
    """The state of a vote after each of M calls, arrays (n, M).

    `leader` is the answer in front, `right` its verdict, `lead` and `second` the weights behind it and behind
    the runner-up. As long as nobody has voted the leader is NO_ANSWER, and `right` the verdict on the answer
    got first: a single call's outcome is its verdict.
    """

    leader: np.ndarray
    right: np.ndarray
    lead: np.ndarray
    second: np.ndarray


def count_votes(table: VoteTable, order: np.ndarray, weights: np.ndarray) -> Count:
    """Ask prompts in `order` and count each vote with its weight.

    The answer with the greatest weight leads; ties go to the one that was given first. A prompt whose answer
    is not logged adds nothing, and neither does an answer that can't be read.

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
    unread = right[at, (votes != NOT_LOGGED).argmax(1)]  # the outcome as long as nobody has voted
    out = Count(*(np.zeros((n, calls), dtype=t) for t in (np.int64, float, float, float)))
    for k in range(calls):
        behind += same[:, :, k] * weight[:, k, None]
        seen = np.where(votes[:, : k + 1] >= 0, behind[:, : k + 1].round(9), -np.inf)
        ahead = seen.argmax(1)
        some = seen[at, ahead] > -np.inf
        others = np.where(same[at, ahead][:, : k + 1], -np.inf, seen).max(1)
        out.leader[:, k] = np.where(some, votes[at, ahead], NO_ANSWER)
        out.right[:, k] = np.where(some, right[at, ahead], unread)
        out.lead[:, k] = np.where(some, seen[at, ahead], 0)
        out.second[:, k] = np.where(others > -np.inf, others, 0)
    return out


def order_by(table: VoteTable, scores: np.ndarray, prior: np.ndarray | float = 0.0) -> np.ndarray:
    """Columns by falling score (n, P), ties by falling prior, then by column; prompts whose answer is not
    logged come last."""
    return np.lexsort((-np.broadcast_to(prior, scores.shape), -scores, ~table.logged), axis=1)


def calls_made(table: VoteTable, order: np.ndarray) -> np.ndarray:
    """Calls paid for after each place of the order, float64 (n, M): what is not logged is not paid for."""
    return np.cumsum(np.take_along_axis(table.logged, order, 1), 1).astype(np.float64)


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
