"""Texts on stdin, one a line, each given on when its line has come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import IO

from prompt_oirl.io.files import InputError, decode_lines
from prompt_oirl.io.tables import is_plain_text, texts_hint


def begin_stdin(column: str) -> tuple[bytes, Iterator[list[str]] | None]:
    """Read stdin up to its first line that is not blank.

    Parameters
    ----------
    column : name of the column that holds the texts if stdin is a table

    Returns: what was read, and None; or where it is plain text, nothing and the texts: those that have come
    meanwhile together, blank lines left out.
    Raises: InputError where stdin is closed, and from the texts at bytes that are no UTF-8.
    """
    if sys.stdin is None:
        raise InputError("stdin is closed: name a file, or pipe something in")
    stdin: IO[bytes] = sys.stdin.buffer
    begun = b""
    while not begun.strip() and (line := stdin.readline()):
        begun += line
    if not is_plain_text(begun, column):
        return begun, None
    return b"", _texts(stdin, begun, texts_hint(column, lines=True))


def _texts(stdin: IO[bytes], begun: bytes, hint: str) -> Iterator[list[str]]:
    first = 1
    for lines in _lines(stdin, begun):
        found = [text for line in decode_lines(lines, "stdin", hint, first) if (text := line.strip())]
        first += len(lines)
        if found:
            yield found


def _lines(stdin: IO[bytes], begun: bytes) -> Iterator[list[bytes]]:
    """Whole lines, as many as have come."""
    parts: list[bytes] = []
    chunk = begun
    while chunk:
        head, end, rest = chunk.rpartition(b"\n")
        if end:
            yield b"".join([*parts, head]).split(b"\n")
            parts = [rest] if rest else []
        else:
            parts.append(chunk)
        chunk = stdin.read1(2**16)  # type: ignore[attr-defined]  # waits for the first byte only
    if parts:
        yield b"".join(parts).split(b"\n")
