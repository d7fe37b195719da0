"""One budget for every paid call: stops cleanly before it is overdrawn."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from prompt_oirl.llms import Generation


@dataclass
class Budget:
    """Limits on calls, dollars and minutes; None is no limit. Prices are dollars per million tokens."""

    max_calls: int | None = None
    max_cost: float | None = None
    max_minutes: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    _started: float = field(default_factory=time.monotonic)

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Dollars."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def spend(self, generation: Generation) -> float:
        """Book one answer and return what it cost in dollars."""
        self.calls += 1
        self.tokens_in += generation.tokens_in
        self.tokens_out += generation.tokens_out
        return self.cost(generation.tokens_in, generation.tokens_out)

    def spend_for_nothing(self) -> None:
        """Book a call that brought no answer; it may have been billed all the same."""
        self.calls += 1

    def calls_left(self, wanted: int, tokens_in: float, tokens_out: float) -> int:
        """How many of `wanted` calls of about this size may still be made.

        Parameters
        ----------
        wanted : calls one would like to make
        tokens_in, tokens_out : expected of one call, read and written
        """
        left = wanted if self.max_calls is None else min(wanted, self.max_calls - self.calls)
        if self.max_cost is not None:
            per_call = self.cost(1, 0) * tokens_in + self.cost(0, 1) * tokens_out
            spent = self.cost(self.tokens_in, self.tokens_out)
            left = min(left, int((self.max_cost - spent) / per_call + 1e-9) if per_call > 0 else left)
        if self.max_minutes is not None and time.monotonic() - self._started >= 60 * self.max_minutes:
            return 0
        return max(left, 0)

    def why_stopped(self) -> str:
        """Which limit stands in the way, in words."""
        if self.max_minutes is not None and time.monotonic() - self._started >= 60 * self.max_minutes:
            return f"--max_minutes {self.max_minutes:g}"
        if self.max_calls is not None and self.calls >= self.max_calls:
            return f"--max_calls {self.max_calls}"
        return f"--max_cost {self.max_cost:g}" if self.max_cost is not None else "no limit"
