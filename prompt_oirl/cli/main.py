"""Choose a prompt for each question, from your own log of which prompt answered which question right.

examples:
  prompt-oirl diagnose log.csv                      is choosing per question worth it?
  prompt-oirl fit log.csv --out selector            learn a selector and save it
  echo "What is 2 + 3?" | prompt-oirl select selector
  prompt-oirl report log.csv --out report.html      everything on one page
  prompt-oirl import promptfoo results.json --out log.parquet

A log has one row per answer and the columns question, prompt and correct (0 to 1); answer, cost, group,
segment, llm and sample are optional. It is one file or several: CSV, TSV, JSONL, JSON, Parquet or .xlsx; `-`
reads CSV or JSON from stdin. `prompt-oirl grade` adds correct where there are answers only.
`--debug`, or PROMPT_OIRL_DEBUG=1, shows where an error comes from.
Results go to stdout, remarks to stderr. Exit status: 0 done, 1 the input cannot be used, 2 wrong flags, 130
stopped.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import tyro

from prompt_oirl.cli.commands import Command
from prompt_oirl.cli.output import say_warning
from prompt_oirl.io.files import never_written
from prompt_oirl.io.manifest import named_files, run_reporting, without_debug


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ends the process with an exit status if it is not 0."""

    def run() -> None:
        given = without_debug(sys.argv[1:] if arguments is None else arguments)
        options: dict[str, Any] = {"prog": "prompt-oirl", "description": __doc__, "use_underscores": True}
        command = tyro.cli(Command, args=given, **options)  # type: ignore[call-overload]
        with never_written(named_files(command)):
            command.run()

    with warnings.catch_warnings():
        warnings.showwarning = say_warning  # type: ignore[assignment]
        run_reporting(run, "choose another --out", "nothing was written")
