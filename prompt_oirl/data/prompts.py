"""Prompts: the instruction texts that are appended to a question (Prompt-OIRL, Section 2).

`data/prompts.csv` holds the six training and ten held-out prompts exactly as they were sent to LLaMA-2;
any other file with the same columns can be named instead.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.io.files import REPO_ROOT, InputError, csv_records, is_file_name, on_one_line, read_lines

PUBLISHED = REPO_ROOT / "data" / "prompts.csv"
POSITIONS = ("system", "before", "after", "answer_start")
ROLES = ("train", "held_out", "unseen")


@dataclass(frozen=True)
class Prompt:
    """One instruction. `role`: reward models learn from `train` prompts only and are tried on `held_out`
    ones; `unseen` prompts are logged for other uses, and steps 2 to 5 leave them out."""

    id: str
    text: str
    position: str = "after"
    role: str = "train"


def prompt_id(text: str, position: str = "after") -> str:
    """Short stable name of a prompt that has none: a hash of its NFC text and position."""
    data = unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
    return hashlib.sha256(position.encode() + b"\0" + data).hexdigest()[:10]


def load_prompts(path: Path = PUBLISHED) -> list[Prompt]:
    """Read prompts from a CSV with columns prompt_id, role, position, text; training prompts come first."""
    hint = "see data/prompts.csv for the format"
    prompts = []
    for number, row in csv_records(path, hint=hint, columns=["text"]):
        position, role = row.get("position") or "after", row.get("role") or "train"
        if position not in POSITIONS or role not in ROLES:
            raise InputError(
                f"{path}:{number}: position must be one of {POSITIONS}, role one of {ROLES}; {hint}"
            )
        if None in row:
            raise InputError(
                f"{path}:{number}: more cells than columns; put a text that holds commas in quotes; {hint}"
            )
        if not row["text"]:
            raise InputError(f"{path}:{number}: empty prompt text; {hint}")
        if not is_file_name(row.get("prompt_id") or "x"):  # it becomes part of file names
            raise InputError(
                f"{path}:{number}: prompt_id {row['prompt_id']!r} may hold letters, digits, _ - . only, and "
                f"not be 'labels'; {hint}"
            )
        prompts.append(
            Prompt(row.get("prompt_id") or prompt_id(row["text"], position), row["text"], position, role)
        )
    if not prompts or len({p.id.casefold() for p in prompts}) != len(prompts):
        what = "prompt_id values are not unique (capitals do not count)" if prompts else "no prompts"
        raise InputError(f"{path}: {what}; {hint}")
    texts = Counter((unicodedata.normalize("NFC", p.text), p.position, p.role) for p in prompts)
    if twice := [text for (text, _, _), n in texts.items() if n > 1]:
        raise InputError(
            f"{path}: the prompt {on_one_line(twice[0])!a} stands twice, perhaps in two Unicode forms; {hint}"
        )
    return sorted(prompts, key=lambda p: ROLES.index(p.role))


def choose_prompts(places: str, prompts: list[Prompt]) -> list[Prompt]:
    """Those at places and ranges such as 0-5 or 1,3, counted from 0 in the order of the list; or `all`."""
    if places == "all":
        return prompts
    chosen: set[int] = set()
    for part in places.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last < len(prompts):
            raise InputError(
                f"--prompt_idx {places}: give all, or places from 0 to {len(prompts) - 1} such as 3, 0-5 or "
                "1,3"
            )
        chosen |= set(range(first, last + 1))
    return [prompts[place] for place in sorted(chosen)]


def load_instructions(path: Path, position: str | None) -> list[Prompt]:
    """Instructions of a file, each once, in its order."""
    hint = (
        "give a CSV with a column text (and perhaps position and prompt_id), or a text file with one "
        "instruction per line"
    )
    if path.suffix.lower() == ".csv":
        rows = csv_records(path, hint=hint, columns=["text"])
    else:
        lines = enumerate(read_lines(path, hint=hint), 1)
        rows = ((i, {"text": line.rstrip("\r\n")}) for i, line in lines if line.strip())
    prompts: dict[str, Prompt] = {}
    for number, row in rows:
        where = f"{path}:{number}"
        if None in row:
            raise InputError(
                f"{where}: more cells than columns; put a text that holds commas in quotes; {hint}"
            )
        text, given, name = row["text"] or "", row.get("position") or "after", row.get("prompt_id")
        place = position or given
        if place not in POSITIONS:
            raise InputError(f"{where}: position {place!a}, choose {', '.join(POSITIONS)}")
        if name and not is_file_name(name):
            raise InputError(
                f"{where}: prompt_id {name!a} may hold letters, digits, _ - . only, and not be 'labels'"
            )
        known = name if name and position in (None, given) else None
        prompt = Prompt(known or prompt_id(text, place), text, place)
        if prompts.setdefault(prompt.id, prompt) != prompt:
            raise InputError(
                f"{where}: prompt_id {prompt.id} names another instruction above; make ids unique"
            )
    if not prompts:
        raise InputError(f"{path}: no instructions; {hint}")
    return list(prompts.values())
