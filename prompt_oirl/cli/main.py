"""Choose a prompt for each question, from your own log of which prompt answered which question right.

examples:
  prompt-oirl demo                               a tour on a log that comes along
  prompt-oirl diagnose log.csv                   is it worth it, on this log?
  prompt-oirl fit log.csv --out selector         learn a selector and save it
  echo "What is 2 + 3?" | prompt-oirl select selector
  prompt-oirl report log.csv --out report.html   everything on one page
  prompt-oirl import promptfoo results.json --out log.parquet

A log has one row per answer and the columns question, prompt and correct (0 to 1); answer, cost, group,
segment, llm and sample are optional. It is one file or several: CSV, TSV, JSONL, JSON, Parquet or .xlsx; `-`
reads CSV or JSON from stdin. `prompt-oirl grade` adds correct where there are answers only.
Results go to stdout, remarks to stderr. Every command takes `--quiet` (errors and warnings only), and
`--debug` to show where an error comes from; `--version` stands alone. Flags may be written with dashes or
underscores. Exit status: 0 done, 1 the input cannot be used, 2 wrong flags, 130 stopped.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from typing import Any

import tyro

from prompt_oirl import __version__
from prompt_oirl.cli.commands import Command
from prompt_oirl.cli.demo import Demo
from prompt_oirl.cli.doctor import Doctor
from prompt_oirl.cli.output import OnlyErrors, say_warning, write_stdout
from prompt_oirl.io.colours import heed_colour_variables
from prompt_oirl.io.files import InputError, never_written, on_one_line
from prompt_oirl.io.manifest import named_files, run_reporting, without_debug

SHELLS = ("bash", "zsh", "fish")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ends the process with an exit status if it is not 0."""

    def run() -> None:
        given = without_debug(sys.argv[1:] if arguments is None else arguments)
        if given[:1] == ["--version"]:
            write_stdout(f"prompt-oirl {__version__}\n")
            return
        flags = [flag for flag in given if flag != "--quiet"]
        completes = flags[:1] and flags[0].replace("_", "-").endswith("-completion")
        if completes and flags[1:2] and flags[1] not in SHELLS:
            raise InputError(f"completion for {on_one_line(flags[1], 40)}: choose bash, zsh or fish")
        heed_colour_variables()
        options: dict[str, Any] = {"prog": "prompt-oirl", "description": __doc__, "use_underscores": True}
        command = tyro.cli(Command | Demo | Doctor, args=flags, **options)  # type: ignore[call-overload]
        quiet = len(flags) < len(given)
        with (
            never_written(named_files(command)),
            redirect_stderr(OnlyErrors(sys.stderr)) if quiet else nullcontext(),
        ):
            command.run()

    with warnings.catch_warnings():
        warnings.showwarning = say_warning  # type: ignore[assignment]
        run_reporting(run, "choose another --out", "nothing was written")
