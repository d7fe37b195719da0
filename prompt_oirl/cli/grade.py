"""`prompt-oirl grade`: verdicts for a log that has answers only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prompt_oirl.cli.options import LogArgument
from prompt_oirl.cli.output import say, write_stdout
from prompt_oirl.io.files import on_one_line


@dataclass(kw_only=True)
class Grade(LogArgument):
    """Fill the column correct of a log, where it is empty or missing, from its questions' right answers.

    example: prompt-oirl grade answers.csv --gold golds.csv --kind number --out log.csv
    """

    kind: Literal["number", "choice", "bool", "text", "math"]
    """What the right answers are; math: numbers and formulas (extra math)."""
    gold: str | None = None
    """Table with the columns question and gold; default: the log has a column gold."""
    columns: str = ""
    """The log's names of its columns, such as question=input,prompt=template,answer=output."""
    out: Path | None = None
    """File for the log, .parquet, .csv or .jsonl; default: CSV on stdout."""

    def run(self) -> None:
        """Write the log with verdicts."""
        from prompt_oirl.data.gold_answers import grade_log
        from prompt_oirl.data.log_source import columns_of, rows_of
        from prompt_oirl.io.table_output import as_csv, check_table_output, write_table

        if self.out is not None:
            check_table_output(self.out, [*self.log, *([] if self.gold is None else [self.gold])])
        own = () if self.gold is not None else ("gold",)
        hint = "give one row per answer with question, prompt and answer, and with --gold the right answers"
        log = rows_of(self.log, columns_of(self.columns), ("question", "prompt", "answer", *own), hint)
        golds = (
            log
            if self.gold is None
            else rows_of(
                self.gold, {}, ("question", "gold"), "give a table with the columns question and gold"
            )
        )
        graded = grade_log(log, golds, self.kind)
        if self.out is None:
            write_stdout(as_csv(graded.frame))
        else:
            write_table(self.out, graded.frame)
        say(graded.sentence() + (f"; written to {on_one_line(str(self.out), 200)}" if self.out else ""))
