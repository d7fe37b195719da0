"""Damaged copies of a tool's file: bytes changed, values replaced by others."""

from __future__ import annotations

import io
import json
import random
import zipfile
from typing import Any

ODD = [
    None,
    True,
    -1,
    0,
    2.5,
    float("nan"),
    10**400,
    "",
    "x",
    "\ud800",
    "a\nb\x1b[2J",
    [],
    {},
    [[]],
    {"": {}},
]


def damaged(rng: random.Random, data: bytes, name: str) -> bytes:
    """A copy of a file with one to three changes. Parameters: what it holds, and its name."""
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.3:
            data = _bytes_changed(rng, data)
        elif name.endswith(".eval"):
            data = _member_changed(rng, data)
        else:
            data = _values_changed(rng, data, lines=name.endswith(".jsonl"))
    return data


def _bytes_changed(rng: random.Random, data: bytes) -> bytes:
    at, size = rng.randrange(len(data) + 1), rng.randint(1, 200)
    kind = rng.randrange(4)
    if kind == 0:
        return data[:at] + data[at + size :]
    if kind == 1:
        return data[:at] + data[at : at + size] * 2 + data[at + size :]
    if kind == 2:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    return data[:at] + b"[" * 100_000 + data[at:]


def _member_changed(rng: random.Random, data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # damaged before
        return _bytes_changed(rng, data)
    changed = rng.choice(list(members))
    members[changed] = _values_changed(rng, members[changed], lines=False)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, held in members.items():
            if rng.random() > 0.02:
                archive.writestr(name, held)
    return out.getvalue()


def _values_changed(rng: random.Random, data: bytes, lines: bool) -> bytes:
    try:
        rows = [json.loads(line) for line in data.splitlines()] if lines else [json.loads(data)]
    except (ValueError, RecursionError):
        return _bytes_changed(rng, data)
    if not rows:
        return data
    i = rng.randrange(len(rows))
    rows[i] = _value_changed(rng, rows[i])
    if lines and rng.random() < 0.1:
        rows = rng.sample(rows, k=rng.randint(0, len(rows))) + rows[:1]
    return b"\n".join(json.dumps(row).encode() for row in rows) + b"\n" * lines


def _value_changed(rng: random.Random, value: Any) -> Any:
    """A value with a random part of it replaced, taken away, or put in twice."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        parts = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, part in parts:
            places.append((one, key))
            waiting.append(part)
    if not places:
        return rng.choice(ODD)
    holder, key = rng.choice(places)
    if rng.random() < 0.3:
        del holder[key]
    elif isinstance(holder, list) and rng.random() < 0.3:
        holder.append(holder[key])
    else:
        holder[key] = rng.choice(ODD)
    return value
