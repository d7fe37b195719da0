"""How the numbers of each problem family are drawn, and which equations solve it.

A family's function draws numbers with `Draw`, records one `step` per equation, and returns the numbers that
the text names. No number below zero, no broken number, few above 150.
"""

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
        return self.rng.randint(2, 9)

    def price(self) -> int:
        return self.rng.randint(2, 12)

    def below(self, limit: int) -> int:
        """A number from 1 to limit - 1, not next to nothing where there is room."""
        return self.rng.randint(min(2, limit - 1), max(1, limit - 1))

    def above(self, limit: int) -> int:
        return limit + self.rng.randint(1, 30)

    def step(self, label: str, a: int, op: str, b: int) -> int:
        self.steps.append(Equation(label, a, op, b))
        return self.steps[-1].result


Numbers = dict[str, int]


# --- one step ----------------------------------------------------------------------------------------


def gain(d: Draw) -> Numbers:
    a, b = d.number(), d.number()
    d.step("{items} now", a, "+", b)
    return {"a": a, "b": b}


def lose(d: Draw) -> Numbers:
    a = d.number() + 5
    b = d.below(a)
    d.step("{items} left", a, "-", b)
    return {"a": a, "b": b}


def equal_groups(d: Draw) -> Numbers:
    n, k = d.few(), d.price()
    d.step("{items} in all", n, "*", k)
    return {"n": n, "k": k}


def share(d: Draw) -> Numbers:
    n, k = d.few(), d.price()
    d.step("{items} each", n * k, "/", n)
    return {"N": n * k, "n": n}


def compare(d: Draw) -> Numbers:
    a = d.number() + 5
    b = d.below(a)
    d.step("more", a, "-", b)
    return {"a": a, "b": b}


def part(d: Draw) -> Numbers:
    n, k = d.few(), d.price()
    d.step("red {items}", n * k, "/", n)
    return {"N": n * k, "n": n}


# --- two steps ---------------------------------------------------------------------------------------


def gain_lose(d: Draw) -> Numbers:
    a, b = d.number(), d.number()
    now = d.step("{items} then", a, "+", b)
    c = d.below(now)
    d.step("{items} left", now, "-", c)
    return {"a": a, "b": b, "c": c}


def groups_more(d: Draw) -> Numbers:
    n, k, c = d.few(), d.price(), d.number()
    packed = d.step("{items} in {boxes}", n, "*", k)
    d.step("{items} in all", packed, "+", c)
    return {"n": n, "k": k, "c": c}


def change(d: Draw) -> Numbers:
    n, p = d.few(), d.price()
    cost = d.step("dollars for the {items}", n, "*", p)
    paid = d.above(cost)
    d.step("dollars back", paid, "-", cost)
    return {"n": n, "p": p, "P": paid}


def more_together(d: Draw) -> Numbers:
    a, k = d.number(), d.number()
    other = d.step("{items} for {B}", a, "+", k)
    d.step("{items} together", a, "+", other)
    return {"a": a, "k": k}


def times_together(d: Draw) -> Numbers:
    a, k = d.price(), d.few()
    other = d.step("{items} for {B}", a, "*", k)
    d.step("{items} together", a, "+", other)
    return {"a": a, "k": k}


def rate(d: Draw) -> Numbers:
    h, k, g = d.few(), d.price(), d.few()
    per_hour = d.step("{items} per hour", h * k, "/", h)
    d.step("{items} then", per_hour, "*", g)
    return {"N": h * k, "h": h, "g": g}


def fraction_left(d: Draw) -> Numbers:
    n, k = d.few(), d.price()
    gone = d.step("{items} gone", n * k, "/", n)
    d.step("{items} left", n * k, "-", gone)
    return {"N": n * k, "n": n}


def minutes(d: Draw) -> Numbers:
    h, m = d.rng.randint(1, 5), d.rng.randint(1, 59)
    whole = d.step("minutes in the hours", h, "*", 60)
    d.step("minutes in all", whole, "+", m)
    return {"h": h, "m": m}


def cheaper(d: Draw) -> Numbers:
    n, p = d.few(), d.rng.randint(4, 12)
    each = d.step("dollars each", n * p, "/", n)
    off = d.below(each)
    d.step("dollars now", each, "-", off)
    return {"N": n * p, "n": n, "c": off}


# --- three steps -------------------------------------------------------------------------------------


def two_kinds(d: Draw) -> Numbers:
    n, k, m, j = d.few(), d.price(), d.few(), d.price()
    first = d.step("in big {boxes}", n, "*", k)
    second = d.step("in small {boxes}", m, "*", j)
    d.step("{items} in all", first, "+", second)
    return {"n": n, "k": k, "m": m, "j": j}


