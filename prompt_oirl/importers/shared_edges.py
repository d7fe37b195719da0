"""Where texts share how they begin and end: the candidates for what a template puts around a question."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix

EDGES_A_TEXT = 12  # shared beginnings tried of each text, shortest first; a template's is among the shortest
WORK = 20_000_000  # texts looked at over all shared beginnings, so that no input takes hours


def shared_starts(texts: Sequence[str], support: int) -> list[list[int]]:
    """Lengths of the beginnings that each text shares with others and where they part, 0 among them.

    Parameters
    ----------
    texts : distinct texts
    support : how many texts must share a beginning
    """
    order = sorted(range(len(texts)), key=texts.__getitem__)
    found = [[0] for _ in texts]
    budget = WORK
    for length, first, last in sorted(_runs([texts[i] for i in order])):
        budget -= last - first + 1
        if budget < 0:
            break
        if last - first + 1 < support:
            continue
        members = order[first : last + 1]
        length = _between_words([texts[i] for i in members], length)
        for i in members:
            if found[i][-1] < length and len(found[i]) < EDGES_A_TEXT:
                found[i].append(length)
    return found


def shared_ends(texts: Sequence[str], support: int) -> list[list[int]]:
    """Lengths of the ends that each text shares with others; parameters as of `shared_starts`."""
    return shared_starts([text[::-1] for text in texts], support)


def common_edges(texts: Sequence[str]) -> tuple[int, int]:
    """Lengths of the beginning and the end that all texts share, cut between words, not overlapping."""
    backwards = [text[::-1] for text in texts]
    start = _between_words(texts, len(_common(texts)))
    end = _between_words(backwards, len(_common(backwards)))
    return start, max(0, min(end, min(map(len, texts)) - start))


def _common(texts: Sequence[str]) -> str:
    return commonprefix([min(texts), max(texts)])


def _runs(texts: Sequence[str]) -> list[tuple[int, int, int]]:
    """(length, first, last) of the longest runs of sorted texts that share a beginning of that length."""
    found: list[tuple[int, int, int]] = []
    open_runs: list[tuple[int, int]] = []  # (length, first), ever longer
    for i in range(len(texts)):
        shared = len(commonprefix([texts[i], texts[i + 1]])) if i + 1 < len(texts) else 0
        first = i
        while open_runs and open_runs[-1][0] > shared:
            length, first = open_runs.pop()
            found.append((length, first, i))
        if shared and (not open_runs or open_runs[-1][0] < shared):
            open_runs.append((shared, first))
    return found


def _between_words(texts: Sequence[str], length: int) -> int:
    """The longest beginning, at most `length`, after which no text goes on within a word."""
    while length and any(
        len(text) > length and text[length - 1].isalnum() and text[length].isalnum() for text in texts
    ):
        length -= 1
    return length
