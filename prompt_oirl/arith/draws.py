"""Numbers of a problem as they are drawn, and the equations that solve it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b,
}


@dataclass(frozen=True)
class Equation:
    """One step of a solution, `a op b = result`; `label` reads behind "How many" and, in a family, holds
    slots."""

    label: str
    a: int
    op: str
    b: int

    @property
    def result(self) -> int:
        """What the right-hand side is."""
        return OPERATIONS[self.op](self.a, self.b)

    def __str__(self) -> str:
        return f"{self.a}{self.op}{self.b}={self.result}"


@dataclass
class Draw:
    """Numbers of one problem, and the steps that solve it."""

    rng: random.Random
    steps: list[Equation] = field(default_factory=list)

    def number(self) -> int:
        """A count: mostly below 30, sometimes up to 60."""
        return self.rng.randint(3, 60) if self.rng.random() < 0.3 else self.rng.randint(3, 30)

    def few(self) -> int:
        """A small count."""
        return self.rng.randint(2, 9)

    def price(self) -> int:
        """A price in dollars, or a number of that size."""
        return self.rng.randint(2, 12)

    def below(self, limit: int) -> int:
        """A number from 1 to limit - 1, not next to nothing where there is room."""
        return self.rng.randint(min(2, limit - 1), max(1, limit - 1))

    def above(self, limit: int) -> int:
        """A number above another one."""
        return limit + self.rng.randint(1, 30)

    def step(self, label: str, a: int, op: str, b: int) -> int:
        """Write down the next equation and return its result.

        Parameters
        ----------
        label : what the result is, to be read behind "How many"; may hold slots such as {items}
        a, b : the numbers to the left and to the right of `op`
        op : one of + - * /; a quotient is rounded down
        """
        self.steps.append(Equation(label, a, op, b))
        return self.steps[-1].result


Numbers = dict[str, int]
