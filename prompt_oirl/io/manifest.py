"""What every step script does around its work: read flags, say errors in one line, leave a manifest."""

from __future__ import annotations

import ast
import hashlib
import multiprocessing
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from functools import cache, lru_cache
from os.path import isfile  # False for a name that is too long, too
from pathlib import Path
from typing import Any

from prompt_oirl.io.colours import heed_colour_variables
from prompt_oirl.io.extras import explained
from prompt_oirl.io.files import (
    REPO_ROOT,
    InputError,
    content_key,
    never_written,
    on_one_line,
    require,
    sha256,
    write_json,
)
from prompt_oirl.io.json_files import read_json

PACKAGE = Path(__file__).resolve().parents[1]


def code_version(*modules: str) -> str:
    """Hash of the code that decides a result, so that results of other code are not taken for finished.

    Parameters
    ----------
    modules : dotted names such as "prompt_oirl.pipeline.fits", default the running script. Their sources
        count, and those of every module of this package that they import, directly or indirectly, inside
        functions too. A script that imports none of them (a test runner, say) counts as needing all.

    Returns: 16 hexadecimal digits.
    """
    if modules:
        return _version_of(*(path for name in modules for path in _source_files(name)))
    script = getattr(sys.modules["__main__"], "__file__", None)
    return _version_of(*([Path(script).resolve()] if script else []))


@cache
def _version_of(*sources: Path) -> str:
    """Hash of some sources and of all that they import from this package."""
    pending, found = list(sources), set[Path]()
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending += [file for name in _imported_names(path) for file in _source_files(name)]
    if not any(path.is_relative_to(PACKAGE) for path in found):
        return package_code_version()
    return _hash_sources(found)


@lru_cache(maxsize=1)
def package_code_version() -> str:
    """Hash of all sources of this package, 16 hexadecimal digits: equal for equal installations."""
    return _hash_sources(PACKAGE.rglob("*.py"))


def _imported_names(path: Path) -> set[str]:
    """Dotted names imported from this package; of `from x import y` also x.y, which may be a module."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] == PACKAGE.name}


def _source_files(name: str) -> list[Path]:
    """A module's file and the __init__ files of the packages around it; none for a name that is no module."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    packages = [folder / "__init__.py" for folder in (path, *path.parents) if folder.is_relative_to(PACKAGE)]
    return [file for file in (path.with_suffix(".py"), *packages) if file.is_file()]


