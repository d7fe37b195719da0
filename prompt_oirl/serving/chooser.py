"""A saved selector inside another program: it chooses a prompt per question and logs what came of it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.serving.choice import Choice, Exploration, Fallback, draw
from prompt_oirl.serving.policy import load_policy
from prompt_oirl.serving.selection_queue import SelectionQueue
from prompt_oirl.serving.served_log import Answered, ServedLog, answer_row, feedback_row


class Chooser:
    """Chooses with exact propensities; safe from several threads and event loops.

    Parameters
    ----------
    selector : folder of a saved selector
    log : folder for the rows of answers and feedback; None: none are kept
    explore : share of questions, 0 to 1, that get a prompt at random
    seed : of these draws; None: another one in each process

    Raises: InputError if the folder holds no selector, or the log cannot be written.
    """

    def __init__(
        self,
        selector: str | Path,
        log: str | Path | None = None,
        explore: float = 0.0,
        seed: int | None = None,
        embedder: str | None = None,
    ):
        self._explore, self._rng, self._lock = (
            Exploration(explore),
            np.random.default_rng(seed),
            threading.Lock(),
        )
        policy = load_policy(selector, embedder)
        self.selector: PromptSelector = policy.selector
        self.policy = policy.id
        self._queue = SelectionQueue(policy)
        self._log = None if log is None else ServedLog(log)

    def __deepcopy__(self, _: dict[int, Any]) -> Chooser:
        """Copies of a program share one selector, one stream of draws and one log."""
        return self

    def choose(self, question: str) -> Choice:
        """The prompt for a question; where the selector fails, its best one (fallback "failed")."""
        try:
            return self._draw(self._queue.submit(question).result().probabilities)
        except Exception:  # whatever a model may raise: the question is asked all the same
            return self._draw(None, "failed")

    async def choose_within(self, question: str, seconds: float) -> Choice:
        """As `choose`, without blocking the event loop; after these seconds the best prompt ("slow")."""
        try:
            future = asyncio.wrap_future(self._queue.submit(question))
            return self._draw((await asyncio.wait_for(future, seconds)).probabilities)
        except TimeoutError:
            return self._draw(None, "slow")
        except Exception:  # as above
            return self._draw(None, "failed")

    def _draw(self, probabilities: np.ndarray | None, fallback: Fallback | None = None) -> Choice:
        with self._lock:
            return draw(self.selector, probabilities, self._rng, self._explore, fallback=fallback)

    def record(
        self,
        id: str,
        question: str,
        choice: Choice,
        answered: Answered,
        position: str,
        llm: str | None = None,
        cost: float | None = None,
    ) -> None:
        """Log an answer, see `answer_row`; `cost` in dollars."""
        if self._log is not None and question.strip():
            row = answer_row(id, question, choice, answered, position=position, policy=self.policy, llm=llm)
            self._log.write(row | {"cost": cost})

    def feedback(self, id: str, correct: float) -> None:
        """Log whether an answer was right, 0 to 1; the last word on an id counts."""
        if self._log is not None:
            self._log.write(feedback_row(id, float(correct)))
