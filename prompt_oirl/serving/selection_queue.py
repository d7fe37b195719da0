"""Predictions while serving: a thread per core takes the questions that wait and asks the selector."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from prompt_oirl.serving.policy import Policy

MAX_BATCH = 8  # questions that one thread asks about at once
MOST_THREADS = 4
LONGEST_QUESTION = 100_000  # characters; reading more would make others wait


@dataclass(frozen=True)
class Prediction:
    """Predicted success of each prompt (K,) by a policy, and the question's embedding (d,)."""

    policy: Policy
    probabilities: np.ndarray
    vector: np.ndarray


@dataclass
class _Waiting:
    question: str
    segment: str | None
    future: Future[Prediction]


class SelectionQueue:
    """Asks a selector in threads of its own, about the questions that wait.

    Parameters
    ----------
    policy : that answers; `policy` may be set anew at any time, and each prediction names its own
    """

    def __init__(self, policy: Policy):
        self.policy = policy
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, daemon=True, name="selection")
            for _ in range(min(os.cpu_count() or 1, MOST_THREADS))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, question: str, segment: str | None = None) -> Future[Prediction]:
        """Ask for a prediction; a future that is cancelled while it waits costs nothing.

        Parameters
        ----------
        question : its text; one of more than `LONGEST_QUESTION` characters fails with ValueError
        segment : of the question
        """
        future: Future[Prediction] = Future()
        if len(question) > LONGEST_QUESTION:
            future.set_exception(ValueError(f"a question of more than {LONGEST_QUESTION:,} characters"))
        else:
            self._waiting.put(_Waiting(question, segment, future))
        return future

    def close(self) -> None:
        """End the threads when what waits is done."""
        for _ in self._threads:
            self._waiting.put(None)

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < MAX_BATCH:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    self._waiting.put(None)
                    break
                batch.append(following)
            live = [item for item in batch if item.future.set_running_or_notify_cancel()]
            if live:
                self._answer(live)

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            found = self._predict(batch)
        except Exception as error:  # whatever a model may raise: the others of the batch get their answer
            if len(batch) > 1:
                for item in batch:
                    self._answer([item])
            else:
                batch[0].future.set_exception(error)
            return
        for item, prediction in zip(batch, found):
            item.future.set_result(prediction)

    def _predict(self, batch: Sequence[_Waiting]) -> list[Prediction]:
        policy, selector = self.policy, self.policy.selector
        segments = [item.segment for item in batch] if selector.segments_.names else None
        features, size = selector.question_features([item.question for item in batch], segments)
        probabilities = selector.model_.predict(features, selector.prompt_features(selector.arms_))
        return [Prediction(policy, p, vector[:size]) for p, vector in zip(probabilities, features)]
