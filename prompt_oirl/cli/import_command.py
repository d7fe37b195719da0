"""`prompt-oirl import`: the files of evaluation tools as a log."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from prompt_oirl.cli.output import say
from prompt_oirl.importers.wording import counted
from prompt_oirl.io.files import InputError, on_one_line

if TYPE_CHECKING:
    import pandas as pd

PROMPTS_SHOWN = 20


@dataclass(kw_only=True)
class Import:
    """Read what an evaluation tool wrote as a log.

    example: prompt-oirl import lm-eval results --verdict exact_match,strict-match --out log.parquet

    Tools: lm-eval, promptfoo, inspect, traces, openai-batch, litellm, openai-evals, dspy; log: a log of your
    own whose prompts contain the questions.
    """

    tool: tyro.conf.Positional[str]
    """The tool that wrote the files."""
    files: tyro.conf.Positional[list[Path]]
    """Files or folders that it wrote."""
    out: Path
    """The log, .parquet, .csv or .jsonl."""
    verdict: str | None = None
    """Name of the metric, scorer or assertion that says whether an answer is right; needed where there are
    several."""
    append: bool = False
    """Add to the log in --out what it lacks, instead of writing it anew."""

    def run(self) -> None:
        """Write the answers in a tool's files as a log."""
        from prompt_oirl.importers.log_file import read_answers, write_log
        from prompt_oirl.io.table_output import check_table_output

        if not self.files:
            raise InputError(f"name the files or folders that {on_one_line(self.tool)} wrote")
        check_table_output(self.out, self.files)
        found = read_answers(self.tool, self.files, self.verdict)
        written = write_log(self.out, found.rows, self.append)
        for note in found.notes:
            say(f"note: {on_one_line(note, 1000)}")
        if written.held:
            filled = f"; {written.filled:,} of them got their verdict" if written.filled else ""
            say(f"note: the log held {counted(written.held, 'answer')} of these before{filled}.")
        if len(written.verdicts) > 1:
            names = on_one_line(", ".join(written.verdicts), 200)
            say(f"note: the log holds verdicts of several names ({names}), which may mean different things.")
        for line in _summary(self.out, written.log):
            say(line)


def _summary(out: Path, log: pd.DataFrame) -> list[str]:
    """What a log holds, and the command to go on with."""
    llms = set(log["llm"].dropna()) if "llm" in log else set()
    asked = Counter(log["prompt"].fillna(""))
    ungraded = int(log["correct"].isna().sum())
    lines = [
        f"{on_one_line(str(out), 200)}: {counted(len(log), 'answer')}, "
        f"{counted(log['question'].nunique(), 'question')}, "
        f"{counted(len(asked), 'prompt')}" + (f", {counted(len(llms), 'LLM')}" if llms else "")
    ]
    for prompt, count in asked.most_common(PROMPTS_SHOWN):
        lines.append(f"prompt of {counted(count, 'answer')}: {on_one_line(prompt) or '(no prompt)'}")
    if len(asked) > PROMPTS_SHOWN:
        lines.append(f"and {len(asked) - PROMPTS_SHOWN:,} more prompts")
    if ungraded:
        lines.append(f"{counted(ungraded, 'answer')} without a verdict, which count only once they have one")
    path = shlex.quote(str(out))
    arms = " --arms prompt,llm" if len(llms) > 1 else ""
    if ungraded < len(log):
        lines.append(f"next: prompt-oirl diagnose {on_one_line(path, 400)}{arms}")
    else:
        lines.append(
            f"next: prompt-oirl grade {on_one_line(path, 400)} --gold GOLDS.csv --kind number --out NEW_LOG"
        )
    return lines
