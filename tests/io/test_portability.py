"""Names that only POSIX has stand in named places alone, and text files are opened as UTF-8 by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from prompt_oirl.io.files import REPO_ROOT

FOLDERS = ("prompt_oirl", "scripts", "llama_exps", "opro_exps", "alol_exps")
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "pty", "tty", "posix", "syslog"}
OS = {"fork", "forkpty", "getuid", "geteuid", "getgid", "killpg", "setsid", "setpgid", "getpgid", "mkfifo"}
OS |= {"mknod", "chown", "nice", "wait", "wait3", "wait4", "waitpid", "sched_getaffinity", "getloadavg"}
OS |= {"O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "sysconf", "statvfs", "uname", "fchmod"}
OS |= {"symlink", "rename"}  # links need a privilege on Windows; rename refuses a file that is there
SIGNALS = {"SIGKILL", "SIGPIPE", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGSTOP", "alarm"}
METHODS = {"add_signal_handler", "symlink_to"}
KEYWORDS = {"preexec_fn", "dir_fd"}
PLACES = ("/proc/", "/dev/", "/tmp")

GUARDED = {
    ("prompt_oirl/features/onnx_minilm.py", "os.sched_getaffinity"): "hasattr stands before it",
    ("prompt_oirl/pipeline/fits.py", "os.sched_getaffinity"): "hasattr stands before it",
    ("prompt_oirl/io/peak_memory.py", "/proc/"): "its absence is caught; psutil elsewhere",
    ("prompt_oirl/serving/server.py", "add_signal_handler"): "NotImplementedError is caught; signal.signal",
    ("scripts/bench.py", "/proc/"): "behind sys.platform == 'linux'",
    ("scripts/benchmarks/cluster.py", "resource"): "make bench measures on Linux",
    ("scripts/benchmarks/diagnosis.py", "resource"): "make bench measures on Linux",
    ("scripts/benchmarks/measuring.py", "resource"): "make bench measures on Linux",
    ("scripts/benchmarks/scale.py", "resource"): "make bench measures on Linux",
    ("scripts/benchmarks/training.py", "symlink_to"): "make bench measures on Linux",
    ("scripts/check_readme.py", "symlink_to"): "README's commands are for a POSIX shell",
    ("scripts/real_server.py", "resource"): "make needs a POSIX shell",
}


def names(tree: ast.AST) -> Iterator[str]:
    """POSIX-only names in a file's syntax tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = {"os": OS, "signal": SIGNALS}.get(node.module or "", set())
            yield from (node.module for _ in [0] if node.module in MODULES)
            yield from (f"{node.module}.{a.name}" for a in node.names if a.name in found)
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in {"os": OS, "signal": SIGNALS}.get(owner, set()):
                yield f"{owner}.{node.attr}"
            elif node.attr in METHODS:
                yield node.attr
        elif isinstance(node, ast.keyword) and node.arg in KEYWORDS:
            yield str(node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(PLACES):
            yield next(place for place in PLACES if node.value.startswith(place))


def without_encoding(tree: ast.AST) -> Iterator[int]:
    """Lines that read or write a text file in whatever encoding the system prefers."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called == "read_text" and not node.args or called == "write_text" and len(node.args) == 1:
            if isinstance(node.func, ast.Attribute):
                yield node.lineno
        elif called == "open":
            method = isinstance(node.func, ast.Attribute)
            mode = [a.value for a in node.args[not method :] if isinstance(a, ast.Constant)]
            mode += [k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)]
            if any(m in ("r", "w", "a", "x", "r+") for m in mode) or not method and not mode:
                yield node.lineno


@cache
def trees() -> list[tuple[str, ast.AST]]:
    return [
        (path.relative_to(REPO_ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for folder in FOLDERS
        for path in sorted((REPO_ROOT / folder).rglob("*.py"))
    ]


def test_posix_only_names_stand_in_guarded_places_alone() -> None:
    found = {(path, name) for path, tree in trees() for name in names(tree)}
    assert found == set(GUARDED), "guard it, name its counterpart, and list it here; or take it off the list"


def test_text_files_are_opened_as_utf8() -> None:
    found = [f"{path}:{line}" for path, tree in trees() for line in without_encoding(tree)]
    assert not found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import fcntl", ["fcntl"]),
        ("from resource import getrusage", ["resource"]),
        ("import os\nos.fork()", ["os.fork"]),
        ("from os import killpg", ["os.killpg"]),
        ("import signal\nsignal.SIGALRM", ["signal.SIGALRM"]),
        ("run(preexec_fn=f)", ["preexec_fn"]),
        ("open('/proc/self/status')", ["/proc/"]),
        ("path.symlink_to(other); os.replace(a, b)", ["symlink_to"]),
    ],
)
def test_the_check_sees_them(code: str, expected: list[str]) -> None:
    assert list(names(ast.parse(code))) == expected


def test_the_check_sees_missing_encodings() -> None:
    code = "p.read_text()\np.write_text(t)\nopen(p)\np.open('w')\np.open('rb')\nq.open('x', encoding='utf-8')"
    assert list(without_encoding(ast.parse(code))) == [1, 2, 3, 4]
