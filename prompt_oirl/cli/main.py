"""Choose a prompt for each question, from your own log of which prompt answered which question right.

examples:
  prompt-oirl diagnose log.csv                      is choosing per question worth it?
  prompt-oirl fit log.csv --out selector            learn a selector and save it
  echo "What is 2 + 3?" | prompt-oirl select selector
  prompt-oirl report log.csv --out report.html      everything on one page

A log is a CSV, JSONL or Parquet file with one row per answer and the columns question, prompt and correct
(0 to 1); answer, cost, group, llm and sample are optional. `-` reads CSV or JSONL from stdin. Results go to
stdout, remarks to stderr. Exit status: 0 done, 1 the input cannot be used, 2 wrong flags, 130 stopped.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from prompt_oirl.cli.options import (
    Command,
    Diagnose,
    Evaluate,
    Fit,
    LearnOptions,
    ReadOptions,
    ReportPage,
    Select,
    Vote,
)
from prompt_oirl.cli.output import plain, say, say_warning, write_rows, write_stdout
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.manifest import run_reporting
from prompt_oirl.stats.metrics import format_interval

if TYPE_CHECKING:
    from prompt_oirl.data.user_log import PromptLog
    from prompt_oirl.selection.selector import PromptSelector

MAX_PROMPTS_LISTED = 16  # prompts whose texts are listed beside a table of their names


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ends the process with an exit status if it is not 0."""
    commands: dict[type, Callable[[Any], None]] = {
        Fit: fit_command,
        Select: select_command,
        Evaluate: evaluate_command,
        Diagnose: diagnose_command,
        Vote: vote_command,
        ReportPage: report_command,
    }

    def run() -> None:
        args: Any = tyro.cli(
            Command, prog="prompt-oirl", description=__doc__, args=arguments, use_underscores=True
        )  # type: ignore[call-overload]
        commands[type(args)](args)

    with warnings.catch_warnings():
        warnings.showwarning = say_warning  # type: ignore[assignment]
        run_reporting(run, "choose another --out", "nothing was written")


# --- the commands ----------------------------------------------------------------------------------------


def fit_command(args: Fit) -> None:
    """Learn a selector from a log and save it in a folder."""
    if args.out.is_file():
        raise InputError(f"{args.out} is a file: choose a folder for the selector")
    log, selector = _read(args.log, args), _selector(args)
    selector.fit(log)
    folder = selector.save(args.out)
    best = selector.prompts_[selector.best_]
    say(
        f"{len(log.questions):,} questions, {len(log.prompts)} prompts, {len(log.correct):,} answers; "
        f"best prompt overall, right {100 * selector.success_.max():.1f} % of the time: {on_one_line(best)}\n"
        f"selector ({selector.model_name_}) saved in {folder}"
    )


def select_command(args: Select) -> None:
    """Write the prompts that a saved selector chooses for some questions."""
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
    write_rows(rows, args.format, args.excel_safe, columns=("question", "rank", "prompt", "probability"))


def evaluate_command(args: Evaluate) -> None:
    """Write what choosing per question gains on questions the selector has not seen."""
    from prompt_oirl.selection.evaluate import evaluate

    if (args.log is None) == (args.train is None) or (args.train is None) != (args.test is None):
        raise InputError("give one log to cross-fit on, or both --train and --test")
    if args.log is not None:
        result = evaluate(_selector(args), _read(args.log, args), seed=args.seed)
    else:
        result = evaluate(_selector(args), _read(args.test, args), _read(args.train, args), seed=args.seed)
    tables = {
        "choices": result.policies,
        "coverage": result.coverage,
        "calibration": result.calibration,
    }
    write_rows(tables[args.table], args.format)
    for name, text in zip(result.log.names[:MAX_PROMPTS_LISTED], result.log.prompts):
        say(f"{on_one_line(name)}: {on_one_line(text) or '(no prompt)'}")
    gain = format_interval(*result.gain, points=True, unit=" points")
    say(f"choosing per question gains {gain} over the best single prompt")


def diagnose_command(args: Diagnose) -> None:
    """Write whether choosing per question is worth it on a log."""
    from prompt_oirl.selection.diagnosis import diagnose, report_lines

    found = diagnose(_read(args.log, args), args.embedder, args.seed)
    if args.format == "jsonl":
        write_stdout(json.dumps(plain(asdict(found))) + "\n")
    else:
        write_stdout("".join(f"{line}\n" for line in report_lines(found)))


def vote_command(args: Vote) -> None:
    """Write what asking several prompts and voting brings."""
    from prompt_oirl.selection.voting import voting_rows
    from prompt_oirl.voting.votes import MAX_PROMPTS

    log = _read(args.log, args)
    if len(log.prompts) > MAX_PROMPTS:
        say(f"note: voting is evaluated over the {MAX_PROMPTS} prompts with the most answers")
    rows = voting_rows(_selector(args), log, args.parser, args.seed)
    write_rows(rows, args.format)
    if (log.counts == 0).any():
        say(
            "note: some answers are not in the log; only logged ones were asked, so the first call is not "
            "always the best prompt"
        )


def report_command(args: ReportPage) -> None:
    """Write the HTML page on a log."""
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


def _selector(args: LearnOptions) -> PromptSelector:
    from prompt_oirl.selection.selector import PromptSelector

    return PromptSelector(args.embedder, args.model, args.cost_weight, args.seed)


def _read(path: str | None, args: ReadOptions) -> PromptLog:
    from prompt_oirl.data.user_log import read_log

    log = read_log(path or "-", args.llm)
    for note in log.notes:
        say(f"note: {note}")
    return log
