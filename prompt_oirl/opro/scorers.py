"""Scorers: how good is an instruction on these questions?

`LLMScorer` measures: it asks the language model whatever the interaction log does not hold yet, so nothing is
paid for twice, and every answer joins the log. A scorer may also leave a candidate without a score (None): a
hybrid one ranks many by prediction and measures a few. Predicted scores never enter the log.
"""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from prompt_oirl import grading
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.llms import LLM, generation
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.chat import conversation
from prompt_oirl.llms.generation import Decoding, Item
from prompt_oirl.llms.transformers_llm import TransformersLLM
from prompt_oirl.opro.second_round import PHRASE, SecondRound
from prompt_oirl.opro.shared_log import SharedLog, Spending
from prompt_oirl.opro.tasks import QuestionTask

Prompts = Sequence[Prompt]
Questions = Sequence[Question]
ATTEMPTS = 3  # for answers that the server fails to give


class BudgetSpent(Exception):
    """A limit was reached; the message names it. What was paid for is in the log."""


@dataclass(frozen=True)
class Score:
    """Of one instruction: a value in 0..1 for every question, float64 (n,), and the spread of predictions
    where they are predicted."""

    values: np.ndarray
    kind: Literal["measured", "predicted"]
    std: float = 0.0

    @property
    def mean(self) -> float:
        """The accuracy."""
        return float(np.mean(self.values))


class Scorer(Protocol):
    """`name` is llm, reward_model or hybrid."""

    name: str

    def score(
        self, prompts: Prompts, asked: Questions, step: int, part: str, limit: int | None = None
    ) -> list[Score | None]:
        """Scores of at most `limit` prompts on these questions.

        Parameters
        ----------
        prompts : instructions with their positions
        asked : questions that every instruction is scored on
        step : of the loop; a negative one is of instructions that the user gave
        part : what the questions are for: train, validation or test
        limit : how many prompts may get a score; default: all

        Returns: one score per prompt, in order; None for those that got none.
        """


