"""A saved selector at work inside another program: it chooses a prompt per question and logs what came of it."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np

from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.storage import HEADER
from prompt_oirl.serving.choice import Choice, Exploration, draw
from prompt_oirl.serving.served_log import Answered, ServedLog, answer_row, feedback_row


class Chooser:
    """Chooses with exact propensities; safe from several threads.

    Parameters
    ----------
    selector : folder of a saved selector
    log : folder for the rows of answers and feedback; None: none are kept
    explore : share of questions, 0 to 1, that get a prompt at random
    seed : of these draws

    Raises: InputError if the folder holds no selector, or the log cannot be written.
    """

    def __init__(
        self, selector: str | Path, log: str | Path | None = None, explore: float = 0.0, seed: int = 0
    ):
        self.selector = PromptSelector.load(selector)
        self.policy = hashlib.sha256((Path(selector) / HEADER).read_bytes()).hexdigest()[:16]
        self.log = None if log is None else ServedLog(log)
        self._explore, self._rng, self._lock = (
            Exploration(explore),
            np.random.default_rng(seed),
            threading.Lock(),
        )

    def __deepcopy__(self, _: dict) -> Chooser:
        """Copies of a program share one selector, one stream of draws and one log."""
        return self

    def choose(self, question: str) -> Choice:
        """The prompt for a question; a selector that fails gives its best prompt (fallback "failed")."""
        with self._lock:  # one embedding at a time is as quick, and the draws need it
            try:
                probabilities = self.selector.predict_proba([question])[0]
            except Exception:
                probabilities = None  # `draw` says so in the log; the user's request goes out all the same
            return draw(self.selector, probabilities, self._rng, self._explore)

    def record(
        self,
        id: str,
        question: str,
        choice: Choice,
        answered: Answered,
        position: str,
        llm: str | None = None,
    ) -> None:
        """Log an answer, see `answer_row`."""
        if self.log is not None:
            row = answer_row(id, question, choice, answered, position=position, policy=self.policy, llm=llm)
            self.log.write(row)

    def feedback(self, id: str, correct: float) -> None:
        """Log whether an answer was right, 0 to 1; the last word on an id counts."""
        if self.log is not None:
            self.log.write(feedback_row(id, float(correct)))
