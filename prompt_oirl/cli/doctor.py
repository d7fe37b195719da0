"""`prompt-oirl doctor`: what is installed here, and whether it suffices."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prompt_oirl import __version__
from prompt_oirl.cli.output import write_rows, write_stdout
from prompt_oirl.io.files import InputError

NAME = "prompt-oirl"
SHOWN = (
    "PROMPT_OIRL_MINILM",
    "PROMPT_OIRL_CACHE",
    "PROMPT_OIRL_DEBUG",
    "PROMPT_OIRL_MIRROR",
    "OMP_NUM_THREADS",
    "NO_COLOR",
    "FORCE_COLOR",
    "HF_HOME",
)
_KEYS = (
    "PROMPT_OIRL_SIGNING_KEY",
    "PROMPT_OIRL_SERVE_KEY",
    "PROMPT_OIRL_UPSTREAM_KEY",
    "OPENAI_API_KEY",
    "HF_TOKEN",
)
SECRET = (*_KEYS, "OPENAI_BASE_URL")  # an address may hold a password


@dataclass(kw_only=True)
class Doctor:
    """Say what is installed here and what is missing; exit status 1 where the commands cannot work.

    example: prompt-oirl doctor
    """

    format: Literal["text", "jsonl"] = "text"
    """Lines to read, or one JSON object per line."""

    def run(self) -> None:
        """Write one line per thing looked at."""
        from importlib import metadata

        found = {**_machine(), **_embedder(), **_environment()}
        problems = [f"{NAME} is not installed here: pip install {NAME}, or pip install -e . in a checkout"]
        try:
            problems = list(_lacking(""))
            found |= _extras(metadata.metadata(NAME).get_all("Provides-Extra", []))
        except metadata.PackageNotFoundError:
            pass
        if self.format == "jsonl":
            write_rows([{"what": what, "found": text} for what, text in found.items()], "jsonl")
        else:
            write_stdout("".join(f"{what}: {text}\n" for what, text in found.items()))
        if problems:
            raise InputError("; ".join(problems))
        if self.format == "text":
            write_stdout("All that the commands on a log need is here.\n")


def _machine() -> dict[str, str]:
    cores = getattr(os, "process_cpu_count", os.cpu_count)()  # 3.13 counts those that may be used
    threads = os.environ.get("OMP_NUM_THREADS", "their choice")
    disk = shutil.disk_usage(Path.cwd())
    return {
        NAME: f"{__version__} in {Path(__file__).resolve().parents[1]}",
        "Python": f"{platform.python_version()}, {sys.executable}",
        "platform": platform.platform(),
        "cores": f"{cores}; threads of numerical libraries: {threads}",
        "disk": f"{disk.free / 1e9:,.1f} GB free where you are",
    }


def _embedder() -> dict[str, str]:
    from prompt_oirl.features.minilm_download import cache_folder
    from prompt_oirl.features.minilm_files import minilm_at_hand

    try:
        folder = minilm_at_hand()
        found = "downloaded when it is first used" if folder is None else f"verified, in {folder}"
    except InputError as error:
        found = f"not usable: {error}"
    cache = cache_folder()
    there = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(there).free
    return {"embedder minilm": found, "downloads": f"in {cache}, {free / 1e9:,.1f} GB free"}


def _environment() -> dict[str, str]:
    shown = {name: os.environ.get(name, "") for name in SHOWN} | {
        name: "set, not shown here" for name in SECRET if os.environ.get(name)
    }
    signed = "the key is set" if os.environ.get("PROMPT_OIRL_SIGNING_KEY") else "no key is set"
    return {"signing of selectors": signed, **{f"variable {k}": text for k, text in shown.items() if text}}


def _extras(names: Sequence[str]) -> dict[str, str]:
    lacking = [name for name in names if any(_lacking(name))]
    return {
        "extras": ", ".join(name for name in names if name not in lacking) or "none",
        "extras not installed": f"{', '.join(lacking)}: pip install '{NAME}[NAME]'" if lacking else "none",
    }


def _lacking(extra: str) -> Iterator[str]:
    """What core (extra "") or an extra needs and this environment lacks, with what to do about it."""
    from importlib import metadata

    from packaging.requirements import Requirement

    for line in metadata.requires(NAME) or ():
        needed = Requirement(line)
        of_extra = "extra" in str(needed.marker or "")
        if of_extra != bool(extra) or (needed.marker and not needed.marker.evaluate({"extra": extra})):
            continue
        if needed.name == NAME:
            for inner in needed.extras:
                yield from _lacking(inner)
            continue
        wanted = f"{needed.name}{needed.specifier}"
        try:
            if not needed.specifier.contains(metadata.version(needed.name), prereleases=True):
                yield f"{needed.name} {metadata.version(needed.name)} is here: pip install '{wanted}'"
        except metadata.PackageNotFoundError:
            yield f"{needed.name} is missing: pip install '{wanted}'"
