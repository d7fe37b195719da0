"""The problem families and their wordings: every pair of a body and a closing question is one wording.

Slots: {A} {B} {C} people, {items} things, {box} {boxes} what holds them, {place}; small letters and N, P
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prompt_oirl.arith import equations
from prompt_oirl.arith.draws import Draw, Numbers


@dataclass(frozen=True)
class Family:
    """One kind of problem. Every pair of a body and an ask is a wording."""

    name: str
    draw: Callable[[Draw], Numbers]
    bodies: tuple[str, ...]
    asks: tuple[str, ...]

    @property
    def wordings(self) -> list[tuple[str, str]]:
        """All wordings of the family: every story with every question."""
        return [(body, ask) for body in self.bodies for ask in self.asks]


FAMILIES = (
    Family("gain", equations.gain, (
        "{A} has {a} {items} {place} and finds {b} more.",
        "There are {a} {items} {place}. {A} brings another {b}.",
        "{A} picks up {a} {items} {place}, and later {b} others.",
    ), ("How many {items} does {A} have now?", "What is the number of {items} now?")),
    Family("lose", equations.lose, (
        "{A} has {a} {items} {place} and gives {b} to {B}.",
        "Of {a} {items} {place}, {A} takes {b} away.",
        "{a} {items} lie {place}. {b} of them get lost.",
    ), ("How many {items} are left?", "What number of {items} remains?")),
    Family("equal_groups", equations.equal_groups, (
        "{place}, {A} fills {n} {boxes} with {k} {items} each.",
        "{A} sees {n} {boxes} {place}. Each {box} holds {k} {items}.",
        "Every {box} {place} has {k} {items}. {A} counts {n} {boxes}.",
    ), ("How many {items} are there in all?", "What is the total number of {items}?")),
    Family("share", equations.share, (
        "{A} puts {N} {items} {place} evenly into {n} {boxes}.",
        "{N} {items} {place} are shared equally over {n} {boxes}.",
        "{place}, {n} {boxes} get the same share of {N} {items}.",
    ), ("How many {items} are in each {box}?", "What does one {box} hold?")),
    Family("compare", equations.compare, (
        "{A} has {a} {items} {place}, {B} has {b}.",
        "{place}, {A} counts {a} {items} while {B} counts {b}.",
        "{B} owns {b} {items} {place}. {A} owns {a}.",
    ), ("How many more {items} than {B} does {A} have?", "By how many {items} is {A} ahead of {B}?")),
    Family("part", equations.part, (
        "{A} has {N} {items} {place} and paints 1/{n} of them red.",
        "1/{n} of the {N} {items} {place} are red.",
        "Red are 1/{n} of all {items} {place}. {A} counts {N} {items}.",
    ), ("How many {items} are red?", "What is the number of red {items}?")),
    Family("gain_lose", equations.gain_lose, (
        "{A} has {a} {items} {place}, gets {b} more and gives away {c}.",
        "{place} there are {a} {items}. {A} adds {b}, then {B} takes {c}.",
        "{A} starts with {a} {items} {place}, finds {b} and loses {c}.",
    ), ("How many {items} are left?", "What number of {items} remains?")),
    Family("groups_more", equations.groups_more, (
        "{A} fills {n} {boxes} {place} with {k} {items} each and has {c} loose {items}.",
        "{place} stand {n} {boxes} of {k} {items}. {A} brings {c} extra {items}.",
        "Each of {n} {boxes} {place} holds {k} {items}, and {c} more lie beside them.",
    ), ("How many {items} are there in all?", "What is the total number of {items}?")),
    Family("change", equations.change, (
        "{A} buys {n} {items} {place} at {p} dollars each and pays with {P} dollars.",
        "{place}, one of the {items} costs {p} dollars. {A} takes {n} and hands over {P} dollars.",
        "With {P} dollars {A} goes shopping {place} for {n} {items} at {p} dollars each.",
    ), ("How many dollars does {A} get back?", "How much change is there?")),
    Family("more_together", equations.more_together, (
        "{A} has {a} {items} {place}. {B} has {k} more than {A}.",
        "{place}, {A} collects {a} {items} and {B} collects {k} more than that.",
        "{B} has {k} {items} more than {A}, who has {a} {place}.",
    ), ("How many {items} do they have together?", "What do both have in total?")),
    Family("times_together", equations.times_together, (
        "{A} has {a} {items} {place}. {B} has {k} times as many.",
        "{place}, {A} collects {a} {items} and {B} collects {k} times that.",
        "{B} has {k} times the {items} of {A}, who has {a} {place}.",
    ), ("How many {items} do they have together?", "What do both have in total?")),
    Family("rate", equations.rate, (
        "{A} packs {N} {items} {place} in {h} hours and goes on for {g} hours at this speed.",
        "In {h} hours {A} sorts {N} {items} {place}. The next shift takes {g} hours at the same rate.",
        "{place}, a machine makes {N} {items} in {h} hours. It then runs {g} hours.",
    ), ("How many {items} come from the second run?", "How many {items} does the later time bring?")),
    Family("fraction_left", equations.fraction_left, (
        "{A} has {N} {items} {place} and sells 1/{n} of them.",
        "1/{n} of the {N} {items} {place} are sold.",
        "{place}, {A} counts {N} {items}, but 1/{n} of them break.",
    ), ("How many {items} are left?", "What number of {items} remains?")),
    Family("minutes", equations.minutes, (
        "{A} counts {items} {place} for {h} hours and {m} minutes.",
        "Sorting the {items} {place} takes {A} {h} hours and {m} minutes.",
        "{place}, {A} draws {items} for {m} minutes after {h} hours of reading.",
    ), ("How many minutes is that in all?", "What is the time in minutes?")),
    Family("cheaper", equations.cheaper, (
        "{n} {items} {place} cost {N} dollars. {A} gets {c} dollars off each.",
        "{place}, {A} pays {N} dollars for {n} {items}. Today each is {c} dollars cheaper.",
        "For {N} dollars one gets {n} {items} {place}. {A} waits until each price falls by {c} dollars.",
    ), ("How many dollars is one now?", "What is the new price of one?")),
    Family("two_kinds", equations.two_kinds, (
        "{A} fills {n} big {boxes} {place} with {k} {items} each and {m} small {boxes} with {j} each.",
        "{place} are {n} big {boxes} of {k} {items} and {m} small {boxes} of {j}.",
        "Big {boxes} hold {k} {items}, small ones {j}. {A} has {n} big and {m} small {boxes} {place}.",
    ), ("How many {items} are there in all?", "What is the total number of {items}?")),
    Family("three_changes", equations.three_changes, (
        "{A} has {a} {items} {place}. On Monday {b} come, on Tuesday {c} go, on Wednesday {e} come.",
        "{place}, {a} {items} lie ready. Monday brings {b}, Tuesday takes {c}, Wednesday brings {e}.",
        "Starting with {a} {items} {place}, {A} buys {b} on Monday, sells {c} on Tuesday and buys {e} "
        "on Wednesday.",
    ), ("How many {items} are there then?", "What is the number of {items} at last?")),
    Family("pool_share", equations.pool_share, (
        "{A} brings {a} {items} and {B} brings {b} {place}. {n} friends share all equally, and each "
        "uses {c}.",
        "{place}, {A} and {B} put {a} and {b} {items} together, deal them to {n} children, and each "
        "child loses {c}.",
        "{a} {items} from {A} and {b} from {B} are split evenly between {n} guests {place}. Each guest "
        "breaks {c}.",
    ), ("How many {items} does each have left?", "What is left for each one?")),
    Family("relation_chain", equations.relation_chain, (
        "{A} has {a} {items} {place}. {B} has {k} more than {A}. {C} has {n} times as many as {B}.",
        "{place}, {A} finds {a} {items}, {B} finds {k} more than {A}, and {C} finds {n} times what {B} "
        "finds.",
        "{C} has {n} times the {items} of {B}. {B} has {k} more than {A}, who has {a} {place}.",
    ), ("How many more {items} than {A} does {C} have?", "By how many {items} is {C} ahead of {A}?")),
    Family("fraction_chain", equations.fraction_chain, (
        "{A} has {N} {items} {place}, sells 1/{n} of them in the morning and {c} in the afternoon.",
        "1/{n} of {N} {items} {place} go in the morning, {c} more in the evening.",
        "{place}, {A} starts with {N} {items}. First 1/{n} of them are sold, later another {c}.",
    ), ("How many {items} are left?", "What number of {items} remains?")),
    Family("week", equations.week, (
        "{A} earns {k} dollars a day {place} for {n} days, spends {c} on {items} and is given {e}. A "
        "bike costs {P} dollars.",
        "For {n} days {A} saves {k} dollars daily {place}. {c} dollars go for {items}, then {e} come as "
        "a gift. The goal is {P} dollars.",
        "{place}, {A} wants {P} dollars and puts away {k} each day for {n} days, pays {c} for {items} "
        "and gets {e} from {B}.",
    ), ("How many dollars are missing?", "How much does {A} still need?")),
    Family("four_changes", equations.four_changes, (
        "A cart starts {place} with {a} {items}. At stop one {b} are added, at stop two {c} are taken, "
        "at stop three {e} are added, and {f} fall off.",
        "{A} drives {a} {items} for {B} {place}: {b} join, {c} leave, {e} join, {f} leave.",
        "{place}, {A} loads {a} {items}, then {b}, unloads {c}, loads {e} and unloads {f}.",
    ), ("How many {items} are on it at the end?", "What is the number of {items} at the end?")),
    Family("shop", equations.shop, (
        "{A} buys {n} {items} at {p} dollars and {m} {boxes} at {q} dollars {place} and pays with {P} "
        "dollars.",
        "{place}, {items} cost {p} dollars and {boxes} {q} dollars. {A} takes {n} {items} and {m} "
        "{boxes} and gives {P} dollars.",
        "With {P} dollars {A} pays {place} for {n} {items} at {p} dollars each and {m} {boxes} at {q} each.",
    ), ("How many dollars does {A} get back?", "How much change is there?")),
    Family("relations_together", equations.relations_together, (
        "{A} has {a} {items} {place}. {B} has {k} more than {A}. {C} has {n} times as many as {B}.",
        "{place}, {A} finds {a} {items}, {B} finds {k} more than {A}, and {C} finds {n} times what {B} "
        "finds.",
        "{C} has {n} times the {items} of {B}. {B} has {k} more than {A}, who has {a} {place}.",
    ), ("How many {items} do all three have?", "What do {A}, {B} and {C} have in total?")),
    Family("shop_discount", equations.shop_discount, (
        "{A} buys {n} {items} at {p} dollars and {m} {boxes} at {q} dollars {place}, has a coupon for "
        "{c} dollars and pays with {P} dollars.",
        "{place}, {items} cost {p} dollars and {boxes} {q} dollars. {A} takes {n} {items} and {m} "
        "{boxes}, saves {c} dollars and gives {P} dollars.",
        "With {P} dollars and {c} dollars off, {A} pays {place} for {n} {items} at {p} dollars each and "
        "{m} {boxes} at {q} each.",
    ), ("How many dollars does {A} get back?", "How much change is there?")),
    Family("work_day", equations.work_day, (
        "{A} makes {N} {items} in {h} hours {place} and works {g} hours. {e} are in stock, {c} are "
        "sold, {f} come back.",
        "In {h} hours {N} {items} are made {place}. {A} works {g} hours, adds {e} old ones, sells {c} "
        "and buys {f}.",
        "{place}, {A} needs {h} hours for {N} {items} and stays {g} hours, then finds {e}, sells {c} "
        "and gets {f}.",
    ), ("How many {items} are there at the end?", "What is the number of {items} at the end?")),
)  # fmt: skip
BY_NAME = {family.name: family for family in FAMILIES}
