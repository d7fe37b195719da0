"""Values out of JSON that nobody vouches for: what is missing or of another kind is None."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prompt_oirl.io.files import InputError, on_one_line, read_lines
from prompt_oirl.io.json_files import numbered_objects, numbered_values, read_json


def at(value: Any, *path: str | int, default: Any = None) -> Any:
    """What lies at a path of keys and positions, `default` if anything on the way is missing."""
    for key in path:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and key < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return default if value is None else value


def items(value: Any) -> list[Any]:
    """A list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """A text, None for other values. Half a surrogate pair, which no file can hold, becomes U+FFFD."""
    if not isinstance(value, str):
        return None
    return (
        value
        if value.isascii()
        else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def filled(value: Any) -> str | None:
    """A text that is more than white space."""
    found = text(value)
    return found if found and not found.isspace() else None


def shown(value: Any) -> str | None:
    """A text or number as text, other JSON as JSON; None stays None."""
    if value is None or isinstance(value, str):
        return text(value)
    try:
        return text(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return None


def amount(value: Any) -> float | None:
    """A finite number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) and value >= 0 else None
    except OverflowError:  # an integer beyond the floats
        return None


def count(value: Any) -> int | None:
    """A whole number from 0 to 2**63 - 1."""
    number = amount(value)
    return int(number) if number is not None and number == int(number) and number < 2**63 else None


def parsed(value: Any) -> Any:
    """The JSON that a text holds; what is no text, or holds none, as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def json_documents(path: Path, hint: str) -> Iterator[tuple[str, Any]]:
    """Yield (where, JSON value): of .jsonl and .ndjson one a line, else the whole file's.

    A .json file may hold JSON lines, too: OpenTelemetry's collector writes such. Blank lines are passed over.

    Raises: InputError on a file that cannot be read, with `hint` at its end.
    """
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _json_lines(path, hint)
        return
    try:
        found = [(str(path), read_json(path, hint=hint))]
    except InputError:
        try:
            found = list(_json_lines(path, hint))
        except InputError:
            found = []
        if len(found) < 2:
            raise
    yield from found


def _json_lines(path: Path, hint: str) -> Iterator[tuple[str, Any]]:
    lines = numbered_values(read_lines(path, hint=hint), path, hint)
    return ((f"{path}:{number}", value) for number, value in lines)


def json_rows(path: Path, hint: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) of JSON lines. Raises: InputError as of `json_documents`."""
    lines = numbered_objects(read_lines(path, hint=hint), path, hint)
    return ((f"{path}:{number}", row) for number, row in lines)


def no_rows(files: str, reason: str, advice: str) -> InputError:
    """Refusal of files that hold no answer; all on one line."""
    return InputError(f"{on_one_line(files, 300)}: {reason}; {advice}")
