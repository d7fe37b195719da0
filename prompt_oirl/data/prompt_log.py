"""A checked log in memory: questions, prompts, and an answer's row for each time one met the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from prompt_oirl.data.arms import Arm, Choices, arms_of
from prompt_oirl.data.near_duplicates import (
    cluster_texts,
    in_order_of_appearance,
    joined_groups,
    masked_numbers,
    mostly_numbers,
    too_alike,
)
from prompt_oirl.io.files import InputError
from prompt_oirl.stats.cells import balanced_answers, mean_labels

# Bounds of matrices prompts x prompts, and of tables questions x prompts (fit: 0.2 GB a million cells).
MOST_PROMPTS = 2_000
MOST_CELLS = 40_000_000
_DIFFERENT_TASKS = "; if they are different tasks, add a column group that tells them apart"


@dataclass(frozen=True, eq=False)
class PromptLog:
    """A checked log. Rows are answers; `question` and `prompt` (rows,) point into the distinct texts.

    `correct` float32 (rows,) in 0..1, `cost` float64 (rows,) NaN if unknown, `answer` text or None, `sample`
    the number of the repeat. `own_groups` (questions,) is the log's group of each question, or None; `notes`
    are sentences about what was read that a user should know. `split` is the log's own column, or None.
    `known_groups` (questions,) are groups that were found earlier, or None. `llms` (prompts,) is the LLM of
    each prompt where a prompt on another LLM counts as another prompt, or None; the same text may then stand
    in `prompts` several times. `segments` (questions,) is the log's own category of each question, such as
    its task, None where unknown; or None without any. `positions` (prompts,) is where each prompt stood
    (`log_columns.POSITIONS`), None where unknown; or None without any. `objection` says why nothing can be
    learned from the log, if so.

    Of logs with known chances, such as a server's, `propensity` float64 (rows,) is the chance with which the
    prompt of an answer was drawn, NaN where unknown, and `policy` the version of the selector that drew it;
    both are None of other logs. `unrated` are the prompts and propensities of requests without a verdict.
    """

    questions: list[str]
    prompts: list[str]
    names: list[str]
    question: np.ndarray
    prompt: np.ndarray
    correct: np.ndarray
    cost: np.ndarray
    answer: list[str | None]
    sample: np.ndarray
    own_groups: np.ndarray | None = None
    split: np.ndarray | None = None
    llm: str | None = None
    notes: list[str] = field(default_factory=list)
    known_groups: np.ndarray | None = None
    llms: list[str] | None = None
    segments: list[str | None] | None = None
    positions: list[str | None] | None = None
    objection: str | None = None
    propensity: np.ndarray | None = None
    policy: list[str | None] | None = None
    unrated: list[tuple[str | Arm, float]] = field(default_factory=list)

    def __repr__(self) -> str:
        size = f"{len(self.questions):,} questions x {len(self.prompts)} prompts"
        return "\n".join([f"PromptLog of {size}, {len(self.correct):,} answers", *self.notes])

    # scikit-learn takes a log as rows of questions: it asks for `shape`, and for rows as log[rows, ...].
    @property
    def shape(self) -> tuple[int, int]:
        """How many questions and prompts."""
        return len(self.questions), len(self.prompts)

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, rows: Any) -> PromptLog:
        """The part about some questions: slice, mask or numbers; raises InputError where one comes twice."""
        if isinstance(rows, tuple):  # scikit-learn asks for log[rows, ...]
            if len(rows) != 2 or rows[1] is not Ellipsis:
                raise InputError("a part of a log is of some questions: log[rows]; prompts: log.select")
            rows = rows[0]
        try:
            kept = np.atleast_1d(np.arange(len(self))[np.asarray(rows, bool) if _is_mask(rows) else rows])
        except (TypeError, ValueError) as error:
            raise InputError(f"log[...] takes a slice, a mask or numbers of questions: {error}") from None
        if kept.ndim > 1:
            raise InputError("log[...] takes a slice, a mask or numbers of questions")
        if len(np.unique(kept)) < len(kept):
            raise InputError("a part of a log has each question once: give numbers without repeats")
        return self.select(kept)

    @property
    def arms(self) -> Choices:
        """What a selector chooses among: the prompts, or with `llms` pairs of prompt and LLM."""
        return arms_of(self.prompts, self.llms)

    @cached_property
    def _cells(self) -> tuple[np.ndarray, np.ndarray]:
        self.refuse_large_tables()
        shape = len(self.questions), len(self.prompts)
        return mean_labels(self.question, self.prompt, self.correct, shape)

    def refuse_large_tables(self) -> None:
        """Raise InputError, before anything is built, where tables of the log would fill the memory."""
        n, k = len(self.questions), len(self.prompts)
        most = min(MOST_PROMPTS, max(MOST_CELLS // max(n, 1), 1))
        if k > most:
            answers = np.sort(np.bincount(self.prompt, minlength=k))[::-1]
            share = answers[:most].sum() / max(len(self.prompt), 1)
            raise InputError(
                f"the log has {n:,} questions x {k:,} prompts, more than memory may hold: keep the rows of "
                f"the {most:,} prompts with the most answers ({share:.0%} of the rows)"
            )

    @property
    def labels(self) -> np.ndarray:
        """Mean success of each cell, float64 (questions, prompts); NaN where a prompt was never asked."""
        return self._cells[0]

    @property
    def counts(self) -> np.ndarray:
        """Answers behind each cell, float64 (questions, prompts)."""
        return self._cells[1]

    @cached_property
    def balanced(self) -> np.ndarray:
        """Answers behind each cell as they speak for their prompt, float64 (questions, prompts): `counts`, or
        weights of answers with a propensity (`balanced_answers`)."""
        if self.propensity is None:
            return self.counts
        shape = len(self.questions), len(self.prompts)
        weights = balanced_answers(self.prompt, self.propensity, shape[1])
        cell = self.question * shape[1] + self.prompt
        return np.bincount(cell, weights, shape[0] * shape[1]).reshape(shape)

    @cached_property
    def groups(self) -> np.ndarray:
        """Group of each question, int64 (questions,): near-duplicates, and what the log puts together."""
        if self.known_groups is not None:
            return self.known_groups
        similar = cluster_texts(self.questions)
        if self.own_groups is None:
            return similar
        # Where texts tell nothing apart, the log is taken at its word.
        apart = self.own_groups if too_alike(similar) else joined_groups(similar, self.own_groups)
        return in_order_of_appearance(apart)

    @property
    def counted_once(self) -> str:
        """Why the log may have fewer different questions than texts, and what to do if that is wrong.

        The numbers are named where most of the questions that are joined differ in nothing else.
        """
        n_groups = len(np.unique(self.groups))
        if self.own_groups is not None and n_groups == len(np.unique(self.own_groups)):
            return "each group counts once"
        joined = len(self.questions) - n_groups
        if joined * 2 < len(self.questions):
            return "near-duplicates count once"
        worded = [text for text in self.questions if not mostly_numbers(text)]
        numbers_only = len(worded) - len(set(masked_numbers(worded)))
        what = "in their numbers" if numbers_only * 2 > joined else "in numbers or a few words"
        return f"questions that differ only {what} count as one" + _DIFFERENT_TASKS * too_alike(self.groups)

    @property
    def prompt_success(self) -> np.ndarray:
        """Mean success of each prompt over its answers, balanced by propensity, float64 (prompts,)."""
        asked = self.balanced.sum(0)
        return np.nansum(self.labels * self.balanced, 0) / np.where(asked > 0, asked, 1)

    @property
    def prompt_cost(self) -> np.ndarray:
        """Mean cost of an answer of each prompt, float64 (prompts,); NaN where no cost was logged."""
        known = ~np.isnan(self.cost)
        total = np.bincount(self.prompt[known], self.cost[known], len(self.prompts))
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / np.bincount(self.prompt[known], minlength=len(self.prompts))

    @property
    def has_answers(self) -> bool:
        """Whether any answer was logged as text."""
        return any(text is not None for text in self.answer)

    def select(self, questions: np.ndarray | None = None, prompts: np.ndarray | None = None) -> PromptLog:
        """The part of the log about some questions and prompts.

        Parameters
        ----------
        questions, prompts : int, what to keep, in this order; default: all
        """
        kept_questions = np.arange(len(self.questions)) if questions is None else questions
        kept_prompts = np.arange(len(self.prompts)) if prompts is None else prompts
        new_question, new_prompt = np.full(len(self.questions), -1), np.full(len(self.prompts), -1)
        new_question[kept_questions] = np.arange(len(kept_questions))
        new_prompt[kept_prompts] = np.arange(len(kept_prompts))
        rows = np.flatnonzero((new_question[self.question] >= 0) & (new_prompt[self.prompt] >= 0))
        return replace(
            self,
            questions=[self.questions[i] for i in kept_questions],
            prompts=[self.prompts[j] for j in kept_prompts],
            names=[self.names[j] for j in kept_prompts],
            llms=None if self.llms is None else [self.llms[j] for j in kept_prompts],
            positions=None if self.positions is None else [self.positions[j] for j in kept_prompts],
            question=new_question[self.question[rows]],
            prompt=new_prompt[self.prompt[rows]],
            correct=self.correct[rows],
            cost=self.cost[rows],
            answer=[self.answer[i] for i in rows],
            sample=self.sample[rows],
            own_groups=None if self.own_groups is None else self.own_groups[kept_questions],
            segments=None if self.segments is None else [self.segments[i] for i in kept_questions],
            split=None if self.split is None else self.split[rows],
            propensity=None if self.propensity is None else self.propensity[rows],
            policy=None if self.policy is None else [self.policy[i] for i in rows],
            unrated=[],
            notes=[],
            # A cluster of near-duplicates is a matter of the whole log, so a part keeps its numbers.
            known_groups=self.groups[kept_questions],
        )


def _is_mask(rows: Any) -> bool:
    return getattr(rows, "dtype", None) == "boolean"  # pandas' own, which may hold NA
