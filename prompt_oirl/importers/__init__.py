"""Results of others as logs: an importer is a function from files to the rows of a log.

`prompt-oirl import TOOL FILES --out LOG` reads what evaluation tools write: one module a tool, named in
`IMPORTERS`, each with a function `read(files, verdict)`. Papers' results (`published_results`) yield `Row`s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Row = dict[str, Any]  # columns as `read_log` takes them: question, prompt, correct, and optional ones

IMPORTERS = {
    "lm-eval": "lm_eval",
    "promptfoo": "promptfoo",
    "inspect": "inspect",
    "traces": "traces",
    "openai-batch": "openai_batch",
    "litellm": "litellm",
    "openai-evals": "openai_evals",
    "dspy": "dspy",
    "log": "own_log",
}
"""Module of each tool that `prompt-oirl import` knows."""


@dataclass(frozen=True)
class ImportedRow:
    """One answer of a tool's file.

    With `prompt` None the file holds only rendered texts: `question` is then the rendered text, and
    `separate` tells template and question apart.
    """

    question: str
    prompt: str | None
    correct: float | None = None  # 0..1; None: not graded
    answer: str | None = None
    llm: str | None = None
    sample: int | None = None  # the tool's number of the repeat; None: numbered when the log is written
    group: str | None = None
    cost: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    prompt_id: str | None = None
    gold: str | None = None
    answer_id: str | None = None  # what the tool calls this answer: the same one in another file has the same
    verdict: str | None = None  # name of the verdict that `correct` is


@dataclass(frozen=True)
class Imported:
    """What a tool's files hold; `notes` are sentences for the user, such as what was left out."""

    rows: list[ImportedRow]
    notes: list[str]


class Importer(Protocol):
    """A module of this package that reads one tool's files."""

    def read(self, files: Sequence[Path], verdict: str | None) -> Imported:
        """The answers in some files.

        Parameters
        ----------
        files : files or folders
        verdict : name of the metric, scorer or assertion that says whether an answer is right; None: the
            only one there is

        Raises: InputError, one line that names the file and says what to do.
        """
        ...
