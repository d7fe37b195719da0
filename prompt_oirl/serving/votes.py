"""Which of several answers to one question most of them give."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from prompt_oirl.grading.readers import READERS, guess_kind


def winner(answers: Sequence[str | None], question: str, parser: str = "auto") -> tuple[int, int]:
    """The first of the answers that most agree with, and how many do; the first readable one in a tie.

    Parameters
    ----------
    answers : texts in the order of the prompts, best first; None where there is none, which casts no vote
    question : gives a choice's options and the decimal sign
    parser : a key of `READERS`; auto: what most of these answers are

    Returns: an index and its number of votes; if nothing can be read, the first answer with a text and 0, and
    -1 if there is none.
    """
    given = [answer for answer in answers if answer]
    if parser == "auto":
        parser = guess_kind(given, [question] * len(given)) if given else "text"
    votes: dict[Hashable, list[int]] = {}
    for i, answer in enumerate(answers):
        found = READERS[parser](answer, question) if answer else None
        if found is not None:
            votes.setdefault(found, []).append(i)
    if votes:
        first = max(votes.values(), key=len)  # of equals the first
        return first[0], len(first)
    return next((i for i, answer in enumerate(answers) if answer), -1), 0
