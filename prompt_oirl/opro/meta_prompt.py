"""The meta-prompt: what the optimizer reads, the trajectory of scored instructions and exemplars (OPRO,
Section 4.2).

Three layouts after the published ones (Figs. 22, 3 and 21): `chat` for chat models, `bracket` for models that
keep to a format of square brackets, `completion` for pre-trained models. All wording is our own, and it says
only what is true of the settings: the order, the range of the scores, how the exemplars were picked.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError

INS = "<INS>"  # stands for the instruction inside an exemplar
Layout = Literal["chat", "bracket", "completion"]
Order = Literal["ascending", "descending", "random"]
PLACES = {
    "before": "at the beginning of the question",
    "after": "at the end of the question",
    "system": "in the system message, ahead of the question",
    "answer_start": "at the beginning of the answer",
}


@dataclass(frozen=True)
class Scored:
    """One instruction of the history with its score in 0..1."""

    instruction: str
    score: float


@dataclass(frozen=True)
class MetaPromptSettings:
    """What a meta-prompt shows. Defaults are the published ones."""

    layout: Layout = "chat"
    """chat: <INS> tags; bracket: square brackets; completion: no request, for pre-trained models."""
    order: Order = "ascending"
    """Order of the trajectory by score."""
    buckets: str = "100"
    """Scores are shown as whole numbers up to this one; raw: with 3 decimals; hidden: not at all."""
    max_pairs: int = 20
    """Instructions shown, the best ones."""
    threshold: float = 0.0
    """Instructions that score below are not shown; the best one always is."""
    exemplars: int = 3
    """Questions shown with their answers."""
    trajectory_first: bool = True
    """The trajectory stands before the exemplars."""
    task_description: str | None = None
    """What the questions are, in words; default: the task's own."""
    solution_description: str = "short, clear and useful for every question of this kind"
    """What a good instruction is like, in words."""

    def __post_init__(self) -> None:
        if self.buckets not in ("raw", "hidden") and not (self.buckets.isdecimal() and int(self.buckets) > 0):
            raise InputError(f"--meta.buckets {self.buckets}: give a whole number above 0, raw or hidden")
        if self.max_pairs < 1 or self.exemplars < 0 or not 0 <= self.threshold <= 1:
            raise InputError(
                f"--meta.max_pairs {self.max_pairs}, --meta.exemplars {self.exemplars}, "
                f"--meta.threshold {self.threshold}: give 1 or more, 0 or more, and a score from 0 to 1"
            )


def shown_score(score: float, buckets: str) -> str:
    """A score as the optimizer sees it; whole numbers round half to even, as published."""
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise ValueError(f"score {score} is not in 0..1")
    return f"{round(score, 3)}" if buckets == "raw" else str(round(score * int(buckets)))


def shown_pairs(history: Sequence[Scored], settings: MetaPromptSettings, seed: int) -> list[Scored]:
    """The pairs that are shown, in the order they are shown.

    Equal scores keep the order of the history if that order is ascending, and are reversed if it is
    descending. Where `max_pairs` cuts between equal scores, the later ones are shown.

    Parameters
    ----------
    history : scored instructions in the order they came
    settings : `max_pairs`, `threshold` and `order` count
    seed : of a random order; the others do not depend on it
    """
    ranked = sorted(history, key=lambda pair: pair.score)[-settings.max_pairs :]
    kept = [pair for pair in ranked if pair.score >= settings.threshold] or ranked[-1:]
    if settings.order == "descending":
        kept.reverse()
    elif settings.order == "random":
        random.Random(seed).shuffle(kept)
    return kept


def meta_prompt(
    history: Sequence[Scored],
    exemplars: Sequence[Question],
    settings: MetaPromptSettings,
    position: str,
    task_description: str,
    failed_before: bool = False,
    seed: int = 0,
) -> str:
    """The whole text.

    Parameters
    ----------
    history : scored instructions in the order they came
    exemplars : questions that are shown with their golds; the layout `completion` shows none
    settings : layout, order and what is shown
    position : where the instruction goes, a key of PLACES
    task_description : what the questions are, in words; counts where `settings` does not describe them
    failed_before : the exemplars were picked because instructions failed on them, and the text says so;
    default: they were not
    seed : of a random order of the instructions

    Source: OPRO, Section 4.2; the wording is our own.
    """
    pairs = shown_pairs(history, settings, seed)
    about = settings.task_description or task_description
    if settings.layout == "completion":
        return _completion(pairs, settings, position, about)
    goal = (
        f"A language model is given {about}. An instruction, {INS}, is placed {PLACES[position]}. "
        "We look for the instruction with which it answers best."
    )
    trajectory = _trajectory(pairs, settings)
    shown = _exemplars(exemplars, settings.layout, position, failed_before)
    parts = [trajectory, shown] if settings.trajectory_first else [shown, trajectory]
    return "\n\n".join(part for part in (goal, *parts, _request(settings)) if part)


def _range(settings: MetaPromptSettings) -> str:
    top = "1" if settings.buckets == "raw" else settings.buckets
    return f"A score lies between 0 and {top}; higher is better."


def _order(settings: MetaPromptSettings) -> str:
    if settings.order == "random":
        return "They are in no particular order."
    first, last = ("lowest", "highest") if settings.order == "ascending" else ("highest", "lowest")
    return f"They are sorted from the {first} to the {last} score."


def _trajectory(pairs: Sequence[Scored], settings: MetaPromptSettings) -> str:
    hidden = settings.buckets == "hidden"
    head = "Instructions tried so far" + ("." if hidden else ", each with its score.")
    lines = [" ".join([head, _order(settings), *([] if hidden else [_range(settings)])])]
    for pair in pairs:
        lines.append(f"\ntext:\n{pair.instruction}")
        if not hidden:
            lines.append(f"score:\n{shown_score(pair.score, settings.buckets)}")
    return "\n".join(lines)


def exemplar_input(question: str, position: str) -> str:
    """A question with the instruction's place marked (OPRO, Appendix B)."""
    if position == "answer_start":
        return f"Q: {question}\nA: {INS}"
    return f"{question}\n{INS}" if position == "after" else f"{INS}\n{question}"


def _exemplars(exemplars: Sequence[Question], layout: Layout, position: str, failed_before: bool) -> str:
    if not exemplars:
        return ""
    why = " Instructions tried so far often failed on them." if failed_before else ""
    ask, answer = ("Problem:", "Right answer:") if layout == "chat" else ("input:", "output:")
    lines = [f"Some of the questions, with {INS} where the instruction goes, and their right answers.{why}"]
    for question in exemplars:
        lines.append(f"\n{ask}\n{exemplar_input(question.text, position)}\n{answer}\n{question.gold}")
    return "\n".join(lines)


def _request(settings: MetaPromptSettings) -> str:
    wish = f"It should be {settings.solution_description}."
    if settings.layout == "bracket":
        return (
            "Now write one new text that is unlike all of the above and will score as high as possible. "
            f"{wish} Put it in square brackets."
        )
    return (
        "Now write one new instruction that is unlike all of the above and will score higher than they do. "
        f"{wish} Begin it with <INS> and end it with </INS>."
    )


def _completion(pairs: Sequence[Scored], settings: MetaPromptSettings, position: str, about: str) -> str:
    lines = [f"Instructions that are placed {PLACES[position]} to get right answers to {about}:"]
    for pair in pairs:
        score = (
            ""
            if settings.buckets == "hidden"
            else f"Precision: {shown_score(pair.score, settings.buckets)}\n"
        )
        lines.append(f"\n{score}<TEXT>{pair.instruction}</TEXT>")
    return "\n".join(lines) + "\n"
