"""One problem: a group (structure x wording x story) filled with numbers, people and perhaps a side fact."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from functools import cache

from prompt_oirl.arith.draws import Draw, Equation
from prompt_oirl.arith.families import BY_NAME, FAMILIES, Family

SIDE_FACT_RATE = 0.35
# Share of a group in each split; the language model learns from groups of its own, so that the questions of
# the train, validation and test files are equally new to it.
SPLITS = {"pretrain": 0.34, "train": 0.37, "validation": 0.08, "test": 0.21}


_NAMES = (
    "Ann Bob Cem Dora Eli Fay Gus Hana Ivan Jill Karl Lea Max Nora Omar Pia Ravi Sara Tom Uma Vera Will "
    "Yuki Zoe Amir Bela Carlos Emma Felix Grace Hugo Ines Jonas Kim Luis Mia Nils Olga Paul Rosa"
)
NAMES = tuple(_NAMES.split())


@dataclass(frozen=True)
class Story:
    """One setting. `items` are plurals of things that can be counted; `box` is what holds them."""

    name: str
    place: str
    items: tuple[str, ...]
    box: str
    boxes: str


STORIES = (
    Story("bakery", "at the bakery", ("buns", "pies"), "tray", "trays"),
    Story("orchard", "in the orchard", ("apples", "pears"), "crate", "crates"),
    Story("library", "in the library", ("books", "maps"), "shelf", "shelves"),
    Story("school", "at school", ("pencils", "notebooks"), "drawer", "drawers"),
    Story("garden", "in the garden", ("roses", "tulips"), "row", "rows"),
    Story("farm", "on the farm", ("eggs", "melons"), "basket", "baskets"),
    Story("toys", "at the toy shop", ("dolls", "kites"), "box", "boxes"),
    Story("beach", "on the beach", ("shells", "stones"), "bucket", "buckets"),
    Story("post", "at the post office", ("letters", "stamps"), "sack", "sacks"),
    Story("kitchen", "in the kitchen", ("plates", "cups"), "stack", "stacks"),
    Story("workshop", "in the workshop", ("nails", "bolts"), "jar", "jars"),
    Story("market", "at the market", ("lemons", "onions"), "bag", "bags"),
    Story("museum", "in the museum", ("coins", "vases"), "case", "cases"),
    Story("party", "at the party", ("balloons", "candles"), "pack", "packs"),
    Story("pond", "by the pond", ("fish", "frogs"), "tank", "tanks"),
    Story("studio", "in the studio", ("photos", "frames"), "album", "albums"),
)

# Shown in about a third of the problems, before the question.
SIDE_FACTS = (
    "{A} is {x} years old.",
    "It is {x} degrees outside.",
    "There are {x} chairs in the room.",
    "The bus ride took {x} minutes.",
    "{A} lives at number {x}.",
    "A sign shows the number {x}.",
    "{x} people pass by.",
    "The radio plays {x} songs.",
)


@dataclass(frozen=True)
class Group:
    """Problems told alike: one structure (the family's equations), one wording, one story."""

    family: Family
    wording: int
    story: Story

    @property
    def name(self) -> str:
        """Name of the group, unique in the benchmark."""
        return f"{self.family.name}.{self.wording}.{self.story.name}"


@dataclass(frozen=True)
class Problem:
    """A question with the equations that solve it, in order; the last result is the answer."""

    text: str
    group: Group
    equations: tuple[Equation, ...]

    @property
    def gold(self) -> int:
        """The right answer."""
        return self.equations[-1].result

    @property
    def derivation(self) -> str:
        """GSM8K's form: a line per equation, then `#### gold`."""
        lines = [
            f"{e.label[0].upper()}{e.label[1:]}: {e.a} {e.op} {e.b} = {e.result}" for e in self.equations
        ]
        return "\n".join([*lines, f"#### {self.gold}"])


@cache
def groups_of(split: str) -> tuple[Group, ...]:
    """The groups of a split. Within every family they are shuffled and cut by SPLITS, for good."""
    chosen: list[Group] = []
    for family in FAMILIES:
        groups = [Group(family, w, story) for w in range(len(family.wordings)) for story in STORIES]
        random.Random(f"groups/{family.name}").shuffle(groups)
        start = 0.0
        for name, share in SPLITS.items():
            if name == split:
                chosen += groups[round(start * len(groups)) : round((start + share) * len(groups))]
            start += share
    return tuple(chosen)


@cache
def groups_by_family(split: str) -> dict[str, list[Group]]:
    """The groups of a split by their family."""
    found: dict[str, list[Group]] = {name: [] for name in BY_NAME}
    for group in groups_of(split):
        found[group.family.name].append(group)
    return found


def draw_problem(group: Group, rng: random.Random) -> Problem:
    """Numbers, people, things and, in a third of the problems, a side fact with a number nobody needs."""
    draw = Draw(rng)
    numbers = group.family.draw(draw)
    people = rng.sample(NAMES, 3)
    slots: dict[str, str | int] = {
        **dict(zip("ABC", people)),
        "items": rng.choice(group.story.items),
        "box": group.story.box,
        "boxes": group.story.boxes,
        "place": group.story.place,
    }
    body, ask = group.family.wordings[group.wording]
    sentences = [_fill(body, {**slots, **numbers})]
    if rng.random() < SIDE_FACT_RATE:
        sentences.insert(rng.randint(0, 1), _fill(rng.choice(SIDE_FACTS), {**slots, "x": rng.randint(2, 60)}))
    text = " ".join([*sentences, _fill(ask, slots)])
    solved = tuple(replace(e, label=_fill(e.label, slots, False)) for e in draw.steps)
    return Problem(text, group, solved)


def _fill(template: str, slots: dict[str, str | int], sentence: bool = True) -> str:
    text = template.format(**slots)
    return text[0].upper() + text[1:] if sentence else text


def text_key(text: str) -> str:
    """What a question is recognised by: a hash of its words, blind to case and spacing."""
    return hashlib.sha256(" ".join(text.lower().split()).encode()).hexdigest()[:20]
