"""From an optimizer's output to a candidate: parse, normalise, and accept it or say why not.

Unlike the published code (specification of OPRO, 1.6 and 1.7) an output without an instruction is no
candidate, nested brackets stay whole, the initial instructions count as seen, and every rejection has a
recorded reason.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from prompt_oirl.data.prompts import prompt_id
from prompt_oirl.opro.meta_prompt import Layout

MAX_OUTPUT = 20_000  # characters of an optimizer's output that are looked at and kept
MAX_INSTRUCTION = 500  # characters
ACCEPTED = "accepted"
_TAGS = re.compile(r"</?\s?(?:INS|TEXT|Start)\s?/?>", re.I)
_PLACEHOLDER = re.compile(r"\bINS\b")
_OPENING_MARKS = (
    "-*#>=+@|\u2022\u2013\u2014 "  # bullets and headings; cells that begin so are formulas to a spreadsheet
)


def parse(output: str, layout: Layout) -> str | None:
    """The instruction inside an optimizer's output, None if there is none."""
    output = output[:MAX_OUTPUT]
    if layout == "bracket":
        return _bracketed(output)
    tag = "INS" if layout == "chat" else "TEXT"
    start = output.find(f"<{tag}>")
    end = output.find(f"</{tag}>", max(start, 0))
    if start < 0 and (end < 0 or layout == "completion"):
        return None
    return output[start + len(tag) + 2 if start >= 0 else 0 : end if end >= 0 else None].strip()


def _bracketed(output: str) -> str | None:
    """The first bracketed part that is closed, inner brackets included."""
    depth, start = 0, -1
    for i, character in enumerate(output):
        if character == "[":
            depth, start = depth + 1, i if depth == 0 else start
        elif character == "]" and depth:
            depth -= 1
            if depth == 0:
                return output[start + 1 : i].strip()
    return None


def normalise(text: str) -> str:
    """One line of NFC text: no control characters, asterisks of bold print, bullets or quotes around it; a
    capital first."""
    text = unicodedata.normalize("NFC", "".join(c if _plain(c) else " " for c in text).replace("**", ""))
    while True:
        before = text
        text = " ".join(text.split()).lstrip(_OPENING_MARKS)
        for left, right in ('""', "''", "\u201c\u201d", "``"):
            if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
                text = text[1:-1]
        if len(text) > 1 and text[0].islower():
            text = unicodedata.normalize("NFC", text[0].upper() + text[1:])
        if text == before:
            return text


def _plain(character: str) -> bool:
    return character == " " or unicodedata.category(character) not in ("Cc", "Cs", "Cn", "Zl", "Zp", "Zs")


@dataclass
class CandidateFilter:
    """Accepts each new instruction once. `position` is part of its id; `no_digits`: numbers leak answers of
    number tasks."""

    position: str
    no_digits: bool
    seen: set[str] = field(default_factory=set)

    def add(self, instruction: str) -> None:
        """Count an instruction as seen: an initial one, or one proposed before."""
        self.seen.add(prompt_id(instruction, self.position))

    def verdict(self, instruction: str | None, finish_reason: str, has_end: bool = True) -> str:
        """`accepted`, or the reason why not.

        An instruction that came whole counts as seen from now on, whether it is accepted or not.

        Parameters
        ----------
        instruction : normalised text; None where none was found in the output
        finish_reason : how the output ended, as in `Generation`
        has_end : whether the output closes the instruction; counts only where the token limit cut the output;
        default: it does
        """
        if finish_reason == "error":
            return "no answer"
        if instruction is None:
            return "no instruction found"
        if not instruction:
            return "empty"
        if finish_reason == "length" and not has_end:
            return "cut off by the token limit"
        key = prompt_id(instruction, self.position)
        if key in self.seen:
            return "duplicate"
        self.seen.add(key)
        if len(instruction) > MAX_INSTRUCTION:
            return f"longer than {MAX_INSTRUCTION} characters"
        if self.no_digits and any(c.isdigit() for c in instruction):
            return "holds a digit"
        if _TAGS.search(instruction) or _PLACEHOLDER.search(instruction):
            return "holds the placeholder"
        return ACCEPTED


def has_end(output: str, layout: Layout) -> bool:
    """Does an output close its instruction?"""
    return layout == "bracket" or f"</{'INS' if layout == 'chat' else 'TEXT'}>" in output
