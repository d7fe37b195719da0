"""One split of an interaction log as matrices, gathered row by row: the log may be larger than memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.io.files import InputError
from prompt_oirl.stats.cells import mean_labels


@dataclass
class LabelTable:
    """One split of a log as matrices: rows are questions in log order, columns prompts.

    `labels` is float32 (n, P), the mean `correct` over samples, NaN where a prompt was never asked.
    """

    question_ids: list[str]
    questions: list[str]
    golds: list[str]
    groups: list[str | None]
    labels: np.ndarray


class LabelTableBuilder:
    """Gathers one split of a log, a row at a time: texts once, 24 bytes per answer."""

    def __init__(self, where: str = "log"):
        self.where = where
        self.index: dict[str, int] = {}
        self.texts: list[str] = []
        self.golds: list[str] = []
        self.groups: list[str | None] = []
        self.prompts: dict[str, int] = {}
        self._cells = array("i"), array("i"), array("q")  # question, prompt, sample
        self._labels = array("d")

    def add(self, row: LogRow) -> None:
        """Take one row; a question id that named another text before is refused."""
        i = self.index.setdefault(row.question_id, len(self.index))
        if i == len(self.texts):
            self.texts.append(row.question)
            self.golds.append(row.gold)
            self.groups.append(row.group)
        elif self.texts[i] != row.question:
            raise InputError(
                f"{self.where}: question_id {row.question_id} names two different questions; make ids unique"
            )
        cell = (i, self.prompts.setdefault(row.prompt_id, len(self.prompts)), int(row.sample))
        for numbers, number in zip(self._cells, cell):
            numbers.append(number)
        self._labels.append(row.correct)

    def table(self, prompt_ids: Sequence[str]) -> LabelTable:
        """The rows as matrices with these columns; refused if a (question, prompt, sample) stands twice."""
        question, prompt, sample = (np.array(numbers) for numbers in self._cells)
        order = np.lexsort((sample, prompt, question))
        cells = np.stack([question, prompt, sample])[:, order]
        twice = (cells[:, 1:] == cells[:, :-1]).all(0)
        if twice.any():
            i, j, k = cells[:, int(twice.argmax())]
            raise InputError(
                f"{self.where}: question {list(self.index)[i]}, prompt {list(self.prompts)[j]}, sample {k} "
                "stands twice; merge the log first"
            )
        column = {prompt: j for j, prompt in enumerate(prompt_ids)}
        columns = np.array([column[prompt] for prompt in self.prompts], dtype=int)[prompt]
        shape = len(self.index), len(column)
        labels = mean_labels(question, columns, np.array(self._labels), shape)[0].astype(np.float32)
        return LabelTable(list(self.index), self.texts, self.golds, self.groups, labels)
