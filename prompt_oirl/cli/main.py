"""Choose a prompt for each question, from your own log of which prompt answered which question right.

examples:
  prompt-oirl diagnose log.csv                      is choosing per question worth it?
  prompt-oirl fit log.csv --out selector            learn a selector and save it
  echo "What is 2 + 3?" | prompt-oirl select selector
  prompt-oirl report log.csv --out report.html      everything on one page

A log is a CSV, JSONL or Parquet file with one row per answer and the columns question, prompt and correct (0 to 1);
answer, cost, group, llm and sample are optional. `-` reads CSV or JSONL from stdin. Results go to stdout, remarks to
stderr. Exit status: 0 done, 1 the input cannot be used, 2 wrong flags, 130 stopped.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from prompt_oirl.cli.output import Format, plain, put, say, say_warning, write_rows
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.manifest import run_reporting

LEGEND = 16  # prompts whose texts are said beside a table of their names


@dataclass(kw_only=True)
class Reading:
    """How a log is read."""

    embedder: str = "minilm"
    """minilm (offline), tfidf (quick, offline), openai:MODEL, or a sentence-transformers folder or hub id."""
    llm: str | None = None
    """Use the rows of this LLM only; needed where the log has several."""
    seed: int = 0
    """Seed of everything random."""


@dataclass(kw_only=True)
class Learning(Reading):
    """Settings of the selector."""

    model: str = "interaction"
    """The reward model: interaction and boosted_interaction (leave the best prompt only where that is supported),
    xgboost, lightgbm, linear, mlp or knn."""
    cost_weight: float = 0.0
    """Success that one unit of cost must bring: the choice maximises success - cost_weight * cost."""


@dataclass(kw_only=True)
class Fit(Learning):
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
class Evaluate(Learning):
    """Measure what the selector gains over the best single prompt on questions it has not seen (cross-fitted).

    examples: prompt-oirl evaluate log.csv
              prompt-oirl evaluate --train log_of_model_a.csv --test log_of_model_b.csv
    """

    log: tyro.conf.Positional[str | None] = None
    """The log to cross-fit on; or give --train and --test."""
    train: str | None = None
    """Learn from this log ..."""
    test: str | None = None
    """... and judge on this one."""
    table: Literal["choices", "coverage", "calibration"] = "choices"
    """choices, coverage (success if the least sure questions are left out) or calibration (predicted against observed)."""
    format: Format = "table"
    """How the result is written."""


@dataclass(kw_only=True)
class Diagnose(Reading):
    """Say whether choosing per question is worth it on this log: worth it, not shown, or not enough data.

    example: prompt-oirl diagnose log.csv
    """

    log: tyro.conf.Positional[str]
    """CSV, JSONL or Parquet file, or - for stdin."""
    format: Literal["text", "jsonl"] = "text"
    """Sentences, verdict first; or one JSON object with every number."""


@dataclass(kw_only=True)
class Vote(Learning):
    """Measure what asking several prompts and voting brings, from the stored answers (column answer).

    example: prompt-oirl vote log.csv
    """

    log: tyro.conf.Positional[str]
    """CSV, JSONL or Parquet file, or - for stdin."""
    parser: Literal["auto", "strict", "original", "text"] = "auto"
    """What counts as the same answer: strict and original compare the number stated last, text the whole answer;
    auto takes strict where nearly all answers hold a number."""
    format: Format = "table"
    """How the result is written."""


@dataclass(kw_only=True)
class ReportPage(Learning):
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


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ends the process with an exit status if it is not 0."""
    work: dict[type, Callable[[Any], None]] = {
        Fit: fit,
        Select: select,
        Evaluate: evaluate,
        Diagnose: diagnose,
        Vote: vote,
        ReportPage: report,
    }

    def run() -> None:
        args: Any = tyro.cli(
            Command, prog="prompt-oirl", description=__doc__, args=arguments, use_underscores=True
        )  # type: ignore[call-overload]
        work[type(args)](args)

    with warnings.catch_warnings():
        warnings.showwarning = say_warning  # type: ignore[assignment]
        run_reporting(run, "choose another --out", "nothing was written")


# --- the commands ----------------------------------------------------------------------------------------


