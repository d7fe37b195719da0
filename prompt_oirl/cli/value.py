"""`prompt-oirl value`: what success another policy would have had on the traffic of a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from prompt_oirl.cli.options import LogArgument, ReadOptions
from prompt_oirl.cli.output import Format, say, write_rows
from prompt_oirl.io.files import InputError, on_one_line

if TYPE_CHECKING:
    from prompt_oirl.selection.selector import PromptSelector


@dataclass(kw_only=True)
class Value(LogArgument, ReadOptions):
    """Estimate what success another policy would have had on a log's traffic, such as a server's log.

    example: prompt-oirl value served_log --policy selector --policy best
    """

    policy: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A selector's folder, best, random or prompt:NAME; several are compared with the first."""
    format: Format = "table"
    """How the result is written."""

    def run(self) -> None:
        """Write the value of each policy, by each estimator."""
        from prompt_oirl.selection.policy_value import Traffic, policy_values
        from prompt_oirl.selection.selector import PromptSelector

        if not self.policy:
            raise InputError("name a policy: --policy SELECTOR_FOLDER, best, random or prompt:NAME")
        policies: dict[str, str | PromptSelector] = {}
        for name in self.policy:
            known = name in ("best", "random") or name.startswith("prompt:")
            policies[name] = name if known else PromptSelector.load(name)
        log = self.read(self.log)
        traffic = Traffic.of(log, self.seed)
        rows = policy_values(traffic, policies)
        write_rows(rows, self.format)
        for note in traffic.notes:
            say(f"note: {note}")
        if log.propensity is not None and log.unrated:
            total = len(log.correct) + len(log.unrated)
            say(f"note: {len(log.correct):,} of {total:,} requests have a verdict; values speak for these")
        if any(not isinstance(policy, str) for policy in policies.values()):
            say("note: a selector that learned from these very answers looks better than it is")
        say(f"success of the logged answers: {100 * float(log.correct.mean()):.1f} %")
        for row in (row for row in rows if row["estimator"] == "dr"):
            name = on_one_line(row["policy"], 60)
            versus = f" minus {on_one_line(row['minus'], 60)}" if row["minus"] else ""
            figures = f"{100 * row['value']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
            say(f"{name}{versus}: {figures} points (dr, the one to read)")
