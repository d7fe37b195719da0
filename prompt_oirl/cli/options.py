"""What the commands on a log have in common: which log, how it is read, how a selector is learned from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from prompt_oirl.cli.output import say

if TYPE_CHECKING:
    from prompt_oirl.data.prompt_log import PromptLog
    from prompt_oirl.selection.selector import PromptSelector


@dataclass(kw_only=True)
class ReadOptions:
    """How a log is read."""

    columns: str = ""
    """Your names of the columns, such as question=input,prompt=template,correct=score."""
    scale: float = 1.0
    """The highest score in the column correct, such as 100."""
    normalise: bool = False
    """Take prompts, and questions, that differ only in white space, line ends or Unicode form as one."""
    llm: str | None = None
    """Use the rows of this LLM only; where the log has several, this or --arms is needed."""
    arms: str = "prompt"
    """What is chosen: prompt, or prompt,llm for the LLM (column llm) as well; each pair that was asked then
    counts as a prompt."""
    seed: int = 0
    """Seed of everything random."""

    def read(self, paths: Sequence[str]) -> PromptLog:
        """The log in some files, or on stdin; what is odd about it goes to stderr."""
        from prompt_oirl.data.log_source import columns_of
        from prompt_oirl.data.user_log import read_log

        log = read_log(
            paths,
            self.llm,
            self.arms.split(","),
            columns=columns_of(self.columns),
            scale=self.scale,
            normalise=self.normalise,
        )
        for note in log.notes:
            say(f"note: {note}")
        return log


@dataclass(kw_only=True)
class EmbedOptions(ReadOptions):
    """How a log is read, and its questions described."""

    embedder: str = "minilm"
    """minilm (offline), minilm-int8 (for serving: less exact, twice as quick per question), tfidf (quick,
    offline), openai:MODEL, or a sentence-transformers folder or hub id."""


@dataclass(kw_only=True)
class LearnOptions(EmbedOptions):
    """Settings of the selector."""

    model: str = "interaction"
    """The reward model: interaction and boosted_interaction (leave the best prompt only where that is
    supported), xgboost, lightgbm, linear, mlp or knn."""
    cost_weight: float = 0.0
    """Success that one unit of cost must bring: the choice maximises success - cost_weight * cost."""

    def make_selector(self) -> PromptSelector:
        """A selector with these settings, not yet fitted."""
        from prompt_oirl.selection.selector import PromptSelector

        return PromptSelector(self.embedder, self.model, self.cost_weight, self.seed)


@dataclass(kw_only=True)
class LogArgument:
    """The log that a command works on."""

    log: tyro.conf.Positional[tuple[str, ...]]
    """One file or several: .csv, .tsv, .jsonl, .ndjson, .json (each also .gz), .parquet, .xlsx, or the folder
    of a server's log; -: stdin."""