@dataclass
class LLMScorer:
    """Measures by asking, the log first.

    Parameters
    ----------
    llm : the language model, loaded when the first answer is pending, so a replay loads none
    llm_name : name of the language model in the logs
    grader : strict, original or opro; answers that another grader read are graded again
    log : extended by every answer that is asked for; `read_logs` reads it
    values : success of every answer that is known, by question id, instruction and position
    second_round : ask again for the final answer behind the first one, see `SecondRound`
    """

    llm: Callable[[], LLM]
    llm_name: str
    task: QuestionTask
    decoding: Decoding
    grader: str
    log: SharedLog
    budget: Budget
    spending: Spending
    values: dict[tuple[str, str, str], float] = field(default_factory=dict)
    name: str = "llm"
    second_round: bool = False

    def read_logs(self, known: Sequence[LogRow] = ()) -> LLMScorer:
        """Learn the answers of the scorer's log and of others; returns the scorer.

        `known` are rows of other logs; those of another llm or decoding are passed over.

        Raises: InputError if the log was drawn with another decoding, or holds other questions under the
        task's ids.
        """
        decoding = self.decoding
        self._learn_all(self.log.rows())
        usable = [r for r in known if r.llm == self.llm_name and Decoding.of(r) == decoding and r.sample == 0]
        usable = [r for r in usable if not self.second_round or PHRASE in (r.answer or "")]
        if known and not usable:
            said = f"--known_log holds no answer of llm {self.llm_name} drawn with {decoding}"
            print(f"warning: {said}", file=sys.stderr)
        for row in usable:
            self._learn(row, Path("the known log"))
        return self

    def _learn_all(self, rows: Iterable[LogRow]) -> None:
        """Of the scorer's own log, which holds answers of one decoding."""
        merged = self.log.files.merged
        for row in rows:
            if Decoding.of(row) != self.decoding:
                raise InputError(
                    f"{merged} holds answers drawn with {Decoding.of(row)}, not with {self.decoding}: "
                    "give --llm another name"
                )
            self._learn(row, merged)

    @cached_property
    def _questions(self) -> dict[str, Question]:
        return {q.id: q for q in self.task.questions}

    def _learn(self, row: LogRow, where: Path) -> None:
        question = self._questions.get(row.question_id)
        if question is None or row.sample != 0:
            return
        if row.question != question.text:
            raise InputError(
                f"{where}: {row.question_id} is another question there than in task {self.task.name}; "
                "give --llm another name"
            )
        value = row.correct
        if (row.grader, row.gold) != (self.grader, question.gold):
            if row.answer is None:
                return
            verdict = grading.verdict(self.grader, row.answer, question.gold, question.kind, question.text)
            value = float(verdict)
        self.values.setdefault((row.question_id, _nfc(row.prompt), row.position), value)

    def with_spending(self, spending: Spending) -> LLMScorer:
        """The same scorer for another run: what one learns the other knows."""
        return replace(self, spending=spending)

    def score(
        self, prompts: Prompts, asked: Questions, step: int, part: str, limit: int | None = None
    ) -> list[Score | None]:
        """Measured success; the model is asked for what no log holds.

        Parameters
        ----------
        prompts, asked, step, part, limit : as in `Scorer.score`; the first `limit` prompts are scored

        Raises: BudgetSpent if the budget does not suffice; InputError if the model fails to answer, or if the
        user's own instruction leaves a local model no room for an answer.
        """
        items = [Item(question, prompt, 0) for prompt in prompts[:limit] for question in asked]
        self._learn_all(self.log.news())
        unknown = {_key(item)[1:] for item in items if _key(item) not in self.values}
        with self.log.claimed("\x1f".join(key) for key in unknown):
            if unknown:  # another run may have asked while this one waited
                self._learn_all(self.log.news())
            pending = [item for item in items if _key(item) not in self.values]
            self.spending.begin(step, part, len(items), len(pending))
            if pending:
                self._ask(pending, f"step {step}, {part}", refuse_long=step < 0)
        scores: list[Score | None] = []
        for prompt in prompts[:limit]:
            values = [self.values[_key(Item(question, prompt, 0))] for question in asked]
            scores.append(Score(np.array(values, dtype=np.float64), "measured"))
        return scores + [None] * (len(prompts) - len(scores))

    def count_pending(self, prompts: Prompts, asked: Questions) -> int:
        """How many answers the log lacks."""
        return sum(_key(Item(q, prompt, 0)) not in self.values for prompt in prompts for q in asked)

    def _ask(self, pending: Sequence[Item], label: str, refuse_long: bool) -> None:
        llm = self.llm()
        if isinstance(llm, TransformersLLM):
            check_room(llm, pending, self.task.separator, refuse_long)
        if self.second_round:
            llm = SecondRound(llm)
        failures: Counter[str] = Counter()
        settings = generation.LogSettings(
            self.llm_name, self.task.name, self.decoding, self.grader, self.task.separator
        )
        for _ in range(ATTEMPTS):
            failures = generation.answer_items(
                pending,
                llm,
                settings,
                self.budget,
                self.log.part,
                lambda row: self._learn(row, self.log.part),
                desc=label,
                leave=False,
            )
            answered = len(pending)
            pending = [item for item in pending if _key(item) not in self.values]
            if not failures or len(pending) == answered:
                break
        generation.check_complete(failures)
        if pending:
            raise BudgetSpent(f"the scorer's {self.budget.why_stopped()}")


def check_room(llm: TransformersLLM, items: Sequence[Item], separator: str, refuse: bool) -> None:
    """Refuse, or tell on stderr, an instruction that with some question leaves no room for an answer: that
    counts as wrong.

    Parameters
    ----------
    llm : a local model; question, instruction and answer share its `max_seq_len` tokens
    items : answers that are to be asked for
    separator : stands between a question and an instruction that follows it
    refuse : raise instead of telling

    Raises: InputError if `refuse` and there is such an instruction.
    """
    longest: dict[str, tuple[int, Item]] = {}
    for item in items:
        size = len(llm.encode(conversation(item.question.text, item.prompt, separator)))
        if size >= llm.max_seq_len and size > longest.get(item.prompt.id, (0, item))[0]:
            longest[item.prompt.id] = size, item
    for size, item in longest.values():
        reason = (
            f"instruction {item.prompt.id} ({on_one_line(item.prompt.text)}) and question {item.question.id} "
            f"are {size:,} tokens, and the scorer reads {llm.max_seq_len:,}"
        )
        if refuse:
            raise InputError(
                f"{reason}: shorten the instruction, raise --scorer.max_seq_len, or take a model with a "
                "longer window"
            )
        print(f"warning: {reason}; no answer fits, which counts as wrong", file=sys.stderr)


def _key(item: Item) -> tuple[str, str, str]:
    return (item.question.id, _nfc(item.prompt.text), item.prompt.position)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
