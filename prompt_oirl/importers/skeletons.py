"""What a template puts around a question, and templates known only by the text that many texts share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from prompt_oirl.importers.shared_edges import common_edges, shared_ends, shared_starts

PLACE = "{question}"  # stands in a template where the question was
SHORTEST_REPEAT = (
    16  # characters by which a question that stands in a text twice is known; else its first word
)
FEWEST_WORDS = 2  # of a template that all texts have in common
# Of several templates: words of each, and texts, at least this share. Questions often begin alike, too.
WORDS_OF_SEVERAL, FEWEST_TEXTS, SMALLEST_SHARE = 5, 3, 0.1


@dataclass(frozen=True)
class Skeleton:
    """What a template puts around a question; `between` two copies of it, None: the question stands once."""

    before: str
    after: str
    between: str | None = None

    @property
    def template(self) -> str:
        """The template as text."""
        inner = PLACE if self.between is None else PLACE + self.between + PLACE
        return self.before + inner + self.after

    def without(self, mark: str) -> Skeleton:
        """The skeleton with a mark that follows each question left to the question."""
        cut = len(mark)
        return Skeleton(self.before, self.after[cut:], self.between and self.between[cut:])

    @property
    def order(self) -> tuple[int, str, str]:
        """The longer, the later; among equals the same each time."""
        return self.size, self.before, self.between or ""

    @property
    def size(self) -> int:
        """Characters that are the template's own."""
        return len(self.before) + len(self.after) + len(self.between or "")

    @property
    def words(self) -> int:
        """Words that are the template's own."""
        return len(f"{self.before} {self.between or ''} {self.after}".split())

    def question_in(self, text: str) -> str | None:
        """The question if the text is this template with one in it."""
        if len(text) <= len(self.before) + len(self.after):
            return None
        if not (text.startswith(self.before) and text.endswith(self.after)):
            return None
        middle = text[len(self.before) : len(text) - len(self.after)]
        if self.between is not None:
            length, odd = divmod(len(middle) - len(self.between), 2)
            question = middle[: max(length, 0)]
            return question if not odd and middle == question + self.between + question else None
        return middle if middle.strip() else None


def repeated_in(skeleton: Skeleton, text: str) -> Skeleton | None:
    """The skeleton with the text between two copies of a question, if the middle is such."""
    middle = text[len(skeleton.before) : len(text) - len(skeleton.after)]
    head = middle[:SHORTEST_REPEAT]
    for words, start in ((0, head), (FEWEST_WORDS, head.split(maxsplit=1)[0] if head.split() else "")):
        at = middle.rfind(start) if start else 0
        question, between = middle[at:], middle[len(middle) - at : at]
        twice = at >= max(SHORTEST_REPEAT, len(question)) and middle.startswith(question)
        if twice and len(between.split()) >= words:
            return Skeleton(skeleton.before, skeleton.after, between)
    return None


def without_numbers(template: str) -> str:
    """Equal for templates that differ in numbers only."""
    return re.sub(r"\d+", "0", template)


def by_common_text(texts: Sequence[str]) -> list[Skeleton | None]:
    """A skeleton for each text where no question stands in several: the most text that many have in common.

    Parameters
    ----------
    texts : distinct texts
    """
    found: list[Skeleton | None] = [None] * len(texts)
    fewest = max(FEWEST_TEXTS, round(SMALLEST_SHARE * len(texts)))
    left = list(range(len(texts)))
    edges = list(zip(shared_starts(texts, fewest), shared_ends(texts, fewest)))
    while len(left) >= FEWEST_TEXTS:
        start, end = common_edges([texts[i] for i in left])
        skeleton = _around(texts[left[0]], start, end)
        if skeleton.words < FEWEST_WORDS:
            skeletons = (_around(texts[i], *lengths) for i in left for lengths in product(*edges[i]))
            counts = Counter(s for s in skeletons if s.words >= WORDS_OF_SEVERAL)
            large = [s for s, count in counts.items() if count >= fewest]
            if not large:
                break
            skeleton = max(large, key=lambda s: (counts[s] * s.size, s.order))
        fitting = {i for i in left if skeleton.question_in(texts[i]) is not None}
        if not fitting:
            break
        for i in fitting:
            found[i] = skeleton
        left = [i for i in left if i not in fitting]
    return found


def _around(text: str, start: int, end: int) -> Skeleton:
    return Skeleton(text[:start], text[max(start, len(text) - end) :])
