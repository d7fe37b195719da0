"""JSON and JSON lines that are read; what cannot be read is refused with its line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prompt_oirl.io.files import InputError, read_lines, require


def read_json(path: Path, *, hint: str) -> Any:
    """Read a JSON file."""
    require(path, hint)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); {hint}") from error


def read_jsonl(path: Path, *, hint: str) -> Iterator[dict[str, Any]]:
    """Yield one object per line; lines end at \\n only, so odd Unicode line separators stay inside a text."""
    return parse_jsonl(read_lines(path, hint=hint), path, hint)


def parse_jsonl(lines: Iterable[str], source: str | Path, hint: str) -> Iterator[dict[str, Any]]:
    """Yield one object a line; parameters as of `numbered_objects`."""
    return (row for _, row in numbered_objects(lines, source, hint))


def numbered_objects(
    lines: Iterable[str], source: str | Path, hint: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object); parameters as of `numbered_values`, what is no object is refused."""
    for number, row in numbered_values(lines, source, hint):
        if not isinstance(row, dict):
            raise InputError(f"{source}:{number}: expected one JSON object per line; {hint}")
        yield number, row


def numbered_values(lines: Iterable[str], source: str | Path, hint: str) -> Iterator[tuple[int, Any]]:
    """Yield (line number, JSON value); blank lines are read over.

    Parameters
    ----------
    lines : JSON lines
    source : the beginning of a complaint (InputError)
    hint : what the user can do, its end
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line, object_pairs_hook=each_key_once)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source}:{number}: not valid JSON ({error}); {hint}") from error


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs; raises ValueError on a key that stands twice, of which JSON keeps the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"the key {ascii(doubled)[:60]} stands twice in an object")
    return found
