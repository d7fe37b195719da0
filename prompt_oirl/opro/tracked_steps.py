"""What trackers (--report_to) are told of a run while it goes."""

from __future__ import annotations

from collections.abc import Callable

from prompt_oirl.io.tracking import Report
from prompt_oirl.opro.loop import START, Run
from prompt_oirl.opro.report import step_rows
from prompt_oirl.opro.shared_log import Spending

TOLD = ("proposed", "accepted", "mean", "sd", "best", "best_so_far")  # train accuracy as in steps.csv


def told_by(report: Report, spending: Spending) -> Callable[[Run, int], None]:
    """A `Run.after_step` that reports each step; the initial instructions are step 0, as in the figure.

    Parameters
    ----------
    report : of `tracking.reporting`
    spending : of the run, which counts its answers
    """

    def after_step(run: Run, step: int) -> None:
        row = list(step_rows(run))[-1]
        calls = {f"answers_{column}": spending.total(column) for column in ("needed", "asked")}
        report(step - START, {"step": step - START, **{name: row[name] for name in TOLD}, **calls})

    return after_step
