"""What votes bring on a log, and the vote to buy: as numbers, in words and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from prompt_oirl.selection.notebook_cell import as_html
from prompt_oirl.stats.metrics import format_interval

BUDGETS_SHOWN = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class BestBuy:
    """What to ask, of all ways and budgets that were compared.

    Attributes
    ----------
    way : key of `BUYABLE`, or "best": one call of the best prompt, which no way is shown to beat
    budget, calls : calls at most (in the mean where a rule learns when to stop), and calls made in the mean
    gain : over one call of the best prompt, in success with a 95 % interval that holds for all ways compared
    prompts : names and texts of the prompts to ask, best first; of all where the question decides
    compared : ways and budgets
    """

    way: str
    budget: int
    calls: float
    gain: tuple[float, float, float]
    prompts: tuple[str, ...]
    compared: int

    def sentence(self) -> str:
        """The buy in words."""
        if self.way == "best":
            return f"No vote is shown to beat one call of the best prompt ({self.prompts[0]})."
        if self.way == "decided":
            names = "; ".join(self.prompts)
            asked = f"ask these {self.budget} prompts ({names}) and take the majority, stopping once decided"
        elif self.budget == 1:
            asked = "choose the prompt for each question"
        elif self.way == "predicted":
            asked = f"ask the {self.budget} best prompts for each question and weigh their votes"
        else:
            asked = "ask the best prompts for each question one by one, weigh their votes and stop early"
        gain = format_interval(*self.gain, points=True, unit=" points")
        calls = f"{self.calls:.1f} calls" if self.budget > 1 else "one call"
        return (
            f"Best buy: {asked}: {gain} over one call of the best prompt, for {calls} a question. "
            f"The interval holds for all {self.compared} ways and budgets compared."
        )


@dataclass(frozen=True)
class VoteResult:
    """What votes bring on a log: a row per way and budget, the best buy, how many answers are blank, and how
    answers were read (see `vote_tables`)."""

    rows: list[dict[str, Any]]
    buy: BestBuy
    blank: int
    parser: str

    def to_frame(self) -> pd.DataFrame:
        """A row per way and budget: calls, success and gain over one call of the best prompt."""
        return pd.DataFrame(self.rows)

    def _lines(self) -> list[str]:
        blank = f"; {self.blank:,} are blank and cast no vote" if self.blank else ""
        return [self.buy.sentence(), f"Answers are compared by parser {self.parser}{blank}."]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        table = self.to_frame().pivot(index="way", columns="budget", values="success")
        ways = list(dict.fromkeys(row["way"] for row in self.rows))  # as listed, not by name
        budgets = [budget for budget in BUDGETS_SHOWN if budget in table]
        shown = table.loc[ways, budgets]
        shown.columns = [f"success, {budget} call{'s' * (budget > 1)} at most" for budget in budgets]
        return as_html(self._lines(), shown.reset_index())
