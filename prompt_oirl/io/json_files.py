"""JSON and JSON lines that are read; what cannot be read is refused with its line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from prompt_oirl.io.files import InputError, read_lines, require

Record = TypeVar("Record")


def read_json(path: Path, *, hint: str) -> Any:
    """Read a JSON file."""
    require(path, hint)
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"))
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
            yield number, parse_json(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source}:{number}: not valid JSON ({error}); {hint}") from error


def as_record(kind: type[Record], row: Any, where: str, hint: str) -> Record:
    """A dataclass of the fields of a JSON object.

    Parameters
    ----------
    kind : dataclass whose fields are texts, numbers, truth values, lists or None
    row : what was read
    where, hint : beginning and end of a complaint

    Raises: InputError if a field is missing, unknown, or of another type.
    """
    try:
        found = kind(**row)
    except TypeError as error:
        raise InputError(f"{where}: fields are missing or unknown ({error}); {hint}") from error
    for name, declared in get_type_hints(kind).items():
        either = get_args(declared) if isinstance(declared, UnionType) else (declared,)
        kinds, value = [get_origin(one) or one for one in either], getattr(found, name)
        if type(value) not in kinds and not (type(value) is int and float in kinds):
            raise InputError(f"{where}: {name} is {value!a:.40}, of another kind than it should be; {hint}")
    return found


def parse_json(text: str | bytes) -> Any:
    """JSON as Python values; raises ValueError, or RecursionError where it is nested too deep."""
    return json.loads(text, object_pairs_hook=each_key_once, parse_int=_whole_number)


def _whole_number(digits: str) -> float:
    """Infinite where no float could hold it, as 1e999 is, so that who asks for finite numbers refuses it."""
    return int(digits) if len(digits) <= 300 else float(digits)


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs; raises ValueError on a key that stands twice, of which JSON keeps the last, or
    that is no text."""
    found = dict(pairs)
    for key in found:
        if not key.isascii():
            key.encode()  # half a surrogate pair is none
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"the key {ascii(doubled)[:60]} stands twice in an object")
    return found