def _hash_sources(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(REPO_ROOT).as_posix() if path.is_relative_to(REPO_ROOT) else path.name
        digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class Manifest:
    """What a step did: arguments, input and output hashes, versions, seed, wall time. One JSON per step."""

    def __init__(self, path: Path, arguments: Any, inputs: Iterable[Path], root: Path):
        self.path, self.root = path, root
        self.arguments = (
            asdict(arguments) if is_dataclass(arguments) and not isinstance(arguments, type) else arguments
        )
        self.inputs = {self._name(p): sha256(require(p, "correct the path")) for p in sorted(set(inputs))}
        self.key = content_key({"arguments": self.arguments, "inputs": self.inputs, "code": code_version()})
        self.started = time.perf_counter()

    def _name(self, path: Path) -> str:
        path = path.resolve()
        return (
            path.relative_to(self.root.resolve()).as_posix()
            if path.is_relative_to(self.root.resolve())
            else str(path)
        )

    def is_current(self) -> bool:
        """True when an earlier run with the same key left every output unchanged."""
        try:
            old = read_json(self.path, hint="")
            return old["key"] == self.key and not altered(old["outputs"], self.root)
        except (InputError, KeyError, TypeError, AttributeError):
            return False

    def finish(self, outputs: Iterable[Path]) -> None:
        """Record the outputs of a finished run."""
        write_json(
            self.path,
            {
                "key": self.key,
                "arguments": self.arguments,
                "inputs": self.inputs,
                "outputs": {self._name(p): sha256(p) for p in sorted(set(outputs))},
                "code": code_version(),
                "versions": package_versions(
                    ["numpy", "pandas", "scikit-learn", "xgboost", "lightgbm", "torch"]
                ),
                "platform": platform.platform(),
                "wall_seconds": round(time.perf_counter() - self.started, 3),
            },
        )


def altered(files: dict[str, str], root: Path) -> list[Path]:
    """Files that are gone or whose sha256 is no longer the one given."""
    paths = {root / name: digest for name, digest in files.items()}
    return [path for path, digest in paths.items() if not isfile(path) or sha256(path) != digest]


def check_finished(manifest: Path, root: Path, hint: str) -> None:
    """Refuse an earlier step's outputs unless all of them are of one finished run on the inputs of today.

    An input that was deleted since (fetched files, say) is no reason to refuse.

    Parameters
    ----------
    manifest : the JSON file that the earlier step wrote (`Manifest.finish`)
    root : folder that the file names in it are relative to
    hint : what the user can do, the end of every complaint

    Raises: InputError naming the manifest if it is missing or damaged, else the first file that differs.
    """
    recorded = read_json(manifest, hint=hint)
    try:
        outputs, inputs = altered(recorded["outputs"], root), altered(recorded["inputs"], root)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{manifest}: not a manifest; {hint}") from error
    changed = outputs + [path for path in inputs if path.is_file()]
    if changed:
        raise InputError(f"{changed[0]}: not what {manifest.name} records; {hint}")


def run_step(
    main: Callable[[Any], None],
    arguments: type,
    before: Callable[[type, list[str]], Any] = lambda arguments, given: None,
) -> None:
    """Parse the flags of a step script and run it; what the user can fix is one line on stderr, exit 1.

    Parameters
    ----------
    main : the step, called with the flags
    arguments : dataclass of the flags
    before : called with it and the command line before that is parsed; may refuse flags, or return an
        instance of `arguments` that holds other defaults
    """
    import tyro

    def work() -> None:
        given = without_debug(sys.argv[1:])
        about: dict[str, Any] = {"description": sys.modules["__main__"].__doc__, "use_underscores": True}
        if (defaults := before(arguments, given)) is not None:
            about["default"] = defaults
        heed_colour_variables()
        flags = tyro.cli(arguments, args=given, **about)
        with never_written(named_files(flags)):
            main(flags)

    run_reporting(work, "pass another --root", "run the same command again to continue")


def without_debug(arguments: Sequence[str]) -> list[str]:
    """The command line less `--debug`, noted in PROMPT_OIRL_DEBUG for this process and its workers."""
    if "--debug" in arguments:
        os.environ["PROMPT_OIRL_DEBUG"] = "1"
    return [argument for argument in arguments if argument != "--debug"]


def named_files(options: Any) -> Iterator[Path]:
    """Paths that the flags name to be read: all but those of `--out` and `--output`.

    Parameters
    ----------
    options : dataclass of flags, with others in it
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value):
            yield from named_files(value)
        elif field.name not in ("out", "output"):
            several = value if isinstance(value, list | tuple) else [value]
            yield from (Path(one) for one in several if isinstance(one, str | Path))


def _show_traceback(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        if os.environ.get("PROMPT_OIRL_DEBUG") == "1":
            traceback.print_exc()
        raise


def run_reporting(work: Callable[[], None], other_place: str, after_stop: str) -> None:
    """Run `work`; what the user can fix is one line on stderr and exit 1, Ctrl-C exit 130, no traceback.

    Parameters
    ----------
    work : what to run
    other_place : end of the message when a file cannot be read or written, such as "pass another --root"
    after_stop : end of the message after Ctrl-C, such as "nothing was written"

    With `--debug` on the command line, or PROMPT_OIRL_DEBUG=1, tracebacks are shown as well.

    Raises: SystemExit with the status above; 141 where the reader of stdout has gone.
    """
    try:
        _show_traceback(work)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        if (explanation := explained(error)) is None:
            raise
        print(f"error: {explanation}", file=sys.stderr)
        raise SystemExit(1) from None
    except MemoryError:
        print("error: not enough memory; give fewer rows, or smaller files", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:  # the reader (head, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None  # as a shell tells of SIGPIPE, which Windows has not
    except OSError as error:
        name = on_one_line(str(error.filename or "a file"), 500)
        print(
            f"error: {name}: {error.strerror or error}; correct the path or its permissions, free some "
            f"space, or {other_place}",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        import psutil

        for worker in multiprocessing.active_children():  # else leaving would wait for idle ones
            with suppress(psutil.NoSuchProcess):
                psutil.Process(worker.pid).kill()  # joblib's own processes have no kill()
        print(f"stopped; {after_stop}", file=sys.stderr)
        raise SystemExit(130) from None