def fit(args: Fit) -> None:
    if args.out.is_file():
        raise InputError(f"{args.out} is a file: choose a folder for the selector")
    log, selector = _read(args.log, args), _selector(args)
    selector.fit(log)
    folder = selector.save(args.out)
    best = selector.prompts_[selector.best_]
    say(
        f"{len(log.questions):,} questions, {len(log.prompts)} prompts, {len(log.correct):,} answers; best prompt overall, right "
        f"{100 * selector.success_.max():.1f} % of the time: {on_one_line(best)}\nselector ({selector.model_name_}) saved in {folder}"
    )


def select(args: Select) -> None:
    from prompt_oirl.io.tables import read_texts
    from prompt_oirl.selection.selector import PromptSelector

    selector = PromptSelector.load(args.selector)
    questions = read_texts(args.questions, "question", lines=True)
    prompts = None
    if args.prompts is not None:
        prompts = list(dict.fromkeys(read_texts(str(args.prompts), "prompt", lines=False)))
    picks, probabilities = selector.choose(questions, prompts, args.k, args.abstain_below)
    rows = [
        {
            "question": question,
            "rank": rank + 1,
            "prompt": picks[i, rank],
            "probability": round(float(probabilities[i, rank]), 6),
        }
        for i, question in enumerate(questions)
        for rank in range(args.k)
    ]
    write_rows(rows, ["question", "rank", "prompt", "probability"], args.format, args.excel_safe)


def evaluate(args: Evaluate) -> None:
    from prompt_oirl.selection.evaluate import CALIBRATION_COLUMNS, COVERAGE_COLUMNS, POLICY_COLUMNS
    from prompt_oirl.selection.evaluate import evaluate as judge

    if (args.log is None) == (args.train is None) or (args.train is None) != (args.test is None):
        raise InputError("give one log to cross-fit on, or both --train and --test")
    if args.log is not None:
        result = judge(_selector(args), _read(args.log, args), seed=args.seed)
    else:
        result = judge(_selector(args), _read(args.test, args), _read(args.train, args), seed=args.seed)
    tables = {
        "choices": (result.policies, POLICY_COLUMNS),
        "coverage": (result.coverage, COVERAGE_COLUMNS),
        "calibration": (result.calibration, CALIBRATION_COLUMNS),
    }
    write_rows(*tables[args.table], args.format)
    for name, text in zip(result.log.names[:LEGEND], result.log.prompts):
        say(f"{on_one_line(name)}: {on_one_line(text) or '(no prompt)'}")
    gain, low, high = (100 * value for value in result.gain)
    say(
        f"choosing per question gains {gain:+.1f} points [{low:+.1f}, {high:+.1f}] over the best single prompt"
    )


def diagnose(args: Diagnose) -> None:
    from prompt_oirl.selection import diagnosis

    found = diagnosis.diagnose(_read(args.log, args), args.embedder, args.seed)
    if args.format == "jsonl":
        put(json.dumps(plain(asdict(found))) + "\n")
    else:
        put("".join(f"{line}\n" for line in diagnosis.report_lines(found)))


def vote(args: Vote) -> None:
    from prompt_oirl.selection.voting import COLUMNS, voting_rows
    from prompt_oirl.voting.votes import MAX_PROMPTS

    log = _read(args.log, args)
    if len(log.prompts) > MAX_PROMPTS:
        say(f"note: voting is judged over the {MAX_PROMPTS} prompts with the most answers")
    rows = voting_rows(_selector(args), log, args.parser, args.seed)
    write_rows(rows, COLUMNS, args.format)
    if (log.counts == 0).any():
        say(
            "note: some answers are not in the log; only logged ones were asked, so the first call is not always the best prompt"
        )


def report(args: ReportPage) -> None:
    from prompt_oirl.reports.html import write_page
    from prompt_oirl.reports.own_log import make_report

    if args.out.is_dir():
        raise InputError(f"{args.out} is a folder: name the page, such as {args.out / 'report.html'}")
    log = _read(args.log, args)
    name = "log from stdin" if args.log == "-" else Path(args.log).name
    made = make_report(_selector(args), log, args.title or name, args.seed, say)
    write_page(args.out, made)
    say(f"{made.verdict}: {' '.join(made.sentences)}\n{args.out} opens in any browser")


# --- reading and writing -----------------------------------------------------------------------------------


def _selector(args: Learning) -> Any:
    from prompt_oirl.selection.selector import PromptSelector

    return PromptSelector(args.embedder, args.model, args.cost_weight, args.seed)


def _read(path: str | None, args: Reading) -> Any:
    from prompt_oirl.data.user_log import read_log

    log = read_log(path or "-", args.llm)
    for note in log.notes:
        say(f"note: {note}")
    return log
