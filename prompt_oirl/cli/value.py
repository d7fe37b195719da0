"""`prompt-oirl value`: what other policies would have scored on the traffic of a log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import UseAppendAction

from prompt_oirl.cli.options import LogArgument, ReadOptions
from prompt_oirl.cli.output import Format, say, write_rows
from prompt_oirl.io.files import on_one_line


@dataclass(kw_only=True)
class Value(LogArgument, ReadOptions):
    """Estimate what other policies would have scored on a log's questions, from a server's log or another.

    example: prompt-oirl value served_log --policy selector --policy best --policy prompt:CoT
    """

    policy: UseAppendAction[tuple[str, ...]] = ()
    """A selector's folder, best (the best single prompt), random, or prompt:NAME. Given several times, each
    is compared with the first. Default: best and random."""
    embedder: str | None = None
    """The embedder that selectors were fitted with, needed if that is a folder or hub id: such a model may
    bring code, so a selector's folder alone does not choose it."""
    format: Format = "table"
    """How the values are written."""

    def run(self) -> None:
        """Write the value of each policy by each estimator."""
        from prompt_oirl.selection.policy_value import (
            COLUMNS,
            check_policies,
            out_of_sample,
            policy_values,
        )
        from prompt_oirl.selection.traffic import Traffic
        from prompt_oirl.stats.metrics import format_interval

        policies = self.policy or ("best", "random")
        log = self.read(self.log)
        check_policies(log, policies)
        traffic = Traffic.of(log, self.seed)
        rows, notes = policy_values(traffic, policies, self.embedder)
        write_rows(rows, self.format, columns=COLUMNS)
        for note in notes:
            say(f"note: {note}")
        for policy in policies:
            if Path(policy).is_dir() and not out_of_sample(log, policy):
                say(
                    f"note: {on_one_line(policy, 80)}: if it learned from answers of this log, its value is "
                    "too high; this is ruled out only where it served the whole log itself"
                )
        say(f"what was logged: {traffic.success:.3f} of {len(traffic.question):,} rows")
        for row in rows:
            if row["estimator"] == "dr":
                shown = format_interval(row["value"], row["low"], row["high"], signed=False)
                gain = ""
                if "difference" in row:
                    ends = row["difference"], row["difference_low"], row["difference_high"]
                    gain = f"; {format_interval(*ends, points=True)} points over the first"
                say(f"{on_one_line(row['policy'], 80)}: {shown} (doubly robust, 95 % interval){gain}")
