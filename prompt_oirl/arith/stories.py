"""Words that problems are told with: people, settings, and side facts that hold a number nobody needs."""

from __future__ import annotations

from dataclasses import dataclass

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
