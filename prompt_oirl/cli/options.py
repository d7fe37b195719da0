"""The commands of `prompt-oirl` and their flags; the texts here are what --help shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from prompt_oirl.cli.output import Format


@dataclass(kw_only=True)
class ReadOptions:
    """How a log is read."""

    embedder: str = "minilm"
    """minilm (offline), tfidf (quick, offline), openai:MODEL, or a sentence-transformers folder or hub id."""
    llm: str | None = None
    """Use the rows of this LLM only; needed where the log has several."""
    seed: int = 0
    """Seed of everything random."""


@dataclass(kw_only=True)
class LearnOptions(ReadOptions):
    """Settings of the selector."""

    model: str = "interaction"
    """The reward model: interaction and boosted_interaction (leave the best prompt only where that is
    supported), xgboost, lightgbm, linear, mlp or knn."""
    cost_weight: float = 0.0
    """Success that one unit of cost must bring: the choice maximises success - cost_weight * cost."""


@dataclass(kw_only=True)
class Fit(LearnOptions):
    """Learn a selector from a log and save it.

    example: prompt-oirl fit log.csv --out selector
    """

    log: tyro.conf.Positional[str]
    """CSV, JSONL or Parquet file, or - for stdin."""
    out: Path
    """Folder for the selector."""


@dataclass(kw_only=True)
class Select:
    """Choose a prompt for each question.

    example: prompt-oirl select selector new_questions.csv --format csv > choices.csv
    """

    selector: tyro.conf.Positional[Path]
    """Folder that `prompt-oirl fit` wrote."""
    questions: tyro.conf.Positional[str] = "-"
    """CSV or JSONL with a field question, or plain text with one question per line; - for stdin."""
    prompts: Path | None = None
    """Choose among these prompts instead of the log's: a CSV or JSONL with a field prompt."""
    k: int = 1
    """How many prompts per question, best first."""
    abstain_below: float | None = None
    """Leave the prompt empty where the best one's probability is lower than this (0 to 1)."""
    format: Format = "csv"
    """How the choices are written."""
    excel_safe: bool = False
    """In CSV, put ' before texts that a spreadsheet would take for a formula."""


@dataclass(kw_only=True)
class Evaluate(LearnOptions):
    """Measure what the selector gains over the best single prompt on unseen questions (cross-fitted).

    examples: prompt-oirl evaluate log.csv
              prompt-oirl evaluate --train log_of_model_a.csv --test log_of_model_b.csv
    """

    log: tyro.conf.Positional[str | None] = None
    """The log to cross-fit on; or give --train and --test."""
    train: str | None = None
    """Learn from this log ..."""
    test: str | None = None
    """... and evaluate on this one."""
    table: Literal["choices", "coverage", "calibration"] = "choices"
    """choices, coverage (success if the least sure questions are left out) or calibration (predicted against
    observed)."""
    format: Format = "table"
    """How the result is written."""


@dataclass(kw_only=True)
class Diagnose(ReadOptions):
    """Say whether choosing per question is worth it on this log: worth it, not shown, or not enough data.

    example: prompt-oirl diagnose log.csv
    """

    log: tyro.conf.Positional[str]
    """CSV, JSONL or Parquet file, or - for stdin."""
    format: Literal["text", "jsonl"] = "text"
    """Sentences, verdict first; or one JSON object with every number."""


@dataclass(kw_only=True)
class Vote(LearnOptions):
    """Measure what asking several prompts and voting brings, from the stored answers (column answer).

    example: prompt-oirl vote log.csv
    """

    log: tyro.conf.Positional[str]
    """CSV, JSONL or Parquet file, or - for stdin."""
    parser: Literal["auto", "strict", "original", "text"] = "auto"
    """What counts as the same answer: strict and original compare the number stated last, text the whole
    answer; auto takes strict where nearly all answers hold a number."""
    format: Format = "table"
    """How the result is written."""


@dataclass(kw_only=True)
class ReportPage(LearnOptions):
    """Write everything known about a log as one HTML page that opens from disk.

    example: prompt-oirl report log.csv --out report.html
    """

    log: tyro.conf.Positional[str]
    """CSV, JSONL or Parquet file, or - for stdin."""
    out: Path = Path("report.html")
    """The page."""
    title: str | None = None
    """Its title."""


Command = (
    Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Select, tyro.conf.subcommand("select")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Diagnose, tyro.conf.subcommand("diagnose")]
    | Annotated[Vote, tyro.conf.subcommand("vote")]
    | Annotated[ReportPage, tyro.conf.subcommand("report")]
)