def three_changes(d: Draw) -> Numbers:
    a, b, e = d.number(), d.number(), d.number()
    now = d.step("after Monday", a, "+", b)
    c = d.below(now)
    left = d.step("after Tuesday", now, "-", c)
    d.step("after Wednesday", left, "+", e)
    return {"a": a, "b": b, "c": c, "e": e}


def pool_share(d: Draw) -> Numbers:
    n, each = d.few(), d.rng.randint(4, 12)
    a = d.rng.randint(2, n * each - 2)
    both = d.step("{items} together", a, "+", n * each - a)
    got = d.step("{items} each", both, "/", n)
    c = d.below(got)
    d.step("{items} each left", got, "-", c)
    return {"a": a, "b": n * each - a, "n": n, "c": c}


def relation_chain(d: Draw) -> Numbers:
    a, k, n = d.rng.randint(2, 9), d.rng.randint(2, 9), d.rng.randint(2, 4)
    second = d.step("{items} for {B}", a, "+", k)
    third = d.step("{items} for {C}", second, "*", n)
    d.step("{items} more", third, "-", a)
    return {"a": a, "k": k, "n": n}


def fraction_chain(d: Draw) -> Numbers:
    n, k = d.rng.randint(3, 9), d.rng.randint(3, 12)
    morning = d.step("{items} in the morning", n * k, "/", n)
    left = d.step("{items} at noon", n * k, "-", morning)
    c = d.below(left)
    d.step("{items} left", left, "-", c)
    return {"N": n * k, "n": n, "c": c}


# --- four and five steps -----------------------------------------------------------------------------


def week(d: Draw) -> Numbers:
    k, n = d.price(), d.rng.randint(3, 9)
    saved = d.step("dollars saved", k, "*", n)
    c = d.below(saved)
    left = d.step("dollars left", saved, "-", c)
    e = d.number()
    now = d.step("dollars with the gift", left, "+", e)
    goal = d.above(now)
    d.step("dollars missing", goal, "-", now)
    return {"k": k, "n": n, "c": c, "e": e, "P": goal}


def four_changes(d: Draw) -> Numbers:
    a, b, e = d.number(), d.number(), d.number()
    one = d.step("after stop one", a, "+", b)
    c = d.below(one)
    two = d.step("after stop two", one, "-", c)
    three = d.step("after stop three", two, "+", e)
    f = d.below(three)
    d.step("at the end", three, "-", f)
    return {"a": a, "b": b, "c": c, "e": e, "f": f}


def shop(d: Draw) -> Numbers:
    n, p, m, q = d.few(), d.price(), d.few(), d.price()
    first = d.step("dollars for the {items}", n, "*", p)
    second = d.step("dollars for the {boxes}", m, "*", q)
    total = d.step("dollars in all", first, "+", second)
    paid = d.above(total)
    d.step("dollars back", paid, "-", total)
    return {"n": n, "p": p, "m": m, "q": q, "P": paid}


def relations_together(d: Draw) -> Numbers:
    a, k, n = d.rng.randint(2, 12), d.rng.randint(2, 9), d.rng.randint(2, 4)
    second = d.step("{items} for {B}", a, "+", k)
    third = d.step("{items} for {C}", second, "*", n)
    two = d.step("for {A} and {B}", a, "+", second)
    d.step("{items} together", two, "+", third)
    return {"a": a, "k": k, "n": n}


def shop_discount(d: Draw) -> Numbers:
    n, p, m, q = d.few(), d.price(), d.few(), d.price()
    first = d.step("dollars for the {items}", n, "*", p)
    second = d.step("dollars for the {boxes}", m, "*", q)
    total = d.step("dollars in all", first, "+", second)
    off = d.rng.randint(1, min(9, total - 1))
    due = d.step("dollars to pay", total, "-", off)
    paid = d.above(due)
    d.step("dollars back", paid, "-", due)
    return {"n": n, "p": p, "m": m, "q": q, "c": off, "P": paid}


def work_day(d: Draw) -> Numbers:
    h, k, g = d.few(), d.rng.randint(2, 9), d.few()
    per_hour = d.step("{items} per hour", h * k, "/", h)
    made = d.step("{items} made", per_hour, "*", g)
    e = d.number()
    stock = d.step("{items} with the stock", made, "+", e)
    c = d.below(stock)
    sold = d.step("{items} after the sale", stock, "-", c)
    f = d.number()
    d.step("{items} at the end", sold, "+", f)
    return {"N": h * k, "h": h, "g": g, "e": e, "c": c, "f": f}
